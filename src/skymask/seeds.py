"""Derivation of random number generators.

A generator is derived from a root seed, its purpose and the indices of its use (round, client). It
depends on no global state and no order of calls, so results do not depend on how the work is split
into jobs.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, purpose: str, *indices: int) -> int:
    """Derive a 63-bit seed: the head of SHA-256 over ``seed / purpose / indices``.

    Args:
        seed: Root seed.
        purpose: Name of the purpose.
        *indices: Indices of the use, such as round and client.

    Returns:
        The seed.

    >>> derive(1, "batches", 3, 7) == derive(1, "batches", 3, 7)
    True
    >>> derive(1, "batches", 3, 7) == derive(1, "batches", 7, 3)
    False
    """
    text = "/".join([str(int(seed)), purpose, *(str(int(index)) for index in indices)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *indices: int) -> "torch.Generator":
    """Derive a torch generator, on the CPU so that a GPU run draws the same numbers.

    Args:
        seed: Root seed.
        purpose: Name of the purpose.
        *indices: Indices of the use.

    Returns:
        The generator.
    """
    import torch  # takes a second, which the job that splits the data does not need

    return torch.Generator().manual_seed(derive(seed, purpose, *indices))


def numpy_generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Derive a numpy generator in the same way.

    Args:
        seed: Root seed.
        purpose: Name of the purpose.
        *indices: Indices of the use.

    Returns:
        The generator.
    """
    return np.random.default_rng(derive(seed, purpose, *indices))
