"""Backdoors: the trigger, poisoned data, scaled updates, and one hidden in the honest spread."""

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from skymask.attacks import TRIGGERS
from skymask.attacks.dba import dba
from skymask.attacks.lie_backdoor import lie_backdoor
from skymask.attacks.scaling import scaling, scaling_data
from skymask.attacks.triggers import poisoned, stamped, stamped_part
from skymask.contracts import RequirementError
from skymask.federation.attack import own_data
from skymask.federation.evaluate import attack_success_rate, evaluate
from skymask.federation.train import train, training_data
from skymask.models.functional import FunctionalModel
from skymask.models.samples import Samples
from skymask.study.experiment import Method
from skymask.study.registry import entries
from tests.support.federations import carried, federation


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=6, channels=1, side=6):
    return torch.rand(count, channels, side, side, generator=seeded(4)) / 2


def flags(text):
    return torch.tensor([letter == "1" for letter in text])


# --- the trigger --------------------------------------------------------------------------------


@pytest.mark.parametrize("patch", [1, 2, 5, 6])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_trigger_is_a_bright_square_in_the_bottom_right_corner(patch, channels):
    clean = images(channels=channels)
    before = clean.clone()
    marked = stamped(clean, patch=patch)
    assert clean.equal(before)
    expected = clean.clone()
    for row in range(6 - patch, 6):
        for column in range(6 - patch, 6):
            expected[:, :, row, column] = 1
    assert marked.equal(expected)


def test_the_trigger_of_a_feature_vector_is_its_last_entries():
    clean = torch.rand(3, 10, generator=seeded()) / 2
    marked = stamped(clean, patch=3)
    assert marked[:, :1].equal(clean[:, :1])
    assert marked[:, 1:].eq(1).all()
    assert not clean.eq(1).any()


def test_parts_are_runs_of_pixels_row_by_row():
    def pixels(part, parts):
        return stamped_part(torch.zeros(1, 1, 3, 3), part, parts, patch=3)[0, 0].tolist()

    # 9 pixels in two runs of 4 and 5
    assert pixels(0, 2) == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert pixels(1, 2) == [[0, 0, 0], [0, 1, 1], [1, 1, 1]]
    assert pixels(1, 3) == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("patch", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(1, 6, 6), (2, 5, 7), (40,)])
def test_the_parts_make_up_the_whole_trigger_without_overlap(patch, shape):
    blank = torch.zeros(1, *shape)
    whole = stamped(blank, patch=patch)
    assert whole.sum() == patch * patch * (shape[0] if len(shape) == 3 else 1)
    for parts in range(1, patch * patch + 1):
        pieces = [stamped_part(blank, part, parts, patch=patch) for part in range(parts)]
        assert sum(pieces).equal(whole)
        sizes = [int(piece.sum()) for piece in pieces]
        assert min(sizes) > 0
        assert max(sizes) - min(sizes) <= (shape[0] if len(shape) == 3 else 1)


@pytest.mark.parametrize(
    ("shape", "patch", "fits"),
    [
        ((1, 6, 6), 6, True),
        ((1, 6, 6), 7, False),
        ((3, 4, 9), 5, False),
        ((25,), 5, True),
        ((24,), 5, False),
        ((1, 6, 6), 0, False),
        ((24,), -1, False),
    ],
)
def test_a_trigger_that_does_not_fit_is_refused(shape, patch, fits):
    features, labels = torch.zeros(2, *shape), torch.tensor([1, 2])
    calls = [
        lambda: stamped(features, patch=patch),
        lambda: stamped_part(features, 0, 1, patch=patch),
        lambda: scaling_data(features, labels, 10, seeded(), patch=patch),
        lambda: dba(features, labels, 10, seeded(), 0, patch=patch, parts=1),
    ]
    for call in calls:
        if fits:
            call()
        else:
            with pytest.raises(RequirementError, match="patch"):
                call()


