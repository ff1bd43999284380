"""Run the checks; without a GPU it says so and ends with code 2."""

import argparse
import sys
import time
import traceback
from collections.abc import Callable

import torch

from gpu_checks.costs import check_cpu, check_memory, check_pinned, check_reads
from gpu_checks.ranks import check_nccl, check_streams
from gpu_checks.results import check_oracle, check_precision, check_resume
from gpu_checks.trainings import Device

CHECKS: dict[str, Callable[[], str]] = {
    "oracle": check_oracle,
    "reads": check_reads,
    "precision": check_precision,
    "resume": check_resume,
    "streams": check_streams,
    "nccl": check_nccl,
    "memory": check_memory,
    "pinned": check_pinned,
    "cpu": check_cpu,
}


def main() -> int:
    """Run the checks; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checks", nargs="*", metavar="CHECK")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, what can be run there")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.checks if name not in CHECKS]
    if unknown:
        print(f"gpu_check.sh: there is no check {unknown[0]}; known are {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    if arguments.list:
        for name, check in CHECKS.items():
            print(f"{name:<12} {(check.__doc__ or '').splitlines()[0]}")
        return 0
    if not torch.cuda.is_available() and not arguments.rehearse:
        print("gpu_check.sh: PyTorch sees no GPU here: nothing was checked", file=sys.stderr)
        return 2
    Device.name = "cpu" if arguments.rehearse else "cuda"
    failed = []
    for name in arguments.checks or CHECKS:
        began = time.monotonic()
        try:
            said = CHECKS[name]()
        except Exception:
            traceback.print_exc()
            failed.append(name)
            said = "FAILED"
        print(f"{name:<12} {said} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all went well")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
