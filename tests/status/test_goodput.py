"""The ledger of a run: all of its time, by kind, from what its files say."""

import random
from dataclasses import replace

import pytest

from espnet3.rundir.records.start import JobStart
from espnet3.slurm.accounting import StartTimes
from espnet3.status.goodput.document import goodput_document
from espnet3.status.goodput.facts import AttemptFacts, JobFacts, RunFacts, at_present, with_accounting
from espnet3.status.goodput.ledger import KINDS, QUEUED, kept_share, ledger, totals, trained_share
from espnet3.status.goodput.table import goodput_by_trial, goodput_lines
from espnet3.status.stage_status import StageStatus

SPENT = {"startup": 8.0, "training": 60.0, "data": 10.0, "checkpoint": 2.0, "validation": 8.0}


def attempt(
    number, began_at, ended_at, *, outcome="done", spent=SPENT, saved=SPENT, at=None, start="7.0", **more
):
    """One that began, and whose rank was heard last at `at`."""
    beat = {"at": ended_at if at is None else at, "spent": spent, "saved": saved, "longest_s": 2.0}
    facts = AttemptFacts("train", number, began_at, ended_at, outcome, "train-1", start, 2, 4, beat=beat)
    return replace(facts, **more)


def job(*starts, **more):
    """Submitted at second 0."""
    return JobFacts("train-1", 0.0, starts=[JobStart(*start) for start in starts], **more)


def spent(rows, *, without_zeros=True):
    """Seconds by kind, of all rows."""
    return {kind: seconds for kind, seconds in totals(rows).items() if seconds or not without_zeros}


def test_an_attempt_that_is_done_is_queued_starts_trains_and_stops():
    run = RunFacts([job(("7.0", 2, 4, 10.0, 103.0))], [attempt(1, 12.0, 102.0, at=101.0)])
    assert spent(ledger(run, 999.0)) == {
        **{"queued": 10.0, "startup": 2.0 + 9.0, "training": 60.0, "data": 10.0, "checkpoint": 2.0},
        **{"validation": 8.0, "stopping": 1.0 + 1.0},
    }


def test_what_no_checkpoint_held_is_lost_with_the_time_until_the_first_rank_noticed():
    saved = {"startup": 8.0, "training": 40.0, "data": 10.0, "checkpoint": 2.0}
    killed = attempt(1, 12.0, 106.0, outcome="killed", saved=saved, at=101.0, rank_ended_at=102.5)
    again = attempt(2, 107.0, 197.0, at=197.0)
    first, second = ledger(RunFacts([job(("7.0", 2, 4, 12.0, 197.0))], [killed, again]), 0.0)
    assert first.seconds["lost"] == 20.0 + 8.0 + 1.5 and first.seconds["training"] == 40.0
    assert first.seconds["stopping"] == 3.5
    assert second.seconds["idle"] == 1.0 and second.seconds["startup"] == 10.0, "nodes stay held"
    assert sum(spent([first, second]).values()) == 197.0


def test_an_attempt_that_was_not_heard_of_for_long_before_its_end_was_hanging():
    hung = attempt(1, 0.0, 700.0, outcome="killed", at=90.0, rank_ended_at=690.0)
    assert spent(ledger(RunFacts([job(("7.0", 2, 4, 0.0, 700.0))], [hung]), 0.0))["hang"] == 600.0
    short = attempt(1, 0.0, 105.0, outcome="killed", at=90.0)
    ended = replace(short, hung=True)  # found by its ranks' watchers
    assert ledger(RunFacts(attempts=[short]), 0.0)[0].seconds["lost"] == 15.0
    assert ledger(RunFacts(attempts=[ended]), 0.0)[0].seconds["hang"] == 15.0
    beat = {**hung.beat, "longest_s": 250.0}  # its batches take so long
    slow = replace(hung, beat=beat)
    assert "hang" not in spent(ledger(RunFacts([job(("7.0", 2, 4, 0.0, 700.0))], [slow]), 0.0))


