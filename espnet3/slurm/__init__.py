"""Slurm: the only place that runs its commands, reads its environment and parses its answers.

Knows no run directory, no stage and no training; another scheduler would be a folder beside this one. Imports
`errors` and `resources` only; every layer from `rundir` up may import it, `components` and `stages` do not.
"""
