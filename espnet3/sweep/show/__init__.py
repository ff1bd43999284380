"""The status of a sweep: states, results, tables and logs of its trials. Only reads.

Imports `trials`; all other folders of `sweep`, and `report`, may import it.
"""
