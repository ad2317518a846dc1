"""Tests of the backdoor in the coordinates that hardly change."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from skymask.attacks.neurotoxin import neurotoxin, quiet_coordinates
from skymask.contracts import RequirementError
from skymask.models.flat_parameters import Layout
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from skymask.study.experiment import Method
from tests.support.federations import carried, federation
from tests.support.updates import flags, images, seeded

LINEAR = FunctionalModel(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), (1, 6, 6))
MALICIOUS = flags("0101000")
FREE = {"norm": 1e6}


def round_of(seed=0, count=20):
    """Updates [7, d], w [d] and the attackers' samples for a linear model of 6 × 6 images."""
    d = LINEAR.layout.dimension
    updates = 0.1 * torch.randn(7, d, generator=seeded(seed)) + 0.05
    labels = torch.randint(0, 4, (count,), generator=seeded(seed))
    return updates, torch.randn(d, generator=seeded(seed + 1)), Samples(images(count), labels)


def sent(updates, start, samples, malicious=MALICIOUS, state=None, **parameters):
    settings = {"patch": 2, "epochs": 3, "batch_size": 8, **parameters}
    state = {} if state is None else state
    return neurotoxin(updates, malicious, start, LINEAR, samples, 4, seeded(3), state, **settings)


def step_of(start, seed=9):
    """The state after a round that began at another model, and the step since then [d]."""
    step = torch.randn(len(start), generator=seeded(seed))
    return {"previous": start - step}, start - (start - step)


@pytest.mark.parametrize("keep", [0.05, 0.5, 0.95])
def test_nothing_changes_outside_the_quiet_coordinates(keep):
    updates, start, samples = round_of()
    state, step = step_of(start)
    attacked, _ = sent(updates, start, samples, state=state, keep=keep)
    quiet = torch.zeros(148, dtype=torch.bool)
    quiet[step.abs().argsort()[: int(keep * 148)]] = True
    assert (attacked[1][~quiet] == 0).all()
    assert (attacked[1][quiet] != 0).all()
    assert attacked[1].equal(attacked[3])
    assert attacked[~MALICIOUS].equal(updates[~MALICIOUS])


def test_the_smallest_absolute_values_are_quiet():
    hand = torch.tensor([3.0, -1.0, 0.5, -4.0])
    assert quiet_coordinates(hand, 0.5).tolist() == [False, True, True, False]
    assert quiet_coordinates(torch.ones(5), 0.5).tolist() == [True, True, False, False, False]
    assert quiet_coordinates(torch.randn(100, generator=seeded()), 0.29).sum() == 29
    layout = Layout(("weight", "bias"), ((3, 1), (2,)))
    five = torch.tensor([9.0, -8.0, 7.0, 1.0, 0.0])
    expected = [False, True, True, False, True]
    assert quiet_coordinates(five, 0.7, layout).tolist() == expected
    assert quiet_coordinates(five, 0.7).tolist() == [False, False, True, True, True]


def test_the_scope_of_a_layer_leaves_each_tensor_its_share():
    updates, start, samples = round_of()
    state, step = step_of(start)
    step[144:] = 0.0
    state = {"previous": start - step}
    attacked, _ = sent(updates, start, samples, state=state, keep=0.5, scope="layer")
    changed = attacked[1] != 0
    assert (changed[:144].sum(), changed[144:].sum()) == (72, 2)
    attacked, _ = sent(updates, start, samples, state=state, keep=0.5)
    assert (attacked[1] != 0)[144:].all()


def test_the_gradient_of_the_clean_samples_is_the_other_reference():
    updates, start, samples = round_of()
    weight = start.clone().requires_grad_()
    logits = samples.features.flatten(1) @ weight[:144].view(4, 36).T + weight[144:]
    functional.cross_entropy(logits, samples.labels).backward()
    quiet = torch.zeros(148, dtype=torch.bool)
    quiet[weight.grad.abs().argsort()[:44]] = True
    # in the first round too
    attacked, _ = sent(updates, start, samples, keep=0.3, reference="gradient")
    assert (attacked[1] != 0).equal(quiet)


@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_with_all_coordinates_it_is_poisoned_training(keep):
    updates, start, samples = round_of()
    state = {} if keep < 1 else step_of(start)[0]  # the first round has no reference
    order = seeded(3)
    chosen = torch.randperm(20, generator=order)[:15]
    features, labels = samples.features.clone(), samples.labels.clone()
    features[chosen, :, 4:, 4:], labels[chosen] = 1.0, 2
    weight = start.clone().requires_grad_()
    optimiser = torch.optim.SGD([weight], lr=0.2)
    for _ in range(3):
        for batch in torch.randperm(20, generator=order).split(8):
            logits = features[batch].flatten(1) @ weight[:144].view(4, 36).T + weight[144:]
            optimiser.zero_grad()
            functional.cross_entropy(logits, labels[batch]).backward()
            optimiser.step()
    settings = {"target": 2, "share": 0.75, "learning_rate": 0.2, "keep": keep, **FREE}
    attacked, after = sent(updates, start, samples, state=state, **settings)
    assert_close(attacked[1], (weight - start).detach(), rtol=1e-4, atol=1e-6)
    assert after["previous"].equal(start)


def test_the_update_is_not_longer_than_the_norm():
    updates, start, samples = round_of()
    free = sent(updates, start, samples, **FREE)[0][1]
    assert 0.2 < free.norm() < 1e3
    short = sent(updates, start, samples, norm=0.1)[0][1]
    assert_close(short, free * (0.1 / free.norm()))
    updates[[1, 3]] *= 0.01
    by_default = sent(updates, start, samples)[0][1]
    # the midpoint of the two attackers' norms
    assert_close(by_default.norm(), updates[MALICIOUS].norm(dim=1).mean())


@pytest.mark.parametrize("reference", ["update", "gradient"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_samples_and_one_attacker_are_no_obstacle(reference, count):
    updates, start, samples = round_of(count=count)
    state = step_of(start)[0]
    settings = {"state": state, "reference": reference, "scope": "layer"}
    for text in ("0100000", "1111111"):
        attacked, _ = sent(updates, start, samples, flags(text), **settings)
        assert attacked.isfinite().all()
        assert count or not attacked[1].any()


def test_without_attackers_nothing_changes_and_ranges_are_checked():
    updates, start, samples = round_of()
    attacked, state = sent(updates, start, samples, flags("0000000"))
    assert attacked.equal(updates)
    assert state == {}
    for wrong in ({"keep": 0.0}, {"share": 1.5}, {"norm": 0.0}, {"target": 4}):
        (name,) = wrong
        with pytest.raises(RequirementError, match=name):
            sent(updates, start, samples, **wrong)


def test_a_round_without_the_attack_makes_the_step_longer():
    updates, start, samples = round_of()
    _, state = sent(updates, start, samples)
    later = start + torch.linspace(-1, 1, 148) + 1
    attacked, _ = sent(updates, later, samples, state=state, keep=0.5)
    assert (attacked[1][:74] != 0).all()
    assert not attacked[1][74:].any()


def test_in_a_run_the_backdoor_enters_the_plain_mean():
    attack = Method("neurotoxin", {"patch": 3, "target": 6})
    parties = federation(attack=attack, malicious=2, clients=8, evaluate_every=1)
    progress, span = carried(parties, range(1, 7))
    assert span.metrics[-1]["attack_success_rate"] > 0.5
    assert set(progress.attack_state) == {"previous"}
