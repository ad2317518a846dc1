"""Properties of every attack in the registries."""

import inspect

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from skymask.attacks import ATTACKS, DATA_ATTACKS, TRIGGERS
from skymask.contracts import RequirementError, call
from skymask.seeds import generator

from .harness import Problem, bits, cases

every_attack = pytest.mark.parametrize(("name", "parameters"), cases(ATTACKS))
every_data_attack = pytest.mark.parametrize(("name", "parameters"), cases(DATA_ATTACKS))
every_trigger = pytest.mark.parametrize(("name", "parameters"), cases(TRIGGERS))

# an attack that leaves the malicious rows as they are, and why
HARMLESS = {"none": "it is the absence of an attack"}
# an attack that may find nothing better than the honest updates, and why
MAY_STAY_HONEST = {"skymask_adaptive": "it does not attack where SkyMask would see it"}
# an attack whose updates are not all finite, and why
NOT_FINITE = {"non_finite": "NaN and infinities are what it sends"}


def attacked(name, parameters, problem, seed=0):
    offers = {
        "updates": lambda: problem.updates,
        "malicious": lambda: problem.malicious,
        "global_parameters": lambda: problem.global_parameters,
        "model": lambda: problem.model,
        "layout": lambda: problem.layout,
        "classes": lambda: problem.model.module.classes,
        "own_data": lambda: problem.own_data,
        "state": dict,
        "generator": lambda: generator(seed, "attack"),
    }
    outcome = call(ATTACKS[name], offers, parameters)
    return outcome[0] if isinstance(outcome, tuple) else outcome


def poisoned(name, parameters, features, labels, classes=10, seed=0):
    offers = {
        "features": lambda: features,
        "labels": lambda: labels,
        "classes": lambda: classes,
        "attacker": lambda: 1,
        "generator": lambda: generator(seed, "data attack"),
    }
    return call(DATA_ATTACKS[name], offers, parameters)


def samples(count=40, classes=10):
    source = generator(3, "samples")
    features = torch.rand(count, 1, 8, 8, generator=source)
    return features, torch.randint(0, classes, (count,), generator=source)


