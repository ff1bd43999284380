"""Checks of a configuration before anything runs: keys, types, bounds, and what takes which argument."""
