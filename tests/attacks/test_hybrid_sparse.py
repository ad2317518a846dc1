"""Tests of the attack that is large on few weights."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from skymask.attacks import hybrid_sparse, lie
from skymask.attacks.hybrid_sparse import salient_weights
from skymask.contracts import RequirementError
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from tests.support.updates import flags, images, seeded

CNN = FunctionalModel(
    nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4)), (1, 6, 6)
)
LINEAR = FunctionalModel(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), (1, 6, 6))
MALICIOUS = flags("010100000")


def round_of(model, seed=0, count=20):
    """Updates [9, d], w [d], and the attackers' samples, in float64."""
    d = model.layout.dimension
    updates = torch.randn(9, d, generator=seeded(seed), dtype=torch.float64) + 0.2
    start = torch.randn(d, generator=seeded(seed + 1), dtype=torch.float64)
    labels = torch.randint(0, 4, (count,), generator=seeded(seed))
    return updates, start, Samples(images(count).double(), labels)


def sent(model, updates, start, samples, malicious=MALICIOUS, state=None, **parameters):
    settings = {"share": 0.1, "steps": 5, **parameters}
    state = {} if state is None else state
    return hybrid_sparse(updates, malicious, start, model, samples, seeded(3), state, **settings)


@pytest.mark.parametrize("mask", ["force", "snip", "random"])
@pytest.mark.parametrize(("share", "count"), [(0.005, 1), (0.1, 16), (0.5, 76), (1.0, 146)])
def test_the_mask_has_its_share_of_all_coordinates_among_the_weights(mask, share, count):
    # 152 coordinates, of which 18 + 128 are weights
    updates, start, samples = round_of(CNN)
    _, state = sent(CNN, updates, start, samples, share=share, mask=mask)
    inside = state["mask"]
    assert inside.sum() == count
    assert not inside[18:20].any()
    assert not inside[148:].any()


@pytest.mark.parametrize("mask", ["force", "snip", "random"])
@pytest.mark.parametrize("z", [None, 0.3])
def test_with_one_number_of_deviations_it_is_lie_to_the_bit(mask, z):
    updates, start, samples = round_of(CNN)
    _, state = sent(CNN, updates, start, samples, mask=mask, z=0.3)
    expected = lie(updates, MALICIOUS, z=z)
    # of 9 clients 3 of 7 lie farther out by the default
    same = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(4 / 7)).item()
    attacked, _ = sent(CNN, updates, start, samples, mask=mask, z=z, sparse_z=z or same)
    off = ~state["mask"]
    assert attacked[:, off].equal(expected[:, off])
    assert_close(attacked, expected, rtol=1e-6, atol=1e-6)
    if z is not None:
        assert attacked.equal(expected)


def test_inside_the_mask_the_deviations_are_larger_and_all_attackers_agree():
    updates, start, samples = round_of(CNN)
    attacked, state = sent(CNN, updates, start, samples, z=0.2, sparse_z=4.0)
    inside, benign = state["mask"], updates[~MALICIOUS]
    mean, deviation = benign.mean(dim=0), benign.std(dim=0)
    assert_close(attacked[1][inside], (mean - 4 * deviation)[inside])
    assert_close(attacked[1][~inside], (mean - 0.2 * deviation)[~inside])
    assert attacked[1].equal(attacked[3])
    assert attacked[~MALICIOUS].equal(updates[~MALICIOUS])


def test_the_sign_of_the_mean_decides_the_direction():
    updates, start, samples = round_of(CNN)
    attacked, state = sent(CNN, updates, start, samples, z=0.2, sparse_z=4.0, sign="mean")
    benign = updates[~MALICIOUS]
    mean, deviation = benign.mean(dim=0), benign.std(dim=0)
    factor = torch.where(state["mask"], 4.0, 0.2).double()
    assert_close(attacked[1], mean - mean.sign() * factor * deviation)
    assert (mean < 0).any()


@pytest.mark.parametrize("mask", ["force", "snip"])
def test_a_weight_without_influence_is_never_chosen(mask):
    updates, start, samples = round_of(LINEAR)
    samples.features[:, 0, 2, 3] = 0  # input 15
    column = torch.zeros(4, 36, dtype=torch.bool)
    column[:, 15] = True
    dead = torch.cat([column.flatten(), torch.zeros(4, dtype=torch.bool)])
    _, state = sent(LINEAR, updates, start, samples, share=140 / 148, mask=mask)
    assert not (state["mask"] & dead).any()
    assert state["mask"].sum() == 140


def saliency(weight, bias, original, samples):
    """|w ∂ℓ/∂w| [4, 36] of a linear model, in numpy, with the gradient at ``weight``."""
    x = samples.features.flatten(1).numpy()
    logits = x @ weight.T + bias
    logits -= logits.max(axis=1, keepdims=True)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities[np.arange(len(x)), samples.labels.numpy()] -= 1
    return np.abs(original * (probabilities.T @ x / len(x)))


