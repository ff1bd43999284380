"""Runs the fuzzers for some time, and says what they have found and how to repeat it.

    tools/fuzz [--seconds S | --cases N] [--seed N] [AREA ...]
    tools/fuzz --replay AREA:SEED:NUMBER

A finding is a traceback, a case that does not end, a message of more than one line or with control
characters, an exit code that is not documented, a file of others that is touched, or damaged content that is
taken for good. Findings with the same cause are shown once.
Exit codes: 0 nothing found; 1 something found; 2 a mistake in the command.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from fuzzing.areas.area import Area, quiet_environment
from fuzzing.areas.registry import AREAS
from fuzzing.case import Finding, run_case
from fuzzing.sandbox import PERSONAL, Sandbox

REPORT_EVERY_S = 60.0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="tools/fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"of {', '.join(AREAS)} (default: all)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=60,
        help="of all areas together, without their preparation (default: 60)",
    )
    parser.add_argument("--cases", type=int, help="of each area, in place of a time")
    parser.add_argument("--seed", type=int, default=1, help="another one, other cases (default: 1)")
    parser.add_argument("--replay", metavar="AREA:SEED:NUMBER", help="run one case, and show all about it")
    options = parser.parse_args()
    try:
        wanted = [AREAS[name] for name in options.areas or AREAS]
        if options.replay:
            name, seed, number = options.replay.split(":")
            return replay(AREAS[name](), int(seed), int(number))
    except (KeyError, ValueError) as error:
        parser.error(f"{error}: areas are {', '.join(AREAS)}; a replay is AREA:SEED:NUMBER")
    found = 0
    for kind in wanted:
        found += run(kind(), options.seed, cases=options.cases, seconds=options.seconds / len(wanted))
    return 1 if found else 0


def replay(area: Area, seed: int, number: int) -> int:
    """Run one case again and print it."""
    with prepared(area) as sandbox:
        case = area.make(random_of(area, seed, number), sandbox)
        ended, findings = run_case(case, sandbox)
        for title, text in (("case", case.text), ("output", ended.output), ("errors", ended.errors)):
            print(f"--- {title}\n{_shown(text)}")
        print(f"--- exit code {ended.code}")
        for finding in findings:
            print(f"FOUND {finding.kind}\n{_shown(finding.detail)}")
    return 1 if findings else 0


def run(area: Area, seed: int, *, cases: int | None, seconds: float) -> int:
    """Run so many cases, or for so long; print the findings, and return how many causes they have."""
    found: Counter[str] = Counter()
    number = 0
    with prepared(area) as sandbox:
        began = shown_at = time.monotonic()
        while number < cases if cases is not None else time.monotonic() < began + seconds:
            case = area.make(random_of(area, seed, number), sandbox)
            _, findings = run_case(case, sandbox)
            for finding in findings:
                if not found[finding.kind]:
                    _show(finding, case.text, f"{area.name}:{seed}:{number}")
                found[finding.kind] += 1
            sandbox.restore()
            number += 1
            if time.monotonic() - shown_at > REPORT_EVERY_S:
                shown_at = time.monotonic()
                print(f"{area.name}: {number} cases so far", flush=True)
    print(f"{area.name}: {number} cases, {len(found)} findings", flush=True)
    for kind, count in found.most_common():
        print(f"    {count} x {_shown(kind)}", flush=True)
    return len(found)


def random_of(area: Area, seed: int, number: int) -> Random:
    """All that a case is made from."""
    return Random(f"{area.name}:{seed}:{number}")


@contextmanager
def prepared(area: Area) -> Iterator[Sandbox]:
    """A sandbox for an area, as long as the block lasts; its `home` is the working directory at first."""
    warnings.simplefilter("ignore")
    environment, before = dict(os.environ), Path.cwd()
    with tempfile.TemporaryDirectory(prefix="espnet3-fuzz-") as folder:
        sandbox = Sandbox(Path(folder))
        quiet_environment()
        tempfile.tempdir = None  # it follows TMPDIR again
        os.environ.update({name: str(sandbox.folder / where) for name, where in PERSONAL.items()})
        os.chdir(sandbox.folder / "home")
        try:
            area.prepare(sandbox)
            sandbox.keep()
            yield sandbox
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(environment)
            tempfile.tempdir = None


def _show(finding: Finding, text: str, where: str) -> None:
    lines = finding.detail.strip().splitlines()[-8:]
    print(f"\nFOUND {_shown(finding.kind)}\n    tools/fuzz --replay {where}\n    {_shown(text)[:600]}")
    print("".join(f"    | {_shown(line)[:300]}\n" for line in lines), flush=True)


def _shown(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\x1b", "\\x1b")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.exit(main())
