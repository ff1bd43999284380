"""Outcomes: pure functions from facts (exceptions, ranks, exit codes, Slurm's state) to a result record.

One file per level, each based on the level below: `rank`, `attempt`, `job`. `restart` decides whether a job
restarts, `exit_code` what a command exits with. Rank, batch process, watcher, status, sweep and report share
them: nothing else decides an outcome. These files read no file and do not ask Slurm.
Imports `rundir` and `slurm` for their records; `status` and the layers above it may import it.
"""
