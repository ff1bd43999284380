"""Stage 1: statistics of the features, and the shape of every utterance."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from espnet3.rundir.stop import Stopped
from espnet3.rundir.task import StageResult, Task
from espnet3.stages.importing import quick_imports

if TYPE_CHECKING:
    from espnet3.components.data.data_organizer import DataOrganizer

SPLITS = ("train", "valid")
_NO_TIMEOUT = timedelta(days=365)
"""The launcher ends ranks that wait for one that has ended."""


def run(config: DictConfig, task: Task) -> StageResult:
    """Collect the statistics of `config.dataset` through `config.model` into `config.stats_dir`.

    The ranks share the utterances; rank 0 writes, the same bytes for any number of ranks.

    Raises:
        Stopped: the task was asked to stop; nothing was written.
        UserError: what `espnet3.components.data.collect_stats` refuses.
    """
    with quick_imports():
        import torch

        from espnet3.components.data.checking.left_out import build_usable
        from espnet3.components.data.collect_stats import collect_rank_stats, write_stats
        from espnet3.components.data.instantiation import instantiate_node
        from espnet3.components.data.loading.dataloader_builder import build_collate_fn

    stats_dir = Path(config.stats_dir)
    organizer = build_usable(config, test=False)

    def progress(done: int, total: int) -> None:
        task.heartbeat.update(force=done == total, unit="utterance", done=done, total=total)
        if task.stop.is_set():
            raise Stopped(f"{task.stop.reason}: {done:,} of {total:,} utterances were read, nothing written")

    with torch.random.fork_rng(devices=[]), _process_group(task) as gather:
        torch.manual_seed(0)  # trainings of any seed share the statistics
        stopped = None
        try:
            rank_stats = collect_rank_stats(
                instantiate_node(config.model),
                organizer,
                collate_fn=build_collate_fn(config.get("dataloader")),
                batch_size=config.collect_stats.batch_size,
                num_workers=config.collect_stats.num_workers,
                splits=SPLITS,
                progress=progress,
                rank=task.rank,
                world_size=task.world_size,
            )
        except Stopped as error:
            rank_stats, stopped = None, error
        all_stats = gather(rank_stats)  # also where this rank stops: the others wait for it
    if stopped is not None:
        raise stopped
    if task.rank > 0:
        return StageResult("a share, written by rank 0", where=stats_dir)
    if None in all_stats:
        raise Stopped(f"{task.stop.reason}: other ranks were not done, nothing written")
    outputs = write_stats(all_stats, stats_dir)
    return StageResult(
        summary=_summary(organizer, stats_dir),
        where=stats_dir,
        outputs=outputs,
        inputs=list(dict.fromkeys([*organizer.train.files(), *organizer.valid.files()])),
    )


@contextmanager
def _process_group(task: Task) -> Iterator[Callable[[Any], list[Any]]]:
    """Gives a function that gathers an object of each rank, in order of rank, on rank 0; elsewhere unused."""
    import torch.distributed

    if task.world_size == 1:
        yield lambda own: [own]
        return

    def gather(own: Any) -> list[Any]:
        gathered = [None] * task.world_size
        torch.distributed.gather_object(own, gathered if task.rank == 0 else None)
        torch.distributed.barrier()  # no rank leaves before all have sent
        return gathered

    torch.distributed.init_process_group("gloo", timeout=_NO_TIMEOUT)
    try:
        yield gather
    finally:
        torch.distributed.destroy_process_group()


def _summary(organizer: "DataOrganizer", stats_dir: Path) -> str:
    """In words: "1,500 train and 200 valid utterances, feats of 40 dimensions"."""
    from espnet3.components.data.feature_stats import load_stats

    sizes = {split: len(getattr(organizer, split)) for split in SPLITS}
    read = " and ".join(f"{size:,} {split}" for split, size in sizes.items() if size)
    folder = stats_dir / next(split for split, size in sizes.items() if size)
    features = []
    for key in (folder / "stats_keys").read_text("utf-8").split():
        dimensions = load_stats(folder / f"{key}_stats.npz")[0].size
        features.append(f"{key} of {dimensions} dimension{'s' if dimensions > 1 else ''}")
    return f"{read} utterances, {', '.join(features)}"
