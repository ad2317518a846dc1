"""Arguments that every method of the registries refuses, and tensors that require gradients."""

import inspect
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch

from skymask.attacks import ATTACKS, DATA_ATTACKS, TRIGGERS
from skymask.attacks.coordinates import attacked_coordinates
from skymask.contracts import RequirementError
from skymask.data.partition import PARTITIONS
from skymask.defenses import DEFENSES, PRE_AGGREGATORS
from skymask.models.samples import Samples
from skymask.seeds import generator

from .harness import SEED, Problem, bits

METHODS = {
    **{f"attack {name}": function for name, function in ATTACKS.items()},
    **{f"data attack {name}": function for name, function in DATA_ATTACKS.items()},
    **{f"trigger {name}": function for name, function in TRIGGERS.items()},
    **{f"defense {name}": function for name, function in DEFENSES.items()},
    **{f"pre-aggregator {name}": function for name, function in PRE_AGGREGATORS.items()},
    **{f"partition {name}": function for name, function in PARTITIONS.items()},
    "coordinates": attacked_coordinates,
}
# parameters without which the method has nothing to do
GIVEN = {"coordinates": {"share": 0.5}}
N, D = 11, 40


def offers(problem):
    """All arguments that a method of any kind may ask for."""
    labels = np.arange(40) % 10
    return {
        **problem.offers(),
        "own_data": lambda: problem.own_data,
        "classes": lambda: 10,
        "attacker": lambda: 1,
        "features": lambda: torch.rand(6, 1, 16, 16, generator=generator(SEED, "features")),
        "labels": lambda: torch.arange(6) % 10,
        "groups": lambda: (labels % 11).astype(np.int32),
    }


def arguments(label, problem=None):
    """Valid arguments of a method by name."""
    known = offers(problem or Problem.draw(N, 2, D).attacked())
    if label.startswith("partition"):
        known["clients"] = lambda: N
        known["labels"] = lambda: np.arange(40) % 10
        known["generator"] = lambda: np.random.default_rng(1)
    backdoors = ("attack lie_backdoor", "attack lp_attack", "attack neurotoxin")
    if label in (*backdoors, "defense deepsight"):
        known["classes"] = lambda: 2
    names = inspect.signature(METHODS[label]).parameters
    return {**{name: known[name]() for name in names if name in known}, **GIVEN.get(label, {})}


def parts_of(hint):
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def parameters(kind):
    """The methods and parameters whose annotation names a type, or ``Literal``."""
    return [
        pytest.param(label, name, parts_of(hint), id=f"{label}-{name}")
        for label, function in METHODS.items()
        for name, hint in get_type_hints(inspect.unwrap(function)).items()
        if name != "return"
        if any(part is kind or get_origin(part) is kind for part in parts_of(hint))
    ]


def refused(label, given):
    """The sentence with which a method refuses arguments, without the name of the method."""
    function = METHODS[label]
    with pytest.raises(RequirementError) as caught:
        function(**{**arguments(label), **given})
    name, _, sentence = str(caught.value).partition(": ")
    # a trigger checks what the attack passes on
    assert name in (function.__name__, "stamped", "stamped_part")
    return sentence


@pytest.mark.parametrize("label", METHODS)
def test_the_arguments_of_these_tests_are_accepted(label):
    METHODS[label](**arguments(label))


@pytest.mark.parametrize(("label", "name", "parts"), parameters(Literal))
def test_a_value_that_is_no_choice_is_refused(label, name, parts):
    choices = [choice for part in parts for choice in get_args(part)]
    texts = [choice for choice in choices if isinstance(choice, str)]
    wrong = ["nonsense", "", 7, 2.0, True, b"auto", None, [choices[0]], *map(str.upper, texts)]
    wrong += [str(choice) for choice in choices if not isinstance(choice, str)]
    wrong += [text[:-1] for text in texts]
    for value in wrong:
        sentence = refused(label, {name: value})
        assert sentence.startswith(f"{name} must be ")
        assert f"not {value!r}" in sentence
        assert all(repr(choice) in sentence for choice in choices)
    for text in texts:
        assert refused(label, {name: text[:-1]}).endswith(f": did you mean {text!r}?")


