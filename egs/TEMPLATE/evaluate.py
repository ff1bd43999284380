"""Stage 3: score a split with the best checkpoint."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from espnet3.components.data.loading.collate import CommonCollateFn
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task


class Accuracy:
    """Share of utterances whose pitch is right; `<directory>/hypotheses.txt` lists them all."""

    @torch.no_grad()
    def __call__(
        self, model: nn.Module, dataset: Any, split: str, directory: Path, task: Task
    ) -> dict[str, float]:
        """Metrics of `dataset`, whose items are (uid, data)."""
        collate = CommonCollateFn()
        lines, right = ["uid reference hypothesis"], 0
        for index in range(len(dataset)):
            if task.stop.is_set():
                raise Stopped(f"{task.stop.reason}: {split} was not scored")
            uids, data = collate([dataset[index]])
            hypothesis = int(model.logits(data["speech"], data["speech_lengths"]).argmax())
            reference = int(data["label"])
            right += hypothesis == reference
            lines.append(f"{uids[0]} {reference} {hypothesis}")
            task.heartbeat.update(unit="utterance", done=index + 1, total=len(dataset))
        write_text(directory / "hypotheses.txt", "\n".join(lines) + "\n")
        return {"accuracy": right / len(dataset)}
