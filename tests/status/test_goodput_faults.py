"""The ledger of a real training into which faults of known costs are put: sleeps, a kill, and a stop."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from espnet3.status.goodput.facts import read_facts
from espnet3.status.goodput.ledger import ledger, totals, trained_share

pytestmark = pytest.mark.slow

TEMPLATE = Path(__file__).resolve().parents[2] / "egs" / "TEMPLATE"
ITEM_S, VALIDATION_S, BATCH_S = 0.02, 0.5, 0.3
FAULTS = f"""
import time
from pathlib import Path
from espnet3.components.data.manifest import ManifestDataset
from lightning.pytorch import Callback

class SleepingDataset(ManifestDataset):
    def __getitem__(self, index):
        time.sleep({ITEM_S})
        return super().__getitem__(index)

class Faults(Callback):
    def on_validation_batch_start(self, trainer, *_):
        if not trainer.sanity_checking:
            time.sleep({VALIDATION_S})

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        time.sleep({BATCH_S})
        attempts = len(list(Path(trainer.default_root_dir, "attempts").glob("train-*")))
        if trainer.current_epoch == 1 and batch_idx == 1 and attempts < 3:
            Path(trainer.default_root_dir, f"there-{{attempts}}").touch()
            while not module.stop_requested():
                time.sleep(0.05)
"""
"""The second batch of the second epoch waits, in the first two attempts, for an end from outside."""
BATCHES = 3  # of an epoch


@pytest.fixture
def recipe(tmp_path):
    copy = tmp_path / "egs" / "bench"
    shutil.copytree(TEMPLATE, copy, ignore=shutil.ignore_patterns("exp", "data", "__pycache__"))
    (copy / "faults.py").write_text(FAULTS)
    return copy


def end_by(command, home, attempt, number, until):
    """Send the signal to the rank of an attempt, or to the command that asks it to stop, when it waits."""
    until((home / f"there-{attempt}").exists, f"attempt {attempt} to wait")
    if number == signal.SIGKILL:
        rank = json.loads((home / "attempts" / f"train-{attempt}" / "rank-0.json").read_text())
        os.kill(rank["process"]["pid"], number)
    else:
        command.process.send_signal(number)
    return command.finish()


def test_each_fault_costs_in_the_ledger_what_it_was_made_to_cost(start, start_verb, recipe, until, run):
    home = recipe / "exp" / "default"
    arguments = [
        *(f"prepare.sizes.train={16 * BATCHES}", "trainer.max_epochs=3", "checkpoint.every_minutes=null"),
        *("dataset.train.0.dataset._target_=faults.SleepingDataset", "logger.tensorboard=null"),
        *("+callbacks.faults._target_=faults.Faults", "trainer.hang_timeout_s=null"),
    ]
    code, output = run(recipe, "--stop-stage", "1", *arguments)
    assert code == 0, output
    arguments += ["--stage", "2", "--stop-stage", "2"]
    end_by(start(recipe, *arguments), home, 1, signal.SIGKILL, until)
    code, output = end_by(start(recipe, *arguments), home, 2, signal.SIGINT, until)
    assert code == 75, output
    code, output = run(recipe, *arguments)
    assert code == 0, output

    rows = [row for row in ledger(read_facts(home), 0.0) if row.stage == "train"]
    killed, stopped, last = rows
    item_s = 16 * ITEM_S
    assert killed.seconds["lost"] >= 2 * (BATCH_S + item_s), "the two batches after the epoch's checkpoint"
    assert killed.seconds["training"] >= BATCHES * BATCH_S
    for row in (stopped, last):
        assert not row.seconds.get("lost")
    assert stopped.seconds["training"] >= 2 * BATCH_S and last.seconds["training"] >= 3 * BATCH_S
    kept = totals(rows)
    assert kept["training"] >= 3 * BATCHES * BATCH_S
    # Each item once, as what was read twice was lost; the first batch of an attempt belongs to its start.
    assert kept["data"] >= (3 * BATCHES - len(rows)) * item_s
    assert kept["validation"] >= 3 * VALIDATION_S and kept["checkpoint"] > 0
    assert all(row.seconds["startup"] > 0 for row in rows) and kept["hang"] == kept["queued"] == 0
    assert 0 < trained_share(rows) < 1
    for row in rows:
        folder = home / "attempts" / f"train-{row.attempt}"
        began, ended = (json.loads((folder / f"{name}.json").read_text()) for name in ("begin", "end"))
        assert row.held_s == pytest.approx(ended["ended_at"] - began["started_at"], rel=0.01)

    code, output = start_verb("status", home, "--goodput", "--json").finish()
    (shown,) = json.loads(output)["runs"]
    assert code == 0 and shown["goodput"]["trained"] == round(trained_share(rows), 4)
    (training,) = (stage for stage in shown["stages"] if stage["stage"] == "train")
    assert training["trained"] == shown["goodput"]["trained"]
    assert shown["goodput"]["seconds"]["lost"] == pytest.approx(kept["lost"], abs=0.001)
    code, output = start_verb("status", home, "--goodput", COLUMNS="80").finish()
    assert code == 0 and max(map(len, output.splitlines())) <= 80
    assert [line.split()[0] for line in output.splitlines() if line.startswith("train-")][:3] == [
        "train-1",
        "train-2",
        "train-3",
    ]
    code, output = start_verb("status", home, "--goodput", "--watch").finish()
    assert code == 2 and "don't go together" in output
