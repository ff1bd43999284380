"""Where trials run: an element of an array on its node, or a process on this machine for each.

Imports `trials`, `jobs` and `show`; what commands call, and `search`, may import it.
"""
