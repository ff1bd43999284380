"""Sweeps made for tests: as the reader of real ones would return them."""

import math
import random
from itertools import product
from typing import Any

from espnet3.sweep.show.view import SweepView, TrialView

GENERATOR, DISCRIMINATOR = "optimizers.generator.optimizer.lr", "optimizers.discriminator.optimizer.lr"


def trial(
    values: dict[str, Any], state: str = "done", objective: float | None = None, **more: Any
) -> TrialView:
    """One trial; what a test does not say is empty."""
    name = more.pop("name", "__".join(f"{key.split('.')[-1]}-{value}" for key, value in values.items()))
    defaults: dict[str, Any] = {
        "metrics": {},
        "curves": {},
        "message": "",
        "traceback": "",
        "command": f"./run.sh {' '.join(f'{key}={value}' for key, value in values.items())}",
        "seconds": 61.0,
        "directory": f"trials/{name}",
    }
    return TrialView(name=name, values=values, state=state, objective=objective, **{**defaults, **more})


def sweep(trials: list[TrialView], keys: list[str] | None = None, **more: Any) -> SweepView:
    """A sweep of these trials that minimizes valid/loss, unless told otherwise."""
    direction = more.get("direction", "minimize")
    done = [one for one in trials if one.state == "done" and one.objective is not None]
    done = [one for one in done if math.isfinite(one.objective or 0)]
    choose = min if direction == "minimize" else max
    best = choose(done, key=lambda one: one.objective or 0).name if done else None
    defaults: dict[str, Any] = {
        "name": "learning-rates",
        "directory": "/exp/sweeps/learning-rates",
        "objective": "valid/loss",
        "direction": direction,
        "best": best,
        "command": "./run.sh --multirun lr=1e-4,2e-4",
        "generated_at": 1_790_000_000.0,
    }
    keys = list(dict.fromkeys(key for one in trials for key in one.values)) if keys is None else keys
    return SweepView(keys=keys, trials=trials, **{**defaults, **more})


def vocoder(
    generator: tuple[float, ...] = (1e-4, 2e-4, 4e-4, 8e-4),
    discriminator: tuple[float, ...] = (5e-5, 1e-4, 2e-4),
    seeds: tuple[int, ...] = (0, 1),
    epochs: int = 20,
) -> SweepView:
    """Two learning rates and a seed: some trials fail, run, wait, diverge or are missing."""
    trials = []
    for index, (g, d, seed) in enumerate(product(generator, discriminator, seeds)):
        draw = random.Random(index)
        final = (
            0.4 + 0.25 * math.log10(g / 3e-4) ** 2 + 0.3 * math.log10(d / 1e-4) ** 2 + 0.01 * draw.random()
        )
        state = {
            5: "failed",
            7: "diverged",
            9: "running",
            13: "queued",
            16: "failed",
            17: "failed",
            20: "missing",
            21: "missing",
        }
        how = state.get(index % 24, "done")
        shown = {"done": epochs, "failed": epochs // 3, "diverged": epochs // 3, "running": epochs // 2}.get(
            how, 0
        )
        curve = [
            (float(epoch), final + 2.0 * math.exp(-epoch / (epochs / 4)) + 0.03 * draw.random())
            for epoch in range(shown)
        ]
        value = math.nan if index % 24 == 11 else final
        failure = 'raise ValueError(f"loss is {loss}")\nValueError: loss is nan'
        trials.append(
            trial(
                {GENERATOR: g, DISCRIMINATOR: d, "seed": seed},
                how,
                value if how == "done" else None,
                name=f"generator.lr-{g:g}__discriminator.lr-{d:g}__seed-{seed}__{index:06x}",
                metrics={
                    "valid/loss": value, "valid/mel_l1": final * 1.3, "test/mel_l1": final * 1.35
                } if how == "done" else {},
                curves={"valid/loss": curve, "train/loss": [(x, y * 0.9) for x, y in curve]} if curve else {},
                message={
                    "failed": "ValueError: loss is nan",
                    "diverged": "diverged at epoch 7, batch 3: weights are NaN or Inf",
                }.get(how, ""),
                last_finite=curve[-1][1] if how == "diverged" else None,
                traceback=f"Traceback (most recent call last):\n  File \"model.py\", line 90\n    {failure}\n"
                if how == "failed" else "",
                seconds=None if how in ("queued", "missing") else 300.0 + 10 * draw.random(),
                command=f"egs/mini_digits/vocoder/run.sh --stage 2 --stop-stage 3 {GENERATOR}={g:g} "
                f"{DISCRIMINATOR}={d:g} seed={seed}",
            )
        )  # fmt: skip
    return sweep(
        trials,
        name="vocoder-learning-rates",
        directory="/home/anna/espnet3/egs/mini_digits/vocoder/exp/vocoder-learning-rates",
        command="egs/mini_digits/vocoder/run.sh --stage 2 --stop-stage 3 --multirun "
        f"{GENERATOR}=1e-4,2e-4,4e-4,8e-4 {DISCRIMINATOR}=5e-5,1e-4,2e-4 seed=0,1 launcher=slurm",
    )


