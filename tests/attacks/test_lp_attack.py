"""Tests of the backdoor in the layers that matter for it."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from skymask.attacks.lp_attack import critical_layers, lp_attack, picked
from skymask.contracts import RequirementError
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from skymask.study.experiment import Method
from tests.support.federations import carried, federation
from tests.support.updates import flags, images, seeded

MODULE = sys.modules[lp_attack.__module__]
MALICIOUS = flags("0101000")


class TwoPaths(nn.Module):
    """The last 4 of 36 pixels, where the trigger is, go to the second layer only."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(32, 5, bias=False)
        self.second = nn.Linear(9, 4, bias=False)

    def forward(self, features):
        pixels = features.flatten(1)
        hidden = torch.relu(self.first(pixels[:, :32]))
        return self.second(torch.cat([hidden, pixels[:, 32:]], dim=1))


TWO_PATHS = FunctionalModel(TwoPaths(), (36,))
ONE_TENSOR = FunctionalModel(nn.Sequential(nn.Flatten(), nn.Linear(36, 4, bias=False)), (1, 6, 6))


def round_of(model, seed=0, vectors=False, count=60):
    """Updates [7, d], w [d] and the attackers' samples of 6 × 6 pixels."""
    d = model.layout.dimension
    updates = 0.01 * torch.randn(7, d, generator=seeded(seed)) + 0.005
    features = images(count).flatten(1) if vectors else images(count)
    labels = torch.randint(0, 4, (count,), generator=seeded(seed))
    return updates, 0.3 * torch.randn(d, generator=seeded(seed + 1)), Samples(features, labels)


def sent(model, updates, start, samples, malicious=MALICIOUS, **parameters):
    settings = {"patch": 2, "epochs": 10, "batch_size": 8, "learning_rate": 0.5, **parameters}
    return lp_attack(updates, malicious, start, model, samples, 4, seeded(3), **settings)


def test_only_the_layer_that_sees_the_trigger_is_poisoned():
    updates, start, samples = round_of(TWO_PATHS, vectors=True)
    attacked = sent(TWO_PATHS, updates, start, samples)
    centre = updates[MALICIOUS].double().mean(dim=0).float()
    size = TWO_PATHS.layout.sizes[0]
    assert attacked[~MALICIOUS].equal(updates[~MALICIOUS])
    assert attacked[1].equal(attacked[3])
    # to the bit, not only about
    assert attacked[1, :size].equal(centre[:size])
    assert (attacked[1, size:] != centre[size:]).all()


def test_the_poisoned_layer_has_a_scaled_or_an_opposed_update():
    updates, start, samples = round_of(TWO_PATHS, vectors=True)
    centre = updates[MALICIOUS].double().mean(dim=0).float()
    poison = sent(TWO_PATHS, updates, start, samples)[1]
    scaled = {k: sent(TWO_PATHS, updates, start, samples, scale=k)[1] for k in (0.25, 3.0)}
    size = TWO_PATHS.layout.sizes[0]
    assert_close(scaled[3.0][size:], 3 * poison[size:])
    assert_close(scaled[0.25][size:], (0.25 * poison + 0.75 * centre)[size:])
    opposed = sent(TWO_PATHS, updates, start, samples, mode="flip")[1]
    assert opposed[size:].equal(-poison[size:])
    assert opposed[:size].equal(centre[:size])


def test_with_all_tensors_it_is_poisoned_training_after_clean_training():
    updates, start, samples = round_of(ONE_TENSOR)
    order = seeded(3)
    shuffled = torch.randperm(60, generator=order)[15:]
    features, labels = samples.features[shuffled], samples.labels[shuffled]
    marked = features.clone()
    marked[:, :, 4:, 4:] = 1
    both = (torch.cat([features, marked]), torch.cat([labels, torch.full_like(labels, 2)]))
    weight = start.clone().requires_grad_()
    optimiser = torch.optim.SGD([weight], lr=0.1)
    for images_, labels_ in ((features, labels), both):
        for _ in range(3):
            for batch in torch.randperm(len(labels_), generator=order).split(16):
                logits = images_[batch].flatten(1) @ weight.view(4, 36).T
                optimiser.zero_grad()
                functional.cross_entropy(logits, labels_[batch]).backward()
                optimiser.step()
    settings = {"target": 2, "epochs": 3, "batch_size": 16, "learning_rate": 0.1}
    attacked = sent(ONE_TENSOR, updates, start, samples, **settings)
    assert_close(attacked[1], (weight - start).detach(), rtol=1e-4, atol=1e-6)


PARTS = list(torch.eye(4).bool())


def additive(shares):
    """Rates of a backdoor to which each of four layers of one coordinate adds its share."""
    return lambda rows: [float(row @ torch.tensor(shares)) for row in rows]


def chosen(shares, tau):
    layers = critical_layers(additive(shares), torch.zeros(4), torch.ones(4), PARTS, tau)
    return [int(flags.nonzero()) for flags in layers]


@pytest.mark.parametrize(
    ("tau", "expected"),
    [(0.0, [2]), (0.5, [2]), (0.51, [2, 0]), (0.75, [2, 0]), (0.95, [2, 0, 3]), (1.0, [2, 0, 3])],
)
def test_layers_are_added_in_order_of_their_drop_until_the_backdoor_works(tau, expected):
    shares = [0.25, 0.0, 0.5, 0.25]
    found = chosen(shares, tau)
    assert found == expected
    assert sum(shares[i] for i in found) >= tau
    assert len(found) == 1 or sum(shares[i] for i in found[:-1]) < tau


