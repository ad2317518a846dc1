"""Tests of the evidence on each client's update."""

import math

import pytest
import torch
from torch.testing import assert_close

from skymask.masks import evidence
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from tests.support.line import ROOT_DATA, Line
from tests.support.updates import normal

ORIGIN = torch.zeros(3)
MODEL = FunctionalModel(Line(), (1,))


def lines(*weights):
    """Updates of the weight of :class:`Line` alone [n, 3]."""
    return torch.tensor([[float(weight), 0.0, 0.0] for weight in weights])


def fall(weight):
    """The fall of the cross-entropy on ROOT_DATA from weight 0 to ``weight``."""
    return math.log(2) - math.log1p(math.exp(-weight))


def close(result, expected):
    assert result.dtype == torch.float64
    assert_close(result, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


def test_the_effect_is_the_fall_of_the_loss_and_the_first_column_that_for_the_length():
    updates = lines(1, -1, 7, 0.3, -1e6)
    measured = evidence.measure(updates, lines(2)[0], ORIGIN, MODEL, ROOT_DATA)
    effects = [fall(1), fall(-1), fall(7), fall(0.3), -3, fall(2)]
    lengths = [1, 1, 7, 0.3, 1e6, 2]
    gains = [2 * effect / length for effect, length in zip(effects, lengths, strict=True)]
    close(measured[:, 0], gains)
    close(measured[:, 1], effects)
    close(measured[:, 2], [1, -1, 1, 1, -1, 1])


def test_updates_shorter_than_a_tenth_of_the_servers_are_brought_to_that_length():
    measured = evidence.measure(lines(0.21, 0.19, -1e-9), lines(2)[0], ORIGIN, MODEL, ROOT_DATA)
    close(measured[:-1, 1], [fall(0.21), fall(0.2), fall(-0.2)])
    close(measured[:-1, 0], [2 * fall(0.21) / 0.21, 10 * fall(0.2), 10 * fall(-0.2)])


def test_the_mean_output_does_not_count():
    # the biases move every output alike, and take 50 of 51 squared parts of the length
    updates = torch.tensor([[1.0, 5, -5], [0.0, 3, 0]])
    measured = evidence.measure(updates, lines(2)[0], ORIGIN, MODEL, ROOT_DATA)
    close(measured[:, 0], [fall(1) * 2 / math.sqrt(51), 0, fall(2)])
    close(measured[:, 1], [fall(1), 0, fall(2)])
    close(measured[:, 2], [1 / math.sqrt(51), 0, 1])


@pytest.mark.parametrize("loss", ["batch_softmax", "logit_adjusted"])
def test_the_loss_is_the_models(loss):
    # two of three root samples are of class 0: π is (3/5, 2/5) with the added ones
    root = Samples(torch.tensor([[1.0], [0.5], [-1.0]]), torch.tensor([0, 0, 1]))
    model = FunctionalModel(Line(), (1,), loss)

    def value(weight):
        centred = weight * (root.features[:, 0] - root.features.mean())
        if loss == "batch_softmax":
            # class 1 has the output 0 everywhere
            shares = torch.stack([*(centred.softmax(dim=0)[:2]), torch.tensor(1 / 3)])
        else:
            odds = (centred + math.log(3 / 2)) * torch.tensor([1, 1, -1])
            shares = odds.sigmoid()
        return -shares.log().mean().item()

    measured = evidence.measure(lines(0.5, -1), lines(1)[0], ORIGIN, model, root)
    close(measured[:, 1], [value(0.0) - value(weight) for weight in (0.5, -1.0, 1.0)])


def test_falls_are_those_from_the_global_model():
    measured = evidence.measure(lines(1, -1), lines(-1)[0], lines(2)[0], MODEL, ROOT_DATA)
    close(measured[:, 0], [fall(3) - fall(2), fall(1) - fall(2), fall(1) - fall(2)])
    close(measured[:, 1], measured[:, 0].tolist())


def test_falls_and_rises_are_bounded():
    measured = evidence.measure(lines(9, -9), lines(-9)[0], ORIGIN, MODEL, ROOT_DATA)
    close(measured[:, 1], [fall(9), -3, -3])
    measured = evidence.measure(lines(9, -9), lines(9)[0], lines(-9)[0], MODEL, ROOT_DATA)
    close(measured[:, 1], [3, -3, 3])
    # before they are related to the length
    measured = evidence.measure(lines(18), lines(9)[0], lines(-9)[0], MODEL, ROOT_DATA)
    close(measured[:, 0], [1.5, 3])


def test_a_loss_that_is_not_finite_is_the_largest_rise():
    # the outputs overflow, and their mean is not a number
    updates = torch.tensor([[0.0, 0, 2e38], [1.0, 0, 0]])
    server, start = torch.tensor([0.0, 0, 3e38]), torch.tensor([0.0, 3e38, 3e38])
    measured = evidence.measure(updates, server, start, MODEL, ROOT_DATA)
    assert measured.isfinite().all()
    close(measured[[0, 2], 1], [-3, -3])
    close(measured[[0, 2], 0], [-4.5, -3])


@pytest.mark.parametrize("factor", [1e-44, 1e-40, 1e-30, 1e-3])
def test_the_length_of_a_short_update_does_not_count(factor):
    updates = normal(4, 3, seed=1, dtype=torch.float32).sign()
    server = lines(20)[0]
    plain = evidence.measure(updates, server, ORIGIN, MODEL, ROOT_DATA)
    assert plain[:-1].abs().max() > 0.1
    scaled = evidence.measure(updates * factor, server, ORIGIN, MODEL, ROOT_DATA)
    assert_close(scaled, plain, rtol=1e-4, atol=1e-4)


def test_an_update_of_length_zero_has_no_effect_and_no_direction():
    measured = evidence.measure(lines(0, 1), lines(2)[0], ORIGIN, MODEL, ROOT_DATA)
    close(measured, [[0, 0, 0], [2 * fall(1), fall(1), 1], [fall(2), fall(2), 1]])


def test_next_to_a_server_at_rest_updates_are_related_to_their_usual_length():
    measured = evidence.measure(lines(1, -50), ORIGIN, ORIGIN, MODEL, ROOT_DATA)
    close(measured, [[fall(1), fall(1), 0], [-3 / 50, -3, 0], [0, 0, 0]])
    still = evidence.measure(lines(0, 0), ORIGIN, ORIGIN, MODEL, ROOT_DATA)
    close(still, [[0, 0, 0]] * 3)


@pytest.mark.parametrize("given", [{}, {"model": MODEL}, {"root": ROOT_DATA}])
def test_without_model_or_root_data_there_is_only_the_direction(given):
    measured = evidence.measure(lines(1, -1, 0), lines(2)[0], ORIGIN, **given)
    close(measured, [[1], [-1], [0], [1]])


def test_no_clients_leave_the_servers_row():
    measured = evidence.measure(lines()[:0].reshape(0, 3), lines(2)[0], ORIGIN, MODEL, ROOT_DATA)
    close(measured, [[fall(2), fall(2), 1]])


@pytest.mark.parametrize(
    ("lengths", "server", "expected"),
    [
        # huge updates of eight tenths do not raise it, of nine tenths they do
        ([1.0, 1.0] + [1e9] * 8, 0.5, 1.0),
        ([1.0] + [1e9] * 9, 0.5, 1.0),
        ([1.0, 1.0, 1.0] + [1e9] * 17, 0.5, 1.0),
        ([1.0] + [1e9] * 19, 0.5, 1e9),
        # tiny ones do not push it below the server's
        ([1e-9] * 9 + [1.0], 0.5, 0.5),
        ([1e-9] * 1 + [2.0] * 19, 0.5, 2.0),
        # updates of length zero do not count
        ([0.0] * 8 + [3.0, 4.0], 1.0, 3.0),
        ([0.0] * 3, 1.0, 1.0),
        ([0.0] * 3, 0.0, 0.0),
        ([1.0, 2.0, 3.0], 9.0, 9.0),
        ([2.0], 1.0, 2.0),
    ],
)
def test_the_usual_length_is_that_of_the_shortest_tenth_or_the_servers(lengths, server, expected):
    for order in (1, -1):
        values = torch.tensor(lengths[::order], dtype=torch.float64)
        usual = evidence.usual_length(values, torch.tensor(server, dtype=torch.float64))
        assert usual.item() == expected
