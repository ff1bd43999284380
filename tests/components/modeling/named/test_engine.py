"""On one rank: what a step of one optimizer does never reaches another, against plain PyTorch bit for bit."""

import copy

import pytest
import torch
from torch import nn

from espnet3.components.modeling.named.config import read_named_config
from espnet3.components.modeling.named.engine import NamedOptimizers
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.errors import UserError

ADAM = {"_target_": "torch.optim.AdamW", "lr": 0.01}


class Gan(nn.Module):
    """Both losses reach both networks' parameters, and share the generator's forward pass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
        self.discriminator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def losses(self, index):
        x = torch.sin(torch.arange(24.0).reshape(6, 4) * (1 + index))
        fake = self.generator(x)
        judged = self.discriminator(fake)
        return {
            "generator": -judged.mean() + (fake - x).square().mean(),
            # Not detached: it reaches the generator through a part of the graph that both share.
            "discriminator": judged.mean() - self.discriminator(x).mean() + judged.square().mean(),
        }


def _engine(model, generator=None, discriminator=None, schedulers=None, connect=None):
    config = {
        "optimizers": {
            "generator": {"optimizer": ADAM, "params": "generator", **(generator or {})},
            "discriminator": {"optimizer": ADAM, "params": "discriminator", **(discriminator or {})},
        },
        "schedulers": schedulers,
    }
    engine = NamedOptimizers(model, read_named_config(config))
    engine.connect(**(connect or {}))
    return engine


def _run(engine, model, names, index):
    losses = model.losses(index)
    return engine.run([OptimizationStep(losses[name], name) for name in names])


def _state_of(named):
    """Everything of one optimizer that another must leave alone, as copies."""
    return copy.deepcopy(
        {
            "parameters": [p.detach() for p in named.parameters],
            "gradients": [p.grad for p in named.parameters],
            "optimizer": named.optimizer.state_dict(),
            "scheduler": named.schedule.scheduler.state_dict() if named.schedule else None,
            "own": named.state_dict(),
        }
    )


def _same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


class Plain:
    """The same training in plain PyTorch: each optimizer alone, by torch.autograd.grad."""

    def __init__(self, model, entries):
        self.model = model
        self.entries = {name: {"k": 1, "n": 1, "clip": None, **entry} for name, entry in entries.items()}
        self.parameters = {name: list(getattr(model, name).parameters()) for name in entries}
        self.optimizers = {name: torch.optim.AdamW(p, lr=0.01) for name, p in self.parameters.items()}
        self.seen = dict.fromkeys(entries, 0)
        self.held = {name: [] for name in entries}

    def run(self, names, index):
        losses = self.model.losses(index)
        for name in names:
            self.seen[name] += 1
            if self.seen[name] % self.entries[name]["n"] == 0:
                self.held[name].append(
                    torch.autograd.grad(
                        losses[name] / self.entries[name]["k"], self.parameters[name], retain_graph=True
                    )
                )
        for name in names:
            if len(self.held[name]) == self.entries[name]["k"]:
                for parameter, *gradients in zip(self.parameters[name], *self.held[name], strict=True):
                    parameter.grad = sum(gradients[1:], gradients[0].clone())
                if self.entries[name]["clip"] == "norm":
                    nn.utils.clip_grad_norm_(self.parameters[name], 0.05)
                elif self.entries[name]["clip"] == "value":
                    nn.utils.clip_grad_value_(self.parameters[name], 0.01)
                self.optimizers[name].step()
                self.held[name] = []


BATCHES = [
    ["discriminator", "generator"],
    ["generator"],
    ["generator", "discriminator"],
    ["discriminator"],
    ["discriminator", "generator"],
    ["generator"],
    ["discriminator", "generator"],
    ["generator", "discriminator"],
]


@pytest.mark.parametrize(
    ("generator", "discriminator"),
    [
        ({}, {}),
        ({"k": 2}, {"k": 3}),
        ({"k": 2, "n": 2}, {"n": 2}),
        ({"clip": "norm"}, {"clip": "value"}),
        ({"k": 2, "clip": "value"}, {"clip": "norm", "n": 3}),
    ],
)
def test_weights_equal_those_of_each_optimizer_alone_in_plain_pytorch(generator, discriminator):
    def options(entry):
        clip = entry.get("clip")
        largest = {"norm": 0.05, "value": 0.01}.get(clip)
        return {
            "accum_grad_steps": entry.get("k", 1),
            "step_every_n_iters": entry.get("n", 1),
            "gradient_clip_val": largest,
            "gradient_clip_algorithm": clip,
        }

    model = Gan()
    plain = Plain(copy.deepcopy(model), {"generator": generator, "discriminator": discriminator})
    engine = _engine(model, options(generator), options(discriminator))
    start = copy.deepcopy(model)
    for index, names in enumerate(BATCHES):
        _run(engine, model, names, index)
        plain.run(names, index)
        for (key, ours), theirs in zip(model.named_parameters(), plain.model.parameters(), strict=True):
            assert torch.equal(ours, theirs), f"{key} after batch {index}"
    moved = [not torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True)]
    assert all(moved)


@pytest.mark.parametrize("named", ["generator", "discriminator"])
def test_who_is_not_named_stays_bit_identical_also_between_the_halves_of_an_accumulation(named):
    other = {"generator": "discriminator", "discriminator": "generator"}[named]
    model = Gan()
    linear = {
        "scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1},
        "interval": "step",
    }
    engine = _engine(
        model,
        {"accum_grad_steps": 2},
        {"accum_grad_steps": 2},
        {"generator": linear, "discriminator": linear},
    )
    for index in range(3):  # the other is in the middle of an accumulation, with an optimizer state
        _run(engine, model, ["discriminator", "generator"], index)
    before = _state_of(engine[other])
    assert before["own"]["accum_counter"] == 1 and before["gradients"][0] is not None
    for index in range(3, 8):
        moving = _state_of(engine[named])
        _run(engine, model, [named], index)
        assert _same(_state_of(engine[other]), before)
        assert not _same(_state_of(engine[named]), moving)


def test_all_backward_passes_come_before_all_steps_both_in_list_order():
    model = Gan()
    engine = _engine(model)
    seen = []
    for named in engine.values():
        named.parameters[0].register_post_accumulate_grad_hook(
            lambda _, name=named.name: seen.append(f"backward {name}")
        )
        named.optimizer.register_step_pre_hook(lambda *_, name=named.name: seen.append(f"step {name}"))
    for names in (["discriminator", "generator"], ["generator", "discriminator"]):
        seen.clear()
        assert _run(engine, model, names, 0) == names
        assert seen == [f"backward {name}" for name in names] + [f"step {name}" for name in names]


def test_gradients_are_gone_after_an_update_and_held_before():
    model = Gan()
    engine = _engine(model, {"accum_grad_steps": 2})
    assert _run(engine, model, ["discriminator", "generator"], 0) == ["discriminator"]
    assert all(p.grad is None for p in model.discriminator.parameters())
    assert all(p.grad is not None for p in model.generator.parameters())
    assert list(engine.held_gradients()) == ["generator"]
    _run(engine, model, ["generator"], 1)
    assert all(p.grad is None for p in model.generator.parameters())
    assert engine.held_gradients() == {}


def test_an_iteration_that_does_not_contribute_runs_no_backward_pass():
    model = Gan()
    engine = _engine(model, {"step_every_n_iters": 2})
    before = _state_of(engine["generator"])
    losses = model.losses(0)
    assert engine.run([OptimizationStep(losses["generator"], "generator")]) == []
    losses["generator"].backward()  # its graph is still whole
    engine["generator"].optimizer.zero_grad()
    after = _state_of(engine["generator"])
    assert after.pop("own")["iterations"] == 1 and before.pop("own")["iterations"] == 0
    assert _same(after, before)


def test_a_step_scheduler_moves_with_updates_and_an_epoch_scheduler_with_epochs():
    half = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.5}
    model = Gan()
    engine = _engine(
        model,
        {"accum_grad_steps": 2},
        schedulers={
            "discriminator": {"scheduler": half},
            "generator": {"scheduler": half, "interval": "step"},
        },
    )
    rates = []
    for index in range(4):
        _run(engine, model, ["discriminator", "generator"], index)
        rates.append([named.optimizer.param_groups[0]["lr"] for named in engine.values()])
    assert rates == [[0.01, 0.01], [0.005, 0.01], [0.005, 0.01], [0.0025, 0.01]]
    engine.end_epoch(lambda key, monitor: pytest.fail(f"{key} monitors {monitor}"))
    assert [named.optimizer.param_groups[0]["lr"] for named in engine.values()] == [0.0025, 0.005]


@pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler")
def test_a_monitoring_scheduler_moves_only_in_epochs_with_a_new_value():
    plateau = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 0, "factor": 0.5}
    flat = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}
    engine = _engine(
        Gan(),
        schedulers={
            "generator": {"scheduler": plateau, "monitor": "valid/generator/loss"},
            "discriminator": {"scheduler": flat},
        },
    )
    rates = []
    for value in (1.0, None, None, 2.0):
        engine.end_epoch(
            lambda key, monitor, value=value: {
                ("schedulers.generator.monitor", "valid/generator/loss"): value
            }[key, monitor]
        )
        rates.append(engine["generator"].optimizer.param_groups[0]["lr"])
    assert rates == [0.01, 0.01, 0.01, 0.005]


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}}, "needs `monitor`"),
        (
            {"scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}, "interval": "step"},
            "given: interval step",
        ),
        (
            {
                "scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1},
                "monitor": "valid/loss",
            },
            "StepLR looks at no metric",
        ),
        ({"scheduler": {"_target_": "torch.nn.Threshold", "value": 0.0}}, "makes Threshold, which is not"),
    ],
)
def test_a_scheduler_that_cannot_work_is_refused(scheduler, message):
    flat = {"scheduler": {"_target_": "torch.optim.lr_scheduler.ConstantLR"}}
    with pytest.raises(AssertionError, match=message):
        _engine(Gan(), schedulers={"generator": scheduler, "discriminator": flat})


def test_an_optimizer_that_evaluates_the_loss_several_times_is_refused():
    with pytest.raises(AssertionError, match=r"optimizers\.generator\.optimizer: LBFGS"):
        _engine(Gan(), {"optimizer": {"_target_": "torch.optim.LBFGS"}})
    with pytest.raises(AssertionError, match="makes list, not a torch optimizer"):
        _engine(Gan(), {"optimizer": {"_target_": "builtins.list"}})


def test_the_gradient_norm_is_the_one_before_clipping():
    model, by_value = Gan(), Gan()
    engine = _engine(model, {"gradient_clip_val": 1e-3})
    gradients = torch.autograd.grad(model.losses(0)["generator"], list(model.generator.parameters()))
    _run(engine, model, ["generator"], 0)
    assert torch.equal(engine["generator"].grad_norm, nn.utils.get_total_norm(gradients))
    engine = _engine(by_value, {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"})
    _run(engine, by_value, ["generator"], 0)
    assert engine["generator"].grad_norm is None


# --- loss scaling --------------------------------------------------------------------------------------


def test_a_loss_scale_changes_nothing_but_the_range_also_with_clipping_and_accumulation():
    scaled, plain = Gan(), Gan()
    options = {"accum_grad_steps": 2, "gradient_clip_val": 0.05}
    with_scale = _engine(scaled, options, connect={"loss_scaling": True})
    without = _engine(plain, options)
    for index, names in enumerate(BATCHES):
        _run(with_scale, scaled, names, index)
        _run(without, plain, names, index)
    for a, b in zip(scaled.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)  # scales are powers of two


def test_an_update_with_overflow_moves_only_the_scale_of_its_optimizer():
    model = Gan()
    linear = {
        "scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1},
        "interval": "step",
    }
    engine = _engine(
        model, schedulers={"generator": linear, "discriminator": linear}, connect={"loss_scaling": True}
    )
    _run(engine, model, ["discriminator", "generator"], 0)
    generator, discriminator = _state_of(engine["generator"]), _state_of(engine["discriminator"])
    losses = model.losses(1)
    assert engine.run([OptimizationStep(losses["generator"] * 1e36, "generator")]) == []  # * 65536: Inf
    after = _state_of(engine["generator"])
    assert after["own"].pop("loss_scale") == {"scale": 32768.0, "good_updates": 0}
    assert generator["own"].pop("loss_scale") == {"scale": 65536.0, "good_updates": 1}
    assert after["own"].pop("iterations") == generator["own"].pop("iterations") + 1
    assert _same(after, generator)
    assert _same(_state_of(engine["discriminator"]), discriminator)


def test_one_optimizers_overflow_does_not_rescale_what_another_accumulates():
    model, plain = Gan(), Gan()
    engine = _engine(model, {"accum_grad_steps": 2}, connect={"loss_scaling": True})
    oracle = _engine(plain, {"accum_grad_steps": 2})
    _run(engine, model, ["generator"], 0)
    engine.run([OptimizationStep(model.losses(0)["discriminator"] * 1e36, "discriminator")])
    assert engine["discriminator"].loss_scale.scale == 32768.0
    _run(engine, model, ["generator"], 1)
    for index in (0, 1):
        _run(oracle, plain, ["generator"], index)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


# --- state -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss_scaling", [False, True])
def test_training_goes_on_bit_for_bit_from_its_state_also_inside_an_accumulation(loss_scaling, tmp_path):
    options = {"accum_grad_steps": 3, "step_every_n_iters": 2}
    connect = {"loss_scaling": loss_scaling}
    whole = Gan()
    engine = _engine(whole, options, connect=connect)
    for index, names in enumerate(BATCHES):
        _run(engine, whole, names, index)

    first = Gan()
    engine = _engine(first, options, connect=connect)
    for index in range(4):
        _run(engine, first, BATCHES[index], index)
    assert "generator" in engine.held_gradients()
    saved = {
        "model": first.state_dict(),
        "optimizers": {named.name: named.optimizer.state_dict() for named in engine.values()},
        "engine": engine.state_dict(),
        "held": engine.held_gradients(),
    }
    torch.save(saved, tmp_path / "state")
    saved = torch.load(tmp_path / "state", weights_only=True)

    second = Gan()
    second.load_state_dict(saved["model"])
    engine = _engine(second, options, connect={})
    engine.load_state_dict(saved["engine"])
    engine.connect(**connect)
    for named in engine.values():
        named.optimizer.load_state_dict(saved["optimizers"][named.name])
    engine.set_held_gradients(saved["held"])
    for index in range(4, len(BATCHES)):
        _run(engine, second, BATCHES[index], index)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_state_of_other_names_is_refused_with_both_lists():
    engine = _engine(Gan())
    state = engine.state_dict()
    state["decoder"] = state.pop("generator")
    with pytest.raises(
        UserError,
        match=r"checkpoint has discriminator, decoder; the configuration has generator, discriminator",
    ):
        engine.load_state_dict(state)
    with pytest.raises(KeyError, match="no optimizer decoder"):
        engine.set_held_gradients({"decoder": {}})
    with pytest.raises(KeyError, match=r"'generator' does not train discriminator\.0\.bias"):
        engine.set_held_gradients({"generator": {"discriminator.0.bias": torch.zeros(8)}})
