"""Tests of centred clipping against byzfl."""

import pytest
import torch
from torch.testing import assert_close

from skymask.contracts import RequirementError
from skymask.defenses import centered_clipping
from tests.support.updates import normal


@pytest.mark.filterwarnings("ignore:divide by zero")  # byzfl, where an offset is zero
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 3), (7, 5), (10, 40)])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("tau", [0.5, 2.0, 100.0])
def test_centred_clipping_is_that_of_byzfl_over_rounds(byzfl, n, d, steps, tau):
    reference = byzfl.CenteredClipping(L=steps, tau=tau)
    state = {}
    for round_ in range(4):
        updates = 3 * normal(n, d, seed=round_)
        outcome = centered_clipping(updates, state, tau=tau, steps=steps)
        assert_close(outcome.update, torch.from_numpy(reference(updates.numpy())))
        assert outcome.accepted is None
        assert outcome.weights is None
        state = outcome.state


def test_centred_clipping_by_hand():
    # from 0: lengths 2 and 10, τ = 5, so (0, 2) and (3, 4) are averaged
    first = centered_clipping(torch.tensor([[0.0, 2.0], [6.0, 8.0]]), {}, tau=5.0)
    assert first.update.tolist() == [1.5, 3.0]
    # from (1.5, 3): offsets (0, 1) and (0, −20), the second cut to (0, −5)
    second = centered_clipping(torch.tensor([[1.5, 4.0], [1.5, -17.0]]), first.state, tau=5.0)
    assert second.update.tolist() == [1.5, 1.0]


def test_centred_clipping_limits_a_huge_update_and_keeps_its_center():
    updates = torch.zeros(4, 3)
    updates[1, 2] = 3e38
    state = {"centre": torch.tensor([1.0, 0.0, 0.0])}
    outcome = centered_clipping(updates, state, tau=1.0)
    assert_close(outcome.update, torch.tensor([0.25, 0.0, 0.25]))
    assert state["centre"].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("wrong", [{"tau": 0.0}, {"steps": 0}])
def test_centred_clipping_refuses_parameters_out_of_range(wrong):
    with pytest.raises(RequirementError, match=next(iter(wrong))):
        centered_clipping(torch.ones(2, 2), {}, **wrong)
