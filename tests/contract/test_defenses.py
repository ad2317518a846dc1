"""Properties of every defense in the registry."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from skymask.contracts import RequirementError, call
from skymask.defenses import DEFENSES, Aggregation

from .harness import Problem, bits, cases, label

# a rule that is let off "attackers are not kept", and why
KEEPS_ATTACKERS = {
    "fedavg": "it is the plain mean of all updates, and has to be",
    "fldetector": "it judges by a history, and drops no client in its first rounds",
}

# rules on which such attackers have more effect than on others, and why
WEAK = {
    "rlr": "it counts signs and limits no length",
    "freqfed": "copies are the closest pairs, and their cluster may be the largest",
    "freqfed(layers=last)": "as above",
}

# rules that limit how far such attackers pull, but need not reject them, and why
LIMITS_ATTACKERS = {
    "centered_clipping": "each attacker pulls by τ / n at most, and τ is far above these lengths",
    "deepsight": "it rejects updates about few classes; one about all is clipped to the median",
    "lasa": "it clips, and then compares lengths and shares of signs, which may be like others'",
    "skymask(clusters=2)": "it always splits the masks, and these are mostly noise; it clips too",
}

# rules whose aggregate is the weighted updates and something on top, and why
ADDS_NOISE = {"flame": "its noise is part of the aggregate that the server takes"}

# rules whose aggregate moves with a shift and a scale of all updates
EQUIVARIANT = (
    "trimmed_mean",
    "median",
    "krum",
    "multi_krum",
    "bulyan",
    "geometric_median",
)

# a rule that is defined for fewer attackers than the tests draw: how many of n, and why
FEWER_ATTACKERS = {
    "bulyan": (lambda n: (n - 3) // 4, "it needs n ≥ 4 f + 3 clients"),
    "gas": (lambda n: (n - 3) // 4, "its base bulyan needs n ≥ 4 f + 3 clients"),
}

# a rule that accepts one of the attackers' copies and outvotes it, and why
ACCEPTS_ONE_COPY = {
    "bulyan": "its last pick depends on f − 1 neighbours, and copies are at no distance"
}

every_case = pytest.mark.parametrize(("name", "parameters"), cases(DEFENSES))
# copies, so at least two; SkyMask does not see one attacker among masks that are pure noise
SIZES = [(8, 2, 30), (11, 3, 200), (10, 4, 50)]


def draw(name, n, f, d, *seed, **dtype):
    """A problem for the defense ``name``, with fewer attackers if it does not take f of n."""
    if name in FEWER_ATTACKERS:
        f = min(f, max(FEWER_ATTACKERS[name][0](n), 0))
    return Problem.draw(n, f, d, *seed, **dtype)


def check_shapes(outcome, problem):
    n, d = problem.updates.shape
    assert isinstance(outcome, Aggregation)
    assert outcome.update.shape == (d,)
    assert outcome.update.dtype == problem.updates.dtype
    by_layer = (n, len(problem.layout.names))
    for values in (outcome.accepted, outcome.weights):
        assert values is None or values.shape in ((n,), by_layer)
    assert outcome.scores is None or outcome.scores.shape == (n,)
    assert outcome.accepted is None or outcome.accepted.dtype == torch.bool
    assert outcome.weights is None or outcome.weights.is_floating_point()
    assert outcome.coordinates is None or outcome.coordinates.shape == (n + 1, 2)
    assert all(isinstance(value, torch.Tensor) for value in outcome.state.values())


def check_weights(name, outcome, problem):
    if outcome.weights is None or name in ADDS_NOISE:
        return
    weights = outcome.weights.double()
    if weights.ndim == 2:
        # of each coordinate that of its layer
        sizes = torch.tensor(problem.layout.sizes)
        linear = (weights.repeat_interleave(sizes, dim=1) * problem.updates.double()).sum(dim=0)
    else:
        linear = weights @ problem.updates.double()
    assert_close(outcome.update.double(), linear, rtol=1e-4, atol=1e-5)


@every_case
def test_result_has_the_promised_shapes_and_stays_on_the_device(name, parameters, device):
    problem = draw(name, 8, 2, 30).attacked().to(device=device)
    outcome = problem.aggregate(name, parameters)
    check_shapes(outcome, problem)
    for values in (outcome.update, outcome.accepted, outcome.weights, outcome.scores):
        assert values is None or values.device.type == device


@every_case
def test_a_gpu_gives_the_verdicts_of_the_cpu(name, parameters, device):
    problem = draw(name, 8, 2, 30).attacked()
    here = problem.aggregate(name, parameters)
    there = problem.to(device=device).aggregate(name, parameters)
    assert_close(there.update.cpu(), here.update, rtol=1e-4, atol=1e-5)
    assert here.accepted is None or there.accepted.cpu().equal(here.accepted)


@every_case
def test_inputs_are_unchanged_to_the_bit(name, parameters):
    for problem in (draw(name, 8, 2, 30), draw(name, 8, 2, 30).attacked()):
        before = {key: bits(tensor) for key, tensor in problem.tensors.items()}
        problem.aggregate(name, parameters)
        assert {key: bits(tensor) for key, tensor in problem.tensors.items()} == before


@every_case
def test_two_calls_give_the_same_bits(name, parameters):
    problem = draw(name, 8, 2, 30).attacked()
    first = problem.aggregate(name, parameters)
    second = problem.copied().aggregate(name, parameters)
    for key in ("update", "accepted", "weights", "scores", "coordinates"):
        one, other = getattr(first, key), getattr(second, key)
        assert (one is None) == (other is None)
        assert one is None or bits(one) == bits(other)


@every_case
@pytest.mark.parametrize("seed", [0, 1])
def test_reordering_clients_reorders_verdicts_and_keeps_the_aggregate(name, parameters, seed):
    problem = draw(name, 9, 2, 40, seed).attacked()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    outcome = problem.aggregate(name, parameters)
    other = problem.reordered(order).aggregate(name, parameters)
    assert_close(other.update, outcome.update, rtol=1e-4, atol=1e-5)
    if outcome.accepted is not None:
        assert other.accepted.equal(outcome.accepted[order])
    if outcome.weights is not None:
        assert_close(other.weights, outcome.weights[order], rtol=1e-4, atol=1e-5)


@every_case
@pytest.mark.parametrize(("n", "f", "d"), SIZES)
def test_copies_of_a_large_opposed_update_are_not_kept(name, parameters, n, f, d):
    problem = draw(name, n, f, d).attacked()
    outcome = problem.aggregate(name, parameters)
    plain = problem.updates.mean(dim=0)
    if name in KEEPS_ATTACKERS:
        if not parameters:
            assert_close(outcome.update, plain)
        return
    if label(name, parameters) in WEAK:
        return
    limits = LIMITS_ATTACKERS.keys() & {name, label(name, parameters)}
    if outcome.accepted is not None and not limits:
        assert outcome.accepted[problem.malicious].sum() <= (name in ACCEPTS_ONE_COPY)
        assert outcome.accepted.any()
    assert not torch.allclose(outcome.update, plain, rtol=1e-3, atol=1e-6)
    mean = problem.benign_mean
    share = 0.5 if limits else 0.1
    assert (outcome.update - mean).norm() < share * (plain - mean).norm()


def test_every_exemption_names_a_defense_and_a_reason():
    reasons = {**KEEPS_ATTACKERS, **WEAK, **ACCEPTS_ONE_COPY, **LIMITS_ATTACKERS, **ADDS_NOISE}
    reasons |= {name: reason for name, (_, reason) in FEWER_ATTACKERS.items()}
    known = {label(*case.values) for case in cases(DEFENSES)}
    assert set(reasons) | set(EQUIVARIANT) <= known
    assert all(reasons.values())


@every_case
def test_float32_agrees_with_float64(name, parameters):
    problem = draw(name, 9, 2, 40, dtype=torch.float64).attacked()
    double = problem.aggregate(name, parameters)
    single = problem.to(dtype=torch.float32).aggregate(name, parameters)
    assert single.update.dtype == torch.float32
    assert double.update.dtype == torch.float64
    assert_close(single.update.double(), double.update, rtol=1e-4, atol=1e-5)
    if double.accepted is not None:
        assert single.accepted.equal(double.accepted)


@every_case
def test_zero_and_identical_updates_give_a_finite_aggregate(name, parameters):
    problem = draw(name, 8, 2, 30)
    zero = problem.sending(torch.zeros_like(problem.updates))
    same = problem.sending(problem.updates[:1].repeat(8, 1))
    for degenerate in (zero, same):
        outcome = degenerate.aggregate(name, parameters)
        check_shapes(outcome, degenerate)
        check_weights(name, outcome, degenerate)
        assert outcome.update.isfinite().all()
    # where the server has nothing to say either
    silent = {**zero.offers(), "server_update": lambda: torch.zeros(30)}
    assert call(DEFENSES[name], silent, parameters).update.eq(0).all()


@every_case
@settings(max_examples=10)
@given(data=st.data())
def test_any_size_gives_a_finite_linear_aggregate_or_a_requirement(name, parameters, data):
    n = data.draw(st.integers(1, 12), "n")
    f = data.draw(st.integers(0, n - 1), "f")
    d = data.draw(st.integers(1, 40), "d")
    problem = Problem.draw(n, f, d, data.draw(st.integers(0, 99), "seed"))
    if data.draw(st.booleans(), "attacked"):
        problem = problem.attacked()
    before = bits(problem.updates)
    refusal = None
    try:
        outcome = problem.aggregate(name, parameters)
    except RequirementError as error:
        refusal = str(error)
    if refusal is not None:
        assert f"n = {n}" in refusal
        return
    check_shapes(outcome, problem)
    check_weights(name, outcome, problem)
    assert outcome.update.isfinite().all()
    assert bits(problem.updates) == before


@pytest.mark.parametrize("name", EQUIVARIANT)
@given(
    seed=st.integers(0, 999),
    scale=st.floats(0.01, 100),
    shift=st.floats(-10, 10),
    size=st.sampled_from([(5, 1), (6, 1), (9, 3), (4, 0)]),
)
def test_aggregate_moves_with_a_shift_and_a_scale_of_the_updates(name, seed, scale, shift, size):
    problem = draw(name, *size, 12, seed, dtype=torch.float64)
    vector = shift * torch.arange(12, dtype=torch.float64)
    moved = problem.sending(scale * problem.updates + vector)
    expected = scale * problem.aggregate(name, {}).update + vector
    assert_close(moved.aggregate(name, {}).update, expected, rtol=1e-9, atol=1e-9)
