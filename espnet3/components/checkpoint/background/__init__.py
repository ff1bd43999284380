"""Checkpoints that nobody waits for: a copy of the state in memory, and the process that writes it."""
