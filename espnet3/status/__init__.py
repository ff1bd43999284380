"""The status of runs and jobs, from their files and Slurm's queue, in any shell.

Only reads. Imports `outcomes`, `rundir`, `slurm`, `stages`, `terminal`; `launcher` and the layers above it
may import it.
"""
