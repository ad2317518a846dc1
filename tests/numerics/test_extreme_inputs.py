"""Updates that a malicious client may send at the edge of what is finite."""

import pytest
import torch
from torch.testing import assert_close

from skymask.defenses import fltrust, krum, skymask
from skymask.models import architectures
from skymask.models.flat_parameters import ResidentModel
from skymask.models.functional import root_loss
from skymask.models.samples import Samples
from skymask.numerics.distances import squared_distances


def benign(n, d, seed):
    source = torch.Generator().manual_seed(seed)
    mean = torch.randn(d, generator=source)
    return mean + 0.1 * torch.randn(n, d, generator=source), mean


def test_one_huge_row_does_not_blur_the_distances_of_the_others():
    rows, _ = benign(9, 100, seed=0)
    rows[0] = 1e12
    expected = torch.cdist(rows[1:].double(), rows[1:].double()).square()
    assert_close(squared_distances(rows)[1:, 1:], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_krum_picks_a_benign_client_beside_one_huge_update(seed):
    updates, mean = benign(10, 100, seed)
    updates[0], updates[1] = 1e12, -50 * mean
    assert not krum(updates, 2).accepted[:2].any()


def test_fltrust_takes_an_update_of_almost_no_length():
    updates, mean = benign(8, 100, seed=0)
    updates[3] = 1e-42 * mean
    outcome = fltrust(updates, mean)
    assert outcome.update.isfinite().all()
    assert outcome.update.norm() <= 1.01 * mean.norm()


@pytest.mark.parametrize("clusters", ["auto", 2])
@pytest.mark.parametrize("size", [1e12, 1e25, 3e37])
def test_skymask_rejects_an_update_that_makes_the_root_loss_infinite(size, clusters):
    source = torch.Generator().manual_seed(0)
    module = architectures.build("small_cnn", (1, 8, 8), 10, seed=1)
    root = Samples(torch.rand(40, 1, 8, 8, generator=source), torch.arange(40) % 10)
    start = ResidentModel(architectures.build("small_cnn", (1, 8, 8), 10, seed=1)).vector
    updates = 0.01 * torch.randn(20, len(start), generator=source)
    updates[3] = size * torch.randn(len(start), generator=source)
    outcome = skymask(updates, start, root_loss(module, root), clusters=clusters)
    assert not outcome.accepted[3]
    assert outcome.update.isfinite().all()
