"""A process that tells how it was started, on standard output, and then does as it is asked; not a test.

python telling.py exit CODE | raise TEXT | die SIGNAL | wait
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

NUMBERS = sorted(signal.valid_signals())

print(
    json.dumps(
        {
            "pid": os.getpid(),
            "name": __name__,
            "arguments": [sys.argv, sys.orig_argv, sys.executable],
            "path": sys.path,
            "environment": dict(os.environ),
            "folder": str(Path.cwd()),
            "umask": os.umask(0o22),
            "handlers": [str(getattr(signal.getsignal(n), "__name__", signal.getsignal(n))) for n in NUMBERS],
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            "wakeup": signal.set_wakeup_fd(-1),
            "threads": threading.active_count(),
            "descriptors": sorted(os.listdir("/proc/self/fd")),  # noqa: PTH208
            "read": sys.stdin.readline(),
            "imports": "torch" in sys.modules,
        }
    )
)
print("and this is an error", file=sys.stderr)
what, how = sys.argv[1:3]
if what == "exit":
    sys.exit(int(how))
if what == "raise":
    raise ValueError(how)
if what == "die":
    os.kill(os.getpid(), int(how))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
print("ready", flush=True)
signal.pause()
