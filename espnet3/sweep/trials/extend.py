"""Add the trials of a command to a sweep: which exist already, and which are new."""

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
class ExtendedSweep:
    """A sweep after a command was added to it."""

    record: SweepRecord
    trials: list[Trial]
    """The trials that the command asks for, in order."""
    new: list[str]
    """Names of those that did not exist before."""
    older: list[str]
    """Names of existing trials with the same values but another configuration or other code."""


def extend(
    before: SweepRecord | None,
    expansion: Expansion,
    command: SweepCommand,
    objective: Objective,
    configs: Sequence[str],
    single_trial_command: Callable[[str, Sequence[str]], str],
    read_values: Callable[[str, Sequence[str]], dict[str, Any]] = lambda name, keys: {},
) -> ExtendedSweep:
    """Merge the candidates of a command into the record of a sweep.

    Args:
        before: the sweep's record; None for a new sweep.
        expansion: the trials that the command asks for.
        command: the command.
        objective: the metric that trials are compared by.
        configs: names of the files that hold `expansion.bases`.
        single_trial_command: maps a name and overrides to the command that runs that trial alone.
        read_values: from an existing trial's name and keys not swept before to its values there.
    """
    keys = list(dict.fromkeys([*(before.keys if before else []), *expansion.keys]))
    listed = dict(before.listed) if before else {}
    for name, trial in listed.items():
        absent = [key for key in keys if key not in trial.values]
        if absent:
            listed[name] = replace(trial, values=trial.values | read_values(name, absent))
    names = {trial.digest: name for name, trial in listed.items()}
    trials: list[Trial] = []
    new: list[str] = []
    for candidate in expansion.candidates:
        name = names.get(candidate.digest) or _new_name(candidate, listed)
        if name not in listed:
            new.append(name)
        previous = listed.get(name, ListedTrial(candidate.digest, {}, []))
        stages = [stage for stage in STAGES if stage in (*previous.stages, *command.stages)]
        base = expansion.bases[candidate.base_index]
        others = {key: value_at(base, candidate.changes, key) for key in keys if key not in candidate.values}
        listed[name] = ListedTrial(candidate.digest, others | previous.values | candidate.values, stages)
        trials.append(
            Trial(
                name=name,
                digest=candidate.digest,
                values=listed[name].values,
                overrides=candidate.overrides,
                config=configs[candidate.base_index],
                changes=candidate.changes,
                code=candidate.code,
                stages=stages,
                command=single_trial_command(name, candidate.overrides),
            )
        )
    digest_of_values = {_values_text(trial.values): trial.digest for trial in trials}
    older = [
        name
        for name, trial in listed.items()
        if digest_of_values.get(_values_text(trial.values), trial.digest) != trial.digest
    ]
    for name in older:
        listed[name] = replace(listed[name], older=True)
    commands = list(before.command_history) if before else []
    if not commands or replace(commands[-1], at=command.at) != command:  # a search repeats its own
        commands.append(command)
    record = SweepRecord(
        recipe=str(expansion.recipe.directory),
        keys=keys,
        objective=objective.metric,
        direction=objective.direction,
        commands=[asdict(entry) for entry in commands],
        trials={name: dict(vars(trial)) for name, trial in listed.items()},
    )
    return ExtendedSweep(record, trials, new, older)


def code_difference(before: SweepRecord | None, command: SweepCommand) -> str:
    """How the code of a command differs from that of the command before it; empty if it does not."""
    if before is None or not before.commands:
        return ""
    old, new = before.command_history[-1].code, command.code
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


def _values_text(values: Mapping[str, Any]) -> str:
    """Values as text, so that 1, 1.0 and true differ."""
    return json.dumps(dict(values), sort_keys=True, default=str)
