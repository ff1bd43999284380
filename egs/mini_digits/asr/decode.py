"""Stage 3: greedy decoding of a split, its error rates, and hypotheses below their references."""

from dataclasses import dataclass
from pathlib import Path

import jiwer
import torch

from espnet3.components.data.combined_dataset import CombinedDataset
from espnet3.components.data.loading.collate import CommonCollateFn
from espnet3.rundir.files.atomic import write_text
from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import Task
from features import to_text


@dataclass(frozen=True)
class Hypothesis:
    """Reference and hypothesis of one utterance: digits separated by blanks."""

    uid: str
    reference: str
    hypothesis: str

    def errors(self) -> int:
        """Substitutions, deletions and insertions of the hypothesis against the reference."""
        output = jiwer.process_words(self.reference, self.hypothesis)
        return int(output.substitutions + output.deletions + output.insertions)


class GreedyDecoding:
    """Decodes a split into `<directory>/hypotheses.txt` and `worst.txt`; the evaluator of this recipe.

    Args:
        batch_size: utterances decoded at a time; speed only.
        worst: how many utterances with the most errors are listed.
    """

    def __init__(self, batch_size: int = 32, worst: int = 20) -> None:
        self.batch_size = batch_size
        self.worst = worst
        self.collate = CommonCollateFn()

    def __call__(
        self, model: torch.nn.Module, dataset: CombinedDataset, split: str, directory: Path, task: Task
    ) -> dict[str, float]:
        """Give `token_error_rate` and `utterance_error_rate` of the split, as fractions.

        Raises:
            Stopped: asked to stop; nothing was written.
        """
        device = next(model.parameters()).device
        hypotheses: list[Hypothesis] = []
        for start in range(0, len(dataset), self.batch_size):
            if task.stop.is_set():
                raise Stopped(f"{len(hypotheses)} of {len(dataset)} utterances of {split} were decoded")
            samples = [dataset[index] for index in range(start, min(start + self.batch_size, len(dataset)))]
            uids, batch = self.collate(samples)
            decoded = model.decode(batch["feats"].to(device), batch["feats_lengths"].to(device))
            for uid, (_, data), tokens in zip(uids, samples, decoded, strict=True):
                hypotheses.append(Hypothesis(uid, to_text(data["text"]), to_text(tokens)))
            task.heartbeat.update(unit="utterance", done=len(hypotheses), total=len(dataset))
        worst = sorted(hypotheses, key=lambda h: (-h.errors(), h.uid))[: self.worst]
        worst = [hypothesis for hypothesis in worst if hypothesis.errors()]
        write_text(directory / "hypotheses.txt", "\n".join(map(aligned_text, hypotheses)))
        write_text(directory / "worst.txt", "\n".join(map(aligned_text, worst)))
        return error_rates(hypotheses)


def error_rates(hypotheses: list[Hypothesis]) -> dict[str, float]:
    """Error rates as fractions: of tokens (edits per token of the references) and of utterances."""
    references = [hypothesis.reference for hypothesis in hypotheses]
    return {
        "token_error_rate": float(jiwer.wer(references, [h.hypothesis for h in hypotheses])),
        "utterance_error_rate": sum(h.errors() > 0 for h in hypotheses) / len(hypotheses),
    }


def aligned_text(hypothesis: Hypothesis) -> str:
    """Three lines: uid and errors, then reference and hypothesis aligned, `*` where one has no token."""
    output = jiwer.process_words(hypothesis.reference, hypothesis.hypothesis)
    reference_tokens, hypothesis_tokens = hypothesis.reference.split(), hypothesis.hypothesis.split()
    columns: list[tuple[str, str]] = []
    for chunk in output.alignments[0]:
        left = reference_tokens[chunk.ref_start_idx : chunk.ref_end_idx]
        right = hypothesis_tokens[chunk.hyp_start_idx : chunk.hyp_end_idx]
        left += ["*"] * (len(right) - len(left))
        right += ["*"] * (len(left) - len(right))
        columns += zip(left, right, strict=True)
    errors = hypothesis.errors()
    count = f"{errors} error{'s' if errors != 1 else ''}" if errors else "right"
    reference, aligned = (" ".join(side) for side in zip(*columns, strict=True))
    return f"{hypothesis.uid}  {count}\n  ref  {reference}\n  hyp  {aligned}\n"