@pytest.mark.parametrize(("label", "name", "parts"), parameters(int))
def test_a_number_that_is_no_integer_or_negative_is_refused(label, name, parts):
    for value in (1.5, 2.0, True, "2", float("nan"), [2], np.float64(2.0), np.bool_(True)):
        assert refused(label, {name: value}).startswith(f"{name} must be an integer")
    if NoneType not in parts:
        assert refused(label, {name: None}) == f"{name} must be an integer, not None"
    assert name in refused(label, {name: -1})


@pytest.mark.parametrize(("label", "name", "parts"), parameters(float))
def test_what_is_no_finite_number_is_refused(label, name, parts):
    for value in (float("nan"), float("inf"), "0.5", True, [0.5], 1j, 10**400):
        assert refused(label, {name: value}).startswith(f"{name} must be a finite number")


@pytest.mark.parametrize(("label", "name", "parts"), parameters(bool))
def test_what_is_neither_true_nor_false_is_refused(label, name, parts):
    for value in (0, 1, "no", None):
        assert refused(label, {name: value}) == f"{name} must be True or False, not {value!r}"


def test_every_parameter_of_a_study_is_checked():
    known = {str, float, int, bool, list, NoneType}
    for label, function in METHODS.items():
        hints = get_type_hints(inspect.unwrap(function))
        for parameter in inspect.signature(function).parameters.values():
            if (
                parameter.kind is parameter.KEYWORD_ONLY
                and parameter.default is not parameter.empty
            ):
                parts = parts_of(hints[parameter.name])
                assert all(get_origin(p) is Literal or p in known for p in parts), label


ASSUME = [label for label in METHODS if "assumed_malicious" in arguments(label)]
assert len(ASSUME) > 4


@pytest.mark.parametrize("label", ASSUME)
def test_an_impossible_number_of_malicious_clients_is_refused(label):
    name = "assumed_malicious"
    assert refused(label, {name: -1}) == f"{name} must not be negative (f = -1)"
    assert "clients" in refused(label, {name: N + 1})
    for value in (1.0, True, "1", None):
        assert refused(label, {name: value}) == f"{name} must be an integer, not {value!r}"
    for value in (np.int64(2), torch.tensor(2)):
        one, other = (
            METHODS[label](**{**arguments(label), name: given}) for given in (value, int(value))
        )
        assert tensors_in(one, bits) == tensors_in(other, bits)


WITH_UPDATES = [label for label in METHODS if "updates" in arguments(label)]


@pytest.mark.parametrize("label", WITH_UPDATES)
def test_updates_that_are_no_matrix_of_floating_numbers_are_refused(label):
    updates = arguments(label)["updates"]
    shapes = (updates[0], updates[0, 0], updates[None], updates[:0], updates[:, :0])
    for wrong in (*shapes, updates.tolist(), updates.numpy(), None, 1.0):
        assert refused(label, {"updates": wrong}).startswith("updates must be a tensor [n, d]")
    for dtype in (torch.int64, torch.bool, torch.complex64):
        sentence = refused(label, {"updates": updates.to(dtype)})
        assert sentence == f"updates must be floating numbers, not {dtype}"


@pytest.mark.parametrize("label", WITH_UPDATES)
@pytest.mark.parametrize(
    "name", ["malicious", "clients", "samples", "global_parameters", "server_update"]
)
def test_tensors_that_do_not_fit_the_updates_are_refused(label, name):
    given = arguments(label)
    if name not in given:
        return
    right = given[name]
    for wrong in (right[:-1], torch.cat([right, right]), right[None], right[0], right.tolist()):
        sentence = refused(label, {name: wrong})
        assert sentence.startswith(f"{name} must be a tensor [{len(right)}] with updates [11, 40]")
    for dtype in (torch.int64, torch.float32, torch.bool, torch.complex64):
        kept = {
            "malicious": [torch.bool],
            "clients": [torch.int64],
            "samples": [torch.int64, torch.float32],
        }
        if dtype not in kept.get(name, [torch.float32]):
            sentence = refused(label, {name: right.to(dtype)})
            assert sentence.startswith(f"{name} must be ")
            assert sentence.endswith(f"not {dtype}")


