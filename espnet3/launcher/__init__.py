"""The launcher: plans jobs, submits or starts them, runs their stages and follows them.

Independent of recipes and training. Commands call the files of this folder; each subfolder is one step:
`planning`, `submit`, `start`, `rank`, `attempt`, `batch`, `follow`. Imports `status` and the layers below it;
`sweep`, `doctor` and `commands` may import it.
"""
