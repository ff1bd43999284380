"""The probe's task on one node: looks around, reports, and answers the ping."""

import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from platform import python_version
from typing import TypeVar

from espnet3.doctor.report import (
    BATCH,
    MEETING,
    PING,
    PROBE,
    TOKEN,
    Answer,
    Batch,
    Meeting,
    Ping,
    ProbeRequest,
    Report,
    states,
)
from espnet3.errors import UserError
from espnet3.launcher.start.tasks import free_port
from espnet3.rundir.files.json_file import read_dataclass, write_dataclass
from espnet3.rundir.files.private import check_private
from espnet3.rundir.provenance import installed_versions
from espnet3.slurm.step import allocated_gpus, own_task

PATIENCE_S = 90.0
"""How long a file of another machine may take to be seen here."""
CONNECT_S = 10.0
Found = TypeVar("Found")


def main(folder: str) -> None:
    """Look around on this node, for the probe in `folder`."""
    directory = Path(folder)
    task = own_task()
    rank, node = task.rank, task.node or socket.gethostname()
    batch = _awaited(lambda: read_dataclass(Batch, directory / BATCH)) or Batch([], {})
    token = _read(directory / TOKEN)
    described = read_dataclass(ProbeRequest, directory / PROBE) or ProbeRequest([])
    here = states(described.files)
    if rank == 0:
        _listen(directory, node, token)
    gpus = allocated_gpus()
    report = Report(
        rank=rank,
        node=node,
        python=python_version(),
        versions=installed_versions(),
        token=token,
        other_files=[path for path, state in described.files.items() if here.get(path) != state],
        distrust=_distrust(directory),
        unresolved=[name for name in batch.nodes if not _resolves(name)],
        unreachable=_reach(directory, batch, token) if rank else "",
        gpus=gpus,
        torch_gpus=_torch_gpus() if gpus else None,
    )
    write_dataclass(directory / f"report-{rank}.json", report)
    if _awaited(lambda: read_dataclass(Ping, directory / PING)):
        write_dataclass(directory / f"answer-{rank}.json", Answer(rank, time.time()))


def _awaited(look: Callable[[], Found | None]) -> Found | None:
    deadline = time.monotonic() + PATIENCE_S
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _distrust(folder: Path) -> str:
    try:
        check_private(folder)
    except (UserError, OSError) as error:
        return str(error)
    return ""


def _resolves(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None))
    except OSError:
        return False


def _listen(folder: Path, node: str, token: str) -> None:
    """Say the token to whoever connects, as rank 0 of a training would take connections."""
    port = free_port(token)
    server = socket.create_server(("", port))

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(token.encode())

    threading.Thread(target=serve, name="meeting", daemon=True).start()
    write_dataclass(folder / MEETING, Meeting(node, port))


def _reach(folder: Path, batch: Batch, token: str) -> str:
    """Connect to the first node as the ranks of a training would; why that does not work, if so."""
    meeting = _awaited(lambda: read_dataclass(Meeting, folder / MEETING))
    if meeting is None:
        return "it wrote nothing that can be seen here"
    host = meeting.node if _resolves(meeting.node) else batch.addresses.get(meeting.node, meeting.node)
    try:
        with socket.create_connection((host, meeting.port), timeout=CONNECT_S) as connection:
            said = connection.recv(len(token) + 1).decode(errors="replace")
    except OSError as error:
        return f"{host}, port {meeting.port}: {error}"
    return "" if said == token else f"{host}, port {meeting.port}: somebody else answers there"


def _torch_gpus() -> int | None:
    """GPUs that torch can use; None where torch does not import."""
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.device_count()


if __name__ == "__main__":
    main(sys.argv[1])
