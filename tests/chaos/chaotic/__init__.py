"""Faults of a cluster, on purpose: a seed draws them, and what must hold is checked after each.

`plan` draws (pure), `world` is a training on the cluster, `faults` disturb it, `invariants` look at what it
left. `python -m chaotic` is the command; `tools/chaos` calls it.
"""
