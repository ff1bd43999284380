"""Start the tasks of an attempt: as local processes, with srun, or in warm ranks.

Imports `planning` and `rank`; `attempt` and `batch` may import it.
"""
