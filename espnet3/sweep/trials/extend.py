"""Add what a command asks for to a sweep: which of its trials are there already, and which are new."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from espnet3.stage_table import STAGES
from espnet3.sweep.trials.expand import Candidate, Expansion
from espnet3.sweep.trials.naming import trial_name
from espnet3.sweep.trials.objective import Objective
from espnet3.sweep.trials.record import ListedTrial, SweepCommand, SweepRecord
from espnet3.sweep.trials.trial import Trial, value_at


@dataclass(frozen=True)
class Extended:
    """A sweep with what a command has added."""

    record: SweepRecord
    trials: list[Trial]
    """Those that the command asks for, in its order."""
    new: list[str]
    """Names of those among them that were not there."""
    older: list[str]
    """Names of trials that were there with the same values and another configuration or other code."""


def extend(
    before: SweepRecord | None,
    expansion: Expansion,
    given: SweepCommand,
    objective: Objective,
    configs: Sequence[str],
    single_trial_command: Callable[[str, Sequence[str]], str],
    others_of: Callable[[str, Sequence[str]], dict[str, Any]] = lambda name, keys: {},
) -> Extended:
    """Merge the candidates of a command into the record of a sweep.

    Args:
        before: what the sweep has; None: there is none yet.
        expansion: what the command asks for.
        given: the command.
        objective: what trials are compared by.
        configs: names of the files that hold `expansion.bases`.
        alone: from a trial's name and overrides to the command that makes it alone.
        others_of: what a trial of before has at keys that were not swept then.
    """
    keys = list(dict.fromkeys([*(before.keys if before else []), *expansion.keys]))
    listed = dict(before.listed) if before else {}
    for name, one in listed.items():
        absent = [key for key in keys if key not in one.values]
        if absent:
            listed[name] = replace(one, values=one.values | others_of(name, absent))
    names = {one.digest: name for name, one in listed.items()}
    trials: list[Trial] = []
    new: list[str] = []
    for candidate in expansion.candidates:
        name = names.get(candidate.digest) or _new_name(candidate, listed)
        if name not in listed:
            new.append(name)
        had = listed.get(name, ListedTrial(candidate.digest, {}, []))
        stages = [stage for stage in STAGES if stage in (*had.stages, *given.stages)]
        base = expansion.bases[candidate.family]
        others = {key: value_at(base, candidate.changes, key) for key in keys if key not in candidate.values}
        listed[name] = ListedTrial(candidate.digest, others | had.values | candidate.values, stages)
        trials.append(
            Trial(
                name=name,
                digest=candidate.digest,
                values=listed[name].values,
                overrides=candidate.overrides,
                config=configs[candidate.family],
                changes=candidate.changes,
                code=candidate.code,
                stages=stages,
                command=single_trial_command(name, candidate.overrides),
            )
        )
    asked_for = {_text(trial.values): trial.digest for trial in trials}
    older = [
        name for name, one in listed.items() if asked_for.get(_text(one.values), one.digest) != one.digest
    ]
    for name in older:
        listed[name] = replace(listed[name], older=True)
    commands = list(before.given) if before else []
    if not commands or replace(commands[-1], at=given.at) != given:  # a search gives its own for every trial
        commands.append(given)
    record = SweepRecord(
        recipe=str(expansion.recipe.directory),
        keys=keys,
        objective=objective.metric,
        direction=objective.direction,
        commands=[asdict(one) for one in commands],
        trials={name: asdict(one) for name, one in listed.items()},
    )
    return Extended(record, trials, new, older)


def other_code(before: SweepRecord | None, given: SweepCommand) -> str:
    """In what the code of a command differs from that of the commands before it; empty if in nothing."""
    if before is None or not before.commands:
        return ""
    old, new = before.given[-1].code, given.code
    if old["revision"] != new["revision"]:
        return f"revision {old['revision'][:10] or '(none)'} → {new['revision'][:10] or '(none)'}"
    if old["diff"] != new["diff"]:
        return "other changes in the working tree"
    return ""


def _new_name(candidate: Candidate, listed: Mapping[str, ListedTrial]) -> str:
    length = 8
    while (name := trial_name(candidate.values, candidate.digest, hash_length=length)) in listed:
        length += 4
    return name


def _text(values: Mapping[str, Any]) -> str:
    """Values as text, so that 1, 1.0 and true differ."""
    return json.dumps(dict(values), sort_keys=True, default=str)
