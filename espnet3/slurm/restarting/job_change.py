"""What a job asks for otherwise when it starts again, in the words of scontrol and of sbatch."""

import re
from dataclasses import dataclass

from espnet3.slurm.scontrol import fields

_MEGABYTES = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}


@dataclass(frozen=True)
class Memory:
    """The memory that a job asks for, in MB."""

    mb: int
    per_cpu: bool = False
    """Of each CPU, as sites may want it; else of each node."""

    def __str__(self) -> str:
        return f"{self.mb / 1024:.3g} GB{' for each CPU' if self.per_cpu else ''}"


@dataclass(frozen=True)
class JobChange:
    """A change of a job's request; None leaves it as it is."""

    memory: Memory | None = None
    exclude: str | None = None
    """The nodes that it may not have, in Slurm's notation; empty: it may have all."""

    def __bool__(self) -> bool:
        return self != JobChange()

    @property
    def scontrol(self) -> list[str]:
        """The words of `scontrol update`."""
        words = []
        if self.memory is not None:
            words.append(f"MinMemory{'CPU' if self.memory.per_cpu else 'Node'}={self.memory.mb}")
        return words if self.exclude is None else [*words, f"ExcNodeList={self.exclude}"]

    @property
    def sbatch(self) -> list[str]:
        """The options of sbatch, which override those in the script."""
        options = []
        if self.memory is not None:
            options.append(f"--mem{'-per-cpu' if self.memory.per_cpu else ''}={self.memory.mb}M")
        return options if self.exclude is None else [*options, f"--exclude={self.exclude}"]


NO_CHANGE = JobChange()


@dataclass(frozen=True)
class JobRequested:
    """What Slurm shows of a job's request."""

    memory: Memory | None
    """None: the whole node."""
    exclude: str = ""
    required: str = ""
    """Nodes that it must have."""
    partition: str = ""


def parse_requested(line: str) -> JobRequested:
    """What a job asks for, from the output of `scontrol --oneliner show job`."""
    shown = {key: "" if value == "(null)" else value for key, value in fields(line).items()}
    found = re.search(r"\bMinMemory(Node|CPU)=(\d+(?:\.\d+)?)([KMGT]?)", line)
    mb = round(float(found[2]) * _MEGABYTES[found[3] or "M"]) if found else 0
    return JobRequested(
        Memory(mb, per_cpu=found[1] == "CPU") if found and mb else None,
        exclude=shown.get("ExcNodeList", ""),
        required=shown.get("ReqNodeList", ""),
        partition=shown.get("Partition", ""),
    )