def test_a_requeued_job_waits_again_and_holds_no_nodes_meanwhile():
    starts = [("7.0", 2, 4, 10.0, 111.0), ("7.1", 2, 4, 200.0, 300.0)]
    attempts = [
        attempt(1, 11.0, 110.0, outcome="stopped", at=109.0),
        attempt(2, 201.0, 299.0, start="7.1", at=299.0),
    ]
    rows = ledger(RunFacts([job(*starts)], attempts), 0.0)
    assert [row.seconds[QUEUED] for row in rows] == [10.0, 89.0]
    assert [row.held_s for row in rows] == [101.0, 100.0]
    document = goodput_document(rows)
    assert document["node_hours"]["training"] == pytest.approx(120 * 2 / 3600, abs=1e-6)
    assert document["gpu_hours"]["training"] == pytest.approx(120 * 8 / 3600, abs=1e-6)
    assert "queued" not in document["node_hours"]
    assert document["trained"] == round(120 / 201, 4) == round(trained_share(rows), 4)


def test_what_runs_is_counted_until_now_and_what_waits_is_queued():
    beat = {"at": 96.0, "spent": SPENT, "saved": SPENT}
    running = attempt(1, 12.0, None, outcome="", at=96.0, beat=beat)
    statuses = [StageStatus(None, "train", "running", job="train-1", slurm_state="RUNNING")]
    statuses += [StageStatus(None, "validate", "queued", job="train-1")]  # the same job runs both
    run = at_present(RunFacts([job(("7.0", 2, 4, 10.0))], [running]), statuses)
    assert spent(ledger(run, 100.0))["training"] == 60.0 + 4.0, "not lost: it goes on"
    assert sum(spent(ledger(run, 100.0)).values()) == 100.0
    assert spent(ledger(run, 200.0))["hang"] == 104.0
    requeued = [StageStatus(None, "train", "restarting", job="train-1", slurm_state="PENDING")]
    stopped = replace(running, ended_at=97.0, outcome="stopped")
    over = RunFacts([job(("7.0", 2, 4, 10.0, 98.0))], [stopped])
    assert spent(ledger(at_present(over, requeued), 150.0))["queued"] == 10.0 + 52.0


def test_a_job_waits_only_since_the_job_before_it_ended():
    stats = JobFacts("collect_stats-1", 0.0, starts=[JobStart("6.0", 1, 0, 5.0, 50.0)])
    stage = AttemptFacts("collect_stats", 1, 6.0, 49.0, "done", "collect_stats-1", "6.0", trains=False)
    train = replace(job(("7.0", 2, 4, 60.0, 160.0)), after="collect_stats-1")
    rows = ledger(RunFacts([stats, train], [stage, attempt(1, 61.0, 160.0)]), 0.0)
    assert [row.seconds[QUEUED] for row in rows] == [5.0, 10.0]
    assert rows[0].seconds["other"] == 43.0
    assert trained_share(rows) == 60.0 / 100.0, "other stages don't count"
    assert kept_share(rows) == 80.0 / 100.0


def test_sacct_knows_of_starts_that_no_file_knows_of_and_its_times_count():
    run = RunFacts([job(("7.0", 2, 4, 10.4, None))], [attempt(1, 12.0, None, outcome="", at=80.0)])
    known = {
        **{"7.0": StartTimes(1.0, 10.0, 120.0), "7.1": StartTimes(120.0, 130.0, 135.0)},
        **{"8.0": StartTimes(0.0, 0.0, 500.0)},
    }
    rows = ledger(with_accounting(run, known), 0.0)
    assert [(row.attempt, row.held_s, row.seconds[QUEUED]) for row in rows] == [
        (1, 110.0, 9.0),
        (None, 5.0, 10.0),
    ]


def test_of_trainings_that_share_a_job_and_of_those_of_an_earlier_version_only_what_is_known_is_said():
    known = {"7.0": StartTimes(0.0, 1.0, 500.0)}
    shared = replace(job(("7.0", 1, 0, 60.0, 160.0)), shares=True)
    run = with_accounting(RunFacts([shared], [attempt(1, 61.0, 160.0)]), known)
    assert sum(row.held_s for row in ledger(run, 0.0)) == 100.0, "not the time of the others"
    old = attempt(1, 0.0, 50.0, beat={"at": 49.0, "done": 7.0})
    assert spent(ledger(RunFacts(attempts=[old]), 0.0)) == {"other": 50.0}


