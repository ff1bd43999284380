"""Stage 1: statistics of the features, and the shape of every utterance."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import StageResult, Task

if TYPE_CHECKING:
    from espnet3.components.data.data_organizer import DataOrganizer

SPLITS = ("train", "valid")


def run(config: DictConfig, task: Task) -> StageResult:
    """Collect the statistics of `config.dataset` through `config.model` into `config.stats_dir`.

    Rank 0 does it; further ranks have nothing to do.

    Raises:
        Stopped: the task was asked to stop; nothing was written.
        UserError: what `espnet3.components.data.collect_stats.collect_stats` refuses.
    """
    import torch

    from espnet3.components.data.collect_stats import collect_stats
    from espnet3.components.data.data_organizer import build_organizer
    from espnet3.components.data.dataloader_builder import build_collate_fn
    from espnet3.components.data.instantiation import instantiate_node

    stats_dir = Path(config.stats_dir)
    if task.rank > 0:
        return StageResult("nothing to do on this rank", where=stats_dir)
    organizer = build_organizer(config.dataset)

    def progress(done: int, total: int) -> None:
        task.heartbeat.update(force=done == total, unit="utterance", done=done, total=total)
        if task.stop.is_set():
            raise Stopped(f"{task.stop.reason}: {done:,} of {total:,} utterances were read, nothing written")

    # Trainings of any seed share the statistics, so a model that draws (dither) does so from a fixed seed.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        outputs = collect_stats(
            instantiate_node(config.model),
            organizer,
            stats_dir=stats_dir,
            collate_fn=build_collate_fn(config.get("dataloader")),
            batch_size=config.collect_stats.batch_size,
            num_workers=config.collect_stats.num_workers,
            splits=SPLITS,
            progress=progress,
        )
    return StageResult(
        summary=_summary(organizer, stats_dir),
        where=stats_dir,
        outputs=outputs,
        inputs=list(dict.fromkeys([*organizer.train.files(), *organizer.valid.files()])),
    )


def _summary(organizer: "DataOrganizer", stats_dir: Path) -> str:
    """In words: "1,500 train and 200 valid utterances, feats of 40 dimensions"."""
    from espnet3.components.data.feature_stats import load_stats

    sizes = {split: len(getattr(organizer, split)) for split in SPLITS}
    read = " and ".join(f"{size:,} {split}" for split, size in sizes.items() if size)
    folder = stats_dir / next(split for split, size in sizes.items() if size)
    features = []
    for key in (folder / "stats_keys").read_text().split():
        dimensions = load_stats(folder / f"{key}_stats.npz")[0].size
        features.append(f"{key} of {dimensions} dimension{'s' if dimensions > 1 else ''}")
    return f"{read} utterances, {', '.join(features)}"
