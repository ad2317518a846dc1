"""Tests of PoisonedFL."""

import pytest
import torch
from torch.testing import assert_close

from skymask.attacks import poisonedfl
from skymask.attacks.poisonedfl import agreement, aligned
from skymask.contracts import RequirementError
from tests.support.updates import flags, normal, seeded

MALICIOUS = flags("01010")


def sent(start, state, updates=None, malicious=MALICIOUS, seed=0, **parameters):
    updates = normal(5, len(start), seed=7) if updates is None else updates
    return poisonedfl(updates, malicious, start, seeded(seed), state, **parameters)


def state_of(previous, sent_, signs, factor=8.0, rounds=1, earlier=None):
    return {
        "signs": torch.tensor(signs, dtype=torch.int8),
        "previous": previous,
        "sent": sent_,
        "earlier": previous if earlier is None else earlier,
        "factor": torch.tensor([factor], dtype=torch.float64),
        "rounds": torch.tensor([rounds]),
    }


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_second_round_by_hand():
    previous, step = vector(1.0, 2.0, 3.0, -4.0), vector(0.4, -0.2, 0.1, 0.3)
    state = state_of(previous, vector(1.0, -1.0, 1.0, -1.0), [1, -1, 1, -1])
    attacked, after = sent(previous + step, state)
    expected = vector(0.89554, -0.52439, 1.23436, -4.07423)
    assert_close(attacked[1], expected, rtol=0, atol=1e-5)
    assert attacked[1].equal(attacked[3])
    assert_close(attacked[1].norm(), 8 * step.norm())
    assert after["sent"].equal(attacked[1])
    assert after["previous"].equal(previous + step)
    assert after["rounds"].tolist() == [2]
    assert after["earlier"].equal(previous)


def test_the_first_round_sends_zero_and_draws_the_signs_of_the_run():
    start = normal(50, seed=1)
    attacked, state = sent(start, {})
    assert not attacked[MALICIOUS].any()
    assert set(state["signs"].tolist()) == {-1, 1}
    assert state["factor"].tolist() == [8.0]
    assert not sent(start, {}, seed=2)[1]["signs"].equal(state["signs"])
    model = start
    for round_ in range(2, 6):
        model = model + normal(50, seed=round_)
        attacked, after = sent(model, state, seed=round_)
        assert after["signs"].equal(state["signs"])
        assert (attacked[1].sign() == state["signs"]).all()
        state = after
    # round 2: what was sent is zero, so only the step matters
    _, first = sent(start, {})
    attacked, _ = sent(start + normal(50, seed=2), first)
    assert_close(attacked[1].abs(), 8 * normal(50, seed=2).abs())


def test_the_benign_updates_do_not_matter():
    start = normal(50, seed=1)
    _, state = sent(start, {})
    model = start + normal(50, seed=2)
    one = sent(model, state, updates=normal(5, 50, seed=8))[0]
    other = sent(model, state, updates=normal(5, 50, seed=9))[0]
    assert one[MALICIOUS].equal(other[MALICIOUS])


@pytest.mark.parametrize(
    ("d", "limit"), [(1204682, 603618), (139960, 70415), (717924, 359948), (145212, 73049)]
)
def test_the_quantile_gives_the_numbers_of_the_authors_table(d, limit):
    assert round(agreement(d)) == limit


def test_the_model_is_compared_with_the_signs():
    signs = torch.ones(100, dtype=torch.int8)
    earlier = torch.zeros(100)
    # the limit is 50 + 11.6
    for count, expected in ((61, False), (62, True)):
        moved = torch.where(torch.arange(100) < count, 1.0, -1.0)
        assert aligned(moved, earlier, signs) == expected
        assert aligned(-moved, earlier, -signs) == expected
    # a coordinate that did not move counts with its own sign
    assert aligned(signs.float(), signs.float(), signs)
    assert not aligned(-signs.float(), -signs.float(), signs)


@pytest.mark.parametrize(
    ("rounds", "moves", "factor", "expected"),
    [
        (6, -1.0, 8.0, 5.6),
        (6, 1.0, 8.0, 8.0),
        (5, -1.0, 8.0, 8.0),
        (3, -1.0, 1.0, 0.7),
        (3, -1.0, 0.7, 0.7),
        (3, -1.0, 0.5 / 0.7 + 1e-9, 0.5),
    ],
)
def test_the_factor_shrinks_at_the_interval_unless_the_model_follows(
    rounds, moves, factor, expected
):
    signs = [1, -1] * 50
    start = normal(100, seed=1)
    model = start + moves * torch.tensor(signs).double()
    state = state_of(start, normal(100, seed=3), signs, factor, rounds)
    attacked, after = sent(model, state, interval=3)
    assert_close(after["factor"].item(), expected)
    assert_close(attacked[1].norm().item(), expected * 10)
    assert after["earlier"].equal(model if rounds % 3 == 0 else start)


def test_the_first_comparison_is_with_the_model_of_the_first_round():
    model, state, expected = normal(100, seed=1), {}, [8.0] * 3 + [5.6] * 3 + [3.92]
    first, seen = model, []
    for round_ in range(7):
        if state:
            assert state["earlier"].equal(first)
        if round_ % 3 == 0:
            first = model
        _, state = sent(model, state, interval=3)
        seen.append(state["factor"].item())
        model = model - 0.1 * state["signs"]
    assert_close(seen, expected)


def test_a_model_that_stands_still_is_no_obstacle_and_float32_is_kept():
    start = torch.randn(20, generator=seeded())
    updates = torch.randn(5, 20, generator=seeded())
    _, state = sent(start, {}, updates)
    attacked, state = sent(start, state, updates)
    assert not attacked[MALICIOUS].any()
    attacked, state = sent(start + 1, state, updates)
    assert attacked.dtype == state["sent"].dtype == torch.float32
    assert attacked.isfinite().all()
    assert attacked[MALICIOUS].all()


def test_without_attackers_nothing_changes_and_ranges_are_checked():
    start, updates = normal(4, seed=1), normal(5, 4, seed=7)
    attacked, state = sent(start, {}, updates, flags("00000"))
    assert attacked.equal(updates)
    assert state == {}
    assert not sent(start, {}, updates, flags("11111"))[0].any()
    with pytest.raises(RequirementError, match="factor"):
        sent(start, {}, factor=0.0)
    with pytest.raises(RequirementError, match="interval"):
        sent(start, {}, interval=0)
