"""Goodput: what each second of a run's jobs was spent on, from the files of the run.

`facts` reads them, `ledger` is a pure function of what was read, `document` and `table` show its rows.
"""
