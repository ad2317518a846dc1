"""Tests of the adaptive attack on FLTrust against an implementation with loops."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.testing import assert_close

from skymask.attacks import (
    fang_trim,
    fltrust_adaptive,
)
from skymask.defenses import fltrust
from tests.support.updates import seeded, updates_of


def unit(row):
    return row / np.linalg.norm(row)


def gain(attacked, updates, malicious):
    """s·(clean − attacked) by the defense itself, with μ for Δ_0 and over ‖Δ_0‖."""
    mean = updates[~malicious].mean(dim=0)
    moved = fltrust(updates, mean).update - fltrust(attacked, mean).update
    return (mean.sign() @ moved / mean.norm()).item()


@pytest.mark.parametrize("size", [(6, 1, 4), (7, 3, 6), (10, 4, 12)])
@pytest.mark.parametrize("spread", [0.3, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_fltrust_adaptive_equals_an_implementation_with_loops(size, spread, seed):
    n, f, d = size
    gamma, eta, steps, passes = 0.2, 0.15, 3, 4
    updates, malicious = updates_of(n, f, d, seed, spread)
    start = fang_trim(updates, malicious, generator=seeded(seed))[malicious].numpy()
    benign = updates[~malicious].numpy()
    mean = benign.mean(axis=0)
    s, e = np.sign(mean), unit(mean)

    def aggregate(rows):
        trust = [max(row @ e, 0) for row in rows]
        return sum(c * row for c, row in zip(trust, rows, strict=True)) / sum(trust)

    honest = [unit(row) for row in benign]
    clean = aggregate([unit(row) for row in updates.numpy()])
    vectors = [unit(row) for row in start]

    def h(j, vector):
        crafted = [vector if k == j else other for k, other in enumerate(vectors)]
        return s @ (clean - aggregate(honest + crafted))

    source = seeded(seed)
    torch.rand(f, d, generator=source, dtype=torch.float64)  # Fang-Trim's
    for _ in range(passes):
        for j in range(f):
            met = [vectors[j]]
            for _ in range(steps):
                u = torch.randn(d, generator=source, dtype=torch.float64).numpy() / 2**0.5
                vector = met[-1]
                slope = (h(j, vector + gamma * u) - h(j, vector)) / gamma
                met.append(unit(vector + eta * slope * u))
            vectors[j] = max(met, key=lambda vector: h(j, vector))
    expected = np.stack(vectors) * np.linalg.norm(mean)
    settings = {"gamma": gamma, "eta": eta, "steps": steps, "passes": passes}
    attacked = fltrust_adaptive(updates, malicious, generator=seeded(seed), **settings)
    assert_allclose(attacked[malicious].numpy(), expected, rtol=1e-7, atol=1e-9)
    whole = s @ (clean - aggregate(honest + vectors))
    assert_allclose(gain(attacked, updates, malicious), whole, rtol=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_fltrust_adaptive_moves_fltrust_farther_against_s_than_its_start(seed):
    updates, malicious = updates_of(10, 3, 40, seed, spread=0.3)
    start = fang_trim(updates, malicious, generator=seeded(seed))
    gains = [gain(start, updates, malicious)]
    for passes in (1, 3, 10):
        attacked = fltrust_adaptive(updates, malicious, generator=seeded(seed), passes=passes)
        gains.append(gain(attacked, updates, malicious))
    assert gains == sorted(gains)
    assert gains[-1] > 1.1 * gains[0] > 0


@pytest.mark.parametrize(("spread", "d"), [(0.3, 5000), (2.0, 5000), (2.0, 20)])
def test_fltrust_adaptive_is_never_worse_than_its_start(spread, d):
    updates, malicious = updates_of(10, 3, d, 1, spread)
    start = gain(fang_trim(updates, malicious, generator=seeded()), updates, malicious)
    attacked = fltrust_adaptive(updates, malicious, generator=seeded())
    assert gain(attacked, updates, malicious) >= start - 1e-9


def test_defaults_of_fltrust_adaptive():
    updates, malicious = updates_of(8, 3, 20, seed=0, spread=0.3)
    settings = {"gamma": 0.1, "eta": 0.1, "steps": 10, "passes": 10}
    told = fltrust_adaptive(updates, malicious, generator=seeded(), **settings)
    assert fltrust_adaptive(updates, malicious, generator=seeded()).equal(told)
    for name, value in settings.items():
        other = {**settings, name: value + 1}
        assert not fltrust_adaptive(updates, malicious, generator=seeded(), **other).equal(told)


def test_fltrust_adaptive_sends_updates_as_long_as_the_benign_mean():
    updates, malicious = updates_of(8, 3, 20, seed=0, spread=0.3)
    rows = fltrust_adaptive(updates, malicious, generator=seeded())[malicious]
    assert_close(rows.norm(dim=1), updates[~malicious].mean(dim=0).norm().repeat(3))
