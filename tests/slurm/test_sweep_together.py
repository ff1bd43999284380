"""Trials that share a job on a real cluster: one process has imported everything, and none harms another."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from espnet3.rundir.records.attempt import read_attempts
from espnet3.status.snapshot import QueueSnapshot
from espnet3.sweep.show.results import read_sweep
from espnet3.sweep.show.view import TrialView

pytestmark = pytest.mark.slow

Until = Callable[[Callable[[], object], str], None]
SHORT = (
    *("--multirun", "launcher=slurm", "trainer.max_epochs=2", "logger.tensorboard=null"),
    "prepare.sizes={train: 32, valid: 16, test: 16}",
    "+callbacks.fails={_target_: failing.Fails, what: '${seed}'}",
)


def trials(sweep: Path) -> dict[int, TrialView]:
    """Seed -> trial."""
    return {trial.values["seed"]: trial for trial in read_sweep(sweep, QueueSnapshot()).trials}


def states(sweep: Path) -> dict[int, str]:
    """Seed -> how the trial is."""
    return {seed: trial.state for seed, trial in trials(sweep).items()}


def trainings(sweep: Path, name: str) -> list[str]:
    """How each attempt of a trial's training ended."""
    attempts = read_attempts(sweep / "trials" / name, "train")
    return [attempt.result.outcome if attempt.result else "gone" for attempt in attempts]


def weights(sweep: Path, name: str) -> dict[str, torch.Tensor]:
    file = sweep / "trials" / name / "checkpoints" / "last.ckpt"
    found: dict[str, torch.Tensor] = torch.load(file, weights_only=True)["state_dict"]
    return found


@pytest.mark.usefixtures("fresh_ranks")
def test_a_trial_that_fails_or_is_killed_harms_no_other_and_results_are_those_of_trials_alone(
    sweeps, until: Until
):
    run = ("run", "--recipe", sweeps.directory, *SHORT)
    (sweeps.directory / "bad-2").write_text("raise")
    (sweeps.directory / "bad-3").write_text("die")
    restarts = "resources.train.max_restarts=1"
    code, output = sweeps.run(*run, "seed=1,2,3,4", "sweep.trials_per_job=4", restarts)
    assert code == 1, output
    sweep = sweeps.sweep()
    found = trials(sweep)
    assert states(sweep) == {
        1: "done",
        2: "failed",
        3: "killed",
        4: "done",
    }
    assert "ValueError: these learning rates" in found[2].traceback
    assert "rank 0 was killed" in found[3].message
    assert [len(trainings(sweep, found[seed].name)) for seed in (1, 2, 3, 4)] == [1, 1, 2, 1]
    (array,) = [json.loads(path.read_text())["job_id"] for path in sweep.glob("arrays/*/submission.json")]
    until(lambda: sweeps.cluster.accounted(array) == ["FAILED"], "the job's end")
    assert not list(sweep.glob("arrays/1/logs/0-warm-2.log"))  # the ranks outlived what was killed

    code, output = sweeps.run(*run, "seed=1,4", "tag=alone")
    assert code == 0, output
    alone = trials(sweeps.sweep("alone"))
    for seed in (1, 4):
        assert alone[seed].metrics == found[seed].metrics
        here, there = weights(sweep, found[seed].name), weights(sweeps.sweep("alone"), alone[seed].name)
        assert here.keys() == there.keys() and all(torch.equal(here[key], there[key]) for key in here)

    for file in ("bad-2", "bad-3"):
        (sweeps.directory / file).unlink()
    code, output = sweeps.run("resume", sweep)
    assert code == 0 and "4 trials: 2 to run, 2 done" in output, output


@pytest.mark.usefixtures("fresh_ranks")
def test_warm_ranks_on_two_nodes_that_are_killed_are_followed_by_fresh_ones(sweeps):
    (sweeps.directory / "bad-1").write_text("raise")
    (sweeps.directory / "bad-2").write_text("once")  # kills its warm rank
    code, output = sweeps.run(
        *("run", "--recipe", sweeps.directory, *SHORT, "seed=1,2,3", "sweep.trials_per_job=3"),
        *("resources.train.nodes=2", "resources.train.tasks_per_node=2"),
    )
    assert code == 1, output
    sweep = sweeps.sweep()
    found = trials(sweep)
    assert states(sweep) == {1: "failed", 2: "done", 3: "done"}
    assert "rank 1: ValueError" in found[1].message
    (failed,) = read_attempts(sweep / "trials" / found[1].name, "train")
    ends = [state.ended_at for state in failed.states if state.ended_at]
    assert failed.result and failed.result.ended_at - min(ends) < 15
    assert trainings(sweep, found[2].name) == ["killed", "done"]
    assert trainings(sweep, found[3].name) == ["done"]
    assert len(list(sweep.glob("arrays/1/logs/0-warm-*.log"))) == 2
    assert all(found[seed].metrics["test/accuracy"] >= 0 for seed in (2, 3))  # stage 3 has one rank of four


def test_a_requeued_job_goes_on_where_it_was(sweeps, until: Until):
    sweep = sweeps.sweep()
    (sweeps.directory / "bad-1").write_text("raise")
    (sweeps.directory / "wait-2").touch()
    command = sweeps.start(
        "run", "--recipe", sweeps.directory, *SHORT, "seed=1,2,3", "sweep.trials_per_job=3"
    )
    until((sweeps.directory / "begun-2").exists, "the second trial")
    _, shown = sweeps.run("status", sweep)
    assert "3 trials: 1 failed, 1 running, 1 queued" in shown or "1 queued" in shown, shown
    (third,) = (sweep / "trials").glob("seed-3__*")
    code, output = sweeps.run("cancel", third)
    assert code == 2 and "shares job" in output
    array = json.loads((sweep / "arrays" / "1" / "submission.json").read_text())["job_id"]
    sweeps.cluster.requeue(f"{array}_0", until)
    (sweeps.directory / "wait-2").unlink()
    _, shown = sweeps.run("status", sweep)
    assert "1 failed" in shown
    code, output = command.finish()
    assert code == 1, output
    found = trials(sweep)
    assert states(sweep) == {1: "failed", 2: "done", 3: "done"}
    assert trainings(sweep, found[1].name) == ["failed"] and trainings(sweep, found[3].name) == ["done"]
    assert len(trainings(sweep, found[2].name)) == 2
