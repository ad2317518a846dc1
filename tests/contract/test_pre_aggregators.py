"""Properties of every pre-aggregator in the registry."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from skymask.contracts import RequirementError, call
from skymask.defenses import DEFENSES, PRE_AGGREGATORS, Mixture
from skymask.study import registry

from .harness import Problem, bits, cases

# a pre-aggregator whose rows need not be averages, and why
SHORTENS = {"norm_clip": "it makes long updates shorter"}

# a pre-aggregator with rows that represent no client, and why
ADDS_ROWS = {"foundation": "copies of one update are there to outvote attackers"}

# a pre-aggregator that may mix other rows when the clients come in another order, and why
RESTS_ON_ORDER = {"bucketing": "chance puts places, not clients, into buckets"}

every_case = pytest.mark.parametrize(("name", "parameters"), cases(PRE_AGGREGATORS))


def mix(problem, name, parameters):
    return call(PRE_AGGREGATORS[name], problem.offers(), parameters)


def check(mixture, problem, name, parameters):
    """Shapes and dtypes, rows that are averages, and a row of its own clients for each client."""
    n = len(problem.updates)
    assert isinstance(mixture, Mixture)
    rows = len(mixture.mixing)
    assert mixture.mixing.shape == (rows, n)
    assert mixture.mixing.dtype == torch.float64
    assert mixture.mixing.isfinite().all()
    assert (mixture.mixing >= 0).all()
    assert mixture.row_of.shape == (n,)
    assert mixture.row_of.dtype == torch.int64
    represented = set(mixture.row_of.tolist())
    assert represented == set(range(n if name in ADDS_ROWS else rows))
    sums = mixture.mixing.sum(dim=1)
    assert (sums <= 1 + 1e-12).all()
    if name not in SHORTENS:
        assert_close(sums, torch.ones_like(sums))
    assert rows == left_of(n, name, parameters)


def left_of(n, name, parameters):
    """The number of rows that the source says are left."""
    entry = registry.registry("skymask.defenses", "PRE_AGGREGATORS")[name]
    leaves = getattr(PRE_AGGREGATORS[name], "leaves", None)
    assert (leaves is None) == (entry.leaves is None)
    if leaves is None:
        return n
    known = {key: parameter.default for key, parameter in entry.parameters.items()}
    known |= {**parameters, "n": n}
    return leaves(**{key: known[key] for key in entry.leaves.names})


@every_case
def test_mixture_has_the_promised_shapes_and_stays_on_the_device(name, parameters, device):
    problem = Problem.draw(9, 2, 30).attacked()
    moved = problem.to(device=device)
    mixture = mix(moved, name, parameters)
    check(mixture, moved, name, parameters)
    assert mixture.mixing.device.type == mixture.row_of.device.type == device
    here = mix(problem, name, parameters)
    assert_close(mixture.mixing.cpu(), here.mixing)
    assert mixture.row_of.cpu().equal(here.row_of)


@every_case
def test_inputs_are_unchanged_to_the_bit(name, parameters):
    problem = Problem.draw(8, 2, 30).attacked()
    before = {key: bits(tensor) for key, tensor in problem.tensors.items()}
    mix(problem, name, parameters)
    assert {key: bits(tensor) for key, tensor in problem.tensors.items()} == before


@every_case
def test_two_calls_with_the_same_generator_give_the_same_bits(name, parameters):
    problem = Problem.draw(8, 2, 30).attacked()
    torch.manual_seed(1)
    first = mix(problem, name, parameters)
    torch.manual_seed(2)
    second = mix(problem.copied(), name, parameters)
    assert bits(first.mixing) == bits(second.mixing)
    assert bits(first.row_of) == bits(second.row_of)


@every_case
@pytest.mark.parametrize("seed", [0, 1])
def test_reordering_clients_reorders_the_mixture(name, parameters, seed):
    problem = Problem.draw(9, 2, 40, seed)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    one = mix(problem, name, parameters)
    other = mix(problem.reordered(order), name, parameters)
    if name in RESTS_ON_ORDER:
        # the same buckets of places
        assert other.mixing.equal(one.mixing)
        return
    # what a client's row takes from each client
    assert_close(other.mixing[other.row_of], one.mixing[one.row_of][order][:, order])


@every_case
def test_float32_agrees_with_float64(name, parameters):
    problem = Problem.draw(9, 2, 40, dtype=torch.float64)
    double = mix(problem, name, parameters)
    single = mix(problem.to(dtype=torch.float32), name, parameters)
    assert_close(single.mixing, double.mixing, rtol=1e-5, atol=1e-7)
    assert single.row_of.equal(double.row_of)


@every_case
def test_zero_and_identical_updates_are_mixed_too(name, parameters):
    problem = Problem.draw(8, 2, 30)
    zero = problem.sending(torch.zeros_like(problem.updates))
    same = problem.sending(problem.updates[:1].repeat(8, 1))
    for degenerate in (zero, same):
        mixture = mix(degenerate, name, parameters)
        check(mixture, degenerate, name, parameters)
        mixed = mixture.mixing @ degenerate.updates.double()
        # all rows are the same
        expected = degenerate.updates[0].double().expand_as(mixed)
        assert_close(mixed, expected, rtol=1e-6, atol=1e-12)


@every_case
@settings(max_examples=15)
@given(data=st.data())
def test_any_size_gives_a_mixture_or_a_requirement(name, parameters, data):
    n = data.draw(st.integers(1, 12), "n")
    f = data.draw(st.integers(0, n - 1), "f")
    d = data.draw(st.integers(1, 40), "d")
    problem = Problem.draw(n, f, d, data.draw(st.integers(0, 99), "seed"))
    if data.draw(st.booleans(), "attacked"):
        problem = problem.attacked()
    refusal = None
    try:
        mixture = mix(problem, name, parameters)
    except RequirementError as error:
        refusal = str(error)
    if refusal is not None:
        assert f"n = {n}" in refusal
        return
    check(mixture, problem, name, parameters)


@every_case
def test_the_median_of_mixed_rows_is_not_moved_by_copies_of_a_large_opposed_update(
    name, parameters
):
    problem = Problem.draw(11, 2, 50).attacked()
    mixture = mix(problem, name, parameters)
    mixed = (mixture.mixing @ problem.updates.double()).float()
    outcome = problem.sending(mixed).aggregate("median", {})
    mean, plain = problem.benign_mean, problem.updates.mean(dim=0)
    assert (outcome.update - mean).norm() < 0.1 * (plain - mean).norm()


def test_every_exemption_names_a_pre_aggregator_and_a_reason():
    reasons = {**SHORTENS, **RESTS_ON_ORDER, **ADDS_ROWS}
    assert set(reasons) <= set(PRE_AGGREGATORS)
    assert all(reasons.values())
    # a study names both in one list
    assert not set(PRE_AGGREGATORS) & set(DEFENSES)
