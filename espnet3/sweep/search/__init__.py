"""Searches: a sampler chooses the trials one by one, in this process or in a job of its own.

Imports all other folders of `sweep`; only commands may import it.
"""
