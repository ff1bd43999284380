import pytest
import torch

from espnet3.components.checkpoint.initial_weights import load_initial_weights
from espnet3.errors import UserError


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
def test_weights_come_from_a_checkpoint_or_a_bare_state_dict(tmp_path, wrap):
    torch.save(wrap({"weight": torch.ones(1, 2), "bias": torch.ones(1)}), tmp_path / "w.ckpt")
    model = torch.nn.Linear(2, 1)
    load_initial_weights(model, tmp_path / "w.ckpt")
    assert model.weight.tolist() == [[1, 1]]


def test_everything_that_does_not_fit_is_listed_and_the_model_stays(tmp_path):
    torch.save({"0.weight": torch.ones(1, 3), "1.scale": torch.ones(1)}, tmp_path / "w.ckpt")
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    before = model[0].weight.tolist()
    with pytest.raises(UserError) as error:
        load_initial_weights(model, tmp_path / "w.ckpt")
    message = str(error.value)
    for part in ("missing: 0.bias", "unexpected: 1.scale", "0.weight is (1, 3), not (1, 2)"):
        assert part in message
    assert model[0].weight.tolist() == before


@pytest.mark.parametrize("content", [b"not a checkpoint", b""])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, content):
    (tmp_path / "w.ckpt").write_bytes(content)
    with pytest.raises(UserError, match="holds no weights"):
        load_initial_weights(torch.nn.Linear(1, 1), tmp_path / "w.ckpt")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        load_initial_weights(torch.nn.Linear(1, 1), tmp_path / "w.ckpt")


def test_a_flipped_bit_is_noticed_and_the_model_stays(tmp_path):
    torch.save({"weight": torch.ones(1, 64), "bias": torch.ones(1)}, tmp_path / "w.ckpt")
    content = bytearray((tmp_path / "w.ckpt").read_bytes())
    content[content.index(torch.ones(8).numpy().tobytes())] ^= 1
    (tmp_path / "w.ckpt").write_bytes(content)
    model = torch.nn.Linear(64, 1)
    before = model.weight.tolist()
    with pytest.raises(UserError, match=r"holds no weights: its part .* is damaged"):
        load_initial_weights(model, tmp_path / "w.ckpt")
    assert model.weight.tolist() == before
