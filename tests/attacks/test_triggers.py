"""Tests of triggers and poisoned data."""

import pytest
import torch

from skymask.attacks import TRIGGERS
from skymask.attacks.dba import dba
from skymask.attacks.scaling import scaling_data
from skymask.attacks.triggers import poisoned, stamped, stamped_part
from skymask.contracts import RequirementError
from skymask.study.registry import entries
from tests.support.updates import (
    images,
    seeded,
)


@pytest.mark.parametrize("patch", [1, 2, 5, 6])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_trigger_is_a_bright_square_in_the_bottom_right_corner(patch, channels):
    clean = images(channels=channels)
    before = clean.clone()
    marked = stamped(clean, patch=patch)
    assert clean.equal(before)
    expected = clean.clone()
    for row in range(6 - patch, 6):
        for column in range(6 - patch, 6):
            expected[:, :, row, column] = 1
    assert marked.equal(expected)


def test_the_trigger_of_a_feature_vector_is_its_last_entries():
    clean = torch.rand(3, 10, generator=seeded()) / 2
    marked = stamped(clean, patch=3)
    assert marked[:, :1].equal(clean[:, :1])
    assert marked[:, 1:].eq(1).all()
    assert not clean.eq(1).any()


def test_parts_are_runs_of_pixels_row_by_row():
    def pixels(part, parts):
        return stamped_part(torch.zeros(1, 1, 3, 3), part, parts, patch=3)[0, 0].tolist()

    # 9 pixels in two runs of 4 and 5
    assert pixels(0, 2) == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert pixels(1, 2) == [[0, 0, 0], [0, 1, 1], [1, 1, 1]]
    assert pixels(1, 3) == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("patch", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(1, 6, 6), (2, 5, 7), (40,)])
def test_the_parts_make_up_the_whole_trigger_without_overlap(patch, shape):
    blank = torch.zeros(1, *shape)
    whole = stamped(blank, patch=patch)
    assert whole.sum() == patch * patch * (shape[0] if len(shape) == 3 else 1)
    for parts in range(1, patch * patch + 1):
        pieces = [stamped_part(blank, part, parts, patch=patch) for part in range(parts)]
        assert sum(pieces).equal(whole)
        sizes = [int(piece.sum()) for piece in pieces]
        assert min(sizes) > 0
        assert max(sizes) - min(sizes) <= (shape[0] if len(shape) == 3 else 1)


@pytest.mark.parametrize(
    ("shape", "patch", "fits"),
    [
        ((1, 6, 6), 6, True),
        ((1, 6, 6), 7, False),
        ((3, 4, 9), 5, False),
        ((25,), 5, True),
        ((24,), 5, False),
        ((1, 6, 6), 0, False),
        ((24,), -1, False),
    ],
)
def test_a_trigger_that_does_not_fit_is_refused(shape, patch, fits):
    features, labels = torch.zeros(2, *shape), torch.tensor([1, 2])
    calls = [
        lambda: stamped(features, patch=patch),
        lambda: stamped_part(features, 0, 1, patch=patch),
        lambda: scaling_data(features, labels, 10, seeded(), patch=patch),
        lambda: dba(features, labels, 10, seeded(), 0, patch=patch, parts=1),
    ]
    for call in calls:
        if fits:
            call()
        else:
            with pytest.raises(RequirementError, match="patch"):
                call()


def test_every_backdoor_has_its_target_and_the_triggers_parameters():
    assert set(TRIGGERS) == {"scaling", "dba", "lie_backdoor", "lp_attack", "neurotoxin"}
    for name in TRIGGERS:
        entry = entries("attack")[name]
        assert {"target", "patch"} <= set(entry.parameters)
        assert any("fit on a sample" in r.sentence for r in entry.requirements)


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [
        (10, 0.5, 5),
        (5, 0.5, 3),
        (1, 0.5, 1),
        (1, 0.4, 0),
        (4, 1.0, 4),
        (0, 0.5, 0),
        (3, 0.1, 0),
        (100, 0.25, 25),
        (10, 0.05, 1),
    ],
)
def test_as_many_samples_are_poisoned_as_the_share_says(count, share, expected):
    features, labels = images(count), torch.arange(count) % 3 + 1
    before = features.clone(), labels.clone()
    triggered = stamped(features, patch=2)
    new, targets = poisoned(features, labels, triggered, seeded(), target=7, share=share)
    assert features.equal(before[0])
    assert labels.equal(before[1])
    hit = targets == 7
    assert int(hit.sum()) == expected
    assert new[hit].equal(triggered[hit])
    assert new[~hit].equal(features[~hit])
    assert targets[~hit].equal(labels[~hit])


def test_the_poisoned_samples_are_drawn_by_the_generator():
    features, labels = images(40), torch.ones(40, dtype=torch.int64)

    def chosen(seed):
        marked = stamped(features, patch=2)
        return poisoned(features, labels, marked, seeded(seed), target=0, share=0.5)[1]

    assert chosen(1).equal(chosen(1))
    assert not chosen(1).equal(chosen(2))
    # neither the first nor the last of them
    assert 0 < int(chosen(1)[:20].sum()) < 20
