"""Hydra's own command line over the same trials: its launchers, its sweepers, its flags."""
