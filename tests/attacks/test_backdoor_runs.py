"""Tests of backdoors in whole rounds."""

import pytest
import torch

from skymask.federation.attack import own_data
from skymask.federation.evaluate import evaluate
from skymask.federation.train import training_data
from skymask.study.experiment import Method
from tests.support.federations import carried, federation


def test_the_attackers_of_a_run_have_all_parts_of_the_trigger():
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


def test_own_data_are_the_attackers_honest_samples_in_the_clients_order():
    parties = federation(attack=Method("scaling"), malicious=3)
    samples_of_attackers = own_data(parties)
    mine = [c for c, m in zip(parties.clients, parties.malicious.tolist(), strict=True) if m]
    assert samples_of_attackers.features.equal(torch.cat([samples.features for samples in mine]))
    assert samples_of_attackers.labels.equal(torch.cat([samples.labels for samples in mine]))


@pytest.mark.parametrize("name", ["scaling", "dba"])
def test_a_backdoor_enters_the_plain_mean_but_not_the_oracle(name):
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


def test_the_success_rate_uses_the_runs_trigger_and_target():
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
