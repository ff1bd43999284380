import csv

from espnet3.components.trainers.csv_logger import AppendingCSVLogger


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_second_attempt_adds_rows_and_columns_and_keeps_what_was_there(tmp_path):
    path = tmp_path / "csv" / "metrics.csv"
    AppendingCSVLogger(path).log_metrics({"epoch": 0, "train/loss": 1.5}, step=3)
    second = AppendingCSVLogger(path)
    second.log_metrics({"epoch": 1, "valid/loss": 0.5}, step=6)
    second.log_metrics({"epoch": 1, "train/loss": 1.25}, step=6)
    assert rows(path) == [
        {"epoch": "1", "step": "3", "train/loss": "1.5", "valid/loss": ""},
        {"epoch": "2", "step": "6", "train/loss": "", "valid/loss": "0.5"},
        {"epoch": "2", "step": "6", "train/loss": "1.25", "valid/loss": ""},
    ]
    assert [file.name for file in path.parent.iterdir()] == ["metrics.csv"]


def test_half_a_line_that_a_kill_has_left_is_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    AppendingCSVLogger(path).log_metrics({"epoch": 0, "train/loss": 1.5}, step=3)
    with path.open("a") as file:
        file.write("1,4,1.2")
    AppendingCSVLogger(path).log_metrics({"epoch": 0, "train/loss": 1.0}, step=5)
    assert [row["step"] for row in rows(path)] == ["3", "5"]


def test_rows_after_a_checkpoint_are_taken_back(tmp_path):
    path = tmp_path / "metrics.csv"
    first = AppendingCSVLogger(path)
    positions = []
    for step in range(4):
        positions.append(first.position(step))
        first.log_metrics({"epoch": 0, f"train/{step}": 1.0 * step}, step=step)
    second = AppendingCSVLogger(path)
    second.continue_from(positions[2])
    assert [row["step"] for row in rows(path)] == ["0", "1"]
    for step in (2, 3):
        second.log_metrics({"epoch": 0, f"train/{step}": 1.0 * step}, step=step)
    expected = tmp_path / "expected.csv"
    undisturbed = AppendingCSVLogger(expected)
    for step in range(4):
        undisturbed.log_metrics({"epoch": 0, f"train/{step}": 1.0 * step}, step=step)
    assert path.read_text() == expected.read_text()


def test_a_training_that_begins_anew_begins_its_log_anew(tmp_path):
    path = tmp_path / "metrics.csv"
    AppendingCSVLogger(path).log_metrics({"epoch": 0, "train/loss": 1.5}, step=3)
    AppendingCSVLogger(path).continue_from(0)
    assert rows(path) == []
