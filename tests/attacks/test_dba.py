"""Tests of the distributed backdoor."""

import pytest
import torch

from skymask.attacks.dba import dba
from skymask.attacks.triggers import stamped, stamped_part
from tests.support.updates import (
    seeded,
)


@pytest.mark.parametrize("parts", [1, 3, 4])
def test_each_attacker_has_its_part_and_together_they_have_the_trigger(parts):
    blank, labels = torch.zeros(5, 1, 6, 6), torch.full((5,), 8)
    found = []
    for attacker in range(parts + 2):
        new, targets = dba(
            blank, labels, 10, seeded(), attacker, parts=parts, patch=3, target=2, share=0.6
        )
        hit = targets == 2
        assert int(hit.sum()) == 3
        expected = stamped_part(blank, attacker % parts, parts, patch=3)
        assert new[hit].equal(expected[hit])
        assert new[~hit].eq(0).all()
        found.append(new[hit][:1])
    assert sum(found[:parts]).equal(stamped(blank[:1], patch=3))
    # there are more attackers than parts: they begin again
    assert found[parts].equal(found[0])
