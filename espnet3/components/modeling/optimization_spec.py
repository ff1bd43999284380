"""What a model returns as loss when several named optimizers are configured."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class OptimizationStep:
    """One loss and the name of the optimizer that it updates.

    Args:
        loss: scalar tensor, shape () or (1,).
        name: a key of the configuration's `optimizers`.

    Raises:
        AssertionError: `loss` is not a scalar tensor, or `name` is not a string with something in it.
    """

    loss: Tensor
    name: str

    def __post_init__(self) -> None:
        # Not `assert`: these hold under `python -O` too.
        if not isinstance(self.name, str) or not self.name:
            raise AssertionError(f"OptimizationStep: name must be an optimizer's name, given: {self.name!r}")
        if not isinstance(self.loss, Tensor) or self.loss.numel() != 1:
            given = tuple(self.loss.shape) if isinstance(self.loss, Tensor) else type(self.loss).__name__
            raise AssertionError(
                f"OptimizationStep {self.name!r}: loss must be a scalar tensor, given: {given}"
            )
