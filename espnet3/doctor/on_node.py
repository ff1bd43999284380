"""The batch process of the probe job, on its first node: records the nodes and starts one task on each."""

import subprocess
import sys
from pathlib import Path
from platform import python_version

from espnet3.doctor.report import BATCH, PROBE, Batch, ProbeRequest
from espnet3.errors import UserError
from espnet3.launcher.rank.network import first_node_address
from espnet3.rundir.files.json_file import read_dataclass, write_dataclass
from espnet3.rundir.files.private import check_private
from espnet3.rundir.records.job import duplicate_of
from espnet3.slurm.own_job import is_requeueable, own_slurm_job_id
from espnet3.slurm.step import allocated_nodes, node_address
from espnet3.terminal.output import keep_output


def main(folder: str) -> int:
    """Run the probe described in `folder`; returns srun's exit code."""
    directory = Path(folder)
    check_private(directory)
    if other := duplicate_of(directory, own_slurm_job_id()):
        print(f"ends: the probe was submitted twice, and is job {other}")
        return 0
    request = read_dataclass(ProbeRequest, directory / PROBE)
    assert request is not None, f"{directory} describes no probe"
    nodes, addresses = allocated_nodes(), {}
    for number, node in enumerate(nodes):
        try:
            addresses[node] = node_address(node) if number else first_node_address(nodes)
        except UserError as error:
            print(error, flush=True)
    write_dataclass(directory / BATCH, Batch(nodes, addresses, python_version(), is_requeueable()))
    return subprocess.run(request.srun, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    keep_output()
    sys.exit(main(sys.argv[1]))
