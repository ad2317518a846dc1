"""Checks of arguments by their annotations, and tensors without graphs."""

from dataclasses import dataclass
from typing import Any, Literal, Optional

import numpy as np
import pytest
import torch

from skymask.arguments import detached, tensor_fault, value_check
from skymask.contracts import RequirementError, checked, judges, requires


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, np.int32(3), 3),
        (int, torch.tensor(3), 3),
        (int | None, None, None),
        (float, 2, 2),
        (float, np.float32(0.5), 0.5),
        (Optional[float], 0.5, 0.5),  # noqa: UP045
        (Literal["auto", 2], np.int64(2), 2),
        (Literal["a", "b"], np.str_("b"), "b"),
        (Literal["a"] | None, None, None),
        (Literal[True, "a"], True, True),
        (bool, False, False),
        (list | None, ["a"], ["a"]),
        (list[str], ["a"], ["a"]),
        (str, "a", "a"),
    ],
)
def test_a_value_is_returned_as_the_annotated_type(annotation, value, expected):
    result = value_check("x", annotation)(value)
    assert result == expected
    assert not isinstance(result, np.number | torch.Tensor)


@pytest.mark.parametrize(
    ("annotation", "value", "sentence"),
    [
        (int, True, "x must be an integer, not True"),
        (int | None, 2.0, "x must be an integer or None, not 2.0"),
        (float | int | None, "1", "x must be a finite number, an integer or None, not '1'"),
        (Literal["auto", 2], True, "x must be 'auto' or 2, not True"),
        (Literal["auto", 2], 2.0, "x must be 'auto' or 2, not 2.0"),
        (Literal["auto", 2], "2", "x must be 'auto' or 2, not '2': did you mean 2?"),
        (Literal["auto", 2], "Auto", "x must be 'auto' or 2, not 'Auto': did you mean 'auto'?"),
        (Literal[True, "a"], 1, "x must be True or 'a', not 1"),
        (Literal["a"], "b", "x must be 'a', not 'b'"),
        (list | None, "abc", "x must be a list or None, not 'abc'"),
        (str, 3, "x must be text, not 3"),
        (str, b"a", "x must be text, not b'a'"),
    ],
)
def test_a_value_of_another_type_is_refused_with_a_sentence(annotation, value, sentence):
    with pytest.raises(ValueError, match=r"^x must be") as caught:
        value_check("x", annotation)(value)
    assert str(caught.value) == sentence


def test_a_long_value_is_shortened():
    with pytest.raises(ValueError, match=r"^x must be") as caught:
        value_check("x", int)("9" * 1000)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("annotation", [torch.Tensor, torch.Tensor | None, Any, dict[str, int]])
def test_other_annotations_are_not_checked(annotation):
    assert value_check("x", annotation) is None


def test_only_optional_tensors_may_be_none():
    updates = torch.ones(2, 3)
    given = {"updates": updates, "samples": None}
    assert tensor_fault(given, frozenset({"samples"})) is None
    sentence = "samples must be a tensor [2] with updates [2, 3], not NoneType"
    assert tensor_fault(given, frozenset()) == sentence


@dataclass(frozen=True)
class Pair:
    one: torch.Tensor
    other: object = None


def test_what_requires_no_gradient_is_the_same_object():
    tensor = torch.ones(2)
    for value in (tensor, {"a": tensor}, (tensor, 1), Pair(tensor), None, 3, "a", len, Pair):
        assert detached(value) is value


def test_tensors_are_detached_wherever_they_are():
    leaf = torch.ones(2, requires_grad=True)
    for value in (leaf, 2 * leaf, torch.nn.Parameter(torch.ones(2))):
        result = detached({"a": (value, 1), "b": Pair(value, {"c": value})})
        assert result["a"][1] == 1
        for tensor in (result["a"][0], result["b"].one, result["b"].other["c"]):
            assert not tensor.requires_grad
            assert tensor.data_ptr() == value.data_ptr()
        assert value.requires_grad


def test_a_result_leaves_no_graph_that_a_method_makes_itself():
    weight = torch.ones(2, requires_grad=True)

    @checked
    def method(updates, loss):
        return Pair(loss(updates)), {"losses": loss(updates)}

    pair, state = method(torch.ones(2, 2), lambda updates: updates @ weight)
    assert not pair.one.requires_grad
    assert not state["losses"].requires_grad
    assert weight.grad is None


def test_decorators_check_in_their_order_in_one_wrapper():
    def plain(updates: torch.Tensor, *, size: int = 1, kind: Literal["a", "b"] = "a"):
        return size

    lower = requires(lambda size: size > 1, "lower")(judges(plain))
    upper = requires(lambda size: size > 2, "upper")(lower)
    updates = torch.full((2, 2), float("nan"))
    for function in (lower, upper):
        assert function.__wrapped__ is plain
    for given, sentence in (
        ({"kind": "c"}, "plain: kind must be 'a' or 'b', not 'c'"),
        ({"size": np.int64(1)}, "plain: upper (size = 1)"),
        ({"size": 3}, "plain: the updates of rows [0, 1] are not finite: reject these clients fir"),
    ):
        with pytest.raises(RequirementError) as caught:
            upper(updates, **given)
        assert str(caught.value).startswith(sentence)
    # a further decorator does not change the function that it gets
    assert lower(torch.ones(2, 2), size=2) == 2
    assert checked(plain)(updates, size=2) == 2
