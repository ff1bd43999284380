"""Entry point of a task: signals that arrive during the imports stay blocked until they can be handled.

entry.py MODULE ARGUMENTS...: calls the module's `main`.
"""

import sys
from importlib import import_module

from espnet3.launcher.rank.interrupts import block


def main(module: str, *arguments: str) -> None:
    """Call `module`'s `main` with `arguments`, which must install signal handlers and unblock the signals."""
    block()
    import_module(module).main(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
