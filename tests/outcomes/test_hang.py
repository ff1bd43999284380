"""Whether an attempt hangs, and which rank is to blame, as a table of what ranks are in."""

from dataclasses import asdict, replace

import pytest

from espnet3.outcomes.hang import Hang, failed_if_repeated, find_hang, hang_text, hung_result
from espnet3.outcomes.stack import Doing, doing, main_stack
from espnet3.rundir.records.attempt import Attempt, AttemptResult, Begin
from espnet3.rundir.records.stall import Stall, StalledProcess

SITE = "/venv/lib/python3.11/site-packages"
HELPER = f'Thread 0x1 (most recent call first):\n  File "{SITE}/torch/x.py", line 3 in helper\n'
MAIN = "\nCurrent thread 0x2 (most recent call first):\n"


def stack(*frames: str) -> str:
    """As faulthandler writes it, innermost first; `file function`, below a thread that says nothing."""
    lines = (frame.split() for frame in frames)
    return HELPER + MAIN + "".join(f'  File "{file}", line 7 in {name}\n' for file, name in lines)


STEP = "/src/espnet3/components/modeling/lightning_module.py training_step"
TORCH = f"{SITE}/torch/distributed"
CALLS = f"{SITE}/lightning/pytorch/trainer/call.py"
IN = {
    "all_reduce": (
        *(f"{TORCH}/distributed_c10d.py all_reduce", f"{TORCH}/c10d_logger.py wrapper"),
        *("/src/espnet3/components/modeling/control.py agree_and_read", STEP),
    ),
    "objects": (
        *(f"{TORCH}/distributed_c10d.py all_gather", f"{TORCH}/c10d_logger.py wrapper"),
        *(f"{TORCH}/distributed_c10d.py all_gather_object", f"{TORCH}/c10d_logger.py wrapper", STEP),
    ),
    "barrier": (f"{TORCH}/distributed_c10d.py barrier", "/recipe/model.py forward", STEP),
    "gradients": ("/src/espnet3/components/modeling/named/reduction.py wait", STEP),
    "forward": ("/recipe/model.py attend", f"{SITE}/torch/nn/modules/module.py _call_impl", STEP),
    "backward": (f"{SITE}/torch/autograd/graph.py _engine_run_backward", STEP),
    "optimizer": (f"{SITE}/torch/optim/adam.py step", STEP),
    "data": ("/usr/lib/python3.11/selectors.py select", f"{SITE}/torch/utils/data/dataloader.py __next__"),
    "checkpoint": ("/src/espnet3/components/checkpoint/atomic_io.py save_checkpoint", STEP),
    "compile": (f"{SITE}/torch/_inductor/codecache.py load", "/recipe/model.py forward", STEP),
    "callback": ("/recipe/decode.py on_train_batch_end", f"{CALLS} _call_callback_hooks"),
    "none": (),
}


def stall(rank: int, where: str = "all_reduce", **fields: object) -> Stall:
    """Of rank r, two ranks a node; `state` is that of its process, `workers` are stacks."""
    state, workers = str(fields.pop("state", "S")), list(fields.pop("workers", ()))  # type: ignore[call-overload]
    own = StalledProcess(100 + rank, "python", state, "", stack(*IN[where]) if state == "S" else "")
    below = [StalledProcess(200 + n, "pt_data_worker", "S", "", text) for n, text in enumerate(workers)]
    processes = [asdict(own), *map(asdict, below)]
    usual = Stall(rank, f"node{rank // 2 + 1}", "training", 2, 812, 71.2, 60.0, processes)
    return replace(usual, **fields)  # type: ignore[arg-type]


def others(*without: int, **fields: object) -> list[Stall]:
    return [stall(rank, **fields) for rank in range(4) if rank not in without]


@pytest.mark.parametrize(
    ("name", "what"),
    {
        "all_reduce": Doing("a collective", "all_reduce", "control.py:7 agree_and_read"),
        "objects": Doing("a collective", "all_gather_object", "lightning_module.py:7 training_step"),
        "gradients": Doing("a collective", "all_reduce of gradients", "reduction.py:7 wait"),
        "forward": Doing("the forward pass", "", "model.py:7 attend"),
        "backward": Doing("the backward pass", "", "lightning_module.py:7 training_step"),
        "optimizer": Doing("the optimizer", "", "lightning_module.py:7 training_step"),
        "data": Doing("data loading"),
        "checkpoint": Doing("checkpoint writing", "", "atomic_io.py:7 save_checkpoint"),
        "compile": Doing("compilation", "", "model.py:7 forward"),
        "callback": Doing("a callback", "", "decode.py:7 on_train_batch_end"),
        "none": Doing(""),
    }.items(),
)
def test_what_a_rank_is_in_is_read_from_the_innermost_frame_that_says_it(name: str, what: Doing):
    assert doing(main_stack(stack(*IN[name]))) == what


