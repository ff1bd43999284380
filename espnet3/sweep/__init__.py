"""Sweeps: the trials of a Hydra multirun, how they are run and followed, and searches.

The files here are what a command calls; `trials` says what they are, `jobs` submits them, `execute` runs
them, `show` tells how they are, `search` chooses them. Imports `launcher` and the layers below it; `report`,
`commands` and `hydra_app` may import it.
"""
