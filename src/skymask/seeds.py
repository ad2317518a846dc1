"""Where every random number comes from.

A generator is derived from a root seed, the purpose it serves and the indices of the place that
asks (round, client).  No global state and no order of calls enters, so a result is the same
however the work is cut into jobs.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, purpose: str, *indices: int) -> int:
    """Return a 63-bit seed: the head of SHA-256 over ``seed / purpose / indices``.

    >>> derive(1, "batches", 3, 7) == derive(1, "batches", 3, 7)
    True
    >>> derive(1, "batches", 3, 7) == derive(1, "batches", 7, 3)
    False
    """
    text = "/".join([str(int(seed)), purpose, *(str(int(index)) for index in indices)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *indices: int) -> "torch.Generator":
    """Return a torch generator on the CPU, so that a GPU run draws the same numbers."""
    import torch  # a second, which the job that splits the data need not wait

    return torch.Generator().manual_seed(derive(seed, purpose, *indices))


def numpy_generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Return a numpy generator for the same derivation."""
    return np.random.default_rng(derive(seed, purpose, *indices))
