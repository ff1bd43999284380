"""On one rank: loss scaling that changes nothing but the range, and a state from which training goes on."""

import pytest
import torch

import engine_cases as cases
from espnet3.components.modeling.divergence.skips import UpdateResult
from espnet3.components.modeling.optimization_spec import OptimizationStep
from espnet3.errors import UserError

# --- loss scaling --------------------------------------------------------------------------------------


def test_a_loss_scale_changes_nothing_but_the_range_also_with_clipping_and_accumulation():
    scaled, plain = cases.Gan(), cases.Gan()
    options = {"accum_grad_steps": 2, "gradient_clip_val": 0.05}
    with_scale = cases.make_engine(scaled, options, connect={"loss_scaling": True})
    without = cases.make_engine(plain, options)
    for index, names in enumerate(cases.BATCHES):
        cases.run(with_scale, scaled, names, index)
        cases.run(without, plain, names, index)
    for a, b in zip(scaled.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)  # scales are powers of two


def test_an_update_with_overflow_moves_only_the_scale_of_its_optimizer():
    model = cases.Gan()
    linear = {
        "scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1},
        "interval": "step",
    }
    engine = cases.make_engine(
        model, schedulers={"generator": linear, "discriminator": linear}, connect={"loss_scaling": True}
    )
    cases.run(engine, model, ["discriminator", "generator"], 0)
    generator, discriminator = cases.state_of(engine["generator"]), cases.state_of(engine["discriminator"])
    losses = model.losses(1)
    updates = engine.run([OptimizationStep(losses["generator"] * 1e36, "generator")])  # * 65536: Inf
    assert updates == {"generator": UpdateResult(overflowed=True)}
    after = cases.state_of(engine["generator"])
    assert after["own"].pop("loss_scale") == {"scale": 32768.0, "good_updates": 0}
    assert generator["own"].pop("loss_scale") == {"scale": 65536.0, "good_updates": 1}
    assert after["own"].pop("iterations") == generator["own"].pop("iterations") + 1
    assert cases.same(after, generator)
    assert cases.same(cases.state_of(engine["discriminator"]), discriminator)


def test_one_optimizers_overflow_does_not_rescale_what_another_accumulates():
    model, plain = cases.Gan(), cases.Gan()
    engine = cases.make_engine(model, {"accum_grad_steps": 2}, connect={"loss_scaling": True})
    oracle = cases.make_engine(plain, {"accum_grad_steps": 2})
    cases.run(engine, model, ["generator"], 0)
    engine.run([OptimizationStep(model.losses(0)["discriminator"] * 1e36, "discriminator")])
    assert engine["discriminator"].loss_scale.scale == 32768.0
    cases.run(engine, model, ["generator"], 1)
    for index in (0, 1):
        cases.run(oracle, plain, ["generator"], index)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


# --- state -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss_scaling", [False, True])
def test_training_goes_on_bit_for_bit_from_its_state_also_inside_an_accumulation(loss_scaling, tmp_path):
    options = {"accum_grad_steps": 3, "step_every_n_iters": 2}
    connect = {"loss_scaling": loss_scaling}
    whole = cases.Gan()
    engine = cases.make_engine(whole, options, connect=connect)
    for index, names in enumerate(cases.BATCHES):
        cases.run(engine, whole, names, index)

    first = cases.Gan()
    engine = cases.make_engine(first, options, connect=connect)
    for index in range(4):
        cases.run(engine, first, cases.BATCHES[index], index)
    assert "generator" in engine.held_gradients()
    saved = {
        "model": first.state_dict(),
        "optimizers": {named.name: named.optimizer.state_dict() for named in engine.values()},
        "engine": engine.state_dict(),
        "held": engine.held_gradients(),
    }
    torch.save(saved, tmp_path / "state")
    saved = torch.load(tmp_path / "state", weights_only=True)

    second = cases.Gan()
    second.load_state_dict(saved["model"])
    engine = cases.make_engine(second, options, connect={})
    engine.load_state_dict(saved["engine"])
    engine.connect(**connect)
    for named in engine.values():
        named.optimizer.load_state_dict(saved["optimizers"][named.name])
    engine.set_held_gradients(saved["held"])
    for index in range(4, len(cases.BATCHES)):
        cases.run(engine, second, cases.BATCHES[index], index)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_state_of_other_names_is_refused_with_both_lists():
    engine = cases.make_engine(cases.Gan())
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
