"""Tests of the scaled backdoor."""

import pytest
import torch
from torch.testing import assert_close

from skymask.attacks.scaling import scaling, scaling_data
from skymask.attacks.triggers import stamped
from skymask.contracts import RequirementError
from tests.support.updates import (
    flags,
    images,
    seeded,
)


def test_scaling_poisons_a_share_of_the_data():
    features, labels = images(9), torch.full((9,), 5)
    new, targets = scaling_data(features, labels, 10, seeded(), patch=2, target=3, share=0.4)
    assert sorted(targets.tolist()) == [3] * 4 + [5] * 5
    assert new[targets == 3].equal(stamped(features, patch=2)[targets == 3])


@pytest.mark.parametrize(("text", "factor"), [("01010", 2.5), ("1000", 4.0), ("111", 1.0)])
def test_attackers_scale_their_updates_by_n_over_f(text, factor):
    malicious = flags(text)
    updates = torch.randn(len(text), 7, generator=seeded())
    sent = scaling(updates, malicious)
    assert_close(sent[malicious], factor * updates[malicious])
    assert sent[~malicious].equal(updates[~malicious])
    # with benign updates of zero the mean of all is the attackers' own
    alone = updates * malicious[:, None]
    assert_close(scaling(alone, malicious).mean(dim=0), alone[malicious].mean(dim=0))


def test_scaling_with_a_given_factor_and_without_attackers():
    updates = torch.tensor([[1.0], [2.0], [3.0]])
    assert scaling(updates, flags("011"), factor=10.0).flatten().tolist() == [1, 20, 30]
    assert scaling(updates, flags("000")).equal(updates)
    assert updates.flatten().tolist() == [1, 2, 3]
    with pytest.raises(RequirementError, match="positive"):
        scaling(updates, flags("011"), factor=0.0)
