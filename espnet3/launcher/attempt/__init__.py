"""One attempt of a stage, in the process that starts its tasks and follows them until they end.

Imports `planning`, `rank` and `start`; `batch`, `follow` and what commands call may import it.
"""
