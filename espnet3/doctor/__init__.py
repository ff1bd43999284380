"""`espnet3 doctor`: is this cluster fit for it, by questions to Slurm and by a probe job.

Imports `launcher` and the layers below it; only commands may import it.
"""