def digits() -> SweepView:
    """One learning rate; the largest diverges into an exception."""
    errors = {1e-4: 0.46, 5e-4: 0.088, 2e-3: 0.076, 1e-2: 0.13, 1e-1: None}
    return sweep(
        [
            trial(
                {"optimizer.lr": lr},
                "done" if error is not None else "failed",
                error,
                metrics={} if error is None else {"valid/token_error_rate": error, "valid/loss": 4 * error},
                curves={"valid/loss": [(float(n), 3 * 0.8**n + (error or 3)) for n in range(10)]},
            )
            for lr, error in errors.items()
        ],
        objective="valid/token_error_rate",
    )


def many(count: int = 1000, epochs: int = 100) -> SweepView:
    """A search at random over two learning rates, with eight metrics a trial."""
    draw = random.Random(0)
    trials = []
    for index in range(count):
        values = {
            GENERATOR: 10 ** draw.uniform(-5, -2),
            DISCRIMINATOR: 10 ** draw.uniform(-5, -2),
            "seed": index % 3,
        }
        final = 0.3 + 0.1 * math.log10(values[GENERATOR] / 3e-4) ** 2 + 0.05 * draw.random()
        failed = index % 19 == 0
        curve = [
            (float(epoch), final + 2 * math.exp(-epoch / 20) + 0.05 * draw.random())
            for epoch in range(epochs)
        ]
        names = ["valid/loss", "train/loss", *(f"valid/metric_{n}" for n in range(6))]
        trials.append(
            trial(
                values,
                "failed" if failed else "done",
                None if failed else final,
                name=f"generator.lr-{values[GENERATOR]:.3e}__discriminator.lr-{values[DISCRIMINATOR]:.3e}__{index:08x}",
                metrics={} if failed else {name: final * (n + 1) for n, name in enumerate(names)},
                curves=dict.fromkeys(names, curve),
                message="OutOfMemoryError: CUDA out of memory" if failed else "",
                traceback="Traceback:\n" + "  File \"x.py\", line 1, in f\n" * 60 if failed else "",
                seconds=1000 * draw.random(),
            )
        )  # fmt: skip
    return sweep(trials, name="search")


HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "\"'><svg onload=window.hacked=3>",
    "<!-- <script> & &lt; ${x} $\\frac{",
    "javascript:window.hacked=4",
    "lone \udc80 surrogate, \u2028, 語",
)


def hostile() -> SweepView:
    """Every text of it tries to become code."""
    key = 'model.<b onclick="window.hacked=5">name</b>'
    trials = [
        trial(
            {key: text, "x": index % 2},
            "failed" if index % 2 else "done",
            None if index % 2 else 0.5 + index,
            name=f"{index}{text}",
            directory=f"javascript:window.hacked=6/{text}",
            metrics={"valid/loss": 0.5, text: 1.0},
            curves={text: [(0, 1), (1, 2)], "valid/loss": [(0.0, math.nan), (1.0, 2.0)]},
            message=text,
            traceback=f"Traceback\n{text}\n",
            command=f"./run.sh '{text}'",
        )
        for index, text in enumerate(HOSTILE)
    ]
    return sweep(trials, name=HOSTILE[0], command=HOSTILE[1], directory=HOSTILE[2])
