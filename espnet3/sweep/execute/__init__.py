"""Run trials: in an array element on its node, or in a process each on this machine.

Imports `trials`, `jobs` and `show`; what commands call, and `search`, may import it.
"""
