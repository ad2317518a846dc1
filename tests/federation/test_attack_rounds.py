"""Schedules of attacks: in which rounds clients attack, and what is recorded of it."""

import pytest
import torch

from skymask.federation.train import train, training_data
from skymask.study.attack_rounds import attacks_in
from skymask.study.experiment import Method
from tests.support.federations import carried, federation, same_bits

ROUNDS = range(1, 9)
SIGN_FLIP = {"malicious": 2, "assumed_malicious": 2, "defense": Method("krum")}


def scheduled(name, parameters=None, **rounds):
    return Method(name, {**(parameters or {}), "attack_rounds": rounds})


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, [*ROUNDS]),
        ({"first": 5}, [5, 6, 7, 8]),
        ({"first": 3, "last": 3}, [3]),
        ({"last": 2}, [1, 2]),
        ({"every": 3}, [1, 4, 7]),
        ({"first": 2, "every": 3, "last": 7}, [2, 5]),
        ({"first": 9}, []),
    ],
)
def test_rounds_with_an_attack(when, expected):
    assert [r for r in ROUNDS if attacks_in(r, **when)] == expected


def rows_of(span, name):
    return {r: [row for row in getattr(span, name) if row["round"] == r] for r in ROUNDS}


def test_clients_are_honest_in_the_other_rounds():
    never = federation(**SIGN_FLIP, attack=scheduled("sign_flip", first=9))
    late = federation(**SIGN_FLIP, attack=scheduled("sign_flip", first=5, last=6))
    always = federation(**SIGN_FLIP, attack=Method("sign_flip"))
    every = frozenset(ROUNDS)
    honest, attacked, flipped = (
        carried(parties, ROUNDS, keep_updates=every)[1] for parties in (never, late, always)
    )
    same = [same_bits(attacked.updates[r], honest.updates[r]) for r in ROUNDS]
    # from the first attack on, the model is another one
    assert same[:4] == [True] * 4
    assert not any(same[4:])
    assert not same_bits(flipped.updates[1], honest.updates[1])
    malicious = late.malicious
    assert (attacked.updates[5][malicious] * honest.updates[5][malicious] <= 0).all()


def test_a_data_attack_poisons_in_its_rounds_only():
    parties = federation(malicious=2, attack=scheduled("label_flip", every=2))
    start, data = parties.initial_parameters(), training_data(parties)
    honest = federation(malicious=2)
    for round_, attacks in ((1, True), (2, False), (3, True)):
        sent = train(parties, data, start, round_).updates
        expected = train(honest, training_data(honest), start, round_).updates
        changed = (sent != expected).any(dim=1)
        assert changed.equal(parties.malicious & attacks)


def test_records_say_who_attacks_and_rates_count_only_those_rounds():
    parties = federation(**SIGN_FLIP, attack=scheduled("sign_flip", first=2, every=3))
    _, span = carried(parties, ROUNDS)
    malicious = parties.malicious.tolist()
    for round_, rows in rows_of(span, "clients").items():
        attacks = round_ in (2, 5, 8)
        assert [row["malicious"] for row in rows] == malicious
        assert [row["attacking"] for row in rows] == [m and attacks for m in malicious]
    for round_, (row,) in rows_of(span, "aggregates").items():
        attacks = round_ in (2, 5, 8)
        assert (row["fpr"] is None) == (row["fnr"] is None) == (not attacks)
        # Krum keeps one of four benign clients
        assert row["fpr"] == (0.75 if attacks else None)
        assert row["attacker_weight"] == 0.0


def test_the_oracle_keeps_the_malicious_clients_while_they_are_honest():
    parties = federation(
        malicious=2, attack=scheduled("sign_flip", first=2), defense=Method("oracle")
    )
    _, span = carried(parties, range(1, 3))
    accepted = [[row["accepted"] for row in span.clients if row["round"] == r] for r in (1, 2)]
    assert accepted == [[True] * 6, (~parties.malicious).tolist()]


def test_an_attack_keeps_its_state_over_the_rounds_between():
    attack = scheduled("mimic", first=1, every=2)
    parties = federation(malicious=2, attack=attack, clients=8)
    checkpoint, _ = carried(parties, range(1, 4))
    before, _ = carried(parties, range(1, 3))
    assert checkpoint.attack_state.keys() == before.attack_state.keys()
    first = carried(parties, range(1, 2))[0].attack_state
    assert all(torch.equal(first[key], value) for key, value in before.attack_state.items())
