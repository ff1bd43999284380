"""Trials as Slurm jobs: which trials share a job array, and submission within Slurm's limits.

Imports `trials` and `show`; `execute`, `search` and what commands call may import it.
"""
