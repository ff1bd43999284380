"""The batch process of a submitted job: runs its stages on the nodes and decides on a restart.

Imports `attempt` and what that imports; only `sweep.execute` may import it.
"""
