"""Updates for the tests of attacks and defenses, random and by hand."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

EXACT = {"rtol": 1e-9, "atol": 1e-9}
PERTURBATIONS = ["unit", "std", "sign"]
# numbers of clients n and of malicious ones f
SIZES = [(3, 0), (7, 1), (8, 1), (9, 3), (10, 2), (11, 2), (12, 4)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def column(*values):
    """One coordinate of several clients, [n, 1]."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def flags(text):
    """Flags from a text of ones and zeros."""
    return torch.tensor([letter == "1" for letter in text])


def indices(flags):
    return torch.nonzero(flags).flatten().tolist()


def matrices(rows, whole_numbers):
    """Random float64 matrices; whole numbers are full of ties."""
    shape = st.tuples(rows, st.integers(1, 5))
    if whole_numbers:
        elements = st.integers(-3, 3).map(float)
    else:
        elements = st.floats(-100, 100, allow_subnormal=False)
    return shape.flatmap(lambda s: hnp.arrays(np.float64, s, elements=elements))


either = st.booleans().flatmap(lambda whole: matrices(st.integers(1, 11), whole))


def updates_of(n, f, d, seed, spread=1.0):
    """Honest updates [n, d] around a random mean, and f random flags [n]."""
    source = seeded(seed)
    mean = torch.randn(d, generator=source, dtype=torch.float64)
    updates = mean + spread * torch.randn(n, d, generator=source, dtype=torch.float64)
    malicious = torch.zeros(n, dtype=torch.bool)
    malicious[torch.randperm(n, generator=source)[:f]] = True
    return updates, malicious


def among(*values, attackers, dimension=1):
    """Benign rows of ``dimension`` equal ``values``, and the flagged rows between them."""
    rows = torch.tensor(values, dtype=torch.float64)[:, None].repeat(1, dimension)
    flags = torch.tensor([False] + [True] * attackers + [False] * (len(values) - 1))
    updates = torch.full((len(flags), dimension), 77.0, dtype=torch.float64)
    updates[~flags] = rows
    return updates, flags


def direction(benign, perturbation):
    """The direction of Min-Max and Min-Sum, in numpy."""
    mean = benign.mean(axis=0)
    if perturbation == "std":
        return -benign.std(axis=0, ddof=1)
    return -np.sign(mean) if perturbation == "sign" else -mean / np.linalg.norm(mean)


def images(count=6, channels=1, side=6):
    return torch.rand(count, channels, side, side, generator=seeded(4)) / 2


def benign(n, d, seed):
    source = torch.Generator().manual_seed(seed)
    mean = torch.randn(d, generator=source)
    return mean + 0.1 * torch.randn(n, d, generator=source), mean
