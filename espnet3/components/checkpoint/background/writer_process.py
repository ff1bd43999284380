"""The process that writes a training's checkpoints: from memory to the disk, while training goes on.

It takes one request after the other, and imports neither torch nor what a recipe brings: it is there within a
few hundredths of a second, and needs no memory of its own.
"""

import os
import pickle
import signal
import sys
import traceback
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

from espnet3.components.checkpoint.background.completion import Completion
from espnet3.components.checkpoint.zip_checksums import fill_in_checksums
from espnet3.parent_death import signal_on_parent_death
from espnet3.rundir.files.atomic import replace_file

_CHUNK_BYTES = 1 << 24
_NICE = 10
"""Training comes first where they share a core; a stop request waits for the writer, which then has it."""


@dataclass(frozen=True)
class WriteRequest:
    """A checkpoint to be written."""

    target: Path
    size: int
    """Bytes of it in the memory that both processes share."""
    completion: Completion


@dataclass(frozen=True)
class WriteReply:
    """How a request ended."""

    error: OSError | str | None = None
    """What failed: an error of the disk, or the traceback of any other."""
    is_written: bool = True
    """Whether the checkpoint is complete: what came after it has failed."""


def main(parent: int, descriptor: int) -> None:
    """Serve requests on standard input until None comes, or its end.

    It is killed when its parent dies, whatever of: the next attempt removes a half-written file, and nobody
    may be writing then.

    Args:
        parent: pid of the training.
        descriptor: of the memory that holds the checkpoint.
    """
    signal_on_parent_death(signal.SIGKILL, parent)
    os.nice(_NICE)
    while True:
        try:
            request: WriteRequest | None = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if request is None:
            return
        pickle.dump(serve(request, descriptor), sys.stdout.buffer)
        sys.stdout.buffer.flush()


def serve(request: WriteRequest, descriptor: int) -> WriteReply:
    """Write what a request says, and what follows it; an error is the reply."""
    is_written = False
    try:
        request.completion.flush()
        with mmap(descriptor, request.size) as archive:
            fill_in_checksums(archive)
            write(archive, request.target)
        is_written = True
        request.completion.run(request.target)
    except OSError as error:
        return WriteReply(error, is_written)
    except Exception:
        return WriteReply(traceback.format_exc(), is_written)
    return WriteReply()


def write(archive: mmap, target: Path) -> None:
    """Replace `target` by the archive: flushed to the disk, then renamed.

    Raises:
        OSError: naming `target`, which is unchanged.
    """
    with (
        memoryview(archive) as content,
        replace_file(target) as temporary,
        temporary.open("wb", buffering=0) as file,
    ):
        start = 0
        while start < len(content):
            with content[start : start + _CHUNK_BYTES] as chunk:
                start += file.write(chunk)
