"""Compares named optimizers with Lightning's manual optimization and with bare PyTorch; prints a table.

    python tools/bench/named_optimizers.py [--quick] [--case RANKS,WIDTH,SAMPLES,ACCUMULATE ...]

The same GAN, two networks of four linear layers each, is trained on the same batches by

    named     ESPnetLightningModule with `optimizers`, both losses from one forward pass
    manual    Lightning's manual optimization as its documentation shows it (`self.optimizers()`,
              `manual_backward`, `step`), with ddp_find_unused_parameters_true on several ranks
    toggled   as manual, with `toggle_optimizer` around each half
    bare      PyTorch alone, written by hand for this GAN; DDP on several ranks

and, as case `single`, one network with one optimizer by the module and by a minimal LightningModule. Every
rank has one thread. A time is the mean of the quickest fifth of all updates of a run (per batch), the best of
several runs that alternate; with --cpu-time the time of the CPU, which on a busy machine is steadier, for one
rank, which waits for nobody. Ratios below 1 are in favour of `named`. First, weights are compared: named with
bare after two updates, and named's discriminator with manual's after the first.
"""

import argparse
import itertools
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

CLOCK = time.process_time if os.environ.get("BENCH_CPU_TIME") else time.perf_counter
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
    if "RANK" in os.environ:
        import torch

        rounds, steps = int(os.environ["BENCH_ROUNDS"]), int(os.environ["BENCH_STEPS"])
        result = measure(arguments.case[0], rounds, steps)
        if os.environ["RANK"] == "0":
            torch.save(result, os.environ["BENCH_RESULT"])
        return
    rounds, steps = (2, 40) if arguments.quick else (ROUNDS, STEPS)
    print("| ranks | width | samples | accumulation | named, ms | named / manual | / toggled | / bare |")
    print("|---|---|---|---|---|---|---|---|")
    if arguments.cpu_time:
        os.environ["BENCH_CPU_TIME"] = "yes"
    for case in arguments.case:
        if arguments.cpu_time and case.startswith("2"):
            continue
        times = launch(case, arguments.rounds or rounds, steps)
        ratios = [
            f"{times['named'] / times[other]:.2f}" if other in times else ""
            for other in ("manual", "toggled", "bare")
        ]
        print(
            f"| {' | '.join(case.split(','))} | {1000 * times['named']:.2f} | {' | '.join(ratios)} |",
            flush=True,
        )


def launch(case: str, rounds: int, steps: int) -> dict[str, float]:
    """Run this script once per rank; seconds per step by competitor."""
    import torch

    ranks = 1 if case.startswith("single") else int(case.split(",")[0])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        shared = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(ranks),
            "BENCH_ROUNDS": str(rounds),
            "BENCH_STEPS": str(steps),
            "BENCH_RESULT": f"{directory}/result.pt",
        }
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--case", case],
                env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(ranks)
        ]
        codes = [process.wait() for process in processes]
        if any(codes):
            sys.exit(f"case {case}: exit codes {codes}")
        result: dict[str, float] = torch.load(f"{directory}/result.pt", weights_only=True)
        return result


# --- as one rank ----------------------------------------------------------------------------------------


