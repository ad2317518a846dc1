"""Metrics of a defense's decisions, compared with values by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from skymask.federation.metrics import (
    Detection,
    attacker_weight,
    benign_distance,
    detection,
    switched_off,
    unlike_server,
)
from skymask.models.flat_parameters import Layout


def flags(text):
    return torch.tensor([letter == "1" for letter in text], dtype=torch.bool)


@pytest.mark.parametrize(
    ("accepted", "malicious", "fpr", "fnr"),
    [
        ("1111", "0000", 0.0, None),
        ("0110", "0000", 0.5, None),
        ("1100", "0011", 0.0, 0.0),
        ("0011", "0011", 1.0, 1.0),
        ("01011", "00011", 2 / 3, 1.0),
        ("10", "11", None, 0.5),
        ("", "", None, None),
    ],
)
def test_detection_rates_by_hand(accepted, malicious, fpr, fnr):
    result = detection(flags(accepted), flags(malicious))
    for rate, expected in ((result.fpr, fpr), (result.fnr, fnr)):
        assert (rate is None) == (expected is None)
        assert rate is None or rate == pytest.approx(expected)


def test_without_verdicts_there_are_no_rates():
    assert detection(None, flags("0101")) == Detection(None, None)


def test_detection_takes_tensors_of_any_device(device):
    result = detection(flags("10").to(device), flags("01").to(device))
    assert_close((result.fpr, result.fnr), (0.0, 0.0))


@pytest.mark.parametrize(
    ("weights", "malicious", "share"),
    [
        ([0.25, 0.25, 0.25, 0.25], "0101", 0.5),
        ([1.0, 0.0, 0.0, 0.0], "0111", 0.0),
        ([0.0, 0.0, 2.0, 0.0], "0111", 1.0),
        ([0.5, -0.5, 0.25, 0.0], "0101", 0.4),
        ([0.0, 0.0, 0.0, 0.0], "0101", None),
        ([1.0, 2.0, 3.0, 4.0], "0000", 0.0),
        (None, "0101", None),
    ],
)
def test_the_attackers_weight_by_hand(weights, malicious, share):
    given = None if weights is None else torch.tensor(weights)
    result = attacker_weight(given, flags(malicious))
    assert result == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("update", "rows", "malicious", "distance"),
    [
        # μ = (3, 4), of length 5
        ([3.0, 4.0], [[3, 4], [3, 4], [99, 99]], "001", 0.0),
        ([0.0, 0.0], [[2, 5], [4, 3], [99, 99]], "001", 1.0),
        ([6.0, 8.0], [[2, 5], [99, 99], [4, 3]], "010", 1.0),
        ([3.0, 14.0], [[2, 5], [4, 3]], "00", 2.0),
        # no benign client, no mean, or one of length 0
        ([1.0, 0.0], [[2, 5], [4, 3]], "11", None),
        ([1.0, 0.0], [[1, 1], [-1, -1]], "00", None),
        ([1.0, 0.0], [[1, math.nan], [1, 1], [0, 0]], "001", None),
        ([1.0, 0.0], [[1, math.inf], [1, 1]], "00", None),
        # what the attackers send does not matter
        ([3.0, 4.0], [[3, 4], [math.nan, math.inf]], "01", 0.0),
    ],
)
def test_the_distance_to_the_benign_mean_by_hand(update, rows, malicious, distance):
    result = benign_distance(
        torch.tensor(update), torch.tensor(rows, dtype=torch.float32), flags(malicious)
    )
    assert result == (None if distance is None else pytest.approx(distance))


def test_what_masks_do_to_each_layer_by_hand():
    layout = Layout(("one", "two", "three"), ((2, 2), (1,), (3,)))
    on = [
        # one    two three
        "11000111",
        "00001110",
        "11111100",
    ]
    masks = torch.tensor([[letter == "1" for letter in row] for row in on])
    off, unlike = switched_off(masks, layout), unlike_server(masks, layout)
    assert off.dtype == unlike.dtype == torch.float64
    assert_close(off.tolist(), [[0.5, 1.0, 0.0], [1.0, 0.0, 1 / 3], [0.0, 0.0, 2 / 3]])
    assert_close(unlike.tolist(), [[0.5, 1.0, 2 / 3], [1.0, 0.0, 1 / 3], [0.0, 0.0, 0.0]])
