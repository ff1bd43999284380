"""Damages what is valid: words, numbers, nested data and bytes, by a seeded generator."""

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from fuzzing.case import INJECTED

INJECTION = f"x\n{INJECTED}"
WORDS = (
    *("", " ", "null", "~", "true", "no", "None", "???", "auto", "default", "best", "all", "test", "valid"),
    *("0", "-0", "-1", "1.5", "1e-400", "1e400", "nan", "inf", "-inf", "0x10", "1_000", "1:00:00"),
    *("9" * 30, "9" * 5000),
    *("²", "\u0661", "1e9999999", "1,2", "1,", ",", "a,b", "[1,2", "[]", "[[]]", "{}", "{a:1}"),
    *("{a: {b: [1]}}", "[null]"),
    *("'", '"', "''", "'a", "\\", "\\n", "a b", "a=b", "=", "==", "a:b", "@", "+", "~x", "-x", "--", "!x"),
    *("#", "&a", "*a"),
    *("${", "${}", "${nothing}", "${tag}", "${oc.env:HOME}", "${oc.env:NOTHING}", "${max:a,1}", "${.x}"),
    *("$HOME", "$(id)"),
    *("%j", "%", "%%", "a_$", "`id`", ";", "a/b", "/", "..", "../..", ".", "~", "//", "-", "语言", "é"),
    *("e\u0301", "\u202e", "\ufeff"),
    *("\t", "\n", "\r", "\x1b[31m", "\x07", "\x85", "\u2028", "\udc80", INJECTION, "<b>", "[red]", "{0}"),
    *("%s", "a" * 300, "b" * 5000),
    *("range(1,4)", "range(0,1,0)", "range(3,1)", "range(0,1e9)", "choice(1,2)", "choice()", "glob(*)"),
    *("interval(0,1)",),
    *("tag(log,interval(1,2))", "tag(lgo,interval(1,2))", "sort(3,1)", "shuffle(1,2)", "int(1.5)"),
    *("str(1)", "float(x)"),
)  # fmt: skip
"""Text that means something somewhere: to YAML, Hydra, Slurm, shells, terminals, file systems."""
ALPHABET = "aeZ09_-.,:=+~@/\\'\"[](){}$%# \té語\x1b\n"


def typo(random: Random, text: str) -> str:
    """One slip of the hand."""
    at = random.randrange(len(text) + 1)
    kind = random.randrange(6)
    if kind == 0 or not text:
        return text[:at] + random.choice(ALPHABET) + text[at:]
    at = min(at, len(text) - 1)
    if kind == 1:
        return text[:at] + text[at + 1 :]
    if kind == 2:
        return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]
    if kind == 3:
        return text[:at] + random.choice(ALPHABET) + text[at + 1 :]
    if kind == 4:
        return text[:at] + text[at] + text[at:]
    return random.choice((text.upper(), text[:at], text + text, text + random.choice(WORDS)))


def word(random: Random, like: str = "") -> str:
    """Any text, or one that is nearly `like`."""
    if like and random.random() < 0.4:
        return typo(random, like)
    return nested_word(random) if random.random() < 0.02 else random.choice(WORDS)


def nested_word(random: Random) -> str:
    """Brackets in brackets, too deep perhaps."""
    depth = random.choice((5, 60, 300, 3000))
    left, right = random.choice((("[", "]"), ("{a:", "}"), ("(", ")"), ("${max:", "}"), ("'", "'")))
    return left * depth + "1" + right * random.choice((depth, depth - 1))


def value(random: Random, like: Any = None) -> Any:
    """Any plain data, or what is nearly `like`."""
    if isinstance(like, str) and random.random() < 0.5:
        return word(random, like)
    if isinstance(like, int | float) and not isinstance(like, bool) and random.random() < 0.5:
        small = min(max(like, -1e300), 1e300)  # like may be a whole number beyond floats
        return random.choice((-like, like + 1, small * 1e6, float(small), str(small), [like], small / 3))
    choices: tuple[Callable[[], Any], ...] = (
        lambda: random.choice((None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.5, 1e308)),
        lambda: random.choice((float("nan"), float("inf"), float("-inf"))),
        lambda: word(random),
        lambda: random.choice(
            ([], {}, [None], [[]], {"": None}, {"a": {"b": 1}}, [1, "a", {}], {"format": 99})
        ),
        lambda: _nested(random),
    )
    return random.choices(choices, (30, 5, 40, 20, 2))[0]()


def damaged(random: Random, data: Any, times: int = 1) -> Any:
    """A copy of nested data, with one place or several that are as they should not be."""
    data = copy.deepcopy(data)
    for _ in range(times):
        places = list(_places(data))
        if not places or random.random() < 0.03:
            data = value(random, data)
            continue
        parent, key = random.choice(places)
        kind = random.randrange(5)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[typo(random, str(key))] = parent.pop(key)
        elif kind == 2:
            other, other_key = random.choice(places)
            parent[key] = copy.deepcopy(other[other_key])
        else:
            parent[key] = value(random, parent[key])
    return data


def damaged_bytes(random: Random, content: bytes, times: int = 1) -> bytes:
    """Bytes that were cut, flipped, lost, doubled or mixed up."""
    for _ in range(times):
        size = len(content)
        start = random.randrange(size + 1)
        stop = min(size, start + random.choice((1, 1, 2, 8, 64, 512, 4096)))
        kind = random.randrange(9)
        if kind == 0:
            content = content[:start]
        elif kind in (1, 2) and size:
            at = min(start, size - 1)
            content = content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]
        elif kind == 3:
            content = content[:start] + content[stop:]
        elif kind == 4:
            content = content[:stop] + content[start:]
        elif kind == 5:
            content = content[:start] + bytes(stop - start) + content[stop:]
        elif kind == 6:
            content = content[:start] + random.randbytes(stop - start) + content[stop:]
        elif kind == 7:
            odd = (b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\r\n", b"\n\n", b"\t", b"\x1b[2J", b"\x80")
            content = content[:start] + random.choice(odd) + content[start:]
        else:
            content = random.choice(
                (b"", content[stop:], content[::-1], content + content, b"\0" * min(size, 4096))
            )
    return content


def damaged_json(random: Random, text: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A file of JSON whose values, shape or bytes are wrong, or which is one of `others`."""
    kind = random.random()
    if kind < 0.15:
        return damaged_bytes(random, text, random.choice((1, 1, 3)))
    if kind < 0.2 and others:
        return random.choice(others)
    if kind < 0.24:
        depth = random.choice((50, 2000, 100_000))
        return b"[" * depth + b"]" * depth
    try:
        data = json.loads(text)
    except ValueError:
        return damaged_bytes(random, text)
    return json.dumps(damaged(random, data, random.choice((1, 1, 1, 2, 4)))).encode()


def _nested(random: Random) -> Any:
    data: Any = 1
    for _ in range(random.choice((20, 100, 250))):
        data = [data] if random.random() < 0.5 else {"a": data}
    return data


def _places(data: Any) -> list[tuple[Any, Any]]:
    """Each (container, key or index) in nested data."""
    found: list[tuple[Any, Any]] = []
    waiting = [data]
    while waiting:
        inner = waiting.pop()
        if not isinstance(inner, dict | list):
            continue
        for key in inner if isinstance(inner, dict) else range(len(inner)):
            found.append((inner, key))
            waiting.append(inner[key])
    return found
