"""What runs and jobs are doing, from their files and Slurm's queue: from any shell, whoever started them.

Only reads. Imports `outcomes`, `rundir`, `slurm`, `stages`, `terminal`; `launcher` and the layers above it
may import it.
"""
