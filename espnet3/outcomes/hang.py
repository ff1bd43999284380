"""Whether an attempt hangs, and which rank is to blame: pure functions of how its ranks stand still."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from espnet3.outcomes.stack import CALLBACK, HOOK, READING, UNHURRIED, WAITING, Doing, doing, main_stack
from espnet3.rundir.records.attempt import Attempt, AttemptResult
from espnet3.rundir.records.stall import Stall, StalledProcess

UNHURRIED_S = 1800.0
"""How long may take what has not been seen to end yet, or takes as long as it takes: start, compilation."""
SAME_PLACE = 3
"""After how many hangs in a row at the same batch the training has failed."""

_STOPPED = ("T", "t")
_NO_SIGN = "gives no sign of life"


@dataclass(frozen=True)
class Hang:
    """A hang, and its cause as far as it is known."""

    line: str
    """One line: which ranks lag, in what, and what the others do."""
    ranks: tuple[int, ...]
    """Those to blame."""
    at: str
    """The batch: "epoch 2, batch 812"."""


@dataclass(frozen=True)
class _Rank:
    """A rank that stands still, and what it is in."""

    stall: Stall
    doing: Doing

    @property
    def is_stopped(self) -> bool:
        return self.stall.own.state in _STOPPED

    @property
    def waits(self) -> bool:
        """Whether it waits for other ranks."""
        stall = self.stall
        pending = (
            stall.started is not None and stall.completed is not None and stall.started > stall.completed
        )
        is_waiting = self.doing.what == WAITING or (self.doing.what == READING and pending)
        return is_waiting and not self.is_stopped

    @property
    def may_go_on(self) -> bool:
        """Whether it is at work that may take longer."""
        limit_s = self.stall.limit_s
        unhurried = (*UNHURRIED, CALLBACK, HOOK) if self.stall.is_automatic else UNHURRIED
        if self.doing.what in unhurried and not self.is_stopped:
            limit_s = max(limit_s, UNHURRIED_S)
        return self.stall.still_s < limit_s

    @property
    def call(self) -> tuple[str, str]:
        return self.doing.operation, self.doing.site

    @property
    def position(self) -> tuple[int, bool, int]:
        """In the order of a training: an epoch's validation comes after its batches."""
        return self.stall.epoch, self.stall.phase.startswith("validation"), self.stall.batch


def find_hang(stalls: Sequence[Stall], silent: Mapping[int, str]) -> Hang | None:
    """The hang of an attempt of which no rank moves; None if one may be at work that takes long.

    Args:
        stalls: of the ranks that say that they stand still.
        silent: rank -> node of those that neither say so nor move: their watchers are gone or stand still.
    """
    if not stalls:
        return None
    ranks = [_Rank(stall, doing(main_stack(stall.own.stacks))) for stall in stalls]
    working = [rank for rank in ranks if not rank.waits]
    starting = [rank for rank in ranks if rank.stall.phase == "start"]
    if any(rank.may_go_on for rank in (*working, *starting)):
        return None
    at = min((rank.stall.epoch, rank.stall.batch) for rank in ranks)
    where = f"epoch {at[0]}, batch {at[1]}"
    if silent:
        nodes = _on(list(silent.values()))
        line = f"{_name(list(silent))}{nodes} {_NO_SIGN if len(silent) == 1 else 'give no sign of life'}"
        return Hang(f"{line}{_others(ranks)}", tuple(sorted(silent)), where)
    blamed = to_blame(ranks)
    others = [rank for rank in ranks if rank not in blamed]
    return Hang(f"{_said(blamed)}{_others(others)}", tuple(rank.stall.rank for rank in blamed), where)


def to_blame(ranks: Sequence[_Rank]) -> list[_Rank]:
    """Those that the others wait for; all where no difference is to be seen."""
    for is_cause in (
        lambda rank: rank.is_stopped,
        lambda rank: not rank.waits,
        _has_started_fewer(ranks),
        _calls_another(ranks),
        _is_at(min(rank.position for rank in ranks)),
    ):
        found = [rank for rank in ranks if is_cause(rank)]
        if found and len(found) < len(ranks):
            return _furthest_behind(found)
        if found and not all(rank.waits for rank in ranks):
            return found  # all of them are at work
    return list(ranks)


def _furthest_behind(ranks: list[_Rank]) -> list[_Rank]:
    """Of ranks that are at work those of the earliest batch: the others wait for them first."""
    first = min(rank.position for rank in ranks)
    return [rank for rank in ranks if rank.position == first]


def _has_started_fewer(ranks: Sequence[_Rank]):  # type: ignore[no-untyped-def]
    counts = [rank.stall.started for rank in ranks]
    known = [count for count in counts if count is not None]
    most = max(known, default=0)
    return lambda rank: len(known) == len(counts) and (rank.stall.started or 0) < most


def _is_at(position: tuple[int, bool, int]):  # type: ignore[no-untyped-def]
    return lambda rank: rank.position == position


def _calls_another(ranks: Sequence[_Rank]):  # type: ignore[no-untyped-def]
    """Ranks in a collective that fewer than half of them are in."""
    counts = Counter(rank.call for rank in ranks)
    return lambda rank: 2 * counts[rank.call] < len(ranks)


