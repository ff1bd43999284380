"""The table fits where it goes."""

from dataclasses import replace
from pathlib import Path

from espnet3.status.stage_status import StageStatus
from espnet3.status.table import duration, last_metric, node_list, table

EXP = Path("/recipe/exp")
RUNNING = StageStatus(
    EXP / "default",
    "train",
    "running",
    job_id="1234567",
    attempt=2,
    nodes=["node1", "node2"],
    elapsed_s=753.0,
    epoch=3,
    max_epochs=20,
    unit="batch",
    done=120,
    total=480,
    utterances_per_s=1204.3,
    metrics={"train/loss": 0.5324, "valid/accuracy": 1.0},
    eta_s=2710.0,
    heartbeat_age_s=2.2,
)
QUEUED = StageStatus(EXP / "default", "validate", "queued", "after stage 2", job_id="1234568")
FAILED = StageStatus(
    EXP / "other", "train", "failed", "rank 1: RuntimeError: no memory", job_id="12", attempt=1
)


def plain(lines):
    """The lines as text."""
    return ["".join(text for text, _ in line) for line in lines]


def test_where_there_is_room_a_stage_is_one_line_and_empty_columns_are_left_out():
    assert plain(table([RUNNING, QUEUED], None)) == [
        "/recipe/exp/default",
        "stage     job      state                   attempt  elapsed  beat  nodes      epoch  progress"
        "       utt/s  metric             ETA",
        "train     1234567  running                 2        12:33    0:02  node[1-2]  3/20   batch 120/480"
        "  1204   train/loss 0.5324  45:10",
        "validate  1234568  queued (after stage 2)",
    ]
    assert plain(table([QUEUED], None)) == [
        "/recipe/exp/default",
        "stage     job      state",
        "validate  1234568  queued (after stage 2)",
    ]


def test_on_80_columns_what_is_too_wide_stands_below():
    assert plain(table([RUNNING, QUEUED], 80)) == [
        "/recipe/exp/default",
        "stage     job      state                   attempt  elapsed  beat",
        "train     1234567  running                 2        12:33    0:02",
        "  node[1-2]  epoch 3/20 batch 120/480  1204 utt/s  train/loss 0.5324  ETA 45:10",
        "validate  1234568  queued (after stage 2)",
    ]


def test_the_share_that_trained_stands_in_the_line_and_is_never_rounded_to_all():
    lines = plain(table([replace(RUNNING, trained=0.934), QUEUED], 80))
    assert lines[1:4] == [
        "stage     job      state                   attempt  elapsed  beat  trained",
        "train     1234567  running                 2        12:33    0:02  93 %",
        "  node[1-2]  epoch 3/20 batch 120/480  1204 utt/s  train/loss 0.5324  ETA 45:10",
    ]
    assert plain(table([replace(RUNNING, trained=0.998)], None))[2].endswith("  99 %     45:10")


def test_several_runs_stand_below_the_folder_they_lie_in_and_a_failure_says_why():
    elsewhere = replace(QUEUED, run=Path("/other/exp/default"))
    assert plain(table([RUNNING, QUEUED, FAILED, elsewhere], 80)) == [
        "/recipe/exp/",
        "run      stage     job      state                   attempt  elapsed  beat",
        "default  train     1234567  running                 2        12:33    0:02",
        "  node[1-2]  epoch 3/20 batch 120/480  1204 utt/s  train/loss 0.5324  ETA 45:10",
        "default  validate  1234568  queued (after stage 2)",
        "other    train     12       failed                  1",
        "  rank 1: RuntimeError: no memory",
        "/other/exp/",
        "default  validate  1234568  queued (after stage 2)",
    ]


def test_a_long_tag_is_cut_where_the_table_would_not_fit():
    long = replace(RUNNING, run=EXP / "lr=1e-4,batch_size=16,warmup=4000")
    lines = plain(table([long, replace(QUEUED, run=long.run), FAILED], 80))
    assert max(map(len, lines)) <= 80 and lines[2].startswith("lr=1e-…p=4000  train")
    assert "lr=1e-4,batch_size=16,warmup=4000" in plain(table([long, FAILED], None))[2]


def test_every_line_fits_a_narrow_terminal_as_long_as_the_columns_do():
    for width in (75, 80, 100, 132, 200):
        for rows in ([RUNNING], [RUNNING, QUEUED], [RUNNING, QUEUED, FAILED]):
            lines = plain(table(rows, width))
            assert max(map(len, lines)) <= width, (width, lines)
            text = " ".join(lines)
            for part in ("1204", "0.5324", "45:10", "120/480", "3/20", "node[1-2]", "12:33", "1234567"):
                assert part in text


def test_durations_node_lists_and_the_metric_that_says_most():
    assert [duration(s) for s in (None, 0, 59.9, 3599, 3600, 86399, 90000)] == [
        *("", "0:00", "0:59", "59:59", "1h00m", "23h59m", "1d1h")
    ]
    assert node_list([]) == "" and node_list(["gpu07"]) == "gpu07"
    assert node_list(["gpu01", "gpu02", "gpu04"]) == "gpu[01-02,04]"
    assert node_list(["a1", "b1"]) == "a1,b1"
    monitored_first = {"valid/accuracy": 0.5, "valid/loss": 0.25, "train/loss": 1.0}
    assert last_metric(monitored_first) == ("valid/accuracy", "0.5")
    assert last_metric({"train/lossy": 1.5, "valid/wer": 0.4, "test/wer": 0.5}) == ("test/wer", "0.5")
    assert last_metric({}) == ("", "")