def test_no_time_is_negative_and_all_times_add_up_whatever_the_clocks_and_files_say():
    rng = random.Random(5)
    for _ in range(3000):
        starts = [
            ("7.0", 2, 4, rng.uniform(-20, 20), rng.choice([None, rng.uniform(50, 120), 500.0])),
            ("7.1", 2, 4, rng.uniform(90, 150), rng.choice([None, rng.uniform(100, 300)])),
        ][: rng.randint(0, 2)]
        attempts = [
            attempt(
                number,
                rng.uniform(-10, 250),
                rng.choice([None, rng.uniform(-10, 300)]),
                outcome=rng.choice(["done", "failed", "stopped", "killed", ""]),
                spent={kind: rng.uniform(-1, 80) for kind in SPENT},
                saved=rng.choice([{}, {kind: rng.uniform(0, 90) for kind in SPENT}]),
                at=rng.uniform(-50, 350),
                start=rng.choice(["7.0", "7.1", "9.0"]),
                rank_ended_at=rng.choice([None, rng.uniform(-50, 350)]),
                trains=rng.random() < 0.8,
            )
            for number in range(rng.randint(0, 3))
        ]
        attempts.sort(key=lambda one: one.began_at)
        run = RunFacts([job(*starts, present=rng.choice(["over", "queued", "running"]))], attempts)
        rows = ledger(run, 400.0)
        assert all(seconds >= 0 for row in rows for seconds in row.seconds.values())
        assert {kind for row in rows for kind in row.seconds} <= set(KINDS)
        ids = {one.start for one in attempts}
        if [start[4] for start in starts] == [500.0] and ids <= {"7.0"} and run.jobs[0].present == "over":
            held = sum(row.held_s for row in rows if row.start == "7.0")
            assert held == pytest.approx(500.0 - starts[0][3])


def test_the_time_of_a_start_is_that_of_its_rows_however_far_the_ranks_clock_is_off():
    for skew in (-30.0, -5.0, 5.0, 30.0):
        one = attempt(1, 12.0, 110.0, at=109.0 + skew, outcome="killed", rank_ended_at=109.5 + skew)
        (row,) = ledger(RunFacts([job(("7.0", 2, 4, 10.0, 111.0))], [one]), 0.0)
        assert row.held_s == pytest.approx(101.0) and min(row.seconds.values()) >= 0
        assert row.seconds["training"] == 60.0, "counted by the rank's own monotonic clock"


def plain(lines):
    return ["".join(text for text, _ in line) for line in lines]


def test_the_table_shows_kinds_then_attempts_within_80_columns():
    saved = {**SPENT, "training": 50.0}
    attempts = [
        attempt(1, 11.0, 110.0, outcome="killed", at=109.0, saved=saved),
        attempt(2, 112.0, 210.0, at=209.0),
    ]
    rows = ledger(RunFacts([job(("7.0", 2, 4, 10.0, 211.0))], attempts), 0.0)
    lines = plain(goodput_lines("exp/default", rows, 80))
    assert max(map(len, lines)) <= 80
    assert lines[:4] == [
        "exp/default",
        "55 % of the time on nodes trained; starts and faults left 75 %",
        "            seconds  share  node-hours  GPU-hours",
        "queued         10.0",
    ]
    assert "training        110   55 %      0.0611     0.2444" in lines
    assert "in all          211  100 %      0.1117     0.4467" in lines
    at = lines.index("")
    assert lines[at + 1].split()[:4] == ["attempt", "job", "queued", "start-up"]
    assert lines[at + 2].split()[:2] == ["train-1", "7.0"] and lines[at + 3].split()[0] == "train-2"
    narrow = plain(goodput_lines("exp/default", rows, 50))
    assert max(map(len, narrow)) <= 50 and sum(line.startswith("train-2") for line in narrow) > 1
    assert plain(goodput_by_trial([rows, []], 80))[1].split()[:3] == ["1", "55", "%"]
    assert plain(goodput_lines("exp/none", [], 80)) == ["exp/none", "nothing was trained yet"]
