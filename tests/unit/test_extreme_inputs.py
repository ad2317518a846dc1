"""Updates that a malicious client may send at the edge of what is finite."""

import pytest
import torch
from torch.testing import assert_close

from skymask.defenses import fltrust, krum
from skymask.geometry import squared_distances


def benign(n, d, seed):
    source = torch.Generator().manual_seed(seed)
    mean = torch.randn(d, generator=source)
    return mean + 0.1 * torch.randn(n, d, generator=source), mean


# FAILS: src/skymask/geometry.py takes distances from one Gram matrix of the centred rows; a single
# row of 1e12 costs all other distances their digits
def test_one_huge_row_does_not_blur_the_distances_of_the_others():
    rows, _ = benign(9, 100, seed=0)
    rows[0] = 1e12
    expected = torch.cdist(rows[1:].double(), rows[1:].double()).square()
    assert_close(squared_distances(rows)[1:, 1:], expected, rtol=1e-6, atol=1e-9)


# FAILS, for the same reason: while one attacker blurs the distances, krum may pick the other
@pytest.mark.parametrize("seed", range(10))
def test_krum_picks_a_benign_client_beside_one_huge_update(seed):
    updates, mean = benign(10, 100, seed)
    updates[0], updates[1] = 1e12, -50 * mean
    assert not krum(updates, 2).accepted[:2].any()


# FAILS: src/skymask/defenses/fltrust.py casts ‖Δ_0‖ / ‖Δ_i‖ to float32, where it overflows; one
# client can so keep the model from ever moving
def test_fltrust_takes_an_update_of_almost_no_length():
    updates, mean = benign(8, 100, seed=0)
    updates[3] = 1e-42 * mean
    outcome = fltrust(updates, mean)
    assert outcome.update.isfinite().all()
    assert outcome.update.norm() <= 1.01 * mean.norm()
