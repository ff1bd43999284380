"""The record of a stage's inputs, written at its start and end, and compared before it runs again."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from espnet3.rundir.files.json_file import read_dataclass, write_dataclass
from espnet3.rundir.records.inputs import (
    FileStates,
    changed_files,
    file_states,
    read_file_list,
    recorded_name,
    write_file_list,
)


@dataclass
class Record:
    """The record of one stage, as `stages/<stage>.json` in the directory that it fills."""

    part: dict[str, Any]
    """The part of the configuration on which the result depends: dotted key -> value."""
    code: dict[str, str]
    """The recipe's own Python files -> SHA-256, see `hash_code`."""
    done: bool = False
    summary: str = ""
    where: str = ""
    seconds: float = 0.0
    finished_at: float = 0.0
    files: FileStates = field(default_factory=dict)
    """The files it reads that are known before it runs."""
    file_list: str = ""
    """The file with the states of the files that it has read, see `inputs`; empty if there are none."""
    outputs: list[str] = field(default_factory=list)
    made: FileStates = field(default_factory=dict)
    """The outputs as they were made, where another content means that it must run again."""
    metrics: dict[str, Any] = field(default_factory=dict)


def record_path(home: Path, stage: str) -> Path:
    """The record file of `stage` in the directory `home` that it fills."""
    return home / "stages" / f"{stage}.json"


def read_record(home: Path, stage: str) -> Record | None:
    """The record of `stage` in `home`; None if it is missing or unreadable."""
    return read_dataclass(Record, record_path(home, stage))


def write_record(home: Path, stage: str, record: Record) -> None:
    """Replace the record of `stage` in `home`, atomically."""
    path = record_path(home, stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dataclass(path, record)


def finish(
    record: Record, result: Any, seconds: float, *, root: Path, file_lists: Path, owns_outputs: bool = False
) -> Record:
    """`record` completed with `result` (a StageResult) after `seconds`.

    Args:
        record: as it was when the stage started.
        result: its result.
        seconds: how long it took.
        root: the recipe, to which file names are relative.
        file_lists: the folder of file lists.
        owns_outputs: whether it is stale when an output has changed.

    Side effects: writes the list of the files that were read.
    """
    file_list = write_file_list(file_lists, file_states(result.inputs, root))
    return replace(
        record,
        done=True,
        summary=result.summary,
        where=str(result.where),
        seconds=round(seconds, 1),
        finished_at=time.time(),
        file_list=recorded_name(file_list, root) if file_list else "",
        outputs=[recorded_name(path, root) for path in result.outputs],
        made=file_states(result.outputs, root) if owns_outputs else {},
        metrics=dict(result.metrics),
    )


def changed_inputs(record: Record, root: Path, *, ignored: Collection[Path] = ()) -> list[str]:
    """Input files of `record` that have changed since, except below `ignored`: "data/train.jsonl changed"."""
    listed = read_file_list(root / record.file_list) if record.file_list else {}
    changed = changed_files({**listed, **record.files}, root)
    return [
        f"{name} {what}"
        for name, what in changed.items()
        if not any((root / name).resolve().is_relative_to(folder) for folder in ignored)
    ]


def missing_outputs(record: Record, root: Path) -> list[str]:
    """Missing outputs of `record`: "exp/default/checkpoints/last.ckpt is gone"."""
    return [f"{name} is gone" for name in record.outputs if not (root / name).exists()]


def changed_outputs(record: Record, root: Path) -> list[str]:
    """Outputs of `record` whose content is another: "exp/stats/1/train/feats_stats.npz changed".

    Of large files, whose content is not recorded, only the size is compared: a clone may have been copied.
    """
    problems = changed_files(record.made, root)
    same_size = {name for name, state in record.made.items() if len(state) == 3 and not state[2]}
    return [
        f"{name} {what}"
        for name, what in problems.items()
        if name not in same_size or (root / name).stat().st_size != record.made[name][0]
    ]


def briefly(problems: Sequence[str]) -> str:
    """The first problem, and how many more."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}"
