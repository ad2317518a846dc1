"""The server's judgement: compositions, and what a round records of what got through."""

import math
from dataclasses import fields

import pytest
import torch
from torch.testing import assert_close

from skymask.artifacts.schemas import SCHEMAS
from skymask.attacks import ATTACKS
from skymask.defenses import (
    DEFENSES,
    PRE_AGGREGATORS,
    Aggregation,
    Mixture,
    krum,
    multi_krum,
    nnm,
)
from skymask.defenses.aggregation import mean_of
from skymask.federation.aggregate import Verdict, aggregate
from skymask.federation.defend import FEW, defend, mixed
from skymask.federation.evaluate import Quality
from skymask.federation.records import aggregate_row, client_rows, layer_rows, metrics_row
from skymask.federation.train import train, training_data
from skymask.models.flat_parameters import Layout
from skymask.study.experiment import SERVER, Method
from tests.support.federations import carried, federation, same_bits

ATTACKED = {"attack": Method("fang_trim"), "malicious": 2, "assumed_malicious": 2, "clients": 8}


LAYERS = Layout(("1.weight", "1.bias"), ((10, 64), (10,)))


def composed(*names, **parameters):
    """A composition as a study writes it; ``parameters`` are the defense's."""
    *before, last = names
    pre_aggregators = tuple(Method(n) if isinstance(n, str) else n for n in before)
    return Method(last, parameters, pre_aggregators)


def updates_of(parties):
    start = parties.initial_parameters()
    return start, train(parties, training_data(parties), start, 1).updates


def judged(defense, finite=None, **changes):
    """Updates of a first round, and what ``defense`` makes of those that are ``finite``."""
    parties = federation(**{**ATTACKED, **changes}, defense=defense)
    start, updates = updates_of(parties)
    updates[parties.malicious] *= -5
    finite = torch.ones(len(updates), dtype=torch.bool) if finite is None else finite
    return updates, defend(parties, updates, finite, start, {}, 1)


