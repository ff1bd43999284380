"""The module under a plain Lightning Trainer, in a script of the user's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import pathlib

import lightning
import torch

from espnet3.components.modeling.lightning_module import ESPnetLightningModule


class Ramp:
    def __len__(self):
        return 32

    def __getitem__(self, index):
        return {"x": torch.full((4,), index / 32), "y": torch.tensor(index / 32)}


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 1)
        self.seen = []

    def forward(self, x, y, x_lengths):
        if self.training:
            self.seen += y.tolist()
        loss = (self.linear(x)[:, 0] - y).square().mean()
        return loss, {"loss": loss.detach()}, None


if __name__ == "__main__":
    entry = {"name": "ramp", "dataset": {"_target_": "script.Ramp"}}
    target = "espnet3.components.data.data_organizer.DataOrganizer"
    config = {
        "dataset": {"_target_": target, "train": [entry], "valid": [entry]},
        "dataloader": {"train": {"batch_size": 4}, "valid": {"batch_size": 4}},
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 1e-2},
    }
    model = Line()
    trainer = lightning.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False,
    )
    trainer.fit(ESPnetLightningModule(model, config))
    seen = sorted(round(32 * y) for y in model.seen)
    pathlib.Path(f"rank-{trainer.global_rank}").write_text(" ".join(map(str, seen)))
    torch.distributed.destroy_process_group()  # else gloo's threads abort the exit now and then
"""


@pytest.mark.slow
def test_two_ranks_of_a_plain_trainer_deal_the_data_and_need_no_option_for_it(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    seen = [(tmp_path / f"rank-{rank}").read_text().split() for rank in (0, 1)]
    assert [len(numbers) for numbers in seen] == [16, 16]
    assert sorted(int(number) for numbers in seen for number in numbers) == list(range(32))
