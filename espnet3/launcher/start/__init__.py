"""Start the tasks of an attempt: as processes here, by srun, or in ranks that are warm already.

Imports `planning` and `rank`; `attempt` and `batch` may import it.
"""