SLEEPING = stack("/recipe/corpus.py __getitem__", f"{SITE}/torch/utils/data/_utils/worker.py _worker_loop")
IDLE = stack(f"{SITE}/torch/utils/data/_utils/worker.py _worker_loop")
WAIT = ", others wait in all_reduce of batch 812"
HANGS: dict[str, tuple[list[Stall], dict[int, str], tuple[int, ...], str]] = {
    "stopped": (
        [*others(3), stall(3, state="T")], {}, (3,),
        f"rank 3 on node2 has been stopped (SIGSTOP) for 71 s, in batch 812{WAIT}",
    ),
    "data": (
        [*others(3), stall(3, "data")], {}, (3,),
        f"rank 3 on node2 has been in data loading of batch 812 for 71 s{WAIT}",
    ),
    "a worker of data": (
        [*others(1), stall(1, "data", workers=(IDLE, SLEEPING))], {}, (1,),
        "rank 1 on node1 has been in data loading, its worker 201 in corpus.py:7 __getitem__, of batch 812"
        f" for 71 s{WAIT}",
    ),
    "model": (
        [*others(0), stall(0, "forward")], {}, (0,),
        f"rank 0 on node1 has been in the forward pass (model.py:7 attend) of batch 812 for 71 s{WAIT}",
    ),
    "no stack": (
        [*others(2), stall(2, "none")], {}, (2,),
        f"rank 2 on node2 has been in Python code of batch 812 for 71 s{WAIT}",
    ),
    "two ranks, one a batch ahead": (
        [*others(1, 2), stall(1, "data"), stall(2, "forward", batch=813)], {}, (1,),
        f"rank 1 on node1 has been in data loading of batch 812 for 71 s{WAIT}",
    ),
    "a barrier that one leaves out": (
        [*others(1, where="barrier", started=9, completed=8), stall(1, started=9, completed=8)], {}, (1,),
        "rank 1 on node1 has been in all_reduce (control.py:7 agree_and_read) of batch 812 for 71 s, others"
        " wait in barrier of batch 812",
    ),
    "fewer collectives": (
        [*others(2, started=9, completed=8), stall(2, "gradients", started=8, completed=7)], {}, (2,),
        "rank 2 on node2 has been in all_reduce of gradients (reduction.py:7 wait) of batch 812 for 71 s"
        f"{WAIT}",
    ),
    "all in one collective": (
        others(), {}, (0, 1, 2, 3),
        "ranks 0, 1, 2, 3 on node1, node2 have been in all_reduce (control.py:7 agree_and_read) of batch 812"
        " for 71 s",
    ),
    "a file system that stands still": (
        others(where="data"), {}, (0, 1, 2, 3),
        "ranks 0, 1, 2, 3 on node1, node2 have been in data loading of batch 812 for 71 s",
    ),
    "a node that says nothing": (
        others(2, 3), {2: "node2", 3: "node2"}, (2, 3),
        f"ranks 2, 3 on node2 give no sign of life{WAIT}",
    ),
    "others wait for the first time, such as at a validation's end": (
        [
            *others(1, phase="validation end", limit_s=1800.0),
            stall(1, "forward", phase="validation", batch=3),
        ],
        {}, (1,),
        "rank 1 on node1 has been in the forward pass (model.py:7 attend) of batch 3 of the validation of"
        " epoch 2 for 71 s, others wait in all_reduce of the end of the validation of epoch 2",
    ),
    "one rank": (
        [stall(0, "backward", epoch=1, batch=5)], {}, (0,),
        "rank 0 on node1 has been in the backward pass (lightning_module.py:7 training_step) of batch 5"
        " for 71 s",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HANGS)
def test_the_rank_that_the_others_wait_for_is_named(case: str):
    stalls, silent, ranks, line = HANGS[case]
    hang = find_hang(stalls, silent)
    assert hang is not None
    assert (hang.ranks, hang.line) == (ranks, line)
    assert hang.line in hang_text(hang, stalls)


NO_HANGS = {
    "nobody stands still": [],
    "one rank at work has time left": [*others(1), stall(1, "forward", limit_s=72.0)],
    "a checkpoint is written": [*others(0, where="barrier"), stall(0, "checkpoint")],
    "a callback, and nobody has said for how long": [
        *others(0, where="barrier"),
        stall(0, "callback", is_automatic=True),
    ],
    "the model is compiled": others(where="compile"),
    "the training starts": others(phase="start", limit_s=1800.0),
    "one starts and the others wait": others(where="data", phase="epoch start", limit_s=1800.0),
}


@pytest.mark.parametrize("case", NO_HANGS)
def test_ranks_at_work_that_may_take_long_are_no_hang(case: str):
    assert find_hang(NO_HANGS[case], {}) is None


def test_half_an_hour_is_too_long_also_for_what_may_take_long():
    assert find_hang([stall(0, "checkpoint", still_s=1801.0)], {}) is not None


def test_a_callback_that_takes_longer_than_the_given_limit_hangs():
    assert find_hang([stall(0, "callback")], {}) is not None


def attempt(hung_at: str) -> Attempt:
    begin = Begin("train", 1, "slurm", 1, {"host": "node1", "pid": 1, "started": "1"})
    return Attempt(None, begin, AttemptResult("killed", hung_at=hung_at))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "outcome"),
    [
        ([], "killed"),
        (["epoch 2, batch 812"], "killed"),
        (["epoch 2, batch 812"] * 2, "failed"),
        (["", "epoch 2, batch 812", "epoch 2, batch 812"], "failed"),
        (["epoch 2, batch 812", ""], "killed"),
        (["epoch 2, batch 812", "epoch 2, batch 811"], "killed"),
    ],
)
def test_the_third_hang_in_a_row_at_the_same_batch_is_a_failure(before: list[str], outcome: str):
    hang = Hang("rank 3 has been in data loading", (3,), "epoch 2, batch 812")
    hung = hung_result(AttemptResult("killed"), hang, "rank-3.log")
    assert (hung.outcome, hung.rank, hung.hung_at) == ("killed", 3, "epoch 2, batch 812")
    result = failed_if_repeated(hung, [attempt(hung_at) for hung_at in before])
    assert result.outcome == outcome
    if outcome == "failed":
        assert result.reason == (
            "hung 3 times in a row at epoch 2, batch 812: rank 3 has been in data loading"
        )


def test_an_attempt_that_was_done_or_stopped_meanwhile_did_not_hang():
    hang = Hang("rank 0", (0,), "epoch 1, batch 1")
    for outcome in ("done", "stopped"):
        result = AttemptResult(outcome)  # type: ignore[arg-type]
        assert hung_result(result, hang, "") is result
