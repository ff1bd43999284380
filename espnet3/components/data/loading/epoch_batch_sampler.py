"""The batch sampler of a rank: a plan for every epoch, which can start at any batch."""

from collections.abc import Callable, Iterator, Sequence

from torch.utils.data import Sampler

from espnet3.components.data.loading.batching import Batch


class EpochBatchSampler(Sampler[list[tuple[int, int]]]):
    """Yields lists of (epoch, index), so that a worker knows the epoch that it reads for.

    Its state is `(epoch, start_batch)`. The offset applies to its epoch only and is reset when another
    begins; reading does not consume it, since a loader with workers asks for two iterators.

    Args:
        plan: from an epoch to the batches of this rank; the same number for every epoch.
        epoch: the epoch to start with.
        start_batch: batches of that epoch that are done already.
        fixed_epoch: `set_epoch` is ignored, so that every pass reads the same (validation).

    Raises:
        ValueError: `start_batch` lies beyond the epoch.
    """

    def __init__(
        self,
        plan: Callable[[int], Sequence[Batch]],
        *,
        epoch: int = 0,
        start_batch: int = 0,
        fixed_epoch: bool = False,
    ) -> None:
        self.epoch = epoch
        self.start_batch = start_batch
        self._plan = plan
        self._fixed_epoch = fixed_epoch
        self._planned = (epoch, plan(epoch))
        self._count = len(self._planned[1])
        if not 0 <= start_batch <= self._count:
            raise ValueError(f"start_batch {start_batch} of an epoch of {self._count} batches")

    @property
    def sampler(self) -> "EpochBatchSampler":
        """Itself: Lightning calls `set_epoch` on the `sampler` of a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Plan for this epoch; the offset is kept only if it is the epoch already set."""
        if epoch != self.epoch and not self._fixed_epoch:
            self.epoch = epoch
            self.start_batch = 0

    def __len__(self) -> int:
        """All batches of an epoch on this rank, whatever the offset."""
        return self._count

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.epoch
        if self._planned[0] != epoch:
            self._planned = (epoch, self._plan(epoch))
        for batch in self._planned[1][self.start_batch :]:
            yield [(epoch, index) for index in batch]
