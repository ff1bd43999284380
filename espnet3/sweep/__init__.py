"""Sweeps: the trials of a Hydra multirun, their identity and state, and the report on them."""
