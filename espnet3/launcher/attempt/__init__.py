"""One attempt of a stage, from the process that starts its tasks and watches them to their end.

Imports `planning`, `rank` and `start`; `batch`, `follow` and what commands call may import it.
"""
