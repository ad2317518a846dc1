"""Tests of where the defenses are defined."""

import re

import pytest
import torch

from skymask.contracts import RequirementError
from skymask.defenses import (
    bucketing,
    bulyan,
    dnc,
    geometric_median,
    krum,
    multi_krum,
    nnm,
    norm_clip,
    signguard,
    trimmed_mean,
)
from tests.support.updates import seeded


@pytest.mark.parametrize(
    ("rule", "n", "f", "sentence"),
    [
        (krum, 3, 1, "krum: krum needs n ≥ f + 3 clients (n = 3, f = 1)"),
        (krum, 2, 0, "krum: krum needs n ≥ f + 3 clients (n = 2, f = 0)"),
        (trimmed_mean, 4, 2, "trimmed_mean: trimmed_mean needs n > 2 f clients (n = 4, f = 2)"),
        (trimmed_mean, 2, 1, "trimmed_mean: trimmed_mean needs n > 2 f clients (n = 2, f = 1)"),
    ],
)
def test_undefined_n_and_f_are_refused_with_a_sentence(rule, n, f, sentence):
    with pytest.raises(RequirementError, match=re.escape(sentence)):
        rule(torch.ones(n, 2), f)
    assert rule(torch.ones(n + 1, 2), f).update.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("rule", "n", "f", "options", "sentence"),
    [
        (
            multi_krum,
            3,
            1,
            {},
            "multi_krum needs n ≥ f + 3 clients, n ≥ 2 f + 3 if it is iterative",
        ),
        (multi_krum, 6, 2, {"iterative": True}, "multi_krum needs n ≥ f + 3 clients, n ≥ 2 f"),
        (bulyan, 6, 1, {}, "bulyan: bulyan needs n ≥ 4 f + 3 clients (n = 6, f = 1)"),
        (bulyan, 10, 2, {}, "bulyan: bulyan needs n ≥ 4 f + 3 clients (n = 10, f = 2)"),
        (nnm, 2, 2, {}, "nnm: nnm needs n > f clients (n = 2, f = 2)"),
        (dnc, 2, 2, {"generator": seeded()}, "dnc must not remove all n clients (n = 2, f = 2"),
    ],
)
def test_the_least_number_of_clients_is_valid_and_one_less_is_refused(
    rule, n, f, options, sentence
):
    with pytest.raises(RequirementError, match=re.escape(sentence)):
        rule(torch.ones(n, 2), f, **options)
    rule(torch.ones(n + 1, 2), f, **options)


@pytest.mark.parametrize(
    ("rule", "options", "sentence"),
    [
        (multi_krum, {"m": 0}, "m must lie between 1 and n"),
        (multi_krum, {"m": 9}, "m must lie between 1 and n"),
        (multi_krum, {"m": 3, "iterative": True}, "m has no meaning if iterative"),
        (geometric_median, {"tolerance": 0.0}, "tolerance must be positive"),
        (geometric_median, {"max_steps": 0}, "max_steps must be at least 1"),
        (dnc, {"iterations": 0}, "iterations must be at least 1"),
        (dnc, {"subsample": 0}, "subsample must be at least 1"),
        (dnc, {"removed": -0.1}, "removed must not be negative"),
        (signguard, {"lower": 4.0}, "it must hold that 0 ≤ lower ≤ upper"),
        (signguard, {"lower": -0.1}, "it must hold that 0 ≤ lower ≤ upper"),
        (signguard, {"share": 0.0}, "share must lie in (0, 1]"),
        (signguard, {"share": 1.1}, "share must lie in (0, 1]"),
        (bucketing, {"size": 0}, "size must be at least 1"),
        (norm_clip, {"radius": 0.0}, "radius must be positive"),
    ],
)
def test_parameters_out_of_range_are_refused_with_a_sentence(rule, options, sentence):
    offers = {
        multi_krum: {"assumed_malicious": 1},
        dnc: {"assumed_malicious": 1, "generator": seeded()},
        signguard: {"generator": seeded()},
        bucketing: {"generator": seeded()},
    }
    with pytest.raises(RequirementError, match=re.escape(sentence)):
        rule(torch.ones(8, 2), **offers.get(rule, {}), **options)
