"""Randomness as a function of names: the same (seed, epoch, uid) draws the same numbers on any worker."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_seed(*parts: int | str) -> int:
    """A 128-bit seed from what identifies a draw, such as (seed, epoch, uid); equal on any machine."""
    text = "\0".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


@contextmanager
def global_rngs_kept() -> Iterator[None]:
    """Restore the states of Python's, NumPy's and torch's (CPU) global generators at the end.

    In a worker process of a data loader nothing else draws from them, and they are left as they are.
    """
    if torch.utils.data.get_worker_info() is not None:
        yield
        return
    states = (random.getstate(), np.random.get_state(), torch.default_generator.get_state())
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])


def seed_global_rngs(seed: int) -> None:
    """Seed Python's, NumPy's and torch's (CPU) global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # Not torch.manual_seed: before CUDA is initialized that queues a call per sample, without end.
    torch.default_generator.manual_seed(seed % 2**63)
