"""Tests of where the attacks on updates are defined, and of odd updates."""

import math
import re

import pytest
import torch
from torch.testing import assert_close

from skymask.attacks import (
    ATTACKS,
    ipm,
    lie,
    min_max,
    min_sum,
)
from skymask.contracts import RequirementError, call
from skymask.models.flat_parameters import Layout
from tests.support.updates import (
    seeded,
    updates_of,
)

NEW = [
    "min_sum",
    "fang_krum",
    "lie",
    "ipm",
    "sign_flip",
    "gaussian",
    "mimic",
    "fltrust_adaptive",
    "byzmean",
    "layer_norm_sparse",
    "poisonedfl",
    "rop",
]


def outcome(name, updates, malicious, seed=0, **parameters):
    offers = {
        "updates": lambda: updates,
        "malicious": lambda: malicious,
        "global_parameters": lambda: torch.ones_like(updates[0]),
        "layout": lambda: Layout(("layer",), ((updates.shape[1],),)),
        "generator": lambda: seeded(seed),
        "state": dict,
    }
    result = call(ATTACKS[name], offers, parameters)
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize(
    ("attack", "parameters"),
    [(min_max, {}), (min_sum, {}), (min_sum, {"bound": "min"}), (lie, {"z": 0.7}), (ipm, {})],
)
def test_partial_knowledge_is_full_knowledge_of_their_own_updates(attack, parameters):
    updates, malicious = updates_of(9, 4, 12, seed=3)
    partial = attack(updates, malicious, knowledge="partial", **parameters)[malicious]
    among_themselves = torch.cat([updates[malicious], updates[:1]])
    flags = torch.tensor([False] * 4 + [True])
    expected = attack(among_themselves, flags, knowledge="full", **parameters)[-1]
    assert_close(partial, expected.repeat(4, 1), rtol=1e-12, atol=1e-12)
    full = attack(updates, malicious, **parameters)[malicious]
    assert not torch.allclose(partial, full)


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("value", [0.0, 1e-30, -2.0])
@pytest.mark.parametrize("d", [1, 5])
def test_attacks_handle_equal_updates(name, value, d):
    updates = torch.full((8, d), value, dtype=torch.float64)
    malicious = torch.arange(8) < 3
    assert outcome(name, updates, malicious).isfinite().all()


@pytest.mark.parametrize("name", ["min_max", *NEW])
def test_attacks_handle_a_benign_update_that_is_not_finite(name):
    updates, malicious = updates_of(8, 3, 6, seed=0)
    updates[torch.nonzero(~malicious)[0], 2] = math.nan
    assert outcome(name, updates, malicious).shape == updates.shape
    updates[~malicious] = math.inf
    assert outcome(name, updates, malicious).shape == updates.shape


@pytest.mark.parametrize("name", ["min_max", *NEW])
def test_attacks_handle_a_benign_update_whose_square_overflows(name):
    updates, malicious = updates_of(8, 3, 6, seed=0)
    updates[torch.nonzero(~malicious)[0]] = 1e160
    assert outcome(name, updates, malicious).shape == updates.shape