def _said(blamed: Sequence[_Rank]) -> str:
    """What the blamed ranks are in, by the first of them."""
    first = blamed[0]
    stall, what = first.stall, first.doing
    have = "have" if len(blamed) > 1 else "has"
    who = f"{_name([rank.stall.rank for rank in blamed])}{_on([rank.stall.node for rank in blamed])}"
    seconds = f"for {stall.still_s:.0f} s"
    if first.is_stopped:
        return f"{who} {have} been stopped (SIGSTOP) {seconds}, in {_batch(stall)}"
    if first.doing.what == WAITING:
        calls = {rank.call for rank in blamed}
        site = f" ({what.site})" if what.site and len(calls) == 1 else ""
        return f"{who} {have} been in {what.operation}{site} of {_batch(stall)} {seconds}"
    inside = f" ({what.site})" if what.site else ""
    kernel = f", in {stall.own.kernel}" if not stall.own.stacks and stall.own.kernel else ""
    doing_what = what.what or "Python code"
    return f"{who} {have} been in {doing_what}{inside}{_worker(stall)} of {_batch(stall)} {seconds}{kernel}"


def _worker(stall: Stall) -> str:
    """The worker of the data loader that the rank waits for, if one is at work or stopped."""
    for worker in stall.workers:
        if worker.state in _STOPPED and worker.name != "":
            return f", its process {worker.pid} is stopped,"
    for worker in stall.workers:
        if (site := _work_of(worker)) != "":
            return f", its worker {worker.pid} in {site},"
    return ""


def _work_of(worker: StalledProcess) -> str:
    return doing(main_stack(worker.stacks)).site


def _others(ranks: Sequence[_Rank]) -> str:
    """What the other ranks wait in."""
    if not ranks:
        return ""
    wait = "others wait" if len(ranks) > 1 else "the other waits"
    rank = next((rank for rank in ranks if rank.doing.operation), None)
    if rank is None:
        return f", {wait}"
    return f", {wait} in {rank.doing.operation} of {_batch(rank.stall)}"


def _batch(stall: Stall) -> str:
    if stall.phase == "validation end":
        return f"the end of the validation of epoch {stall.epoch}"
    if stall.phase.startswith("validation"):
        return f"batch {stall.batch} of the validation of epoch {stall.epoch}"
    if stall.phase == "epoch end":
        return f"the end of epoch {stall.epoch}"
    return {"start": "the start", "end": "the end of training"}.get(stall.phase, f"batch {stall.batch}")


def _name(ranks: Sequence[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, sorted(ranks)))}"


def _on(nodes: Sequence[str]) -> str:
    known = sorted({node for node in nodes if node})
    return f" on {', '.join(known)}" if known else ""


def hang_text(hang: Hang, stalls: Sequence[Stall]) -> str:
    """All that is known of a hang, for `hang.txt`."""
    lines = [
        f"the training hangs in {hang.at}: {hang.line}",
        "(trainer.hang_timeout_s says after how long; null: never)",
        "",
        "rank node             batch    still  limit  collectives  state  in",
    ]
    for stall in stalls:
        what = doing(main_stack(stall.own.stacks))
        in_what = " ".join(
            filter(None, (what.what or "?", what.operation, f"({what.site})" * bool(what.site)))
        )
        started = "?" if stall.started is None else f"{stall.started}/{stall.completed}"
        lines.append(
            f"{stall.rank:4} {stall.node:12} {stall.epoch:4}, {stall.batch:6} {stall.still_s:6.0f} s"
            f" {stall.limit_s:4.0f} s {started:>12}  {stall.own.state:5}  {in_what} [{stall.phase}]"
        )
    lines += ["", "collectives: started/completed", ""]
    for stall in stalls:
        for process in (stall.own, *stall.workers):
            lines.append(
                f"--- rank {stall.rank}, process {process.pid} ({process.name}), state {process.state}"
            )
            lines += [process.kernel] * bool(process.kernel)
            lines += [process.stacks.rstrip() or "no stack: it does not run Python, or is stopped", ""]
    return "\n".join(lines)


def hung_result(result: AttemptResult, hang: Hang, log: str) -> AttemptResult:
    """The result of an attempt that was ended because it hung."""
    if result.outcome in ("done", "stopped"):
        return result
    reason = f"hung: {hang.line}"
    # The program may be the cause as well: no node is to blame.
    return replace(
        result, outcome="killed", reason=reason, rank=hang.ranks[0], log=log, hung_at=hang.at, node=""
    )


def failed_if_repeated(result: AttemptResult, earlier: Sequence[Attempt]) -> AttemptResult:
    """`result` as a failure if its attempt and those before it hung at the same batch, SAME_PLACE in a row.

    Args:
        result: of the last attempt.
        earlier: the attempts of the same stage and job before it, in the order they began.
    """
    before = [attempt.result.hung_at for attempt in earlier[1 - SAME_PLACE :] if attempt.result is not None]
    if not result.hung_at or before != [result.hung_at] * (SAME_PLACE - 1):
        return result
    times = f"{SAME_PLACE} times in a row at {result.hung_at}"
    return replace(result, outcome="failed", reason=f"hung {times}: {result.reason.removeprefix('hung: ')}")
