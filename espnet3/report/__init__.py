"""The report on a sweep: page, tables and pictures.

Imports `sweep.show`, `sweep.trials` and the layers below `sweep`; only commands may import it.
"""
