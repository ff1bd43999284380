"""What follows in the folder once a checkpoint is on the disk."""

from dataclasses import dataclass
from pathlib import Path

from espnet3.components.checkpoint.folder import link_last, superfluous
from espnet3.components.checkpoint.ranking import Ranking, write_ranking
from espnet3.rundir.files.atomic import flush


@dataclass(frozen=True)
class Completion:
    """The ranking, last.ckpt, and which files go: nothing of it is done before the checkpoint is complete."""

    ranking: Ranking
    """With the checkpoint, if it is among the best."""
    is_ranked: bool
    """Whether it is, so that the ranking is to be written."""
    keep_last: int
    """How many of the newest are kept, best or not."""
    flush_first: tuple[Path, ...] = ()
    """Files to be on the disk before the checkpoint is: it counts their rows."""

    def flush(self) -> None:
        """Call it before the checkpoint is written; OSError where the disk fails."""
        for path in self.flush_first:
            flush(path)

    def run(self, checkpoint: Path) -> None:
        """Enter `checkpoint`, which is complete; a kill anywhere leaves the newest one usable.

        Raises:
            OSError: the disk is full, or fails.
        """
        directory = checkpoint.parent
        if self.is_ranked:
            write_ranking(directory, self.ranking)
        link_last(checkpoint)
        names = [path.name for path in directory.iterdir()]
        for name in superfluous(names, keep_last=self.keep_last, best=self.ranking.files()):
            (directory / name).unlink(missing_ok=True)
