"""Sweeps: run and follow the trials of a Hydra multirun or of a search.

The files here are called by commands; `trials` defines the trials, `jobs` submits them, `execute` runs
them, `show` shows their status, `search` chooses them. Imports `launcher` and the layers below it; `report`,
`commands` and `hydra_app` may import it.
"""
