"""The run directory: names, atomic files, claims, outcomes, heartbeats.

Imports `errors`, `stage_table` and `slurm` (whose jobs own claims); every layer above may import it.
"""
