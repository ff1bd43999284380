"""How a process of a job begins: signals that come while it imports wait until it hears them.

entry.py MODULE ARGUMENTS...: calls the module's `main`.
"""

import sys
from importlib import import_module

from espnet3.launcher.rank.interrupts import block


def main(module: str, *arguments: str) -> None:
    """Call `module`'s `main` with `arguments`; it has to handle the signals, and to unblock them."""
    block()
    import_module(module).main(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
