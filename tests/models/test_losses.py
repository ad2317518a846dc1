"""Losses, compared with their formulas."""

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from skymask.models.losses import class_counts, log_prior, mean_loss, mean_loss_of_present

LOGITS = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], dtype=torch.float64)
LABELS = torch.tensor([1, 0])
# of a party with 9 samples, of which the batch is a part; class 2 is absent
COUNTS = torch.tensor([3, 6])


def by_hand(loss):
    """Losses of the two samples, term by term."""
    powers = LOGITS.exp()
    if loss == "batch_softmax":
        shares = [powers[i, y] / powers[:, y].sum() for i, y in enumerate(LABELS)]
    else:
        prior = torch.tensor([4 / 12, 7 / 12, 1 / 12], dtype=torch.float64)
        weights = prior if loss == "logit_adjusted" else torch.ones(3, dtype=torch.float64)
        shares = [
            weights[y] * powers[i, y] / (weights * powers[i]).sum() for i, y in enumerate(LABELS)
        ]
    return -torch.stack(shares).log()


@pytest.mark.parametrize("loss", ["cross_entropy", "batch_softmax", "logit_adjusted"])
def test_losses_are_those_of_their_formulas(loss):
    expected = by_hand(loss).mean()
    assert_close(mean_loss(LOGITS, LABELS, loss, COUNTS), expected)
    # a third sample that does not count, though its outputs are the largest
    padded = torch.cat([LOGITS, torch.full((1, 3), 50.0, dtype=torch.float64)])
    labels, present = torch.tensor([1, 0, 1]), torch.tensor([True, True, False])
    assert_close(mean_loss_of_present(padded, labels, present, loss, COUNTS), expected)


def test_without_other_counts_the_batch_is_all_the_party_has():
    assert_close(
        mean_loss(LOGITS, LABELS, "logit_adjusted"),
        mean_loss(LOGITS, LABELS, "logit_adjusted", torch.tensor([1, 1, 0])),
    )


def test_frequencies_are_smoothed_and_absent_classes_have_some():
    expected = torch.tensor([4 / 13, 7 / 13, 1 / 13, 1 / 13], dtype=torch.float64)
    assert_close(log_prior(COUNTS, 4).exp(), expected)
    # a party without samples
    assert_close(log_prior(COUNTS[:0], 4).exp(), torch.full((4,), 0.25, dtype=torch.float64))


def test_classes_are_counted_per_party_where_the_loss_needs_it():
    parties = [torch.tensor([1, 1, 0]), torch.tensor([], dtype=torch.long), torch.tensor([2])]
    counts = class_counts(parties, "logit_adjusted")
    assert counts.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 1]]
    for loss in ("cross_entropy", "batch_softmax"):
        assert class_counts(parties, loss).shape == (3, 0)


def test_the_same_frequencies_for_all_classes_change_nothing():
    labels = torch.arange(3).repeat(4)
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    adjusted = mean_loss(logits, labels, "logit_adjusted")
    assert_close(adjusted, functional.cross_entropy(logits, labels))


def test_a_loss_over_the_batch_ignores_what_all_samples_have_in_common():
    shifted = LOGITS + torch.tensor([5.0, -2.0, 0.0])
    one, other = (mean_loss(z, LABELS, "batch_softmax") for z in (LOGITS, shifted))
    assert_close(one, other)
    assert not torch.isclose(mean_loss(LOGITS, LABELS), mean_loss(shifted, LABELS))


def test_coarse_outputs_are_adjusted_in_single_precision():
    coarse = LOGITS.to(torch.bfloat16)
    assert mean_loss(coarse, LABELS, "logit_adjusted", COUNTS).dtype == torch.float32
