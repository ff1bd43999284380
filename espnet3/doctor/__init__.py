"""`espnet3 doctor`: checks this machine and cluster, by querying Slurm and by a probe job.

Imports `launcher` and the layers below it; only commands may import it.
"""
