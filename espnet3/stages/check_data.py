"""The check of the data before stage 1, a process of its own: who starts it imports neither torch nor recipe.

A request, one line of JSON on standard input, says what to check. The answers, on what was standard output,
are lines of JSON, too: `{"done": …, "total": …}` meanwhile, then `{"result": {…}}`.
"""

import json
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from omegaconf import DictConfig, OmegaConf

from espnet3.config.checks.targets.keys import target_nodes
from espnet3.config.fingerprint import data_hash, own_code
from espnet3.errors import UserError, short_path
from espnet3.number_text import counted
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.records.data_check import (
    DataCheck,
    DataCheckResult,
    check_dir,
    data_check_path,
    file_state,
    imported_path,
    write_data_check,
    write_imported,
)

if TYPE_CHECKING:
    from espnet3.components.data.checking.check import Findings, Progress
    from espnet3.components.data.data_organizer import DataOrganizer

SHOWN = 20
"""Lines on the terminal; the report has all."""


def main() -> NoReturn:
    """Serve one request; exit code 0, 75 when asked to stop, or 1 by a bug."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what an import prints must not come between
    request = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGTERM, _stop)
    config = OmegaConf.create(request["config"])
    assert isinstance(config, DictConfig)
    OmegaConf.set_struct(config, True)

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")

    try:
        result = run(
            config,
            request["level"],
            Path(request["report"]),
            lambda done, total: answer({"done": done, "total": total}),
        )
    except UserError as error:
        result = DataCheckResult(error=str(error))
    answer({"result": asdict(result)})
    raise SystemExit(0)


def run(config: DictConfig, level: str, report: Path, progress: "Progress") -> DataCheckResult:
    """Import what the configuration names, and check the data.

    Args:
        config: the resolved configuration.
        level: `imports` only, or also `manifests`, `quick` or `full`: see `checking.check.Level`.
        report: the file with all that is wrong; removed where nothing is.
        progress: called with utterances done and in all.

    Raises:
        UserError: what is configured can't be imported or made.
    """
    import_targets(config)
    with suppress(OSError):  # data that may only be read: it is tried each time
        check_dir(config).mkdir(parents=True, exist_ok=True)
        write_imported(imported_path(config), own_code(config))
    if level == "imports":
        return DataCheckResult()
    from hydra.errors import InstantiationException

    from espnet3.components.data.checking.audio_cache import AudioCache
    from espnet3.components.data.checking.check import check_data
    from espnet3.components.data.data_organizer import build_organizer
    from espnet3.components.data.manifest import broken_lines_left_out

    with broken_lines_left_out() as broken:
        try:
            organizer = build_organizer(config.dataset)
        except InstantiationException as error:
            raise UserError(f"dataset: {' '.join(str(error.__cause__ or error).split())}") from error
    cache = AudioCache(check_dir(config) / "audio.json")
    try:
        findings = check_data(organizer, broken, cache, level, progress)  # type: ignore[arg-type]
    finally:
        cache.save()
    return _conclude(config, level, organizer, findings, report)


def import_targets(config: DictConfig) -> None:
    """Import every class and function of the recipe that a `_target_` names.

    Raises:
        UserError: naming the key, the file and line where it goes wrong, and the reason.
    """
    roots = [str(config.recipe_dir), str(Path(config.recipe_dir).parent)]
    for where, node in target_nodes(config):
        target = str(node["_target_"])
        module = target.rpartition(".")[0]
        name = module.partition(".")[0]
        if not any((Path(root) / name).is_dir() or (Path(root) / f"{name}.py").is_file() for root in roots):
            continue  # what is installed was looked up before
        try:
            import_module(module)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            own = [frame for frame in frames if frame.filename.startswith(tuple(roots))]
            line = f", {short_path(own[-1].filename)}:{own[-1].lineno}" if own else ""
            if isinstance(error, SyntaxError):
                line = f", {short_path(error.filename or module)}:{error.lineno}"
            reason = " ".join(str(error).split())
            raise UserError(
                f"{where}._target_={target} can't be imported{line}: {type(error).__name__}: {reason}"
            ) from error


def _conclude(
    config: DictConfig, level: str, organizer: "DataOrganizer", found: "Findings", report: Path
) -> DataCheckResult:
    """Write report, lists and record; decide whether stages may begin."""
    from espnet3.components.data.checking.left_out import left_out_path, write_left_out

    total = sum(found.utterances.values())
    counts = ", ".join(f"{count:,} {split}" for split, count in found.utterances.items() if count)
    summary = f"{counts or 'no'} utterances"
    lines = [str(problem) for problem in found.problems]
    skips = organizer.on_bad == "skip"
    left_out = {split: found.left_out(split) for split in found.utterances}
    broken = Counter(problem.split for problem in found.problems if problem.index is None)
    bad_in = {split: broken[split] + sum(map(len, left_out[split].values())) for split in left_out}
    empty = [split for split, there in found.utterances.items() if there and there == bad_in[split]]
    whole = [problem for problem in found.problems if problem.index is None and not problem.line]
    bad = sum(bad_in.values()) - len(whole)
    error = ""
    if lines:
        write_report(report, lines, summary)
        parts = [f"{bad:,} of {max(total, bad):,} utterances"] if bad else []
        parts += [counted(len(whole), "split")] if whole else []
        what = f"{' and '.join(parts)} can't be used"
        if not skips or whole:
            hint = "" if whole else ", or leave them out: dataset.on_bad=skip"
            copies = "".join(f"; {copy}" for copy in found.copies)
            error = f"{what}{copies}: {short_path(report)} lists all. Mend them{hint}"
        elif empty:
            error = f"{what}, which leaves none in dataset.{empty[0]}: {short_path(report)} lists all"
        else:
            summary += f", {bad:,} of them left out (dataset.on_bad=skip): {short_path(report)} lists them"
    else:
        with suppress(OSError):
            report.unlink(missing_ok=True)
    if not error and level != "manifests":
        if skips:
            for split in left_out:
                write_left_out(left_out_path(config, split), left_out[split])
        _write_record(config, level, summary, found.files)
    return DataCheckResult(summary, error, lines[:SHOWN], max(0, len(lines) - SHOWN), found.remarks)


def write_report(path: Path, lines: Sequence[str], summary: str) -> None:
    """Write all that is wrong, after a line with the numbers of utterances."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(f"{line}\n" for line in (f"# {summary}", *lines)))


def _write_record(config: DictConfig, level: str, summary: str, files: Sequence[Path]) -> None:
    states = {str(file.absolute()): file_state(file) for file in files}
    path = data_check_path(config, data_hash(config, "dataset"))
    with suppress(OSError):  # data that may only be read: they are checked each time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_data_check(path, DataCheck(level, summary, own_code(config, "dataset"), states))


def _stop(number: int, frame: object) -> NoReturn:
    raise SystemExit(75)


if __name__ == "__main__":
    main()
