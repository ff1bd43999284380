"""Run directories in any state, for what is shown of them."""

from made_runs import made, queue_of

__all__ = ["made", "queue_of"]
