"""Lets this process touch only what is in the sandbox: whatever a damaged path or process id leads to.

Python's audit events tell of each file that is opened, renamed or removed before it happens.
"""

import errno
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

CODE = 99
"""Exit code of a process that was about to touch something else; standard error says what."""
SIGN = "fuzzing.guard: "
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ALTERING = {
    **dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown"), (0,)),
    **dict.fromkeys(("os.utime", "os.setxattr"), (0,)),
    **dict.fromkeys(("os.link", "os.symlink"), (1,)),
    "os.rename": (0, 1),
}
"""Event -> which of its arguments are altered."""


def install(sandbox: Path, *, read_only: bool) -> None:
    """From now on, end this process before it alters a file outside of `sandbox`.

    With `read_only` also those in it, but for `tmp`. New files outside can't be made: a user may ask for
    them, but has no permission.
    """
    inside = os.path.realpath(sandbox)
    commands, temporary = os.path.join(inside, "bin"), os.path.join(inside, "tmp")

    def is_inside(path: str, folder: str) -> bool:
        return path == folder or path.startswith(folder + os.sep)

    def check_path(event: str, path: Any) -> None:
        if isinstance(path, int):
            return
        text = os.fsdecode(path)
        parent = os.path.realpath(os.path.dirname(os.path.abspath(text)))
        where = os.path.join(parent, os.path.basename(text))
        if event == "open":
            where = os.path.realpath(where)
        if where != os.devnull and not is_inside(where, temporary if read_only else inside):
            if not read_only and event in ("open", "os.mkdir") and not os.path.lexists(where):
                raise PermissionError(
                    errno.EACCES, os.strerror(errno.EACCES), where
                )  # as where one may not write
            _end(f"{event} {where}")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & _WRITES and not (isinstance(path, int)):
                check_path(event, path)
        elif event in _ALTERING:
            for index in _ALTERING[event]:
                check_path(event, _within(arguments, index))
        elif event in ("os.kill", "os.killpg") and arguments[1] and arguments[0] != os.getpid():
            _end(f"{event} {arguments[0]} {arguments[1]}")
        elif event in ("subprocess.Popen", "os.posix_spawn", "os.exec"):
            program = os.path.abspath(_found(os.fsdecode(arguments[0])))
            if os.path.exists(program) and not is_inside(program, commands):
                _end(f"{event} {program} {arguments[1]}")
        elif event in ("socket.connect", "os.system"):
            _end(f"{event} {arguments[-1]}")

    sys.addaudithook(hook)


def _within(arguments: tuple[Any, ...], index: int) -> Any:
    """The path at `index`, below the folder that a descriptor among the arguments gives."""
    path = arguments[index]
    folder = next((one for one in reversed(arguments[1:]) if isinstance(one, int) and one > 2), None)
    if folder is None or isinstance(path, int) or os.path.isabs(path) or not _is_folder(folder):
        return path
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))


def _is_folder(descriptor: int) -> bool:
    return os.path.isdir(f"/proc/self/fd/{descriptor}")


def _found(program: str) -> str:
    """Where a program lies: by its path, or on PATH."""
    if os.sep in program:
        return program
    folders = os.environ.get("PATH", "").split(os.pathsep)
    return next(
        (path for path in (f"{one}/{program}" for one in folders) if os.access(path, os.X_OK)), program
    )


def _end(what: str) -> NoReturn:
    lines = "".join(traceback.format_stack()[:-3])
    os.write(2, f"\n{SIGN}{what}\n{lines}".encode("utf-8", "backslashreplace"))
    os._exit(CODE)
