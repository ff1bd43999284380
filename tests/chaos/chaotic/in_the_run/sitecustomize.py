"""Each Python process of a disturbed run may have a slow disk and another time than the machine.

CHAOS_FSYNC_S: so many seconds does an fsync take. CHAOS_CLOCK_OFF_S: so many seconds is the clock ahead.
libfaketime would do for all processes, but threads that wait for a condition hang under it.
"""

import os
import time
from typing import Any

_fsync, _takes_s = os.fsync, float(os.environ.get("CHAOS_FSYNC_S", "0"))
_time, _time_ns, _ahead_s = time.time, time.time_ns, float(os.environ.get("CHAOS_CLOCK_OFF_S", "0"))


def _slow_fsync(descriptor: Any) -> None:
    time.sleep(_takes_s)
    _fsync(descriptor)


if _takes_s:
    os.fsync = _slow_fsync
if _ahead_s:
    time.time = lambda: _time() + _ahead_s
    time.time_ns = lambda: _time_ns() + int(_ahead_s * 1e9)
