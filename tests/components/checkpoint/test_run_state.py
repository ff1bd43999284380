"""The state of the random generators in checkpoints."""

import pytest
import torch

from espnet3.components.checkpoint.run_state import random_state, set_random_state


def test_a_training_on_the_cpu_does_not_touch_a_gpu_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("get_rng_state", "set_rng_state"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: pytest.fail("opens a context on the GPU"))
    state = random_state()
    drawn = torch.rand(3)
    set_random_state({**state, "cuda": torch.zeros(16, dtype=torch.uint8)})  # saved by one on a GPU
    assert state["cuda"] is None and torch.equal(torch.rand(3), drawn)
