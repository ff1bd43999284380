"""What a site's Slurm offers: partitions, limits, nodes and accounts, as its commands print them.

Imports `slurm.command` and `slurm.scontrol`; whoever may import `slurm` may import it.
"""
