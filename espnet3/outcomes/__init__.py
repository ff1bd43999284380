"""How did it end: pure functions from facts (exceptions, ranks, exit codes, Slurm) to one record, the result.

One file a level, each from the level below it: `rank`, `attempt`, `job`. `restart` says whether a job starts
again, `exit_code` what a command ends with. Rank, batch process, watcher, status, sweep and report share
them: nothing else decides an outcome. Nothing here reads a file or asks Slurm.
Imports `rundir` and `slurm` for their records; `status` and the layers above it may import it.
"""
