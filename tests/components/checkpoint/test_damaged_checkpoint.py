"""A newest checkpoint that cannot be used costs what came after the one before it, and nothing else."""

import io
import os
import struct
import zipfile

import pytest
import torch

import resume_ends
import resume_runs

pytestmark = pytest.mark.slow


def middle_of_largest_part(checkpoint: io.BytesIO) -> int:
    """An offset in the content of a zip file, and not in what pads it."""
    with zipfile.ZipFile(checkpoint) as archive:
        part = max(archive.infolist(), key=lambda part: part.file_size)
    checkpoint.seek(part.header_offset + 26)
    name, extra = struct.unpack("<HH", checkpoint.read(4))
    return part.header_offset + 30 + name + extra + part.file_size // 2


def test_the_newest_checkpoints_may_be_damaged_or_of_another_model(corpus, tmp_path, equal_ends, caplog):
    resume_runs.train("plateau", corpus, tmp_path / "undisturbed")
    everything = tmp_path / "everything"
    resume_runs.train("plateau", corpus, everything, every_n_batches=1, keep_last=1000)
    names = resume_ends.checkpoints_of(everything)
    home = tmp_path / "damaged"
    resume_ends.killed_after(everything, names[14], home)
    folder = home / "checkpoints"
    cut, flipped, foreign = (folder / name for name in reversed(names[12:15]))
    contents = {path: path.read_bytes() for path in (cut, flipped, foreign)}
    for path in contents:
        path.unlink()  # what is there are links
    cut.write_bytes(contents[cut][:-100])
    middle = middle_of_largest_part(io.BytesIO(contents[flipped]))
    flipped.write_bytes(contents[flipped][:middle] + b"\0\1\2\3" + contents[flipped][middle + 4 :])
    torch.save({"state_dict": {}}, foreign)
    os.link(cut, folder / "last.ckpt")
    resume_runs.train("plateau", corpus, home)
    equal_ends(tmp_path / "undisturbed", home)
    warnings = [record.getMessage() for record in caplog.records if "is not used" in record.getMessage()]
    assert len(warnings) == 3
    assert cut.name in warnings[0] and "BadZipFile" in warnings[0]
    assert flipped.name in warnings[1] and "is damaged" in warnings[1]
    assert foreign.name in warnings[2] and "not a checkpoint of a training" in warnings[2]
    assert sorted(path.name for path in folder.glob("*.rejected")) == sorted(
        f"{path.name}.rejected" for path in contents
    )


def test_a_kill_between_a_checkpoint_and_the_list_of_the_best_loses_no_entry(corpus, tmp_path, equal_ends):
    resume_runs.train("plateau", corpus, tmp_path / "undisturbed")
    home = tmp_path / "killed"
    resume_ends.killed_after(tmp_path / "undisturbed", "epoch=1-step=9.ckpt", home)
    (home / "checkpoints" / "best.json").unlink()
    resume_runs.train("plateau", corpus, home)
    equal_ends(tmp_path / "undisturbed", home)


@pytest.mark.parametrize("last", [None, "epoch=1-step=9.ckpt"])
def test_a_link_to_the_last_that_was_lost_or_is_old_is_made_again(corpus, tmp_path, last):
    resume_runs.train("plateau", corpus, tmp_path)
    folder = tmp_path / "checkpoints"
    (folder / "last.ckpt").unlink()
    if last is not None:
        os.link(folder / last, folder / "last.ckpt")
    resume_runs.train("plateau", corpus, tmp_path)
    assert (folder / "last.ckpt").samefile(folder / resume_ends.newest(tmp_path))
