"""The run directory: names, atomic files, claims, outcomes, heartbeats. Every layer may import it."""
