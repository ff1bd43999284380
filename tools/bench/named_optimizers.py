"""Compares named optimizers with Lightning's manual optimization and with bare PyTorch; prints a table.

    python tools/bench/named_optimizers.py [--quick] [--case RANKS,WIDTH,SAMPLES,ACCUMULATE ...]

The same GAN, two networks of four linear layers each, is trained on the same batches by

    named     ESPnetLightningModule with `optimizers`, both losses from one forward pass
    manual    Lightning's manual optimization as its documentation shows it (`self.optimizers()`,
              `manual_backward`, `step`), with ddp_find_unused_parameters_true on several ranks
    toggled   as manual, with `toggle_optimizer` around each half
    bare      PyTorch only, written by hand for this GAN; DDP on several ranks

and, as case `single`, one network with one optimizer by the module and by a minimal LightningModule (the
column `/ manual`). Every rank has one thread. A time is the mean of the quickest fifth of all updates of a
run (per batch), the best of several alternating runs; with --cpu-time it is CPU time, which on a
busy machine varies less, for cases of one rank. Ratios below 1 are in favour of `named`.
First, weights are compared: named with bare after two updates, and named's discriminator with manual's
after the first.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

ROUNDS, STEPS, WARM_UP = 5, 120, 20
CASES = ["1,512,64,1", "2,512,64,1", "2,512,64,4", "2,512,16,1", "1,1024,128,1", "single,512,64,1"]


def main() -> None:
    """Print the table; or, as a rank that this script has started, measure one case."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--case", nargs="+", default=CASES, help="RANKS,WIDTH,SAMPLES,ACCUMULATE")
    parser.add_argument("--quick", action="store_true", help="two rounds of 40 steps: the ratios are rough")
    parser.add_argument("--rounds", type=int, default=None, help=f"alternating runs, by default {ROUNDS}")
    parser.add_argument("--cpu-time", action="store_true", help="measure the CPU's time: one rank only")
    arguments = parser.parse_args()
    rounds, steps = (2, 40) if arguments.quick else (ROUNDS, STEPS)
    rounds = arguments.rounds or rounds
    if "RANK" in os.environ:
        import torch

        result = measure(arguments.case[0], rounds, steps)
        if os.environ["RANK"] == "0":
            torch.save(result, os.environ["BENCH_RESULT"])
        return
    if arguments.cpu_time:
        os.environ["BENCH_CPU_TIME"] = "yes"
    print("| ranks | width | samples | accumulation | named, ms | named / manual | / toggled | / bare |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for case in arguments.case:
        if not (arguments.cpu_time and ranks_of(case) > 1):
            options = [f"--rounds={rounds}", *(["--quick"] if arguments.quick else [])]
            print(row(case, launch(case, options)), flush=True)


def row(case: str, times: dict[str, float]) -> str:
    """A line of the table, from seconds per batch by competitor."""
    ratios = [
        f"{times['named'] / times[other]:.2f}" if other in times else ""
        for other in ("manual", "toggled", "bare")
    ]
    return f"| {' | '.join(case.split(','))} | {1000 * times['named']:.2f} | {' | '.join(ratios)} |"


def ranks_of(case: str) -> int:
    """Number of ranks of the case."""
    ranks = case.split(",")[0]
    return 1 if ranks == "single" else int(ranks)


def launch(case: str, options: list[str]) -> dict[str, float]:
    """Run this script once per rank; seconds per batch by competitor."""
    import torch

    ranks = ranks_of(case)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        shared = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TORCH_CPP_LOG_LEVEL": "ERROR",  # DDP would warn that no parameter was unused
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(ranks),
            "BENCH_RESULT": f"{directory}/result.pt",
        }
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--case", case, *options],
                env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(ranks)
        ]
        codes = [process.wait() for process in processes]
        if any(codes):
            sys.exit(f"case {case}: exit codes {codes}")
        result: dict[str, float] = torch.load(f"{directory}/result.pt", weights_only=True)
        return result


def measure(case: str, rounds: int, steps: int) -> dict[str, float]:
    """Seconds per batch by competitor, on this rank."""
    import torch
    from competitors import gan, single
    from competitors.setting import Setting

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    kind, *sizes = case.split(",")
    setting = Setting(*map(int, sizes))
    if kind == "single":
        competitors = {"named": single.wrapper, "manual": single.minimal}
    else:
        gan.check_weights(setting)
        competitors = {
            "named": gan.named,
            "manual": gan.manual,
            "toggled": gan.toggled,
            "bare": gan.bare,
        }
    best = dict.fromkeys(competitors, float("inf"))
    for _ in range(rounds):
        for name, train in competitors.items():
            _, times = train(setting, steps + WARM_UP)
            updates = per_update(times[WARM_UP:], setting.accumulate)
            quickest = sorted(updates)[: max(1, len(updates) // 5)]
            best[name] = min(best[name], statistics.mean(quickest))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return best


def per_update(times: list[float], accumulate: int) -> list[float]:
    """Means over the batches of each update: those that only accumulate are cheaper than the last."""
    ends = range(accumulate, len(times) + 1, accumulate)
    return [statistics.mean(times[end - accumulate : end]) for end in ends]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
