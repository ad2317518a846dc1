"""Defenses applied to every layer by itself."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from skymask.contracts import RequirementError
from skymask.defenses import DEFENSES, centered_clipping, fedavg, flame, krum, median
from skymask.defenses.per_layer import offers_by_layer, per_layer
from skymask.models.flat_parameters import Layout
from skymask.study.registry import can_judge_layers

LAYOUT = Layout(("weight", "bias", "scale"), ((3, 4), (3,), (1,)))
N, D = 9, LAYOUT.dimension


@pytest.fixture
def updates():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "fedavg"])
def test_rules_that_take_one_coordinate_at_a_time_are_unchanged(name, updates):
    given = (updates, 2) if name == "trimmed_mean" else (updates,)
    expected = DEFENSES[name](*given).update
    assert per_layer(DEFENSES[name], LAYOUT)(*given).update.equal(expected)


def test_krum_picks_a_client_for_each_layer(updates):
    result = per_layer(krum, LAYOUT)(updates, assumed_malicious=2)
    assert result.accepted.shape == result.weights.shape == (N, 3)
    assert result.accepted.sum(dim=0).tolist() == [1, 1, 1]
    for layer, (name, part) in enumerate(LAYOUT.columns(updates).items()):
        alone = krum(part, 2)
        assert result.accepted[:, layer].equal(alone.accepted)
        assert LAYOUT.columns(result.update)[name].equal(alone.update)
    assert len(set(result.accepted.int().argmax(dim=0).tolist())) > 1


def test_a_client_that_is_bad_in_one_layer_is_kept_in_the_others(updates):
    bad = 0.01 * updates
    LAYOUT.columns(bad)["bias"][4] += 100
    bad[4, -1] = bad[:, -1].median()
    result = per_layer(DEFENSES["multi_krum"], LAYOUT)(bad, 1)
    assert result.accepted[4].tolist() == [True, False, True]
    # as a whole, it is out
    assert not DEFENSES["multi_krum"](bad, 1).accepted[4]


def test_a_rule_with_a_state_has_one_for_each_layer(updates):
    rule = per_layer(centered_clipping, LAYOUT)
    first = rule(updates, {}, tau=0.5)
    assert set(first.state) == {"weight/centre", "bias/centre", "scale/centre"}
    second = rule(updates, first.state, tau=0.5)
    for name, part in LAYOUT.columns(updates).items():
        once = centered_clipping(part, {}, tau=0.5)
        twice = centered_clipping(part, once.state, tau=0.5)
        assert LAYOUT.columns(second.update)[name].equal(twice.update)


def test_a_rule_that_draws_goes_on_drawing(updates):
    result = per_layer(flame, LAYOUT)(updates, torch.Generator().manual_seed(1), epsilon=1.0)
    again = per_layer(flame, LAYOUT)(updates, torch.Generator().manual_seed(1), epsilon=1.0)
    assert result.update.equal(again.update)
    # noise is not the same in each layer
    noise = result.update - per_layer(flame, LAYOUT)(updates, torch.Generator(), epsilon=1e9).update
    assert len(set(noise.tolist())) == D


def test_a_layer_in_which_no_client_is_accepted_stays():
    silent = torch.zeros(4, 2, dtype=torch.bool)

    def rule(updates):
        result = fedavg(updates)
        chosen = silent[:, 0] if len(updates[0]) == 1 else ~silent[:, 0]
        return type(result)(result.update * bool(chosen.any()), chosen)

    result = per_layer(rule, Layout(("a", "b"), ((2,), (1,))))(torch.ones(4, 3))
    assert result.update.tolist() == [1.0, 1.0, 0.0]
    assert result.accepted.tolist() == [[True, False]] * 4
    assert result.weights is None


def test_layers_of_a_module_without_a_model(updates):
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(1, 1, bias=False))
    assert Layout.of(module).sizes == LAYOUT.sizes
    assert_close(per_layer(median, Layout.of(module))(updates).update, median(updates).update)
    with pytest.raises(ValueError, match="17 entries but the model has 16"):
        per_layer(median, LAYOUT)(torch.ones(3, 17))


@pytest.mark.parametrize("name", ["deepsight", "fldetector", "skymask"])
def test_rules_that_judge_whole_models_are_refused(name):
    with pytest.raises(RequirementError, match=f"{name}: it judges whole models"):
        per_layer(DEFENSES[name], LAYOUT)


def test_the_source_says_which_rules_are_refused():
    for name, rule in DEFENSES.items():
        if name == "skymask":
            continue
        try:
            per_layer(rule, LAYOUT)
        except RequirementError:
            assert not can_judge_layers(name)
        else:
            assert can_judge_layers(name)


def test_what_all_layers_need_is_computed_once(updates):
    calls = []
    offers = {
        "updates": lambda: updates,
        "server_update": lambda: calls.append(1) or updates[0],
        "assumed_malicious": lambda: 2,
    }
    layers = offers_by_layer(offers, LAYOUT)
    shapes = [tuple(layer["server_update"]().shape) for layer in layers]
    assert (shapes, calls) == ([(12,), (3,), (1,)], [1])
    assert [layer["layout"]().names for layer in layers] == [("weight",), ("bias",), ("scale",)]
    assert all(layer["assumed_malicious"]() == 2 for layer in layers)
