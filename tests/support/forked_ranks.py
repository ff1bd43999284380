"""The fork server of tests/forkserver, for commands of one working tree; not a test."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def forked_ranks(tree: Path) -> Iterator[dict[str, str]]:
    """A server that forks the ranks of commands of the working tree `tree`, which may be a clone.

    Yields:
        The environment variables of the commands whose ranks it is to fork.
    """
    before = filter(None, [os.environ.get("PYTHONPATH")])
    path = os.pathsep.join([str(tree / "tests" / "forkserver"), *before])
    with tempfile.TemporaryDirectory(prefix="espnet3-") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        listener.listen(128)
        server = subprocess.Popen(
            [sys.executable, "-u", "-c", "import serving; serving.main()"],
            cwd=tree,
            # Libraries read these as they are loaded: a fork has them from here, not from what started it.
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
            stdin=listener,
            start_new_session=True,
        )
        try:
            yield {"PYTHONPATH": path, "ESPNET3_FORKSERVER": f"{folder}/socket"}
        finally:
            server.kill()
            server.wait()
