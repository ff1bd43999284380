"""Before anything starts: which jobs there are, whether a stage must run, and whose directory it is.

Imports nothing else of the launcher; all of it may import this.
"""
