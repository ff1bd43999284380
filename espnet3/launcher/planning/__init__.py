"""Before anything starts: which jobs a command needs, whether a stage must run, and claims on directories.

Imports no other part of the launcher; all of them may import it.
"""
