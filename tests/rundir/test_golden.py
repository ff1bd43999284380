"""What earlier versions have written is read by this one; a newer format is refused."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from espnet3.__main__ import main
from espnet3.components.checkpoint.ranking import read_ranking
from espnet3.errors import UserError
from espnet3.launcher.follow.logs import log_lines
from espnet3.report.page import as_page
from espnet3.report.tables import as_json
from espnet3.rundir import claim
from espnet3.rundir.files.json_file import FORMAT
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.records.attempt import read_attempts
from espnet3.rundir.records.job import read_job_id, read_jobs
from espnet3.rundir.records.record import read_record
from espnet3.status.run_files import read_run
from espnet3.status.snapshot import QueueSnapshot
from espnet3.status.stage_states import stage_statuses
from espnet3.sweep.jobs.array import read_array
from espnet3.sweep.show.results import read_sweep
from espnet3.sweep.show.searcher import read_searcher
from espnet3.sweep.trials.folder import array_dir, trial_dir
from espnet3.sweep.trials.record import read_sweep_record
from espnet3.sweep.trials.search_record import read_search, search_dir
from espnet3.sweep.trials.trial import read_trial

FORMATS = sorted(Path(__file__).with_name("golden").glob("format-*"))
NO_RECORD = ("heartbeat-", "metrics.json")
"""Files without a format: a heartbeat's fields come and go, and the metrics of stage 3 are the user's."""


class Golden:
    """A copy of what make_golden.py has made."""

    def __init__(self, source: Path, directory: Path) -> None:
        self.source = source
        shutil.copytree(source, directory)
        for path in directory.rglob("*"):
            if path.is_file():
                path.write_text(path.read_text().replace("/golden", str(directory)))
        self.directory = directory
        self.finished, self.submitted = directory / "exp" / "default", directory / "exp" / "submitted"
        self.sweep, self.search = (directory / "exp" / "sweeps" / name for name in ("default", "search"))

    def records(self) -> list[Path]:
        """Every file that carries a format number."""
        return [p for p in sorted(self.directory.rglob("*.json")) if not p.name.startswith(NO_RECORD)]

    def read(self) -> list[Any]:
        """All of it, with what reads it."""
        return [
            *(read_run(path) for path in (self.finished, self.submitted)),
            *(read_record(self.finished, stage) for stage in ("train", "validate")),
            read_record(self.directory / "data", "prepare"),
            *(read_record(path, "collect_stats") for path in (self.directory / "exp" / "stats").iterdir()),
            read_jobs(self.submitted),
            *(read_job_id(path) for path in jobs_dir(self.submitted).glob("*-1")),
            claim.owner(self.submitted),
            *(read_sweep(self.sweep, QueueSnapshot()), read_array(array_dir(self.sweep, 1))),
            *(read_job_id(array_dir(self.sweep, 1)), *map(self.trial, read_sweep_record(self.sweep).listed)),
            *(read_search(self.search), read_searcher(search_dir(self.search))),
            read_job_id(search_dir(self.search)),
            read_ranking(self.finished / "checkpoints"),
        ]

    def trial(self, name: str) -> list[Any]:
        """Of a trial what its sweep does not need once it is done."""
        directory = trial_dir(self.sweep, name)
        jobs = [read_job_id(path) for path in jobs_dir(directory).glob("*-1")]
        return [
            read_trial(self.sweep, name),
            [(attempt, attempt.states) for attempt in read_attempts(directory)],
            jobs,
            read_ranking(directory / "checkpoints"),
        ]


UNKNOWN = {"of_a_later_version": 1}
INSIDE = ("launched_by", "submitted_by", "process", "wanted")
"""Keys whose values are dataclasses, too."""


def with_unknown_keys(content: dict[str, Any]) -> dict[str, Any]:
    """As a later version may write it without a new format."""
    inside = {name: content[name] | UNKNOWN for name in INSIDE if isinstance(content.get(name), dict)}
    for name in ("commands", "best"):
        if isinstance(content.get(name), list):
            inside[name] = [one | UNKNOWN for one in content[name]]
    if isinstance(content.get("trials"), dict):
        inside["trials"] = {name: one | UNKNOWN for name, one in content["trials"].items()}
    return content | inside | UNKNOWN


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Golden:
    """As it was written."""
    return Golden(request.param, tmp_path / "golden")


@pytest.fixture(params=["as written", "with unknown keys"])
def either(request: pytest.FixtureRequest, golden: Golden) -> Golden:
    """As it was written, or as a later version of the same format might have."""
    for path in golden.records() if request.param == "with unknown keys" else ():
        path.write_text(json.dumps(with_unknown_keys(json.loads(path.read_text()))))
    return golden


def states(exp_dir: Path) -> list[tuple[str, str]]:
    return [
        (one.stage, one.state)
        for one in stage_statuses(read_run(exp_dir), QueueSnapshot(asked=True), time.time())
    ]


def test_there_is_one_of_this_format():
    assert f"format-{FORMAT}" in [path.name for path in FORMATS]


def test_every_record_carries_its_format(golden: Golden):
    names = {path.name for path in golden.records()}
    assert names >= {
        *("begin.json", "end.json", "rank-0.json", "job.json", "submission.json", "array.json", "sweep.json"),
        *("trial.json", "search.json", "searcher.json", "owner.json", "train.json", "run.json", "best.json"),
    }
    formats = {json.loads(path.read_text())["format"] for path in golden.records()}
    assert formats == {int(golden.source.name.removeprefix("format-"))}


def test_a_finished_run_is_read(either: Golden):
    stages = ("prepare", "collect_stats", "train", "validate")
    assert states(either.finished) == [(stage, "done") for stage in stages]
    run = read_run(either.finished)
    assert [stage.tasks[0].outcome for stage in run.stages] == ["done"] * 4
    record = read_record(either.finished, "validate")
    assert record is not None and record.done and record.metrics["test/accuracy"] >= 0
    trained = next(stage.attempt for stage in run.stages if stage.stage == "train")
    assert trained is not None
    shown = "\n".join(log_lines(either.finished, trained, 0, is_over=True))
    assert "rank-0.log <==" in shown and "epoch 2/2: valid loss" in shown
    ranking = read_ranking(either.finished / "checkpoints")
    assert ranking is not None and len(ranking.best) == 2


def test_submitted_jobs_are_read(either: Golden):
    assert states(either.submitted) == [("train", "failed"), ("validate", "blocked")]
    folders = [jobs_dir(either.submitted) / job.name for job in read_jobs(either.submitted)]
    assert [read_job_id(folder) for folder in folders] == ["101", "102"]
    owner = claim.owner(either.submitted)
    assert owner is not None and owner.host == "golden-host"


def test_a_sweep_and_a_search_are_read(either: Golden):
    view = read_sweep(either.sweep, QueueSnapshot())
    assert [(trial.values, trial.state) for trial in view.trials] == [
        ({"seed": 1}, "done"),
        ({"seed": 2}, "done"),
    ]
    assert all(trial.objective is not None and trial.curves for trial in view.trials)
    assert view.best in as_page(view, str(either.sweep)) and json.loads(as_json(view))
    array = read_array(array_dir(either.sweep, 1))
    assert array is not None and len(array.trials) == 2
    first, second = (jobs_dir(trial_dir(either.sweep, name)) / "train-1" for name in array.trials)
    assert (read_job_id(first), read_job_id(second)) == ("104_0", "104_1")
    search, searcher = read_search(either.search), read_searcher(search_dir(either.search))
    assert search is not None and (search.n_trials, search.request.stages) == (20, ["train"])
    assert searcher is not None and searcher.token == "espnet3:abc"


def test_a_newer_format_is_refused_in_whichever_file_it_is(golden: Golden):
    golden.read()
    records = [path for path in golden.records() if path.name != "run.json"]  # read by people only
    for path in records:
        written = path.read_text()
        path.write_text(json.dumps(json.loads(written) | {"format": FORMAT + 1}))
        with pytest.raises(UserError, match=rf"{path.name} has format {FORMAT + 1}, .* update espnet3"):
            pytest.fail(f"{path} is ignored: {golden.read()}")
        path.write_text(written)


def test_a_command_says_so_in_one_line(golden: Golden, capsys: pytest.CaptureFixture[str]):
    assert main(["status", str(golden.submitted)]) == 0
    assert "failed" in capsys.readouterr().out
    file = jobs_dir(golden.submitted) / "train-1" / "job.json"
    file.write_text(json.dumps({"format": FORMAT + 1}))
    assert main(["status", str(golden.submitted)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "job.json has format" in said