@pytest.mark.parametrize("name", ["min_max", "fang_trim", *NEW, "non_finite"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_without_attackers_any_number_of_clients_is_valid(name, n):
    updates, malicious = updates_of(n, 0, 3, seed=0)
    assert outcome(name, updates, malicious).equal(updates)


@pytest.mark.parametrize(
    ("name", "n", "f", "parameters", "sentence"),
    [
        ("min_sum", 4, 3, {}, "min_sum needs two benign clients (n = 4, f = 3)"),
        (
            "min_sum",
            4,
            1,
            {"knowledge": "partial"},
            "two malicious clients under partial knowledge",
        ),
        ("min_sum", 4, 1, {"tolerance": 0.0}, "tolerance must be positive"),
        (
            "min_max",
            4,
            1,
            {"knowledge": "partial"},
            "two malicious clients under partial knowledge",
        ),
        ("fang_krum", 7, 3, {}, "fang_krum needs n ≥ 2 f + 2 clients (n = 7, f = 3)"),
        ("fang_krum", 8, 3, {"threshold": 0.0}, "threshold must be positive"),
        ("lie", 4, 3, {"z": 1.0}, "lie needs two benign clients"),
        ("lie", 4, 1, {"knowledge": "partial"}, "or two malicious ones under partial knowledge"),
        ("lie", 6, 4, {}, "lie has no finite z unless n ≥ 3 and f ≤ n/2: give z (n = 6, f = 4"),
        ("ipm", 3, 3, {}, "ipm needs a benign client"),
        ("ipm", 3, 1, {"epsilon": 0.0}, "epsilon must be positive"),
        ("sign_flip", 3, 1, {"factor": 0.0}, "factor must be positive"),
        ("gaussian", 3, 1, {"sigma": 0.0}, "sigma must be positive"),
        ("mimic", 3, 3, {}, "mimic needs a benign client"),
        ("mimic", 3, 1, {"warm_up": 0}, "warm_up must be at least 1"),
        ("fltrust_adaptive", 3, 3, {}, "fltrust_adaptive needs a benign client"),
        ("fltrust_adaptive", 3, 1, {"gamma": 0.0}, "gamma must be positive"),
        ("fltrust_adaptive", 3, 1, {"eta": 0.0}, "eta must be positive"),
        ("fltrust_adaptive", 3, 1, {"steps": 0}, "steps must be at least 1"),
        ("fltrust_adaptive", 3, 1, {"passes": 0}, "passes must be at least 1"),
        ("byzmean", 4, 3, {}, "byzmean needs two benign clients (n = 4, f = 3)"),
        ("layer_norm_sparse", 3, 3, {}, "layer_norm_sparse needs a benign client"),
        ("layer_norm_sparse", 3, 1, {"k1": 0.8}, "k1 not above k2 (k1 = 0.8, k2 = 0.7)"),
        ("poisonedfl", 3, 1, {"interval": 0}, "interval must be at least 1"),
        ("rop", 3, 3, {"z": 1.0}, "rop needs a benign client"),
        ("rop", 4, 3, {"z": 1.0, "scale": "sigma"}, "two with the scale sigma (n = 4, f = 3"),
        ("rop", 6, 4, {}, "rop has no finite z unless n ≥ 3 and f ≤ n/2: give z"),
    ],
)
def test_an_attack_outside_its_requirements_is_refused(name, n, f, parameters, sentence):
    updates, malicious = updates_of(n, f, 3, seed=0)
    with pytest.raises(RequirementError, match=re.escape(sentence)):
        outcome(name, updates, malicious, **parameters)


@pytest.mark.parametrize(
    ("name", "n", "f", "parameters"),
    [
        ("min_sum", 4, 2, {"knowledge": "partial"}),
        ("min_max", 4, 2, {"knowledge": "partial"}),
        ("fang_krum", 8, 3, {}),
        ("fang_krum", 4, 1, {}),
        ("lie", 4, 2, {}),
        ("lie", 6, 4, {"z": 0.3}),
        ("lie", 3, 3, {"z": 0.3, "knowledge": "partial"}),
        ("ipm", 3, 3, {"knowledge": "partial"}),
        ("mimic", 3, 2, {}),
        ("fltrust_adaptive", 3, 2, {}),
        ("byzmean", 4, 2, {}),
        ("layer_norm_sparse", 3, 2, {}),
        ("poisonedfl", 3, 3, {}),
        ("rop", 3, 2, {"z": 0.3}),
        ("rop", 4, 2, {"scale": "sigma"}),
    ],
)
def test_an_attack_is_defined_up_to_its_limits(name, n, f, parameters):
    updates, malicious = updates_of(n, f, 3, seed=0)
    assert outcome(name, updates, malicious, **parameters).isfinite().all()
