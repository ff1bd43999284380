"""How did it end: pure functions from facts (ranks, exit codes, Slurm) to the record of an end.

Rank, batch process, watcher, status, sweep and report share these; nothing here reads a file or asks Slurm.
Imports `rundir` and `slurm` for their records; `status` and the layers above it may import it.
"""
