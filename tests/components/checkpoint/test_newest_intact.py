import os
import random

import pytest
import torch

import resume_cases
import resume_ends
import resume_runs
from espnet3.components.checkpoint.folder import position_of
from espnet3.components.checkpoint.newest_intact import newest_intact, read_whole
from espnet3.components.modeling.lightning_module import ESPnetLightningModule
from espnet3.errors import UserError

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.1}


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A run directory with its checkpoints, two of them."""
    home = tmp_path_factory.mktemp("trained") / "run"
    resume_runs.train("max_steps", corpus, home, every_n_batches=12)
    return home / "checkpoints"


def module_of(model, **more):
    return ESPnetLightningModule(model, {"optimizer": ADAM, **more})


def copied(source, path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source.read_bytes() if content is None else content)
    return path


def test_a_truncated_file_is_never_taken(trained, tmp_path):
    content = (trained / "last.ckpt").read_bytes()
    rng = random.Random(0)
    lengths = [0, 1, 100, len(content) // 2, *rng.sample(range(len(content)), 40), len(content) - 1]
    for length in lengths:
        checkpoint, problem = read_whole(copied(trained, tmp_path / "cut.ckpt", content[:length]))
        assert checkpoint is None and problem, length


def test_flipped_bytes_are_seen_or_change_nothing(trained, tmp_path):
    content = (trained / "last.ckpt").read_bytes()
    whole = torch.load(trained / "last.ckpt", weights_only=True)
    rng, seen = random.Random(1), 0
    for offset in rng.sample(range(len(content)), 150):
        flipped = bytearray(content)
        flipped[offset] ^= 1 << rng.randrange(8)
        checkpoint, problem = read_whole(copied(trained, tmp_path / "flipped.ckpt", bytes(flipped)))
        assert (checkpoint is None) == bool(problem)
        if checkpoint is None:
            seen += 1
        else:  # padding, or a time of writing in the archive's table
            assert resume_ends.differences(whole, checkpoint) == [], offset
    assert seen > 50


def test_an_entry_that_a_flipped_bit_makes_a_folder_is_seen(trained, tmp_path):
    """Torch would take whatever is in memory for its tensor."""
    content = bytearray((trained / "last.ckpt").read_bytes())
    entry = content.rindex(b"/data/", content.index(b"PK\x01\x02"))
    entry = content.rindex(b"PK\x01\x02", 0, entry)
    content[entry + 38] ^= 0x10
    checkpoint, problem = read_whole(copied(trained, tmp_path / "folder.ckpt", bytes(content)))
    assert checkpoint is None and "is damaged" in problem


def test_a_checkpoint_without_one_of_its_parts_is_not_taken(trained, tmp_path):
    from espnet3.components.checkpoint.held_gradients import KEY, checksum

    module = module_of(resume_cases.Regression())
    checkpoint = torch.load(trained / "last.ckpt", weights_only=True)
    part = tmp_path / "epoch=1-batch=4-step=7.rank-1.part"
    torch.save({KEY: {}}, part)
    entry = {"file": part.name, "bytes": part.stat().st_size, "crc32": checksum(part)}
    path = tmp_path / "epoch=1-batch=4-step=7.ckpt"
    torch.save({**checkpoint, KEY: {"own": {}, "parts": [entry]}}, path)
    assert newest_intact(tmp_path, module).path == path
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    assert newest_intact(tmp_path, module).path is None
    part.unlink()
    assert newest_intact(tmp_path, module).rejected == (path,)


def test_one_of_another_model_or_other_optimizers_is_told_with_the_difference(trained, caplog):
    other = resume_cases.Regression()
    other.layers[4] = torch.nn.Linear(8, 2)
    with pytest.raises(
        UserError, match=r"another model: layers.4.bias is \(1,\) in the checkpoint, \(2,\) in the model"
    ):
        newest_intact(trained, module_of(other))
    optimizers = {"one": {"optimizer": ADAM, "params": "layers"}}
    with pytest.raises(UserError, match=r"other named optimizers .* has none; the configuration has one"):
        newest_intact(trained, module_of(resume_cases.Regression(), optimizer=None, optimizers=optimizers))
    assert "is not used: it is of another model" in caplog.text


def test_an_older_one_of_this_training_is_taken_before_a_foreign_newer_one(trained, tmp_path):
    names = sorted(trained.glob("epoch=*.ckpt"), key=lambda path: position_of(path.name))
    for path in names:
        os.link(path, tmp_path / path.name)
    foreign = tmp_path / "epoch=9-step=9.ckpt"
    torch.save({"weights": 1}, foreign)
    choice = newest_intact(tmp_path, module_of(resume_cases.Regression()))
    assert choice.path == tmp_path / names[-1].name and choice.rejected == (foreign,)


def test_without_any_readable_one_training_begins_anew_and_says_so(tmp_path, caplog):
    copied(tmp_path, tmp_path / "epoch=9-step=9.ckpt", b"nothing")
    assert newest_intact(tmp_path, module_of(resume_cases.Regression())).path is None
    assert "training starts from scratch" in caplog.text


def test_one_that_cannot_be_read_now_is_no_reason_to_begin_again_or_to_go_back(trained, tmp_path):
    for path in trained.glob("epoch=*.ckpt"):
        os.link(path, tmp_path / path.name)
    newest = tmp_path / "epoch=9-step=9.ckpt"
    newest.symlink_to("/proc/self/mem")  # opens, and reading fails with EIO
    with pytest.raises(UserError, match=r"can't read .*epoch=9-step=9.ckpt: Input/output error"):
        newest_intact(tmp_path, module_of(resume_cases.Regression()))
    assert newest.is_symlink() and not list(tmp_path.glob("*.rejected"))


def test_too_little_memory_is_told_apart_from_damage(trained, monkeypatch):
    def load(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(UserError, match=r"can't read .*: too little memory"):
        newest_intact(trained, module_of(resume_cases.Regression()))
