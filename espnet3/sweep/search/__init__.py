"""Searches: a sampler chooses the trials one after the other, in the shell or as a job of its own.

Imports all other folders of `sweep`; only commands may import it.
"""
