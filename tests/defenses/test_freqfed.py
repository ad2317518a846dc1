"""FreqFed."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from skymask.defenses import freqfed
from skymask.defenses.freqfed import low_frequencies
from skymask.models.flat_parameters import Layout

LAYOUT = Layout(("weight", "bias"), ((6, 8), (6,)))


def waves(n, frequency, seed):
    """Updates that are one low frequency with some noise."""
    source = torch.Generator().manual_seed(seed)
    line = torch.cos(torch.pi * frequency * (torch.arange(8) + 0.5) / 8).repeat(6)
    plain = torch.cat([line, torch.zeros(6)])
    return plain + 0.05 * torch.randn(n, 54, generator=source)


def test_low_frequencies_of_a_matrix_by_hand():
    matrix = np.arange(12.0).reshape(1, 12)

    def basis(k, size):
        scale = np.sqrt((1 if k == 0 else 2) / size)
        return scale * np.cos(np.pi * k * (2 * np.arange(size) + 1) / (2 * size))

    # of 3 × 4: u < 1.5, v < 2, u + v ≤ 1.75
    kept = [(0, 0), (0, 1), (1, 0)]
    expected = [basis(u, 3) @ matrix.reshape(3, 4) @ basis(v, 4) for u, v in kept]
    assert low_frequencies(matrix, (3, 4))[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("shape", "count"), [((5,), 3), ((4,), 2), ((1,), 1), ((1, 1), 1), ((2, 3, 2), 3)]
)
def test_number_of_low_frequencies(shape, count):
    assert low_frequencies(np.ones((2, int(np.prod(shape)))), shape).shape == (2, count)


def test_the_largest_cluster_is_accepted():
    updates = torch.cat([waves(4, 2, 1), waves(7, 1, 2)])
    result = freqfed(updates, LAYOUT)
    assert result.accepted.tolist() == [False] * 4 + [True] * 7
    assert_close(result.update, updates[4:].mean(dim=0))


def test_noise_at_high_frequencies_does_not_matter():
    updates = torch.cat([waves(4, 2, 1), waves(7, 1, 2)])
    line = torch.cos(torch.pi * 7 * (torch.arange(8) + 0.5) / 8).repeat(6)
    other = updates.clone()
    other[:, :48] += 5 * line
    assert freqfed(other, LAYOUT).accepted.equal(freqfed(updates, LAYOUT).accepted)


def test_clients_outside_of_all_clusters_are_rejected():
    updates = torch.cat([waves(5, 1, 1), waves(4, 2, 2), -waves(1, 1, 3)])
    accepted = freqfed(updates, LAYOUT).accepted
    assert not accepted[5:].any()


def test_only_the_last_weights_count_if_asked_for():
    layout = Layout(("1.weight", "1.bias", "2.weight"), ((6, 8), (6,), (6, 8)))
    first = torch.cat([waves(4, 2, 1), waves(7, 1, 2)])
    last = torch.cat([waves(7, 1, 3), waves(4, 2, 4)])[:, :48]
    updates = torch.cat([first, last], dim=1)
    assert freqfed(updates, layout, layers="last").accepted.tolist() == [True] * 7 + [False] * 4


def test_without_a_cluster_no_client_is_accepted():
    result = freqfed(torch.eye(54)[:1], LAYOUT)
    assert not result.accepted.any()
    assert not result.update.any()


def test_of_alike_clients_about_a_third_are_accepted():
    source = torch.Generator().manual_seed(5)
    layout = Layout(("weight",), ((30, 40),))
    shares = [
        freqfed(0.1 + torch.randn(20, 1200, generator=source), layout).accepted.double().mean()
        for _ in range(40)
    ]
    assert float(torch.stack(shares).mean()) == pytest.approx(0.36, abs=0.1)
