"""Which parameters belong to which named optimizer: a pure function of names and selectors."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from torch.nn import Module, Parameter

from espnet3.errors import ConfigurationError

GLOB = frozenset("*?[")


def select_parameters(
    trainable: Iterable[Sequence[str]],
    selectors: Mapping[str, Sequence[str]],
    frozen: Iterable[str] = (),
) -> dict[str, list[str]]:
    """Assign every trainable parameter to exactly one optimizer.

    A selector takes a parameter when its dotted segments appear in a row among those of the parameter's
    name (`generator` and `tts.generator` take `tts.generator.conv.weight`, not `generator2.weight`), or,
    when it holds one of `*?[`, when it matches the whole name as a glob (`*.bias`).

    Args:
        trainable: the names of each trainable parameter: one, or several where modules share it.
        selectors: per optimizer its selectors.
        frozen: names of parameters that are not trained: a selector may take them, no optimizer gets them.

    Returns:
        Per optimizer the first names of its parameters, in the order of `trainable`.

    Raises:
        ConfigurationError: a selector matches nothing, an optimizer has nothing to train, or parameters are
            covered twice or not at all; each is listed.
    """
    trainable = [tuple(names) for names in trainable]
    every_name = [*frozen, *(name for names in trainable for name in names)]
    problems = [
        f"optimizers.{optimizer}.params: {selector!r} matches no parameter"
        for optimizer, given in selectors.items()
        for selector in given
        if not any(matches(selector, name) for name in every_name)
    ]
    if problems:
        raise ConfigurationError(f"{'; '.join(problems)}; the model has: {', '.join(every_name) or 'none'}")

    chosen: dict[str, list[str]] = {optimizer: [] for optimizer in selectors}
    uncovered: list[str] = []
    twice: list[str] = []
    for names in trainable:
        owners = [
            optimizer
            for optimizer, given in selectors.items()
            if any(matches(selector, name) for selector in given for name in names)
        ]
        for owner in owners:
            chosen[owner].append(names[0])
        if not owners:
            uncovered.append(names[0])
        elif len(owners) > 1:
            also = f", which is also {', '.join(names[1:])}" if len(names) > 1 else ""
            twice.append(f"{names[0]}{also} ({', '.join(owners)})")
    if uncovered:
        problems.append(f"trainable parameters that no optimizer covers: {', '.join(uncovered)}")
    if twice:
        problems.append(f"parameters that several optimizers cover: {', '.join(twice)}")
    problems += [
        f"optimizers.{optimizer}.params: {', '.join(map(repr, selectors[optimizer]))} selects nothing that is"
        " trained"
        for optimizer, names in chosen.items()
        if not names
    ]
    if problems:
        raise ConfigurationError("; ".join(problems))
    return chosen


def matches(selector: str, name: str) -> bool:
    """Whether `selector` takes the parameter called `name`."""
    if GLOB.intersection(selector):
        return fnmatchcase(name, selector)
    return f".{selector}." in f".{name}."


def parameters_by_optimizer(
    model: Module, selectors: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Parameter]]:
    """Per optimizer its parameters by name, as `select_parameters` assigns those of `model`."""
    names: dict[Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    trainable = {given[0]: parameter for parameter, given in names.items() if parameter.requires_grad}
    chosen = select_parameters(
        [names[parameter] for parameter in trainable.values()],
        selectors,
        [name for parameter, given in names.items() if not parameter.requires_grad for name in given],
    )
    return {optimizer: {name: trainable[name] for name in taken} for optimizer, taken in chosen.items()}
