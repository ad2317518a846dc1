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


def parties_of(run):
    return federation(malicious=2, assumed_malicious=2, samples_per_client=20, **RUNS[run])


def snapshot(parties):
    """Everything of the shared model and data that a stage could change."""
    model = parties.model
    tensors = [model.vector, model.statistics, model.gradient, parties.train.features]
    state = {**model.module.state_dict(), **parties.functional_model.module.state_dict()}
    return [t.clone() for t in (*tensors, *state.values())], model.module.training


@pytest.mark.parametrize("run", RUNS)
def test_stages_change_nothing_of_a_federation_and_do_not_depend_on_their_order(run):
    parties = parties_of(run)
    other = parties.initial_parameters() * 1.1 + 0.01
    start, statistics = parties.initial_parameters(), parties.initial_statistics()

    def stages(parties):
        yield "train", lambda: train(parties, training_data(parties), start, 1)
        updates = torch.stack([start * k / 7 for k in range(1, 7)])
        yield "attack", lambda: attack(parties, updates, start, {}, 1)[:1]
        yield "aggregate", lambda: aggregate(parties, updates, start, {}, 1)[:1]
        yield "evaluate", lambda: evaluate(parties, other, statistics + 0.5)
        yield "evaluate the first", lambda: evaluate(parties, start)

    def results(parties, order=list):
        before, kept = snapshot(parties), {}
        for name, work in order(list(stages(parties))):
            kept[name] = work()
            after = snapshot(parties)
            assert after[1] is before[1] is True
            assert all(one.equal(two) for one, two in zip(before[0], after[0], strict=True)), name
        return kept

    forwards, again = results(parties), results(parties)
    backwards = results(parties_of(run), reversed)
    for name, expected in forwards.items():
        for repeated in (again[name], backwards[name]):
            if name.startswith("evaluate"):
                assert repeated == expected
            else:
                assert all(one.equal(two) for one, two in zip(expected, repeated, strict=True))


def test_initial_parameters_and_statistics_are_copies():
    parties = federation(model="resnet20", samples_per_client=20)
    start, statistics = parties.initial_parameters(), parties.initial_statistics()
    parties.initial_parameters().zero_()
    parties.initial_statistics().fill_(7)
    assert parties.initial_parameters().equal(start)
    assert parties.initial_statistics().equal(statistics)
    assert start.any()
