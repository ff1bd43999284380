"""Standard output and error that end no command: no reader, or an encoding that lacks characters."""

import codecs
import errno
import io
import os
import sys
from typing import Any

READER_GONE = 141
"""Exit code of a command that only follows when its reader is gone, as the shell has it for SIGPIPE."""
_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)
"""A pipe without a reader, a terminal that was closed, a descriptor that was not opened for writing."""
_PLAIN = {
    **{"✓": "ok", "✗": "x", "·": "-", "…": "...", "—": "--", "→": "->", "≥": ">=", "≤": "<=", "±": "+-"},
    **{"\u2013": "-", "\u00d7": "x", "\u201c": '"', "\u201d": '"', "\u2019": "'"},
}
_ERRORS = "espnet3.plain"


class ReaderGone(Exception):
    """Nobody reads the output of a command that only follows."""


class _Descriptor(io.FileIO):
    """A descriptor that becomes /dev/null when nobody reads it any more."""

    problem: OSError | None = None
    """Why output was lost, other than for want of a reader."""
    raises = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())  # children write there, too
            os.close(null)
            if error.errno not in _GONE:
                type(self).problem = error
            if self.raises:
                raise ReaderGone from error
            return super().write(data)


def keep_output() -> None:
    """Let neither a closed pipe or terminal nor a character that it can't show end this process.

    Characters without a place in the stream's encoding are written in ASCII. Descriptors 0, 1 and 2 that are
    closed are opened: another file would take their number, and what is printed would go there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    codecs.register_error(_ERRORS, _in_plain_characters)
    for number, name in enumerate(("stdout", "stderr"), start=1):
        stream, original = getattr(sys, name), getattr(sys, f"__{name}__")
        if stream is not original or (stream is not None and stream.errors == _ERRORS):
            continue  # another's, as of a test; or ours already
        if stream is not None:
            stream.flush()
        kept = _opened(number, stream)
        setattr(sys, name, kept)
        setattr(sys, f"__{name}__", kept)


def closing_ends() -> None:
    """From now on a write without a reader raises ReaderGone: this command does nothing but follow."""
    _Descriptor.raises = True


def lost_output() -> OSError | None:
    """Why output could not be written, such as a full disk; None if all was, or nobody reads it."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    return _Descriptor.problem


def _opened(number: int, stream: Any) -> io.TextIOWrapper:
    raw = _Descriptor(number, "w", closefd=False)
    is_direct = stream is not None and stream.write_through  # python -u
    return io.TextIOWrapper(
        raw if is_direct else io.BufferedWriter(raw),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors=_ERRORS,
        line_buffering=number == 2 or raw.isatty(),
        write_through=is_direct,
    )


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: the characters in ASCII, those without a likeness as \\u2713."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    plain = "".join(
        _PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in text
    )
    return plain, error.end
