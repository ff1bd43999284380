"""How the trials of a sweep are: their states, results, tables and logs. Only reads.

Imports `trials`; all other folders of `sweep`, and `report`, may import it.
"""
