"""The trials of a sweep: grid, identities, names, configurations and records.

Imports nothing else of `sweep`; all of it may import this.
"""
