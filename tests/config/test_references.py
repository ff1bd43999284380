"""Which keys follow from which by interpolation, against OmegaConf's own resolution."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from espnet3.config.references import dependents, outermost


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a", {"b", "c.near", "texts.0", "whole"}),
        ("group.x", {"group.twice", "alias", "far"}),
        ("group", {"group.twice", "alias", "far"}),  # what lies inside a key that changes changes with it
        ("alias.x", {"far"}),
        ("other", {"dynamic", "selected"}),
    ],
)
def test_every_way_to_name_a_key_is_followed(key: str, expected: set[str]):
    config = OmegaConf.create(
        {
            "a": 1,
            "b": "${a}",
            "c": {"near": "${..b}", "own": "${.fixed}", "fixed": 0},
            "texts": ["${ c.near }-x", "plain"],
            "whole": "${max:1,${texts[0]}}",
            "group": {"x": 1, "twice": "${.x}${.x}"},
            "alias": "${group}",
            "far": "${alias.x}",
            "other": 1,
            "dynamic": "${c.${other}}",
            "selected": "${oc.select:other}",
            "environment": "${oc.env:HOME}",
        }
    )
    always = {"dynamic", "selected"}  # that can't be told, so they depend on everything
    found = dependents(config, [key])
    assert found - always == expected - always
    assert always <= found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("pqr"), st.integers(0, 4), st.booleans(), st.booleans()),
        min_size=5,
        max_size=9,
    )
)
def test_what_is_said_not_to_depend_on_a_key_never_changes_with_it(links):
    """Values name only what stands before them, in ways drawn by hypothesis."""
    config: dict = {"p": {"v0": 1}, "q": {"v0": 2}, "r": {"v0": 3}}
    known = ["p.v0", "q.v0", "r.v0"]
    for number, (group, target, relative, inside) in enumerate(links, start=1):
        other = known[target % len(known)]
        name = f"..{other}" if relative else other
        config[group][f"v{number}"] = f"x${{{name}}}" if inside else f"${{{name}}}"
        known.append(f"{group}.v{number}")
    raw = OmegaConf.create(config)
    before = OmegaConf.create(OmegaConf.to_container(raw, resolve=True))
    for key in ("p.v0", "q.v0"):
        changed = raw.copy()
        OmegaConf.update(changed, key, 99)
        after = OmegaConf.create(OmegaConf.to_container(changed, resolve=True))
        moved = {one for one in known if OmegaConf.select(before, one) != OmegaConf.select(after, one)}
        assert moved - {key} == dependents(raw, [key])


def test_of_nested_keys_the_outermost_stay():
    assert outermost({"a.b", "a.b.c", "a.bc", "d"}) == {"a.b", "a.bc", "d"}
