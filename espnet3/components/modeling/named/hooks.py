"""What others do around the backward passes and the updates of named optimizers."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.optim import Optimizer


@dataclass(frozen=True)
class Hooks:
    """Called at the moments of Lightning's hooks of these names; None where nobody listens."""

    on_before_backward: Callable[[Tensor], None] | None = None
    """Before each backward pass, with the loss that the model returned, shape () or (1,)."""
    on_after_backward: Callable[[], None] | None = None
    """After each; the gradients of an update are reduced over ranks then."""
    on_before_optimizer_step: Callable[[Optimizer], None] | None = None
    """Before each update, with its gradients as the mean over contributions and ranks, not clipped yet."""


NO_HOOKS = Hooks()
