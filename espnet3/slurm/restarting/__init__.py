"""What a job that starts again has left of its nodes, and what it asks Slurm for otherwise.

As slurm: knows no run, stage or training.
"""
