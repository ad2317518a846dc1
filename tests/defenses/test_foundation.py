"""FoundationFL."""

import pytest
import torch

from skymask.defenses import foundation, median, trimmed_mean

ROWS = torch.tensor([[1.0, -1, 2, 0], [1, 1, -2, 0], [1, -1, 2, 0], [-5, -1, 2, 3]])


def test_by_hand():
    mixture = foundation(ROWS, copies=2)
    added = mixture.mixing @ ROWS.double()
    assert added[4:].tolist() == [ROWS[1].tolist()] * 2
    assert trimmed_mean(added, 1).update.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert mixture.row_of.tolist() == [0, 1, 2, 3]


def test_the_update_farthest_from_the_extremes_is_copied():
    updates = torch.randn(7, 30, generator=torch.Generator().manual_seed(2))
    ends = updates.amax(dim=0), updates.amin(dim=0)
    scores = torch.stack([(updates - end).norm(dim=1) for end in ends]).amin(dim=0)
    mixing = foundation(updates, copies=1).mixing
    assert mixing[7].argmax() == scores.argmax()


@pytest.mark.parametrize(
    ("n", "copies", "rows"), [(7, None, 10), (1, None, 1), (4, 0, 4), (3, 5, 8)]
)
def test_number_of_rows(n, copies, rows):
    updates = torch.randn(n, 6, generator=torch.Generator().manual_seed(n))
    assert foundation(updates, copies=copies).mixing.shape == (rows, n)
    assert foundation.leaves(n, copies) == rows


def test_of_equal_scores_the_first_is_copied():
    assert foundation(torch.ones(4, 3)).mixing[4:].argmax(dim=1).tolist() == [0, 0]


@pytest.mark.parametrize(("f", "outvoted"), [(4, True), (6, False)])
def test_copies_of_an_attacker_make_a_quarter_of_attackers_a_majority(f, outvoted):
    source = torch.Generator().manual_seed(3)
    mean = torch.randn(600, generator=source)
    updates = mean + 0.3 * torch.randn(20, 600, generator=source)
    updates[:f] = -5 * mean
    mixture = foundation(updates)
    assert mixture.mixing[20:].argmax(dim=1).max() < f
    update = median(mixture.mixing.float() @ updates).update
    assert bool((update - mean).norm() < (update + 5 * mean).norm()) == outvoted
    assert ((median(updates).update - mean).norm() < 0.5 * mean.norm()).item()
