"""Contracts of methods: requirements, and calls with the arguments a method asks for."""

import pytest
import torch

from skymask.contracts import RequirementError, call, describes, requires


@requires(lambda n, f: n > f, "needs n > f")
@requires(lambda power: power > 0, "power must be positive")
def rule(updates, malicious=None, assumed_malicious=None, *, power=1.0):
    """A rule."""
    return len(updates), power


def test_requirement_counts_clients_and_attackers_for_the_condition():
    assert rule(torch.eye(3), assumed_malicious=2) == (3, 1.0)
    assert rule(torch.eye(3), torch.tensor([True, False, True])) == (3, 1.0)
    with pytest.raises(RequirementError, match=r"^rule: needs n > f \(n = 3, f = 3\)$"):
        rule(torch.eye(3), assumed_malicious=3)
    with pytest.raises(RequirementError, match=r"^rule: needs n > f \(n = 1, f = 1\)$"):
        rule(torch.eye(1), torch.tensor([True]))


def test_what_the_server_reckons_with_comes_before_the_truth():
    truth = torch.tensor([True, True])
    assert rule(torch.eye(2), truth, assumed_malicious=0) == (2, 1.0)


def test_requirement_sees_parameters_and_their_defaults():
    with pytest.raises(RequirementError, match=r"power must be positive \(power = -1\)"):
        rule(torch.eye(1), assumed_malicious=0, power=-1)
    assert rule.__name__ == "rule"
    assert rule.__doc__ == "A rule."


def test_a_requirement_error_is_a_value_error():
    assert issubclass(RequirementError, ValueError)


def test_call_computes_only_what_is_asked_for():
    def never():
        raise AssertionError("no function asks for it")

    def method(updates, *, b=2):
        return updates * b

    assert call(method, {"updates": lambda: 5, "loss": never}, {"b": 3}) == 15
    assert call(method, {"updates": lambda: 5, "loss": never}, {}) == 10
    with pytest.raises(TypeError):
        call(method, {"loss": never}, {})


def test_call_sees_through_requirements():
    offers = {"updates": lambda: torch.eye(2), "assumed_malicious": lambda: 1, "state": dict}
    assert call(rule, offers, {"power": 4.0}) == (2, 4.0)


def test_facts_are_attached_to_the_function_itself():
    def load():
        return 1

    assert describes(classes=10)(load) is load
    assert load.facts == {"classes": 10}
