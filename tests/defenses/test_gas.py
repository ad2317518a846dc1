"""GAS."""

import pytest
import torch
from torch.testing import assert_close

from skymask.contracts import RequirementError
from skymask.defenses import bulyan, gas, median


def rows(n=11, d=50, seed=0):
    return 1 + torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("base", "rule"), [("bulyan", lambda u: bulyan(u, 2)), ("median", median)])
def test_one_part_selects_by_the_distance_to_the_base_rule(base, rule):
    updates = rows()
    distances = (updates - rule(updates).update).norm(dim=1)
    result = gas(updates, 2, seeded(), parts=1, base=base)
    assert_close(result.scores.float(), distances)
    expected = distances <= distances.sort().values[8]
    assert result.accepted.equal(expected)
    assert_close(result.update, updates[expected].mean(dim=0))


@pytest.mark.parametrize("parts", [1, 3, 50, 1000])
@pytest.mark.parametrize("base", ["bulyan", "krum", "median", "trimmed_mean"])
def test_updates_far_away_are_dropped(parts, base):
    updates = rows()
    updates[[2, 5]] += 40
    result = gas(updates, 2, seeded(), parts=parts, base=base)
    assert result.accepted.sum() == 9
    assert not result.accepted[[2, 5]].any()


def test_the_generator_decides_the_parts():
    updates = rows()
    one, same, other = (gas(updates, 2, seeded(s), parts=7).scores for s in (1, 1, 2))
    assert one.equal(same)
    assert not one.equal(other)


def test_every_coordinate_is_in_one_part():
    updates = rows(d=10)
    # parts of one coordinate: the sum of absolute distances
    result = gas(updates, 2, seeded(), parts=10, base="median")
    expected = (updates - median(updates).update).abs().sum(dim=1)
    assert_close(result.scores.float(), expected)


def test_bulyan_needs_more_clients():
    with pytest.raises(RequirementError, match="base bulyan needs n ≥ 4 f \\+ 3"):
        gas(rows(10), 2, seeded())
    assert gas(rows(10), 4, seeded(), base="median").accepted.sum() == 6
