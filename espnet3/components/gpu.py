"""Whether this process uses a GPU."""

import torch


def uses_gpu() -> bool:
    """Whether it has begun to: on a GPU that nobody uses, a question to CUDA would already take memory."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