def test_every_backdoor_has_its_target_and_the_triggers_parameters():
    assert set(TRIGGERS) == {"scaling", "dba", "lie_backdoor"}
    for name in TRIGGERS:
        entry = entries("attack")[name]
        assert {"target", "patch"} <= set(entry.parameters)
        assert any("fit on a sample" in r.sentence for r in entry.requirements)


# --- poisoned data ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [
        (10, 0.5, 5),
        (5, 0.5, 3),
        (1, 0.5, 1),
        (1, 0.4, 0),
        (4, 1.0, 4),
        (0, 0.5, 0),
        (3, 0.1, 0),
        (100, 0.25, 25),
        (10, 0.05, 1),
    ],
)
def test_as_many_samples_are_poisoned_as_the_share_says(count, share, expected):
    features, labels = images(count), torch.arange(count) % 3 + 1
    before = features.clone(), labels.clone()
    triggered = stamped(features, patch=2)
    new, targets = poisoned(features, labels, triggered, seeded(), target=7, share=share)
    assert features.equal(before[0])
    assert labels.equal(before[1])
    hit = targets == 7
    assert int(hit.sum()) == expected
    assert new[hit].equal(triggered[hit])
    assert new[~hit].equal(features[~hit])
    assert targets[~hit].equal(labels[~hit])


def test_the_poisoned_samples_are_drawn_by_the_generator():
    features, labels = images(40), torch.ones(40, dtype=torch.int64)

    def chosen(seed):
        marked = stamped(features, patch=2)
        return poisoned(features, labels, marked, seeded(seed), target=0, share=0.5)[1]

    assert chosen(1).equal(chosen(1))
    assert not chosen(1).equal(chosen(2))
    # neither the first nor the last of them
    assert 0 < int(chosen(1)[:20].sum()) < 20


def test_the_data_half_of_scaling_is_the_share_with_trigger_and_target():
    features, labels = images(9), torch.full((9,), 5)
    new, targets = scaling_data(features, labels, 10, seeded(), patch=2, target=3, share=0.4)
    assert sorted(targets.tolist()) == [3] * 4 + [5] * 5
    assert new[targets == 3].equal(stamped(features, patch=2)[targets == 3])


# --- scaling ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "factor"), [("01010", 2.5), ("1000", 4.0), ("111", 1.0)])
def test_attackers_scale_their_updates_by_n_over_f(text, factor):
    malicious = flags(text)
    updates = torch.randn(len(text), 7, generator=seeded())
    sent = scaling(updates, malicious)
    assert_close(sent[malicious], factor * updates[malicious])
    assert sent[~malicious].equal(updates[~malicious])
    # beside benign updates of zero the mean of all is the attackers' own
    alone = updates * malicious[:, None]
    assert_close(scaling(alone, malicious).mean(dim=0), alone[malicious].mean(dim=0))


def test_scaling_takes_a_factor_of_its_own_and_needs_attackers():
    updates = torch.tensor([[1.0], [2.0], [3.0]])
    assert scaling(updates, flags("011"), factor=10.0).flatten().tolist() == [1, 20, 30]
    assert scaling(updates, flags("000")).equal(updates)
    assert updates.flatten().tolist() == [1, 2, 3]
    with pytest.raises(RequirementError, match="positive"):
        scaling(updates, flags("011"), factor=0.0)


# --- the distributed backdoor -------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 3, 4])
def test_each_attacker_has_its_part_and_together_they_have_the_trigger(parts):
    blank, labels = torch.zeros(5, 1, 6, 6), torch.full((5,), 8)
    found = []
    for attacker in range(parts + 2):
        new, targets = dba(
            blank, labels, 10, seeded(), attacker, parts=parts, patch=3, target=2, share=0.6
        )
        hit = targets == 2
        assert int(hit.sum()) == 3
        expected = stamped_part(blank, attacker % parts, parts, patch=3)
        assert new[hit].equal(expected[hit])
        assert new[~hit].eq(0).all()
        found.append(new[hit][:1])
    assert sum(found[:parts]).equal(stamped(blank[:1], patch=3))
    # there are more attackers than parts: they begin again
    assert found[parts].equal(found[0])


