"""Hydra's own command line for the same trials: its launchers, sweepers and flags."""