def measure(case: str, rounds: int, steps: int) -> dict[str, float]:
    """Seconds per step by competitor, on this rank."""
    import torch

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    kind, width, samples, accumulate = case.split(",")
    setting = Setting(int(width), int(samples), int(accumulate))
    competitors = (
        {"named": wrapper, "manual": minimal}
        if kind == "single"
        else {"named": named, "manual": manual, "toggled": toggled, "bare": bare}
    )
    if kind != "single":
        check_weights(setting)
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, train in competitors.items():
            _, times = train(setting, steps + WARM_UP)
            updates = per_update(times[WARM_UP:], setting.accumulate)
            quickest = sorted(updates)[: max(1, len(updates) // 5)]
            best[name] = min(best.get(name, float("inf")), statistics.mean(quickest))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return best


class Setting:
    """One case: sizes, and this rank's batches and networks, always the same."""

    def __init__(self, width: int, samples: int, accumulate: int) -> None:
        import torch

        self.width, self.samples, self.accumulate = width, samples, accumulate
        generator = torch.Generator().manual_seed(int(os.environ["RANK"]))
        self.batches = [torch.randn(samples, width, generator=generator) for _ in range(8)]

    def model(self):
        """The GAN with its first weights."""
        import torch

        torch.manual_seed(0)
        return make_gan(self.width)

    def loader(self, steps: int):
        """A loader of (uids, data), without workers."""
        from torch.utils.data import DataLoader

        uids = [str(index) for index in range(self.samples)]
        batches = [(uids, {"x": self.batches[step % len(self.batches)]}) for step in range(steps)]
        return DataLoader(batches, batch_size=None)


def per_update(times: list[float], accumulate: int) -> list[float]:
    """Means over the batches of each update: those that only accumulate are cheaper than the last."""
    ends = range(accumulate, len(times) + 1, accumulate)
    return [statistics.mean(times[end - accumulate : end]) for end in ends]


def check_weights(setting: Setting) -> None:
    """The competitors train the same thing, as far as their order of updates allows."""
    import torch

    steps = 2 * setting.accumulate
    for ours, theirs in zip(
        named(setting, steps)[0].parameters(), bare(setting, steps)[0].parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    if setting.accumulate == 1:  # with accumulation, manual's generator loss leaks into the discriminator
        ours, theirs = named(setting, 1)[0], manual(setting, 1)[0]
        for a, b in zip(ours.discriminator.parameters(), theirs.discriminator.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def make_gan(width: int):
    """A generator and a discriminator of four linear layers each."""
    from torch import nn
    from torch.nn.functional import softplus

    from espnet3.components.modeling.optimization_spec import OptimizationStep

    def network():
        layers = [module for _ in range(3) for module in (nn.Linear(width, width), nn.ReLU())]
        return nn.Sequential(*layers, nn.Linear(width, width))

    class Gan(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator, self.discriminator = network(), network()

        def discriminator_loss(self, x, fake):
            return (
                softplus(-self.discriminator(x)).mean() + softplus(self.discriminator(fake.detach())).mean()
            )

        def generator_loss(self, fake):
            return softplus(-self.discriminator(fake)).mean()

        def forward(self, x):
            fake = self.generator(x)
            return (
                [
                    OptimizationStep(self.discriminator_loss(x, fake), "discriminator"),
                    OptimizationStep(self.generator_loss(fake), "generator"),
                ],
                {},
                None,
            )

    return Gan()


def timing_callback(times: list[float]):
    """Notes when each training batch begins."""
    from lightning.pytorch import Callback

    class Timing(Callback):
        def on_train_batch_start(self, *_):
            times.append(CLOCK())

    return Timing()


def differences(times: list[float]) -> list[float]:
    """From points in time to durations."""
    return [after - before for before, after in itertools.pairwise(times)]


def fit(module, setting: Setting, steps: int, *, ours: bool):
    """Train for one epoch of so many steps; with our Trainer, or as Lightning's documentation makes one."""
    import logging

    from lightning.pytorch import Trainer
    from omegaconf import OmegaConf

    from espnet3.components.trainers.build import build_trainer
    from espnet3.components.trainers.cluster_environment import TaskEnvironment
    from espnet3.rundir.task import Task

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    times: list[float] = []
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    task = Task("train", rank, ranks, local_rank=rank)
    options = {"accelerator": "cpu", "devices": ranks, "max_epochs": 1}
    if ours:
        optimizers = {"optimizers": module.config["optimizers"]} if "optimizers" in module.config else {}
        config = OmegaConf.create({"exp_dir": tempfile.gettempdir(), "trainer": options, **optimizers})
        trainer = build_trainer(config, task, [timing_callback(times)])
    else:
        trainer = Trainer(
            **options,
            strategy="ddp_find_unused_parameters_true" if ranks > 1 else "auto",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[timing_callback(times)],
            plugins=[TaskEnvironment(task)],
        )
    trainer.fit(module, setting.loader(steps))
    return differences(times)


ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-4}


def named(setting: Setting, steps: int):
    """The module under test."""
    from espnet3.components.modeling.lightning_module import ESPnetLightningModule

    optimizers = {
        name: {"optimizer": ADAM, "params": name, "accum_grad_steps": setting.accumulate}
        for name in ("generator", "discriminator")
    }
    model = setting.model()
    module = ESPnetLightningModule(model, {"optimizers": optimizers})
    module.val_dataloader = lambda: []
    return model, fit(module, setting, steps, ours=True)


def manual(setting: Setting, steps: int, toggle: bool = False):
    """As in Lightning's documentation: Manual Optimization, multiple optimizers, gradient accumulation."""
    import torch
    from lightning.pytorch import LightningModule

    class Documented(LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.gan = setting.model()

        def training_step(self, batch, batch_idx):
            x = batch[1]["x"]
            g_opt, d_opt = self.optimizers()
            n = setting.accumulate
            fake = self.gan.generator(x)
            losses = {}
            for opt, name in ((d_opt, "d_loss"), (g_opt, "g_loss")):
                if toggle:
                    self.toggle_optimizer(opt)
                loss = self.gan.discriminator_loss(x, fake) if opt is d_opt else self.gan.generator_loss(fake)
                losses[name] = loss
                if batch_idx % n == 0:
                    opt.zero_grad()
                self.manual_backward(loss / n)
                if (batch_idx + 1) % n == 0:
                    opt.step()
                if toggle:
                    self.untoggle_optimizer(opt)
            self.log_dict(losses, prog_bar=True)

        def configure_optimizers(self):
            return [
                torch.optim.Adam(net.parameters(), lr=ADAM["lr"])
                for net in (self.gan.generator, self.gan.discriminator)
            ]

    module = Documented()
    return module.gan, fit(module, setting, steps, ours=False)


def toggled(setting: Setting, steps: int):
    """As `manual`, without gradients for the parameters of the other optimizer."""
    return manual(setting, steps, toggle=True)


def bare(setting: Setting, steps: int):
    """By hand: both losses from one forward pass, gradients only where they are used, DDP per network."""
    import torch
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    model = setting.model()

    class DiscriminatorLoss(nn.Module):
        def __init__(self):
            super().__init__()
            self.discriminator = model.discriminator

        def forward(self, x, fake):
            return model.discriminator_loss(x, fake)

    generate, judge = model.generator, DiscriminatorLoss()
    if int(os.environ["WORLD_SIZE"]) > 1:
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo")
        generate, judge = DistributedDataParallel(generate), DistributedDataParallel(judge)
    networks = (model.discriminator, model.generator)
    d_opt, g_opt = (torch.optim.Adam(net.parameters(), lr=ADAM["lr"]) for net in networks)
    d_parameters = list(model.discriminator.parameters())
    n = setting.accumulate
    times = []
    for step, (_, data) in enumerate(setting.loader(steps)):
        times.append(CLOCK())
        update = (step + 1) % n == 0
        for module in (generate, judge):
            if isinstance(module, DistributedDataParallel):
                module.require_backward_grad_sync = update
        fake = generate(data["x"])
        d_loss = judge(data["x"], fake)
        for parameter in d_parameters:
            parameter.requires_grad_(False)
        g_loss = model.generator_loss(fake)
        for parameter in d_parameters:
            parameter.requires_grad_(True)
        (d_loss / n).backward()
        (g_loss / n).backward()
        if update:
            for opt in (d_opt, g_opt):
                opt.step()
                opt.zero_grad()
    return model, differences(times)


# --- one optimizer --------------------------------------------------------------------------------------


def single_network(width: int):
    """One network whose forward returns a loss."""
    import torch
    from torch import nn

    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.network = make_gan(width).generator

        def forward(self, x):
            loss = (self.network(x) - x).square().mean()
            return loss, {"loss": loss.detach()}, None

    return Single()


def wrapper(setting: Setting, steps: int):
    """The module with one optimizer."""
    from espnet3.components.modeling.lightning_module import ESPnetLightningModule

    model = single_network(setting.width)
    module = ESPnetLightningModule(model, {"optimizer": ADAM})
    module.val_dataloader = lambda: []
    return model, fit(module, setting, steps, ours=True)


def minimal(setting: Setting, steps: int):
    """The shortest LightningModule that does the same."""
    import torch
    from lightning.pytorch import LightningModule

    class Minimal(LightningModule):
        def __init__(self):
            super().__init__()
            self.model = single_network(setting.width)

        def training_step(self, batch, batch_idx):
            loss, stats, _ = self.model(batch[1]["x"])
            self.log("train/loss", stats["loss"], prog_bar=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.model.parameters(), lr=ADAM["lr"])

    module = Minimal()
    return module.model, fit(module, setting, steps, ours=False)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
