"""Tests of the backdoor within the spread of the honest updates."""

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from skymask.attacks.lie_backdoor import lie_backdoor
from skymask.attacks.triggers import stamped
from skymask.contracts import RequirementError
from skymask.federation.attack import own_data
from skymask.federation.evaluate import attack_success_rate
from skymask.federation.train import train, training_data
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from skymask.study.experiment import Method
from tests.support.federations import federation
from tests.support.updates import (
    flags,
    images,
    seeded,
)

LINEAR = FunctionalModel(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 4)), (1, 6, 6))


MALICIOUS = flags("0101000")


def round_of(seed=0):
    """Updates [7, d], w [d] and the attackers' samples for a linear model of 6 × 6 images."""
    d = LINEAR.layout.dimension
    updates = 0.1 * torch.randn(7, d, generator=seeded(seed)) + 0.05
    labels = torch.randint(0, 4, (20,), generator=seeded(seed))
    return updates, torch.randn(d, generator=seeded(seed + 1)), Samples(images(20), labels)


def hidden(updates, start, samples, malicious=MALICIOUS, **parameters):
    settings = {"patch": 2, "epochs": 2, "batch_size": 8, **parameters}
    return lie_backdoor(updates, malicious, start, LINEAR, samples, 4, seeded(3), **settings)


def spread(updates):
    benign = updates[~MALICIOUS].double()
    return benign.mean(dim=0), benign.std(dim=0, correction=1)


@pytest.mark.parametrize("z", [0.1, 1.43])
def test_attackers_send_one_update_inside_the_spread(z):
    updates, start, samples = round_of()
    sent = hidden(updates, start, samples, z=z, learning_rate=1.0)
    mean, deviation = spread(updates)
    assert sent[~MALICIOUS].equal(updates[~MALICIOUS])
    assert sent[1].equal(sent[3])
    away = (sent[1].double() - mean).abs()
    assert (away <= z * deviation + 1e-7).all()
    # both bounds are reached, and not everywhere
    reached = away > z * deviation - 1e-6
    assert reached.any()
    assert not reached.all()


def test_without_a_backdoor_or_without_a_spread_it_is_the_benign_mean():
    updates, start, samples = round_of()
    mean = spread(updates)[0].float()
    assert hidden(updates, start, samples, alpha=0.0, z=5.0)[1].equal(mean)
    assert hidden(updates, start, samples, z=0.0)[1].equal(mean)
    assert not hidden(updates, start, samples, z=5.0)[1].equal(mean)


@pytest.mark.parametrize("alpha", [0.3, 0.8, 1.0])
def test_the_update_minimises_loss_and_distance_by_plain_sgd(alpha):
    updates, start, samples = round_of()
    mean = spread(updates)[0].float()
    update = mean.clone().requires_grad_()
    optimiser = torch.optim.SGD([update], lr=0.05)
    marked = samples.features.clone()
    marked[:, :, 4:, 4:] = 1
    order = seeded(3)
    for _ in range(3):
        for batch in torch.randperm(20, generator=order).split(8):
            weight, bias = (start + update).split([144, 4])
            logits = marked[batch].flatten(1) @ weight.view(4, 36).T + bias
            loss = functional.cross_entropy(logits, torch.full((len(batch),), 2))
            optimiser.zero_grad()
            (alpha * loss + (1 - alpha) * (update - mean).square().sum()).backward()
            optimiser.step()
    settings = {"alpha": alpha, "z": 1e6, "target": 2, "epochs": 3, "learning_rate": 0.05}
    sent = hidden(updates, start, samples, **settings)
    assert_close(sent[1], update.detach(), rtol=1e-4, atol=1e-6)


def test_without_attackers_nothing_changes_and_one_benign_client_has_no_spread():
    updates, start, samples = round_of()
    assert hidden(updates, start, samples, flags("0000000")).equal(updates)
    with pytest.raises(RequirementError, match="two benign clients"):
        hidden(updates, start, samples, flags("1110111"))
    # attackers without samples have nothing to train on
    nothing = Samples(torch.empty(0, 1, 6, 6), torch.empty(0, dtype=torch.int64))
    assert hidden(updates, start, nothing)[1].equal(spread(updates)[0].float())


def test_inside_a_wide_spread_a_real_backdoor_is_planted():
    parties = federation(
        attack=Method("lie_backdoor", {"patch": 3, "target": 6}), malicious=2, clients=8
    )
    start = parties.initial_parameters()
    for round_ in (1, 2, 3):
        updates = train(parties, training_data(parties), start, round_).updates
        start = start + updates.mean(dim=0)

    def rate(parameters):
        return attack_success_rate(
            parties.model.copy(parameters), parties.test, lambda x: stamped(x, patch=3), 6
        )

    updates = train(parties, training_data(parties), start, 4).updates
    flagged = parties.malicious
    clean = rate(start + updates[~flagged].mean(dim=0))
    model, own = parties.functional_model, own_data(parties)

    def planted(**parameters):
        settings = {"patch": 3, "target": 6, "learning_rate": 0.5, **parameters}
        sent = lie_backdoor(updates, flagged, start, model, own, 10, seeded(), **settings)
        return rate(start + sent[flagged][0])

    assert clean < 0.5
    assert planted(alpha=0.8, z=1000.0) > 0.95
    assert planted(alpha=0.0, z=1000.0) == clean
    assert clean <= planted(alpha=0.8, z=0.5) < planted(alpha=0.8, z=1000.0)
