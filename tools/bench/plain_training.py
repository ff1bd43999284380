"""Trains egs/TEMPLATE's model by plain Lightning, as written by hand; `launch.py` compares with it.

    srun python plain_training.py RECIPE FOLDER NODES TASKS

It lies in a copy of the recipe, whose data and statistics exist. Also has the callback that records the time
of the first step.
"""

import json
import sys
import time
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, Dataset


class FirstStep(Callback):
    """Appends a line `step <time>` to a file when this process has made its first step."""

    def __init__(self, file: str) -> None:
        self.file, self.is_recorded = Path(file), False

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Record the end of the first batch."""
        if not self.is_recorded and trainer.is_global_zero:
            self.is_recorded = True
            with self.file.open("a") as lines:
                lines.write(f"step {time.time()}\n")


class Tones(Dataset):
    """The utterances of a manifest."""

    def __init__(self, manifest: Path) -> None:
        self.folder = manifest.parent
        self.entries = [json.loads(line) for line in manifest.read_text().splitlines()]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        import soundfile

        entry = self.entries[index]
        return torch.from_numpy(soundfile.read(self.folder / entry["audio"], dtype="float32")[0]), entry[
            "label"
        ]


def collate(samples: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
    """A padded batch."""
    speech = [sample[0] for sample in samples]
    return {
        "speech": torch.nn.utils.rnn.pad_sequence(speech, batch_first=True),
        "speech_lengths": torch.tensor([len(wave) for wave in speech]),
        "label": torch.tensor([sample[1] for sample in samples]),
    }


class Module(LightningModule):
    """The recipe's model and optimizer."""

    def __init__(self, stats_file: Path) -> None:
        from model import PitchModel

        super().__init__()
        self.model = PitchModel(channels=16, stats_file=str(stats_file))

    def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
        """The loss."""
        loss: torch.Tensor = self.model(**batch)[0]
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The recipe's optimizer."""
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def train(recipe: str, folder: str, nodes: int, tasks: int) -> None:
    """Train without end; continues from the last checkpoint."""
    torch.set_num_threads(1)
    stats = next((Path(recipe) / "exp" / "stats").glob("*/train/feats_stats.npz"))
    checkpoints = Path(folder) / "checkpoints"
    trainer = Trainer(
        accelerator="cpu",
        devices=tasks,
        num_nodes=nodes,
        max_epochs=100_000,
        enable_progress_bar=False,
        default_root_dir=folder,
        callbacks=[
            ModelCheckpoint(checkpoints, monitor="train/loss", save_last=True),
            FirstStep(f"{folder}/marks"),
        ],
    )
    data = Tones(Path(recipe) / "data" / "train.jsonl")
    last = checkpoints / "last.ckpt"
    trainer.fit(
        Module(stats),
        DataLoader(data, batch_size=16, shuffle=True, collate_fn=collate),
        ckpt_path=last if last.exists() else None,
    )


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
