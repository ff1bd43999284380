"""Trials as jobs: which run together, and their submission as arrays that Slurm has room for.

Imports `trials` and `show`; `execute`, `search` and what commands call may import it.
"""
