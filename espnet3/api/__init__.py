"""The Python interface: `launch`, `load_run` and their handles, and the plans that `espnet3 run` carries out.

May import everything below it: `sweep`, `launcher`, `status`. Only `commands` and `hydra_app` import it.
"""
