"""On one rank: what a step of one optimizer does never reaches another, against plain PyTorch bit for bit."""

import copy
import weakref

import pytest
import torch
from torch import nn

import engine_cases as cases
from espnet3.components.modeling.optimization_spec import OptimizationStep


class Plain:
    """The same training in plain PyTorch: each optimizer alone, by torch.autograd.grad."""

    def __init__(self, model, entries):
        self.model = model
        self.entries = {name: {"k": 1, "n": 1, "clip": None, **entry} for name, entry in entries.items()}
        self.parameters = {name: list(getattr(model, name).parameters()) for name in entries}
        self.optimizers = {name: torch.optim.AdamW(p, lr=0.01) for name, p in self.parameters.items()}
        self.seen = dict.fromkeys(entries, 0)
        self.hold_directory = {name: [] for name in entries}

    def run(self, names, index):
        losses = self.model.losses(index)
        for name in names:
            self.seen[name] += 1
            if self.seen[name] % self.entries[name]["n"] == 0:
                self.hold_directory[name].append(
                    torch.autograd.grad(
                        losses[name] / self.entries[name]["k"], self.parameters[name], retain_graph=True
                    )
                )
        for name in names:
            if len(self.hold_directory[name]) == self.entries[name]["k"]:
                for parameter, *gradients in zip(
                    self.parameters[name], *self.hold_directory[name], strict=True
                ):
                    parameter.grad = sum(gradients[1:], gradients[0].clone())
                if self.entries[name]["clip"] == "norm":
                    nn.utils.clip_grad_norm_(self.parameters[name], 0.05)
                elif self.entries[name]["clip"] == "value":
                    nn.utils.clip_grad_value_(self.parameters[name], 0.01)
                self.optimizers[name].step()
                self.hold_directory[name] = []


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

    model = cases.Gan()
    plain = Plain(copy.deepcopy(model), {"generator": generator, "discriminator": discriminator})
    engine = cases.make_engine(model, options(generator), options(discriminator))
    start = copy.deepcopy(model)
    for index, names in enumerate(cases.BATCHES):
        cases.run(engine, model, names, index)
        plain.run(names, index)
        for (key, ours), theirs in zip(model.named_parameters(), plain.model.parameters(), strict=True):
            assert torch.equal(ours, theirs), f"{key} after batch {index}"
    moved = [not torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True)]
    assert all(moved)


@pytest.mark.parametrize("named", ["generator", "discriminator"])
def test_who_is_not_named_stays_bit_identical_also_between_the_halves_of_an_accumulation(named):
    other = {"generator": "discriminator", "discriminator": "generator"}[named]
    model = cases.Gan()
    linear = {
        "scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1},
        "interval": "step",
    }
    engine = cases.make_engine(
        model,
        {"accum_grad_steps": 2},
        {"accum_grad_steps": 2},
        {"generator": linear, "discriminator": linear},
    )
    for index in range(3):  # the other is in the middle of an accumulation, with an optimizer state
        cases.run(engine, model, ["discriminator", "generator"], index)
    before = cases.state_of(engine[other])
    assert before["own"]["accum_counter"] == 1 and before["gradients"][0] is not None
    for index in range(3, 8):
        moving = cases.state_of(engine[named])
        cases.run(engine, model, [named], index)
        assert cases.same(cases.state_of(engine[other]), before)
        assert not cases.same(cases.state_of(engine[named]), moving)


def test_all_backward_passes_come_before_all_steps_both_in_list_order():
    model = cases.Gan()
    engine = cases.make_engine(model)
    seen = []
    for named in engine.values():
        named.parameters[0].register_post_accumulate_grad_hook(
            lambda _, name=named.name: seen.append(f"backward {name}")
        )
        named.optimizer.register_step_pre_hook(lambda *_, name=named.name: seen.append(f"step {name}"))
    for names in (["discriminator", "generator"], ["generator", "discriminator"]):
        seen.clear()
        assert list(cases.run(engine, model, names, 0)) == names
        assert seen == [f"backward {name}" for name in names] + [f"step {name}" for name in names]


def test_gradients_are_gone_after_an_update_and_held_before():
    model = cases.Gan()
    engine = cases.make_engine(model, {"accum_grad_steps": 2})
    assert list(cases.run(engine, model, ["discriminator", "generator"], 0)) == ["discriminator"]
    assert all(p.grad is None for p in model.discriminator.parameters())
    assert all(p.grad is not None for p in model.generator.parameters())
    assert list(engine.held_gradients()) == ["generator"]
    cases.run(engine, model, ["generator"], 1)
    assert all(p.grad is None for p in model.generator.parameters())
    assert engine.held_gradients() == {}


