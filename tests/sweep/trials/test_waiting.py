"""Trials that wait for room in Slurm's queue, as one file names them."""

from pathlib import Path

from espnet3.sweep.trials.waiting import forget_waiting, note_waiting, waiting_trials


def test_a_command_notes_its_own_trials_and_leaves_those_of_others(tmp_path: Path):
    (tmp_path / "arrays").mkdir()
    assert waiting_trials(tmp_path) == []
    note_waiting(tmp_path, ["b", "c"], of=["a", "b", "c"], force=False, command="run.sh")
    note_waiting(tmp_path, ["d"], of=["c", "d"], force=False, command="run.sh")
    assert waiting_trials(tmp_path) == ["b", "d"]
    note_waiting(tmp_path, [], of=["b", "d"], force=False, command="run.sh")
    assert not list((tmp_path / "arrays").iterdir())
    forget_waiting(tmp_path)