@pytest.mark.parametrize(("name", "parameters"), cases(ATTACKS, slow={"skymask_adaptive"}))
@settings(max_examples=30)
@given(
    n=st.integers(1, 12),
    f=st.integers(0, 12),
    d=st.integers(1, 30),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_only_malicious_rows_change_at_any_position(name, parameters, n, f, d, seed, dtype):
    assume(f < n)
    problem = Problem.draw(n, f, d, seed, dtype)
    before = bits(problem.updates), bits(problem.malicious), bits(problem.global_parameters)
    refusal = None
    try:
        result = attacked(name, parameters, problem)
    except RequirementError as error:
        refusal = str(error)
    if refusal is not None:
        assert f"n = {n}" in refusal
        return
    assert result.shape == (n, d)
    assert result.dtype == dtype
    honest = ~problem.malicious
    if name in NOT_FINITE:
        assert not result[problem.malicious].isfinite().all(dim=1).any()
    else:
        assert result.isfinite().all()
    assert bits(result[honest]) == bits(problem.updates[honest])
    after = bits(problem.updates), bits(problem.malicious), bits(problem.global_parameters)
    assert after == before


@every_attack
@pytest.mark.parametrize("seed", range(3))
def test_malicious_rows_are_replaced(name, parameters, seed):
    problem = Problem.draw(10, 3, 50, seed)
    result = attacked(name, parameters, problem)
    changed = (result != problem.updates).any(dim=1)
    if name in HARMLESS:
        assert not changed.any()
    elif name in MAY_STAY_HONEST and parameters:
        assert not changed[~problem.malicious].any()
    else:
        assert changed.equal(problem.malicious)


@every_attack
def test_without_malicious_clients_nothing_changes(name, parameters):
    problem = Problem.draw(6, 0, 20)
    assert bits(attacked(name, parameters, problem)) == bits(problem.updates)


@every_attack
def test_the_same_generator_gives_the_same_bits(name, parameters):
    problem = Problem.draw(10, 3, 50)
    first = attacked(name, parameters, problem, seed=5)
    assert bits(attacked(name, parameters, problem.copied(), seed=5)) == bits(first)


@every_attack
def test_attack_does_not_depend_on_the_order_of_the_benign_clients(name, parameters):
    problem = Problem.draw(10, 3, 50, dtype=torch.float64)
    order = torch.arange(10)
    honest = torch.nonzero(~problem.malicious).flatten()
    order[honest] = honest.flip(0)
    result = attacked(name, parameters, problem)
    other = attacked(name, parameters, problem.reordered(order))
    torch.testing.assert_close(other, result[order], equal_nan=name in NOT_FINITE)


@every_attack
def test_attack_works_on_the_device(name, parameters, device):
    problem = Problem.draw(10, 3, 50)
    result = attacked(name, parameters, problem.to(device=device))
    assert result.device.type == device
    expected = attacked(name, parameters, problem)
    torch.testing.assert_close(result.cpu(), expected, equal_nan=name in NOT_FINITE)


def test_every_exemption_names_an_attack():
    assert {*HARMLESS, *MAY_STAY_HONEST, *NOT_FINITE} <= set(ATTACKS)


@every_data_attack
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_poisoned_samples_keep_their_shapes_and_label_range(name, parameters, classes, device):
    features, labels = (tensor.to(device) for tensor in samples(classes=classes))
    new_features, new_labels = poisoned(name, parameters, features, labels, classes)
    assert new_features.shape == features.shape
    assert new_features.dtype == features.dtype
    assert new_labels.shape == labels.shape
    assert new_labels.dtype == labels.dtype
    assert new_labels.min() >= 0
    assert new_labels.max() < classes
    assert new_features.device.type == new_labels.device.type == device


@every_data_attack
def test_data_attack_changes_copies_not_its_inputs(name, parameters):
    features, labels = samples()
    before = bits(features), bits(labels)
    result = poisoned(name, parameters, features, labels)
    assert (bits(features), bits(labels)) == before
    assert tuple(map(bits, result)) != before


@every_data_attack
def test_data_attack_repeats_with_the_same_generator(name, parameters):
    first, second = (poisoned(name, parameters, *samples(), seed=8) for _ in range(2))
    assert tuple(map(bits, first)) == tuple(map(bits, second))


@every_data_attack
def test_data_attack_takes_a_client_without_samples(name, parameters):
    features, labels = poisoned(name, parameters, torch.empty(0, 1, 8, 8), torch.empty(0).long())
    assert len(features) == len(labels) == 0


def parameters_of(function):
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


@every_trigger
def test_a_trigger_is_of_an_attack_with_a_target_and_takes_its_parameters(name, parameters):
    halves = [kind[name] for kind in (ATTACKS, DATA_ATTACKS) if name in kind]
    assert halves
    known = {key: value for half in halves for key, value in parameters_of(half).items()}
    assert isinstance(known["target"].default, int)
    for key, parameter in parameters_of(TRIGGERS[name]).items():
        # a study gives the attack's value to both
        assert parameter.default == known[key].default


@every_trigger
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (64,)])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_trigger_marks_every_sample_and_leaves_its_input(name, parameters, shape, count, device):
    source = generator(3, "clean")
    clean = (torch.rand(count, *shape, generator=source) / 2).to(device)
    before = bits(clean)
    marked = TRIGGERS[name](clean, **parameters)
    assert bits(clean) == before
    assert marked.shape == clean.shape
    assert marked.dtype == clean.dtype
    assert marked.device.type == device
    assert marked.min() >= 0 if count else True
    assert marked.max() <= 1 if count else True
    assert (marked != clean).flatten(1).any(dim=1).all()
    assert bits(TRIGGERS[name](clean, **parameters)) == bits(marked)


@every_trigger
def test_a_trigger_of_one_sample_does_not_depend_on_the_others(name, parameters):
    features, _ = samples()
    marked = TRIGGERS[name](features, **parameters)
    assert bits(TRIGGERS[name](features[7:9], **parameters)) == bits(marked[7:9])


def test_label_flip_twice_is_the_truth():
    features, labels = samples()
    once = poisoned("label_flip", {}, features, labels)
    assert once[1].equal(9 - labels)
    assert poisoned("label_flip", {}, *once)[1].equal(labels)