def test_the_attackers_of_a_run_carry_all_parts_and_the_test_the_whole():
    attack = Method("dba", {"parts": 3, "patch": 3, "target": 4, "share": 1.0})
    parties = federation(attack=attack, malicious=3)
    lit = torch.zeros(1, 8, 8, dtype=torch.bool)
    for honest, used, malicious in zip(
        parties.clients, training_data(parties), parties.malicious.tolist(), strict=True
    ):
        changed = (honest.features != used.features).any(dim=0)
        assert bool(changed.any()) == malicious
        assert used.labels.eq(4).all() == malicious
        assert not (lit & changed).any()  # no pixel twice
        lit |= changed
    corner = torch.zeros(1, 8, 8, dtype=torch.bool)
    corner[:, 5:, 5:] = True
    # a pixel that is bright in every honest sample would not show
    assert lit.equal(corner)


# --- a backdoor within μ ± zσ -------------------------------------------------------------------

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


def test_nobody_to_hide_it_changes_nothing_and_one_benign_client_has_no_spread():
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
    model, held = parties.functional_model, own_data(parties)

    def planted(**parameters):
        settings = {"patch": 3, "target": 6, "learning_rate": 0.5, **parameters}
        sent = lie_backdoor(updates, flagged, start, model, held, 10, seeded(), **settings)
        return rate(start + sent[flagged][0])

    assert clean < 0.5
    assert planted(alpha=0.8, z=1000.0) > 0.95
    assert planted(alpha=0.0, z=1000.0) == clean
    assert clean <= planted(alpha=0.8, z=0.5) < planted(alpha=0.8, z=1000.0)


# --- in a run -----------------------------------------------------------------------------------


def test_what_the_attackers_hold_is_their_honest_data_in_the_clients_order():
    parties = federation(attack=Method("scaling"), malicious=3)
    held = own_data(parties)
    mine = [c for c, m in zip(parties.clients, parties.malicious.tolist(), strict=True) if m]
    assert held.features.equal(torch.cat([samples.features for samples in mine]))
    assert held.labels.equal(torch.cat([samples.labels for samples in mine]))


@pytest.mark.parametrize("name", ["scaling", "dba"])
def test_a_backdoor_gets_into_the_plain_mean_and_not_past_the_oracle(name):
    parameters = {"patch": 3, "target": 6, "share": 0.5}
    changes = {"attack": Method(name, parameters), "malicious": 2, "evaluate_every": 1}
    rates = {}
    for defense in ("fedavg", "oracle"):
        progress, span = carried(federation(**changes, defense=Method(defense)), range(1, 9))
        rates[defense] = span.metrics[-1]["attack_success_rate"]
        quality = evaluate(federation(**changes), progress.global_parameters)
        assert quality.attack_success_rate == rates[defense]
    assert rates["oracle"] < 0.3
    assert rates["fedavg"] > rates["oracle"] + 0.3


def test_without_a_backdoor_there_is_no_success_rate():
    _, span = carried(federation(attack=Method("label_flip"), malicious=2), range(1, 3))
    assert [row["attack_success_rate"] for row in span.metrics] == [None]


def test_the_success_is_measured_with_the_runs_own_trigger_and_target():
    def rate(**parameters):
        attack = Method("scaling", {"patch": 2, "target": 6, "share": 0.5, **parameters})
        parties = federation(attack=attack, malicious=2)
        # bright where a patch of 3 reaches and one of 2 does not: logit of class 6
        weight = torch.zeros(10, 1, 8, 8)
        weight[6, 0, 5, 5:] = 100.0
        vector = torch.cat([weight.flatten(), torch.zeros(10)])
        return evaluate(parties, vector).attack_success_rate

    assert rate(patch=3) == 1.0
    assert rate(patch=2) < 0.9
    assert rate(patch=3, target=7) == 0.0