def test_equal_drops_keep_the_order_of_the_layout_and_all_layers_may_be_needed():
    assert chosen([0.25, 0.25, 0.25, 0.25], 1.0) == [0, 1, 2, 3]
    assert chosen([0.0, 0.0, 0.0, 0.0], 0.95) == [0]

    def together(rows):
        # the backdoor only works where all layers know it, more than in the model itself
        return [float(row.sum() == 5) for row in rows]

    whole = critical_layers(together, torch.zeros(4), torch.full((4,), 1.25), PARTS, 1.0)
    assert len(whole) == 4


def test_a_copy_is_picked_while_it_is_nearer_than_the_farthest_honest_update():
    line = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]])
    assert picked(torch.tensor([2.5]), line, 1)
    assert not picked(torch.tensor([7.0]), line, 1)
    # the three nearest count: 48 for the copy, 52.03 for the last honest update; four do not
    uneven = torch.tensor([[0.0], [0.0], [0.0], [5.0], [5.1]])
    assert picked(torch.tensor([-4.0]), uneven, 1)
    # equal updates: nothing tells a copy from the others
    assert picked(torch.zeros(1), torch.zeros(3, 1), 1)


def test_layers_are_taken_out_until_multi_krum_would_pick_an_attacker(monkeypatch):
    updates, start, samples = round_of(TWO_PATHS, vectors=True)
    seen = []

    def never(crafted, honest, copies):
        seen.append((crafted.clone(), copies))
        return False

    monkeypatch.setattr(MODULE, "critical_layers", lambda *args: [args[3][1], args[3][0]])
    monkeypatch.setattr(MODULE, "picked", never)
    size = TWO_PATHS.layout.sizes[0]
    centre = updates[MALICIOUS].double().mean(dim=0).float()
    both = sent(TWO_PATHS, updates, start, samples, adapt=False)[1]
    assert seen == []
    assert (both != centre).all()
    one = sent(TWO_PATHS, updates, start, samples)[1]
    # the last layer goes, the first one stays whatever Multi-Krum does
    assert len(seen) == 1
    assert one[:size].equal(centre[:size])
    assert one[size:].equal(both[size:])
    monkeypatch.setattr(MODULE, "picked", lambda *args: True)
    assert sent(TWO_PATHS, updates, start, samples)[1].equal(both)


@pytest.mark.parametrize(
    ("text", "copies"), [("1" + "0" * 9, 1), ("11110000000000000000", 1), ("1" * 6 + "0" * 6, 6)]
)
def test_multi_krum_is_simulated_with_the_share_of_attackers_of_the_round(
    monkeypatch, text, copies
):
    seen = []
    monkeypatch.setattr(MODULE, "critical_layers", lambda *args: list(args[3]))
    monkeypatch.setattr(MODULE, "picked", lambda *args: seen.append(args[2]) or True)
    _, start, samples = round_of(TWO_PATHS, vectors=True)
    malicious = flags(text)
    updates = torch.randn(len(malicious), len(start), generator=seeded())
    sent(TWO_PATHS, updates, start, samples, malicious, epochs=1)
    assert seen == [copies]


@pytest.mark.parametrize("count", [0, 1, 3, 4])
@pytest.mark.parametrize("text", ["0100000", "1111111"])
def test_few_samples_one_attacker_or_no_benign_client_are_no_obstacle(count, text):
    updates, start, samples = round_of(TWO_PATHS, vectors=True, count=count)
    attacked = sent(TWO_PATHS, updates, start, samples, flags(text))
    assert attacked.isfinite().all()
    # as if every sample were of the target class, so that no backdoor can be measured
    same = Samples(samples.features, torch.zeros_like(samples.labels))
    attacked = sent(TWO_PATHS, updates, start, same, flags(text))
    centre = updates[flags(text)].double().mean(dim=0).float()
    size = TWO_PATHS.layout.sizes[0]
    assert attacked[1, size:].equal(centre[size:])


def test_without_attackers_nothing_changes_and_ranges_are_checked():
    updates, start, samples = round_of(TWO_PATHS, vectors=True)
    assert sent(TWO_PATHS, updates, start, samples, flags("0000000")).equal(updates)
    for wrong in ({"tau": 1.1}, {"scale": 0.0}, {"target": 4}, {"epochs": 0}):
        (name,) = wrong
        with pytest.raises(RequirementError, match=name):
            sent(TWO_PATHS, updates, start, samples, **wrong)


def success(**changes):
    """Attack success rates of a small run under the plain mean."""
    attack = Method("lp_attack", {"patch": 3, "target": 6})
    parties = federation(
        attack=attack, model="mlp", malicious=2, clients=8, evaluate_every=1, **changes
    )
    return [row["attack_success_rate"] for row in carried(parties, range(1, 6))[1].metrics]


def test_the_chosen_layers_make_a_backdoor_and_as_many_others_do_not(monkeypatch):
    rates = success()

    def least_important(*args):
        count, parts = len(critical_layers(*args)), args[3]
        ranked = critical_layers(*args[:4], 1.1)
        assert len(ranked) == len(parts)
        return ranked[-count:]

    monkeypatch.setattr(MODULE, "critical_layers", least_important)
    others = success()
    assert rates[-1] > 0.8
    assert rates[-1] > others[-1] + 0.3


def test_the_loss_of_the_study_does_not_matter():
    updates, start, samples = round_of(TWO_PATHS, vectors=True)
    other = replace(TWO_PATHS, loss="batch_softmax")
    assert sent(other, updates, start, samples).equal(sent(TWO_PATHS, updates, start, samples))
