"""The probe's task on one node: examines it, writes a report, and answers the ping."""

import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from platform import python_version

from espnet3.doctor.report import (
    BATCH,
    LISTENER,
    PING,
    PROBE,
    TOKEN,
    Answer,
    Batch,
    Listener,
    Ping,
    ProbeRequest,
    Report,
    states,
)
from espnet3.errors import UserError
from espnet3.launcher.rank.network import INTERFACE_VARIABLES, interface_towards, master_address
from espnet3.launcher.start.tasks import free_port
from espnet3.rundir.files.json_file import read_dataclass, write_dataclass
from espnet3.rundir.files.private import check_private
from espnet3.rundir.files.reading import read_late
from espnet3.rundir.provenance import installed_versions
from espnet3.slurm.step import allocated_gpus, own_task
from espnet3.terminal.output import keep_output

CONNECT_S = 10.0


def main(folder: str) -> None:
    """Examine this node for the probe in `folder`."""
    directory = Path(folder)
    task = own_task()
    rank, node = task.rank, task.node or socket.gethostname()
    batch = read_late(lambda: read_dataclass(Batch, directory / BATCH), directory) or Batch([], {})
    token = _read(directory / TOKEN)
    request = read_dataclass(ProbeRequest, directory / PROBE) or ProbeRequest([])
    local_files = states(request.files)
    if rank == 0:
        _serve_token(directory, node, token)
    gpus = allocated_gpus()
    report = Report(
        rank=rank,
        node=node,
        python=python_version(),
        versions=installed_versions(),
        token=token,
        other_files=[path for path, state in request.files.items() if local_files.get(path) != state],
        distrust=_permission_problem(directory),
        unresolved=[name for name in batch.nodes if not _resolves(name)],
        unreachable=_connection_problem(directory, batch, token) if rank else "",
        interface=_interface(batch, environment=os.environ),
        gpus=gpus,
        torch_gpus=_torch_gpus() if gpus else None,
    )
    write_dataclass(directory / f"report-{rank}.json", report)
    if read_late(lambda: read_dataclass(Ping, directory / PING), directory):
        write_dataclass(directory / f"answer-{rank}.json", Answer(rank, time.time()))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""


def _permission_problem(folder: Path) -> str:
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


def _serve_token(folder: Path, node: str, token: str) -> None:
    """Send the token to each client, on a port as rank 0 of a training uses."""
    port = free_port(token)
    server = socket.create_server(("", port))

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(token.encode())

    threading.Thread(target=serve, name="listener", daemon=True).start()
    write_dataclass(folder / LISTENER, Listener(node, port))


def _connection_problem(folder: Path, batch: Batch, token: str) -> str:
    """Connect to the first node as the ranks of a training do; the error, or "" on success."""
    listener = read_late(lambda: read_dataclass(Listener, folder / LISTENER), folder)
    if listener is None:
        return "it wrote nothing that can be seen here"
    host = _master(batch)
    try:
        with socket.create_connection((host, listener.port), timeout=CONNECT_S) as connection:
            received = connection.recv(len(token) + 1).decode(errors="replace")
    except OSError as error:
        return f"{host}, port {listener.port}: {error}"
    return "" if received == token else f"{host}, port {listener.port}: somebody else answers there"


def _master(batch: Batch) -> str:
    """Where this node would reach rank 0 of a training."""
    first = batch.nodes[0]
    given = {"MASTER_ADDR": first, "MASTER_IP": batch.addresses.get(first, "")}
    return master_address(given, len(batch.nodes))


def _interface(batch: Batch, environment: Mapping[str, str]) -> str:
    """The interface that gloo and NCCL would use: the user's choice, or that towards rank 0."""
    chosen = (environment.get(name, "").lstrip("=") for name in INTERFACE_VARIABLES)
    return next(filter(None, chosen), "") or (interface_towards(_master(batch)) if batch.nodes else "")


def _torch_gpus() -> int | None:
    """GPUs that torch can use; None where torch does not import."""
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.device_count()


if __name__ == "__main__":
    keep_output()
    main(sys.argv[1])
