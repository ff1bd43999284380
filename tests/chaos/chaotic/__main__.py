"""Disturbs trainings on a real cluster, drawn from a seed, and checks what must hold whatever happens.

    tools/chaos [--seed N] [--seeds K] [FAULT ...]

A cluster of tools/slurm is started for it, with nothing of the user's. egs/TEMPLATE is trained on two nodes
with two ranks each, once undisturbed and once for each seed. After each fault, and at the end: no job is
twice or lost, no file is torn, no two attempts train at once, weights and metrics have the bits of the
undisturbed training, and neither a process nor a job nor a temporary file is left. After a full disk the
command is given again, as its user would; nothing else needs anybody.
A seed that finds something does so again: tools/chaos --seed N --seeds 1.
Exit codes: 0 all held; 1 something did not; 2 a mistake in the command.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from chaotic.faults import FAULTS
from chaotic.invariants import always, at_the_end
from chaotic.plan import Plan, plan
from chaotic.world import ChaosError, Cluster, World, recipe_in, small_disk, wait


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="tools/chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"of {', '.join(FAULTS)} (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="the first one (default: 1)")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other (default: 1)")
    options = parser.parse_args()
    if unknown := sorted(set(options.faults) - set(FAULTS)):
        parser.error(f"{', '.join(unknown)}: no such fault; there are {', '.join(FAULTS)}")
    if os.geteuid() != 0:
        parser.error("needs root: a disk that can be filled is mounted, and a cluster is started")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # and end the cluster
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    plans = [
        plan(seed, options.faults or tuple(FAULTS))
        for seed in range(options.seed, options.seed + options.seeds)
    ]
    with tempfile.TemporaryDirectory(prefix="espnet3-chaos-") as folder:
        cluster = Cluster(Path(folder) / "cluster")
        try:
            cluster.tool("up")
            failed = run(plans, Path(folder), cluster)
        finally:
            cluster.tool("down")
    print(f"{len(plans)} seeds, {len(failed)} with findings" + (f": {failed}" if failed else ""))
    return 1 if failed else 0


def run(plans: list[Plan], folder: Path, cluster: Cluster) -> list[int]:
    """Run all plans on a cluster that is up, and print what did not hold; their seeds."""
    failed = []
    recipe = recipe_in(folder, cluster)
    with small_disk(folder / "undisturbed") as disk:
        undisturbed = World(cluster, recipe, disk, "undisturbed")
        undisturbed.start()
        wait(lambda: undisturbed.code is not None, "the undisturbed training")
        if undisturbed.code:
            raise ChaosError(f"the undisturbed training: {undisturbed.last_lines()}")
        for each in plans:
            began = time.monotonic()
            print(f"seed {each.seed}: {each}", flush=True)
            with small_disk(folder / f"seed-{each.seed}") as own_disk:
                world = World(cluster, recipe, own_disk, f"seed{each.seed}")
                wrong = disturbed(each, world, undisturbed)
                for line in wrong:
                    print(f"    FOUND {line}", flush=True)
                if wrong:
                    failed.append(each.seed)
                    print("\n".join(f"    | {line}" for line in world.told()), flush=True)
                took = f"{world.attempts()} attempts, {time.monotonic() - began:.0f} s"
                print(f"    {len(wrong)} found, {took}", flush=True)
            cluster.heal()
    return failed


def disturbed(each: Plan, world: World, undisturbed: World) -> list[str]:
    """Train as the plan has it; what did not hold."""
    wrong: list[str] = []
    try:
        world.start(*clock_off(each.clock_off_s, world), fsync_s=each.fsync_s)
        for step in each.steps:
            if not world.trains_on(step.after):
                break
            FAULTS[step.fault](world, Random(step.draw))
            wrong += [f"after {step.fault}: {line}" for line in always(world)]
            if world.code == 1 and step.fault == "fill-disk":
                world.start(*clock_off(each.clock_off_s, world), fsync_s=each.fsync_s)
        wait(lambda: world.code is not None, "the end of the training")
        if world.code:
            return [*wrong, f"the command ended with code {world.code}: {world.last_lines()}"]
        return [*wrong, *at_the_end(world, undisturbed)]
    except ChaosError as error:
        return [*wrong, str(error)]
    finally:
        world.end()


def clock_off(seconds: float, world: World) -> list[str]:
    """The override by which the second node of a training has another clock."""
    if not seconds:
        return []
    prolog = world.recipe / f"prolog-{world.name}"
    prolog.write_text(
        f'#!/bin/sh\nif [ "$SLURM_NODEID" = 1 ]; then\n    echo export CHAOS_CLOCK_OFF_S={seconds:g}\nfi\n'
    )
    prolog.chmod(0o755)
    return [f"resources.train.srun_args=['--task-prolog={prolog}']"]


if __name__ == "__main__":
    sys.exit(main())
