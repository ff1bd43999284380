"""The batch process of a submitted job: runs its stages on the nodes and decides on a restart.

Imports `attempt`, what that imports, and `submit`; only `sweep.execute` may import it.
"""
