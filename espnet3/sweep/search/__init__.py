"""Searches: sweeps whose trials are chosen one after the other, from what came of those before."""
