"""From a planned job to one in Slurm's queue: checked, written down, submitted once, and found again.

Imports `planning`; `follow`, `batch` and what commands call may import it.
"""