WITH_FEATURES = [label for label in METHODS if "features" in arguments(label)]


@pytest.mark.parametrize("label", WITH_FEATURES)
def test_samples_that_are_no_floating_numbers_or_do_not_fit_their_labels_are_refused(label):
    features = arguments(label)["features"]
    for wrong in (features[0, 0, 0], features[0, 0, 0, 0], features.numpy(), features.tolist()):
        assert refused(label, {"features": wrong}).startswith("features must be a tensor [N, ...]")
    whole = (255 * features).to(torch.uint8)
    assert refused(label, {"features": whole}) == (
        "features must be floating numbers, not torch.uint8"
    )
    if "labels" in arguments(label):
        labels = arguments(label)["labels"]
        assert refused(label, {"labels": labels[1:]}).startswith("labels must be a tensor [6] with")
        assert refused(label, {"labels": labels.float()}) == (
            "labels must be integers, not torch.float32"
        )


def tensors_in(value, of):
    """What ``of`` makes of each tensor in a result, in order."""
    if isinstance(value, torch.Tensor):
        return [of(value)]
    if is_dataclass(value):
        value = [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [found for part in value for found in tensors_in(part, of)]
    return []


def requiring_gradients(value, leaves):
    """A copy of an argument whose floating tensors require gradients; these go to ``leaves``."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        leaves.append(value.detach().clone().requires_grad_())
        return leaves[-1]
    if isinstance(value, Samples):
        return Samples(requiring_gradients(value.features, leaves), value.labels)
    if isinstance(value, dict):
        return {key: requiring_gradients(part, leaves) for key, part in value.items()}
    return value


@pytest.mark.parametrize("label", [*WITH_UPDATES, *WITH_FEATURES])
def test_tensors_that_require_gradients_give_the_same_result_without_a_graph(label):
    function, state = METHODS[label], {}
    for _ in range(2):
        plain = arguments(label)
        if "state" in plain:
            plain["state"] = state
        leaves = []
        tracked = {key: requiring_gradients(value, leaves) for key, value in plain.items()}
        tracked["generator"] = arguments(label).get("generator")
        tracked = {key: value for key, value in tracked.items() if key in plain}
        before = [bits(leaf) for leaf in leaves]
        expected, result = function(**plain), function(**tracked)
        assert tensors_in(result, bits) == tensors_in(expected, bits)
        assert not any(tensors_in(result, lambda tensor: tensor.requires_grad))
        assert leaves
        assert all(leaf.requires_grad and leaf.grad is None for leaf in leaves)
        assert [bits(leaf) for leaf in leaves] == before
        state = expected[1] if isinstance(expected, tuple) else getattr(expected, "state", {})


HALF = {torch.float16: 2e-3, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("label", [label for label in METHODS if label.startswith("defense")])
@pytest.mark.parametrize("dtype", HALF)
def test_updates_of_16_bits_give_what_their_values_give_in_float32(label, dtype):
    problem = Problem.draw(N, 2, D).attacked().to(dtype=dtype)
    few = METHODS[label](**arguments(label, problem))
    many = METHODS[label](**arguments(label, problem.to(dtype=torch.float32)))
    assert few.update.dtype == dtype
    largest = many.update.abs().max()
    torch.testing.assert_close(
        few.update.float(), many.update, rtol=HALF[dtype], atol=HALF[dtype] * float(largest)
    )
    assert many.accepted is None or few.accepted.equal(many.accepted)
