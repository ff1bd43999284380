"""Submit planned jobs to Slurm: check, describe, submit once, and find them in the queue.

Imports `planning`; `follow`, `batch` and what commands call may import it.
"""
