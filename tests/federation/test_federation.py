"""The parties of a run, which no stage changes."""

import pytest
import torch

from skymask.federation.aggregate import aggregate
from skymask.federation.attack import attack
from skymask.federation.evaluate import evaluate
from skymask.federation.train import train, training_data
from skymask.study.experiment import Method
from tests.support.federations import federation

RUNS = {
    "mlp": {"model": "mlp", "attack": Method("min_max"), "defense": Method("fltrust")},
    # batch normalisation moves statistics
    "resnet20": {"model": "resnet20", "attack": Method("scaling", {"target": 3, "patch": 2})},
    "small_cnn": {
        "model": "small_cnn",
        "attack": Method("label_flip"),
        "defense": Method("skymask"),
    },
}


def snapshot(parties):
    """Everything of the shared model and data that a stage could change."""
    model = parties.model
    tensors = [model.vector, model.statistics, model.gradient, parties.train.features]
    state = {**model.module.state_dict(), **parties.functional_model.module.state_dict()}
    return [t.clone() for t in (*tensors, *state.values())], model.module.training


@pytest.mark.parametrize("run", RUNS)
def test_stages_change_nothing_of_a_federation_and_do_not_depend_on_their_order(run):
    parties = federation(malicious=2, assumed_malicious=2, samples_per_client=20, **RUNS[run])
    other = parties.initial_parameters() * 1.1 + 0.01
    start, statistics = parties.initial_parameters(), parties.initial_statistics()
    before = snapshot(parties)

    def stages(parties):
        yield "train", lambda: train(parties, training_data(parties), start, 1)
        updates = torch.stack([start * k / 7 for k in range(1, 7)])
        yield "attack", lambda: attack(parties, updates, start, {}, 1)[:1]
        yield "aggregate", lambda: aggregate(parties, updates, start, {}, 1)[:1]
        yield "evaluate", lambda: evaluate(parties, other, statistics + 0.5)
        yield "evaluate the first", lambda: evaluate(parties, start)

    forwards = {name: work() for name, work in stages(parties)}
    fresh = federation(malicious=2, assumed_malicious=2, samples_per_client=20, **RUNS[run])
    backwards = {name: work() for name, work in reversed(list(stages(fresh)))}
    again = {name: work() for name, work in stages(parties)}
    for name, results in forwards.items():
        for repeated in (backwards[name], again[name]):
            if name.startswith("evaluate"):
                assert results == repeated
            else:
                assert all(one.equal(two) for one, two in zip(results, repeated, strict=True))
    after = snapshot(parties)
    assert after[1] is before[1] is True
    assert all(one.equal(two) for one, two in zip(before[0], after[0], strict=True))


def test_initial_parameters_and_statistics_are_copies():
    parties = federation(model="resnet20", samples_per_client=20)
    start, statistics = parties.initial_parameters(), parties.initial_statistics()
    parties.initial_parameters().zero_()
    parties.initial_statistics().fill_(7)
    assert parties.initial_parameters().equal(start)
    assert parties.initial_statistics().equal(statistics)
    assert start.any()
