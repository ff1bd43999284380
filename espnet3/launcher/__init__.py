"""The launcher: plans jobs, submits or starts them, runs their stages and follows them.

Knows no recipe and nothing about training. The files here are what a command calls; each folder is a step of
the way: `planning`, `submit`, `start`, `rank`, `attempt`, `batch`, `follow`. Imports `status` and the layers
below it; `sweep`, `doctor` and `commands` may import it.
"""
