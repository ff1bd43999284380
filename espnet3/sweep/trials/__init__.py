"""What the trials of a sweep are: the grid, identities, names, configurations and their records.

Imports nothing else of `sweep`; all of it may import this.
"""