# --- compositions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "defense",
    [
        composed("nnm", "krum"),
        composed("nnm", "multi_krum"),
        composed("nnm", "fltrust"),
        composed("norm_clip", "fedavg"),
        composed("bucketing", "fedavg"),
        composed("bucketing", "fedavg", weighting="samples"),
        composed("norm_clip", Method("bucketing", {"size": 5}), "geometric_median"),
        composed("bucketing", "nnm", "krum"),
        composed("nnm", "skymask"),
        composed("norm_clip", "skymask"),
        composed("nnm", "foolsgold"),
        composed("norm_clip", "signguard"),
        composed("bucketing", "geometric_median"),
    ],
    ids=lambda m: "-".join([*(p.name for p in m.pre_aggregators), m.name]),
)
def test_a_clients_weight_is_what_its_own_update_weighs(defense):
    updates, outcome = judged(defense, clients=12)
    assert outcome.update.shape == updates[0].shape
    assert outcome.update.dtype == updates.dtype
    assert outcome.weights.shape == (12,)
    assert_close(
        outcome.weights.double() @ updates.double(),
        outcome.update.double(),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_composition_is_the_defense_on_the_mixed_rows():
    updates, outcome = judged(composed("nnm", "krum"))
    mixture = nnm(updates, 2)
    mixed = (mixture.mixing @ updates.double()).float()
    expected = krum(mixed, 2)
    assert outcome.update.equal(expected.update)
    assert outcome.accepted.equal(expected.accepted)
    assert outcome.scores.equal(expected.scores)
    (chosen,) = torch.nonzero(expected.accepted).flatten().tolist()
    # Krum's one row is the mean of six updates
    assert_close(outcome.weights, mixture.mixing[chosen].float())
    assert sorted(outcome.weights.tolist()) == pytest.approx([0.0, 0.0, *[1 / 6] * 6])


# --- every layer by itself ----------------------------------------------------------------------


def test_a_defense_per_layer_is_the_defense_on_the_columns_of_each():
    updates, outcome = judged(Method("krum", {"per": "layer"}))
    weight, bias = torch.split(updates, [640, 10], dim=1)
    assert outcome.accepted.equal(
        torch.stack([krum(part, 2).accepted for part in (weight, bias)], dim=1)
    )
    expected = torch.cat([krum(part, 2).update for part in (weight, bias)])
    assert outcome.update.equal(expected)


def test_a_composition_per_layer_is_one_for_each_layer():
    updates, outcome = judged(composed("nnm", "multi_krum", per="layer"))
    parts = torch.split(updates, [640, 10], dim=1)
    for layer, part in enumerate(parts):
        rows = (nnm(part, 2).mixing @ part.double()).float()
        expected = multi_krum(rows, 2)
        assert outcome.accepted[:, layer].equal(expected.accepted)
        start = 640 * layer
        assert_close(outcome.update[start : start + part.shape[1]], expected.update)
        linear = outcome.weights[:, layer].double() @ part.double()
        assert_close(linear.float(), expected.update, rtol=1e-4, atol=1e-6)


def test_each_layer_and_each_round_draws_other_numbers(monkeypatch):
    drawn = []

    def draws(updates, generator):
        drawn.append(int(torch.randint(0, 10**12, (1,), generator=generator)))
        return mean_of(updates, torch.ones(len(updates), dtype=torch.bool))

    monkeypatch.setitem(DEFENSES, "draws", draws)
    parties = federation(**ATTACKED, defense=Method("draws", {"per": "layer"}))
    _, updates = updates_of(parties)
    start, every = parties.initial_parameters(), torch.ones(8, dtype=torch.bool)
    for round_ in (1, 1, 2):
        defend(parties, updates, every, start, {}, round_)
    # two layers each
    assert drawn[:2] == drawn[2:4]
    assert len(set(drawn)) == 4


def test_a_state_per_layer_is_carried_from_round_to_round():
    clipped = Method("centered_clipping", {"tau": 0.1, "steps": 1, "per": "layer"})
    checkpoint, _ = carried(federation(**ATTACKED, defense=clipped), range(1, 3))
    assert set(checkpoint.defense_state) == {"1.weight/centre", "1.bias/centre"}


def test_clients_of_updates_that_are_not_finite_are_rejected_in_every_layer():
    parties = federation(**ATTACKED, defense=Method("multi_krum", {"per": "layer"}))
    start, updates = updates_of(parties)
    updates[3, 2] = torch.nan
    _, seen, _ = aggregate(parties, updates, start, {}, 1)
    assert seen.accepted.shape == (8, 2)
    assert not seen.accepted[3].any()
    assert seen.accepted_share[3] == 0
    assert seen.weights.shape == (8,)


def test_rates_and_weights_of_layers_are_means_over_the_coordinates(monkeypatch):
    layers = torch.zeros(6, 2, dtype=torch.bool)

    def by_layer(updates):
        return Aggregation(updates.mean(dim=0), layers)

    parties, _, _, _ = round_with(monkeypatch, by_layer)
    bad, good = parties.malicious.nonzero().flatten(), (~parties.malicious).nonzero().flatten()
    layers[good] = True
    layers[good[0], 0] = False
    layers[bad[0], 1] = True
    _, _, _, (_, seen, _) = round_with(monkeypatch, by_layer)
    row = aggregate_row(1, parties.malicious, seen)
    share = 10 / 650
    assert row["fpr"] == pytest.approx((1 - share) / len(good))
    assert row["fnr"] == pytest.approx(share / len(bad))
    # the mean over the accepted of each layer
    assert row["attacker_weight"] == pytest.approx(share / (len(good) + 1))
    rows = client_rows(1, parties.malicious, seen)
    assert rows[bad[0]]["accepted_share"] == pytest.approx(share)
    assert [row["accepted"] for row in rows] == layers.any(dim=1).tolist()
    assert [r["reason"] for r in rows] == [None if any_ else "rejected" for any_ in layers.any(1)]
    by_role = {(r["role"], r["layer"]): r["accepted"] for r in layer_rows(1, LAYERS, seen)}
    assert by_role == {
        ("benign", "1.weight"): pytest.approx(1 - 1 / len(good)),
        ("benign", "1.bias"): 1.0,
        ("malicious", "1.weight"): 0.0,
        ("malicious", "1.bias"): pytest.approx(1 / len(bad)),
    }


def test_no_client_in_any_layer_leaves_the_model_as_it_is(monkeypatch):
    def none(updates):
        return Aggregation(updates.mean(dim=0), torch.zeros(6, 2, dtype=torch.bool))

    _, start, _, (model, seen, _) = round_with(monkeypatch, none)
    assert same_bits(model, start)
    assert seen.note == "the defense accepted no client"


@pytest.fixture
def by_hand(monkeypatch):
    """Enter two pre-aggregators and a defense of known numbers; list what they were given."""
    seen = []
    mixing = torch.tensor(
        [[0.5, 0.5, 0, 0, 0, 0], [0, 0, 0.5, 0, 0.5, 0], [0, 0, 0, 0.25, 0, 0.75]],
        dtype=torch.float64,
    )

    def thirds(updates, generator):
        seen.append(("thirds", updates, int(torch.randint(0, 10**9, (1,), generator=generator))))
        return Mixture(mixing, torch.tensor([0, 0, 1, 2, 1, 2]))

    def doubled(updates, generator, *, factor=2.0):
        seen.append(("doubled", updates, int(torch.randint(0, 10**9, (1,), generator=generator))))
        n = len(updates)
        return Mixture(factor * torch.eye(n, dtype=torch.float64).flip(0), torch.arange(n).flip(0))

    def judge(updates, samples, state):
        seen.append(("judge", updates, samples))
        rows = len(updates)
        weights = torch.arange(1.0, rows + 1)
        return Aggregation(
            weights @ updates,
            torch.arange(rows) != 1,
            weights,
            weights * 10,
            torch.arange(2.0 * rows + 2).reshape(rows + 1, 2),
            torch.eye(rows + 1, updates.shape[1]).bool(),
            {"rounds": state.get("rounds", torch.zeros(1)) + 1},
        )

    monkeypatch.setitem(PRE_AGGREGATORS, "thirds", thirds)
    monkeypatch.setitem(PRE_AGGREGATORS, "doubled", doubled)
    monkeypatch.setitem(DEFENSES, "judge", judge)
    return seen


def test_verdicts_scores_coordinates_and_masks_go_to_the_clients_by_their_row(by_hand):
    updates, outcome = judged(composed("thirds", "judge"), clients=6)
    assert outcome.accepted.tolist() == [True, True, False, True, False, True]
    assert outcome.scores.tolist() == [10, 10, 20, 30, 20, 30]
    # rows weigh 1, 2, 3
    assert outcome.weights.tolist() == [0.5, 0.5, 1.0, 0.75, 1.0, 2.25]
    assert outcome.coordinates[:, 0].tolist() == [0, 0, 2, 4, 2, 4, 6]
    assert outcome.masks.shape == (7, 650)
    assert torch.nonzero(outcome.masks)[:, 1].tolist() == [0, 0, 1, 2, 1, 2, 3]
    assert_close(outcome.weights @ updates, outcome.update)
    assert outcome.state == {"rounds": 1}
    (_, rows, _), (_, mixed, samples) = by_hand
    assert rows.equal(updates)
    assert_close(mixed[2], 0.25 * updates[3] + 0.75 * updates[5])
    assert samples.tolist() == [60, 60, 60]


def test_pre_aggregators_act_one_on_the_other_in_order(by_hand):
    updates, outcome = judged(composed("thirds", "doubled", "judge"), clients=6)
    (_, first, _), (_, second, _), (_, rows, samples) = by_hand
    assert first.equal(updates)
    assert_close(second[1], (updates[2] + updates[4]) / 2)
    assert_close(rows, 2 * second.flip(0))
    # rows are 2 × thirds backwards: client 0 stands in row 2, which weighs 3
    assert outcome.accepted.tolist() == [True, True, False, True, False, True]
    assert outcome.scores.tolist() == [30, 30, 20, 10, 20, 10]
    assert outcome.weights.tolist() == [3.0, 3.0, 2.0, 0.5, 2.0, 1.5]
    assert samples.tolist() == [120, 120, 120]
    by_hand.clear()
    updates, outcome = judged(composed("doubled", "thirds", "judge"), clients=6)
    (_, first, _), (_, second, _), _ = by_hand
    assert first.equal(updates)
    assert_close(second, 2 * updates.flip(0))
    assert outcome.scores.tolist() == [30, 20, 30, 20, 10, 10]


def test_each_pre_aggregator_draws_for_itself_and_anew_in_each_round(by_hand):
    parties = federation(
        **{**ATTACKED, "clients": 6}, defense=composed("doubled", "thirds", "judge")
    )
    start, updates = updates_of(parties)
    everybody = torch.ones(6, dtype=torch.bool)
    for round_ in (1, 2, 1):
        defend(parties, updates, everybody, start, {}, round_)
    draws = [draw for name, _, draw in by_hand if name != "judge"]
    assert draws[:2] == draws[4:]
    assert len(set(draws[:4])) == 4


def test_parameters_reach_the_pre_aggregator(by_hand):
    _, outcome = judged(composed(Method("doubled", {"factor": 0.5}), "judge"), clients=6)
    assert outcome.weights.tolist() == [3.0, 2.5, 2.0, 1.5, 1.0, 0.5]


def test_who_is_not_finite_is_gone_before_the_pre_aggregators(by_hand, monkeypatch):
    told = []

    def told_f(updates, assumed_malicious):
        told.append((len(updates), assumed_malicious))
        return Mixture(torch.eye(len(updates), dtype=torch.float64), torch.arange(len(updates)))

    monkeypatch.setitem(PRE_AGGREGATORS, "told", told_f)
    finite = torch.tensor([True] * 5 + [False] + [True] * 2)
    updates, outcome = judged(composed("told", "judge"), finite)
    assert told == [(7, 1)]
    assert outcome.weights.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert_close(outcome.weights @ updates[finite], outcome.update)


def test_the_updates_are_never_changed():
    for defense in (composed("norm_clip", "bucketing", "median"), composed("nnm", "fedavg")):
        parties = federation(**ATTACKED, defense=defense)
        start, updates = updates_of(parties)
        before = updates.clone(), start.clone()
        defend(parties, updates, torch.ones(8, dtype=torch.bool), start, {}, 1)
        assert same_bits(updates, before[0])
        assert same_bits(start, before[1])


@pytest.mark.parametrize(
    "defense",
    [
        composed("nnm", "centered_clipping"),
        composed("bucketing", "centered_clipping"),
        composed("norm_clip", "foolsgold"),
        composed("nnm", "fldetector", window=2, start=2),
        composed("norm_clip", "skymask"),
    ],
    ids=lambda m: "-".join([*(p.name for p in m.pre_aggregators), m.name]),
)
def test_a_composed_run_in_pieces_is_the_run_in_one_go(defense):
    changes = {**ATTACKED, "defense": defense}
    whole, span = carried(federation(**changes), range(1, 6))
    progress, kinds = None, ("clients", "aggregates", "layers", "metrics")
    rows = {kind: [] for kind in kinds}
    for part in (range(1, 3), range(3, 6)):
        progress, piece = carried(federation(**changes), part, progress)
        for kind in kinds:
            rows[kind] += getattr(piece, kind)
    assert same_bits(progress.global_parameters, whole.global_parameters)
    assert rows == {kind: getattr(span, kind) for kind in kinds}
    assert set(progress.defense_state) == set(whole.defense_state)
    assert whole.defense_state or defense.name == "skymask"


def test_a_composition_that_is_not_defined_for_those_left_keeps_the_model():
    # 8 clients in buckets of 4 leave 2 rows
    defense = composed(Method("bucketing", {"size": 4}), "krum")
    progress, span = carried(federation(**ATTACKED, defense=defense), range(1, 3))
    assert same_bits(progress.global_parameters, federation().initial_parameters())
    note = "krum: krum needs n ≥ f + 3 clients (n = 2, f = 2)"
    assert {row["reason"] for row in span.clients} == {note}
    assert [row["note"] for row in span.aggregates] == [note] * 2
    assert [row["attacker_weight"] for row in span.aggregates] == [None] * 2
    assert [row["benign_distance"] for row in span.aggregates] == [1.0] * 2


# --- what got through ---------------------------------------------------------------------------


def round_with(monkeypatch, rule, sent=None, **changes):
    """One round of six clients with the defense ``rule``: (parties, updates, model, verdict)."""
    monkeypatch.setitem(DEFENSES, "rule", rule)
    parties = federation(malicious=2, attack=Method("none"), defense=Method("rule"), **changes)
    start = parties.initial_parameters()
    updates = 0.01 * torch.randn(6, len(start), generator=torch.Generator().manual_seed(0))
    updates = updates if sent is None else sent(updates, parties.malicious)
    return parties, start, updates, aggregate(parties, updates, start, {}, 1)


def test_the_verdict_says_what_got_through(monkeypatch):
    weights = torch.tensor([0.1, -0.2, 0.3, 0.4, 0.0, 0.5])
    parties, start, updates, (model, verdict, _) = round_with(
        monkeypatch, lambda updates: Aggregation(weights @ updates, weights=weights), global_lr=0.5
    )
    bad = parties.malicious
    expected = weights[bad].abs().sum() / 1.5
    assert verdict.attacker_weight == pytest.approx(float(expected), rel=1e-6)
    mean = updates[~bad].mean(dim=0)
    distance = (weights @ updates - mean).norm() / mean.norm()
    assert verdict.benign_distance == pytest.approx(float(distance), rel=1e-5)
    assert_close(model, start + 0.5 * (weights @ updates))
    row = aggregate_row(1, bad, verdict)
    assert row["attacker_weight"] == verdict.attacker_weight
    assert row["benign_distance"] == verdict.benign_distance
    assert (row["fpr"], row["fnr"], row["model_updated"], row["note"]) == (None, None, True, None)


def test_the_oracle_is_at_no_distance_and_the_attackers_have_no_weight():
    _, span = carried(federation(**ATTACKED, defense=Method("oracle")), range(1, 3))
    assert [row["attacker_weight"] for row in span.aggregates] == [0.0, 0.0]
    assert all(row["benign_distance"] < 1e-6 for row in span.aggregates)
    _, span = carried(federation(**ATTACKED, defense=Method("fedavg")), range(1, 3))
    assert [row["attacker_weight"] for row in span.aggregates] == pytest.approx([0.25, 0.25])
    assert all(row["benign_distance"] > 0.05 for row in span.aggregates)
    _, span = carried(federation(**ATTACKED, defense=Method("median")), range(1, 3))
    assert [row["attacker_weight"] for row in span.aggregates] == [None, None]


def test_where_no_client_is_accepted_the_model_stays_at_distance_one(monkeypatch):
    def reject_all(updates):
        return mean_of(updates, torch.zeros(len(updates), dtype=torch.bool))

    parties, start, _, (model, verdict, _) = round_with(monkeypatch, reject_all)
    assert same_bits(model, start)
    assert (verdict.attacker_weight, verdict.benign_distance) == (None, 1.0)
    row = aggregate_row(4, parties.malicious, verdict)
    assert (row["round"], row["fpr"], row["fnr"]) == (4, 1.0, 0.0)
    assert (row["model_updated"], row["note"]) == (False, "the defense accepted no client")


def test_an_aggregate_that_is_not_finite_lets_nothing_through(monkeypatch):
    def overflowing(updates):
        weights = torch.ones(len(updates))
        return Aggregation(updates.sum(dim=0) * math.inf, weights=weights)

    _, start, _, (model, verdict, _) = round_with(monkeypatch, overflowing)
    assert same_bits(model, start)
    assert (verdict.attacker_weight, verdict.benign_distance) == (None, 1.0)
    assert verdict.note == "the aggregate was not finite"


def test_a_rejected_update_that_is_not_finite_weighs_nothing(monkeypatch):
    def spoilt(updates, malicious):
        updates[torch.nonzero(malicious)[0], 3] = math.nan
        return updates

    _, _, _, (_, verdict, _) = round_with(
        monkeypatch, lambda updates: mean_of(updates, updates[:, 0] > -9), spoilt
    )
    # one of the two attackers is among the five that are left
    assert verdict.attacker_weight == pytest.approx(0.2)
    assert verdict.benign_distance > 0


def test_a_rule_without_verdicts_has_no_rates_though_not_finite_updates_are_rejected():
    changes = {"attack": Method("non_finite"), "malicious": 2, "defense": Method("median")}
    _, span = carried(federation(**changes), range(1, 3))
    assert [row["accepted"] for row in span.clients].count(False) == 4
    assert {(row["fpr"], row["fnr"]) for row in span.aggregates} == {(None, None)}
    _, span = carried(federation(**{**changes, "defense": Method("oracle")}), range(1, 3))
    assert {(row["fpr"], row["fnr"]) for row in span.aggregates} == {(0.0, 0.0)}


def test_the_server_alone_in_its_row_of_masks_and_layers(monkeypatch):
    def masked(updates):
        n, d = updates.shape
        masks = torch.ones(n + 1, d, dtype=torch.bool)
        masks[0, 640:645] = False  # half of the bias
        masks[-1, :64] = False  # a tenth of the weight
        return Aggregation(updates.mean(dim=0), masks=masks)

    parties, _, _, (_, verdict, _) = round_with(monkeypatch, masked)
    assert_close(verdict.switched_off[0].tolist(), [0.0, 0.5])
    assert_close(verdict.switched_off[-1].tolist(), [0.1, 0.0])
    assert_close(verdict.unlike_server[0].tolist(), [0.1, 0.5])
    assert_close(verdict.unlike_server[1].tolist(), [0.1, 0.0])
    assert verdict.unlike_server[-1].tolist() == [0.0, 0.0]
    assert verdict.switched_off.shape == (7, 2)
    rows = layer_rows(3, parties.model.layout, verdict)
    assert len(rows) == 6


def verdict_with(attacking, **values):
    tensors = {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}
    others = {field.name: None for field in fields(Verdict)}
    return Verdict(**{**others, **tensors, "attacking": torch.tensor(attacking)})


def test_layer_rows_are_means_over_the_parties_of_a_role():
    layout = Layout(("weight", "bias"), ((4,), (2,)))
    off = [[0.0, 0.5], [0.2, 0.5], [1.0, 0.0], [math.nan] * 2, [0.4, 0.25]]
    unlike = [[0.1, 0.0], [0.3, 1.0], [0.75, 0.5], [math.nan] * 2, [0.0, 0.0]]
    shares = {"switched_off": off, "unlike_server": unlike}
    rows = layer_rows(5, layout, verdict_with([False, False, True, True], **shares))
    result = {(r["role"], r["layer"]): (r["switched_off"], r["unlike_server"]) for r in rows}
    assert {key: pytest.approx(value) for key, value in result.items()} == {
        ("benign", "weight"): (0.1, 0.2),
        ("benign", "bias"): (0.5, 0.5),
        # the other attacker has no mask
        ("malicious", "weight"): (1.0, 0.75),
        ("malicious", "bias"): (0.0, 0.5),
        ("server", "weight"): (0.4, 0.0),
        ("server", "bias"): (0.25, 0.0),
    }
    assert {row["round"] for row in rows} == {5}
    assert len(rows) == 6
    # a role without clients, or without masks, has no rows
    honest = layer_rows(5, layout, verdict_with([False] * 4, **shares))
    assert [row["role"] for row in honest] == ["benign"] * 2 + ["server"] * 2
    rows = layer_rows(5, layout, verdict_with([False, False, False, True], **shares))
    assert [row["role"] for row in rows] == ["benign"] * 2 + ["server"] * 2


def test_only_skymask_has_layer_rows():
    _, span = carried(federation(**ATTACKED, defense=Method("krum")), range(1, 3))
    assert span.layers == []
    _, span = carried(federation(**ATTACKED, defense=Method("skymask")), range(1, 3))
    assert [(r["round"], r["role"], r["layer"]) for r in span.layers] == [
        (round_, role, layer)
        for round_ in (1, 2)
        for role in ("benign", "malicious", "server")
        for layer in ("1.weight", "1.bias")
    ]
    assert all(0 <= r["switched_off"] <= 1 and 0 <= r["unlike_server"] <= 1 for r in span.layers)
    assert {r["unlike_server"] for r in span.layers if r["role"] == "server"} == {0.0}


def test_a_composition_before_skymask_has_a_row_per_client_and_the_server():
    _, span = carried(federation(**ATTACKED, defense=composed("nnm", "skymask")), range(1, 2))
    assert [row["client"] for row in span.clients] == [*range(8), SERVER]
    assert all(math.isfinite(row["mask_1"]) for row in span.clients)
    assert len(span.layers) == 6


def test_each_round_has_rates_and_each_evaluated_round_metrics(monkeypatch):
    turns = iter(range(1, 10))

    def moody(updates):
        # accepts one more client every round
        return mean_of(updates, torch.arange(len(updates)) < next(turns))

    monkeypatch.setitem(DEFENSES, "moody", moody)
    parties = federation(attack=Method("min_max"), malicious=2, defense=Method("moody"))
    _, span = carried(parties, range(1, 5))
    assert [row["round"] for row in span.aggregates] == [1, 2, 3, 4]
    assert [row["round"] for row in span.metrics] == [2, 4]
    benign, attacks = 4, parties.malicious.tolist()
    for row in span.aggregates:
        accepted = [*range(row["round"])]
        assert row["fnr"] == sum(attacks[client] for client in accepted) / 2
        assert row["fpr"] == 1 - sum(not attacks[client] for client in accepted) / benign


def test_a_loss_that_is_not_finite_is_no_number_in_the_metrics():
    row = metrics_row(
        7, Quality(0.25, argmax_accuracy=0.125, loss=math.inf, attack_success_rate=0.75)
    )
    expected = {"round": 7, "accuracy": 0.25, "loss": None, "attack_success_rate": 0.75}
    assert row == {**expected, "argmax_accuracy": 0.125}
    assert list(row) == SCHEMAS["metrics"].names


def test_the_attack_of_the_registry_is_the_one_that_acts(monkeypatch):
    # what the server judges is what the attackers sent: Krum is never theirs
    monkeypatch.setitem(ATTACKS, "far", lambda updates, malicious: updates + 100)
    parties = federation(
        attack=Method("far"), malicious=2, assumed_malicious=2, defense=composed("nnm", "krum")
    )
    _, span = carried(parties, range(1, 2))
    accepted = [row["malicious"] for row in span.clients if row["accepted"]]
    assert accepted == [False]
    assert span.aggregates[0]["attacker_weight"] == 0.0


@pytest.mark.parametrize("most", [0, 1, 2, FEW, FEW + 1])
def test_mixtures_of_few_or_many_are_the_product(most):
    rows = torch.randn(7, 5000, generator=torch.Generator().manual_seed(0))
    mixing = torch.zeros(5, 7, dtype=torch.float64)
    for row in range(5):
        mixing[row, torch.arange(row, row + most) % 7] = torch.arange(1.0, most + 1).double()
    expected = (mixing @ rows.double()).float()
    assert_close(mixed(mixing, rows), expected, rtol=1e-5, atol=1e-6)
    square = torch.zeros(7, 7, dtype=torch.float64)
    square[:5] = mixing
    assert_close(mixed(square, rows)[:5], expected, rtol=1e-5, atol=1e-6)
    factors = torch.arange(7.0).double()
    assert_close(mixed(factors.diag(), rows), rows * factors.float()[:, None])