@pytest.mark.parametrize(
    ("mask", "steps"), [("snip", 1), ("force", 1), ("force", 4), ("force", 30)]
)
def test_the_saliency_by_hand(mask, steps):
    updates, start, samples = round_of(LINEAR)
    weight, bias = start[:144].view(4, 36).numpy(), start[144:].numpy()
    kept = np.ones_like(weight, dtype=bool)
    for step in range(1, steps + 1):
        q = saliency(np.where(kept, weight, 0), bias, weight, samples).flatten()
        kept = np.zeros(144, dtype=bool)
        kept[np.argsort(-q)[: int(np.ceil(148 * 0.1 ** (step / steps)))]] = True
        kept = kept.reshape(4, 36)
    # for snip the number of steps does not matter
    given = 7 if mask == "snip" else steps
    _, state = sent(LINEAR, updates, start, samples, mask=mask, steps=given)
    assert state["mask"][:144].tolist() == kept.flatten().tolist()
    assert kept.sum() == 15


def test_more_steps_choose_other_weights():
    updates, start, samples = round_of(LINEAR)
    few, many = (sent(LINEAR, updates, start, samples, steps=steps)[1]["mask"] for steps in (1, 20))
    assert not few.equal(many)


@pytest.mark.parametrize("sign", ["std", "mean"])
def test_the_optimal_z_touches_the_bound(sign):
    updates, start, samples = round_of(CNN)
    settings = {"sign": sign, "sparse_z": 0.5, "z_rule": "optimal"}
    attacked, state = sent(CNN, updates, start, samples, **settings)
    benign = updates[~MALICIOUS]

    def total(row):
        return (benign - row).square().sum()

    bound = min(total(row) for row in benign)
    assert_close(total(attacked[1]), bound, rtol=1e-9, atol=0)
    mean, deviation = benign.mean(dim=0), benign.std(dim=0)
    inside = state["mask"]
    assert_close((mean - attacked[1]).abs()[inside], 0.5 * deviation[inside])
    # beyond the bound there is nothing to give elsewhere
    attacked, _ = sent(CNN, updates, start, samples, **{**settings, "sparse_z": 50.0})
    assert_close(attacked[1][~inside], mean[~inside])


def test_the_fence_limits_the_deviations_inside_the_mask_alone():
    updates, start, samples = round_of(CNN)
    _, state = sent(CNN, updates, start, samples)
    inside = state["mask"]
    updates[:, torch.nonzero(inside)[0]] *= 100
    updates[:, torch.nonzero(~inside)[0]] *= 100
    benign = updates[~MALICIOUS]
    mean, deviation = benign.mean(dim=0), benign.std(dim=0)
    q1, q3 = np.quantile(deviation[inside].numpy(), [0.25, 0.75])
    limited = torch.where(inside, deviation.clamp_max(q3 + 1.5 * (q3 - q1)), deviation)
    assert (limited != deviation).sum() >= 1
    attacked, _ = sent(CNN, updates, start, samples, state=state, z=1.0, sparse_z=2.0, fence="iqr")
    factor = torch.where(inside, 2.0, 1.0).double()
    assert_close(attacked[1], mean - factor * limited)


def test_the_mask_is_kept_for_the_run():
    updates, start, samples = round_of(CNN)
    _, state = sent(CNN, updates, start, samples)
    attacked, again = sent(CNN, 2 * updates, -start, samples, state=state)
    assert again["mask"].equal(state["mask"])
    fresh = sent(CNN, 2 * updates, -start, samples)[1]["mask"]
    assert not fresh.equal(state["mask"])
    assert attacked.isfinite().all()


def test_the_same_generator_draws_the_same_mask_and_another_one_does_not():
    updates, start, samples = round_of(CNN)

    def drawn(seed):
        arguments = (updates, MALICIOUS, start, CNN, samples, seeded(seed), {})
        return hybrid_sparse(*arguments, share=0.3, mask="random")[1]["mask"]

    assert drawn(1).equal(drawn(1))
    assert not drawn(1).equal(drawn(2))


def test_one_attacker_no_samples_and_no_weights_are_no_obstacle():
    updates, start, _ = round_of(CNN)
    empty = Samples(torch.empty(0, 1, 6, 6, dtype=torch.float64), torch.empty(0).long())
    attacked, state = sent(CNN, updates, start, empty, flags("000000001"), share=0.2)
    assert attacked.isfinite().all()
    assert torch.nonzero(state["mask"]).flatten().tolist() == [*range(18), *range(20, 33)]

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(4))

        def forward(self, features):
            return features.flatten(1)[:, :4] * self.factor

    bare = FunctionalModel(Scale(), (1, 6, 6))
    updates, start, samples = round_of(bare)
    for settings in ({"fence": "iqr"}, {"mask": "random"}, {"z_rule": "optimal"}):
        attacked, state = sent(bare, updates, start, samples, **settings)
        assert attacked.isfinite().all()
        assert not state["mask"].any()
    assert not bare.layout.weights.any()
    assert salient_weights(bare, start, samples, bare.layout.weights, 0.5, 2).sum() == 0


def test_without_attackers_nothing_changes_and_ranges_are_checked():
    updates, start, samples = round_of(CNN)
    attacked, state = sent(CNN, updates, start, samples, flags("000000000"))
    assert attacked.equal(updates)
    assert state == {}
    with pytest.raises(RequirementError, match="two benign clients"):
        sent(CNN, updates, start, samples, flags("111111110"))
    with pytest.raises(RequirementError, match="no finite z"):
        sent(CNN, updates, start, samples, flags("111111000"))
    with pytest.raises(RequirementError, match="no meaning"):
        sent(CNN, updates, start, samples, z=1.0, z_rule="optimal")
    sent(CNN, updates, start, samples, flags("111111000"), z=1.0)
    sent(CNN, updates, start, samples, flags("111111000"), z_rule="optimal")
