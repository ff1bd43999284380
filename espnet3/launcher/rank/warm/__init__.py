"""Processes that have imported once, and fork a rank for each piece of work: on Slurm and on this machine."""