def test_an_iteration_that_does_not_contribute_runs_no_backward_pass():
    model = cases.Gan()
    engine = cases.make_engine(model, {"step_every_n_iters": 2})
    before = cases.state_of(engine["generator"])
    losses = model.losses(0)
    assert engine.run([OptimizationStep(losses["generator"], "generator")]) == {}
    losses["generator"].backward()  # its graph is still whole
    engine["generator"].optimizer.zero_grad()
    after = cases.state_of(engine["generator"])
    assert after.pop("own")["iterations"] == 1 and before.pop("own")["iterations"] == 0
    assert cases.same(after, before)


def test_a_step_scheduler_moves_with_updates_and_an_epoch_scheduler_with_epochs():
    half = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.5}
    model = cases.Gan()
    engine = cases.make_engine(
        model,
        {"accum_grad_steps": 2},
        schedulers={
            "discriminator": {"scheduler": half},
            "generator": {"scheduler": half, "interval": "step"},
        },
    )
    rates = []
    for index in range(4):
        cases.run(engine, model, ["discriminator", "generator"], index)
        rates.append([named.optimizer.param_groups[0]["lr"] for named in engine.values()])
    assert rates == [[0.01, 0.01], [0.005, 0.01], [0.005, 0.01], [0.0025, 0.01]]
    engine.end_epoch(lambda key, monitor: pytest.fail(f"{key} monitors {monitor}"))
    assert [named.optimizer.param_groups[0]["lr"] for named in engine.values()] == [0.0025, 0.005]


@pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler")
def test_a_monitoring_scheduler_moves_only_in_epochs_with_a_new_value():
    plateau = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 0, "factor": 0.5}
    flat = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}
    engine = cases.make_engine(
        cases.Gan(),
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
        ({"scheduler": {"_target_": "torch.optim.lr_scheduler.Patient"}}, "needs `monitor`"),
        (
            {"scheduler": {"_target_": "torch.optim.lr_scheduler.Patient"}, "interval": "step"},
            "only interval epoch",
        ),
        (
            {"scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}, "interval": "step"},
            "given: interval step",
        ),
        (
            {
                "scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1},
                "monitor": "valid/loss",
            },
            "StepLR takes no metric",
        ),
        ({"scheduler": {"_target_": "torch.nn.Threshold", "value": 0.0}}, "makes Threshold, which is not"),
    ],
)
def test_a_scheduler_that_cannot_work_is_refused(monkeypatch, scheduler, message):
    of_torch = torch.optim.lr_scheduler
    monkeypatch.setattr(of_torch, "Patient", of_torch.ReduceLROnPlateau, raising=False)
    flat = {"scheduler": {"_target_": "torch.optim.lr_scheduler.ConstantLR"}}
    with pytest.raises(AssertionError, match=message):
        cases.make_engine(cases.Gan(), schedulers={"generator": scheduler, "discriminator": flat})


def test_an_optimizer_that_evaluates_the_loss_several_times_is_refused():
    with pytest.raises(AssertionError, match=r"optimizers\.generator\.optimizer: LBFGS"):
        cases.make_engine(cases.Gan(), {"optimizer": {"_target_": "torch.optim.LBFGS"}})
    with pytest.raises(AssertionError, match="makes list, not a torch optimizer"):
        cases.make_engine(cases.Gan(), {"optimizer": {"_target_": "builtins.list"}})


def test_the_gradient_norm_is_the_one_before_clipping():
    model, by_value = cases.Gan(), cases.Gan()
    engine = cases.make_engine(model, {"gradient_clip_val": 1e-3})
    gradients = torch.autograd.grad(model.losses(0)["generator"], list(model.generator.parameters()))
    cases.run(engine, model, ["generator"], 0)
    assert torch.equal(engine["generator"].grad_norm, nn.utils.get_total_norm(gradients))
    engine = cases.make_engine(by_value, {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"})
    cases.run(engine, by_value, ["generator"], 0)
    assert engine["generator"].grad_norm is None


class Saved:
    """A tensor that a graph keeps for its backward pass."""

    def __init__(self, tensor):
        self.tensor = tensor


@pytest.mark.parametrize("apart", [True, False])
def test_the_first_backward_pass_frees_what_later_ones_do_not_need_elsewhere_than_on_the_cpu(
    apart, monkeypatch
):
    monkeypatch.setattr("espnet3.components.modeling.named.engine.is_worth_looking", lambda _: True)
    model = cases.Gan()
    engine = cases.make_engine(model)
    kept = []

    def keep(tensor):
        saved = Saved(tensor)
        kept.append(weakref.ref(saved))
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved.tensor):
        first = model.discriminator(torch.ones(2, 4)).square().sum()
    second = model.losses(1)["generator"] + (0 if apart else first)
    alive = []
    second.register_hook(lambda _: alive.append(any(saved() is not None for saved in kept)))
    engine.run([OptimizationStep(first, "discriminator"), OptimizationStep(second, "generator")])
    assert kept and alive == [not apart]
