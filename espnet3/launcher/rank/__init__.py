"""What runs on a node: one process (rank) of an attempt, its signals, its end.

Imports nothing else of the launcher; `start`, `attempt` and `batch` may import it.
"""
