"""Updates that are not finite, and rounds in which the global model has to stay as it was."""

import math

import pytest
from torch.testing import assert_close

from skymask.attacks import ATTACKS
from skymask.defenses import DEFENSES
from skymask.study.experiment import SERVER, Method
from tests.support.federations import carried, federation, same_bits


@pytest.fixture
def poison(monkeypatch):
    """Enter an attack that fills the malicious rows with a value."""

    def enter(value):
        def fill(updates, malicious):
            updates[malicious, 3] = value
            return updates

        monkeypatch.setitem(ATTACKS, "fill", fill)
        return Method("fill")

    return enter


@pytest.mark.parametrize("defense", DEFENSES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_updates_that_are_not_finite_are_rejected_recorded_and_never_aggregated(
    poison, value, defense
):
    parties = federation(
        attack=poison(value), malicious=2, defense=Method(defense), assumed_malicious=2
    )
    progress, span = carried(parties, range(1, 3), keep_updates=frozenset({1}))
    assert progress.global_parameters.isfinite().all()
    flags = parties.malicious
    assert not span.updates[1][flags].isfinite().all(dim=1).any()
    rows = [row for row in span.clients if row["client"] != SERVER]
    assert len(rows) == 2 * 6
    for row in rows:
        if row["malicious"]:
            assert row["accepted"] is False
            assert row["reason"] == "not finite"
            assert row["weight"] in (None, 0.0)
            assert row["score"] is None
        elif row["model_updated"]:
            assert row["reason"] in (None, "rejected")
        else:
            # four alike clients need not have a cluster among them
            assert (defense, row["reason"]) == ("freqfed", "the defense accepted no client")
        assert row["model_updated"] or defense == "freqfed"
    # a rejected attacker is not accepted by mistake
    assert all(row["fnr"] in (None, 0.0) for row in span.aggregates)


def test_the_rest_is_aggregated_as_if_the_others_were_not_there(poison):
    parties = federation(attack=poison(math.nan), malicious=2)
    progress, span = carried(parties, range(1, 2), keep_updates=frozenset({1}))
    honest = span.updates[1][~parties.malicious]
    moved = progress.global_parameters - parties.initial_parameters()
    assert_close(moved, honest.mean(dim=0), rtol=1e-4, atol=1e-6)


def test_rejected_attackers_are_no_longer_assumed(poison):
    # 6 clients, 2 rejected: with f = 2 still, the trimmed mean of 4 would not be defined
    parties = federation(
        attack=poison(math.inf), malicious=2, defense=Method("trimmed_mean"), assumed_malicious=2
    )
    progress, span = carried(parties, range(1, 2), keep_updates=frozenset({1}))
    honest = span.updates[1][~parties.malicious]
    moved = progress.global_parameters - parties.initial_parameters()
    assert_close(moved, honest.mean(dim=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("defense", DEFENSES)
def test_when_no_update_is_finite_the_model_stays_and_the_rows_say_so(poison, defense):
    parties = federation(
        attack=poison(math.nan), malicious=6, defense=Method(defense), assumed_malicious=2
    )
    progress, span = carried(parties, range(1, 3))
    assert same_bits(progress.global_parameters, parties.initial_parameters())
    assert len(span.clients) == 2 * 6
    for row in span.clients:
        assert row["accepted"] is False
        assert row["model_updated"] is False
        assert row["reason"] == "not finite"
    assert [row["model_updated"] for row in span.aggregates] == [False, False]


def test_a_rule_that_is_no_longer_defined_leaves_the_model_and_gives_the_reason(poison):
    # more than the server assumed: 2 of 6 are left
    parties = federation(
        attack=poison(math.nan), malicious=4, defense=Method("krum"), assumed_malicious=2
    )
    progress, span = carried(parties, range(1, 2))
    assert same_bits(progress.global_parameters, parties.initial_parameters())
    for row in span.clients:
        assert row["accepted"] is False
        assert row["model_updated"] is False
        if not row["malicious"]:
            assert row["reason"] == "krum: krum needs n ≥ f + 3 clients (n = 2, f = 0)"


def test_when_the_defense_accepts_no_client_the_model_stays():
    parties = federation(defense=Method("oracle"), attack=Method("label_flip"), malicious=6)
    progress, span = carried(parties, range(1, 2))
    assert same_bits(progress.global_parameters, parties.initial_parameters())
    assert {row["reason"] for row in span.clients} == {"the defense accepted no client"}
    assert not any(row["accepted"] or row["model_updated"] for row in span.clients)


def test_when_the_aggregate_overflows_the_model_stays(poison):
    parties = federation(attack=poison(3e38), malicious=5)
    progress, span = carried(parties, range(1, 2))
    assert same_bits(progress.global_parameters, parties.initial_parameters())
    assert {row["reason"] for row in span.clients} == {"the aggregate was not finite"}
