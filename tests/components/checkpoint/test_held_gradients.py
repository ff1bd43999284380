import pytest
import torch

from espnet3.components.checkpoint.atomic_io import AtomicCheckpointIO
from espnet3.components.checkpoint.held_gradients import KEY, check_parts, checksum, load_held


@pytest.fixture
def saved(tmp_path):
    """By optimizer, a checkpoint of three ranks, which hold 1, 2 and 4."""

    def save(optimizer):
        def of_rank(rank):
            return {optimizer: {"weight": torch.full((2,), 2.0**rank)}}

        parts = []
        for rank in (1, 2):
            part = tmp_path / f"epoch=0-batch=1-step=1.rank-{rank}.part"
            AtomicCheckpointIO().save_checkpoint({KEY: of_rank(rank)}, part)
            parts.append({"file": part.name, "bytes": part.stat().st_size, "crc32": checksum(part)})
        return {KEY: {"own": of_rank(0), "parts": parts}}, tmp_path

    return save


def test_every_rank_gets_its_own_gradients_again(saved):
    checkpoint, directory = saved("generator")
    for rank in range(3):
        hold_directory = load_held(checkpoint, directory, rank=rank, world_size=3)
        assert hold_directory["generator"]["weight"].tolist() == [2.0**rank] * 2


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_with_another_number_of_ranks_the_update_is_the_same(saved, world_size):
    checkpoint, directory = saved("generator")
    shares = [load_held(checkpoint, directory, rank=r, world_size=world_size) for r in range(world_size)]
    # Named optimizers sum over ranks.
    assert sum(share["generator"]["weight"][0].item() for share in shares) == pytest.approx(7)
    checkpoint, directory = saved("")
    shares = [load_held(checkpoint, directory, rank=r, world_size=world_size) for r in range(world_size)]
    # A single one takes the mean over ranks.
    assert sum(share[""]["weight"][0].item() for share in shares) / world_size == pytest.approx(7 / 3)


def test_between_updates_nothing_is_held(tmp_path):
    for rank in range(2):
        assert load_held({KEY: {"own": {}, "parts": []}}, tmp_path, rank=rank, world_size=2) == {}
        assert load_held({}, tmp_path, rank=rank, world_size=2) == {}


@pytest.mark.parametrize(
    "held", ["0", {"parts": [1]}, {"parts": 3}, {"parts": [{"file": "a"}]}, {"parts": [{}]}]
)
def test_what_says_nothing_of_its_parts_is_damaged(tmp_path, held):
    assert check_parts({KEY: held}, tmp_path) == "what it says of its parts is damaged"
