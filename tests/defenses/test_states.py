"""Tests of the states that defenses keep from round to round."""

import pytest
import torch
from torch.testing import assert_close

from skymask.artifacts.tensors import read_state, write_state
from skymask.defenses import centered_clipping, fldetector, foolsgold
from tests.support.histories import PRESENT, history
from tests.support.updates import seeded


def assert_same_state(one, other):
    assert set(one) == set(other)
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert tensor.shape == other[name].shape
        assert tensor.numpy().tobytes() == other[name].numpy().tobytes(), name


@pytest.mark.parametrize("rule", ["fldetector", "foolsgold"])
def test_the_order_of_the_clients_does_not_matter_in_any_round(rule):
    model, updates = history(3)
    state, shuffled = {}, {}
    for round_, clients in enumerate(PRESENT):
        numbers = torch.tensor(clients)
        rows = updates(round_, model, clients)
        order = torch.randperm(len(clients), generator=seeded(round_))
        outcomes = []
        for memory, chosen in ((state, slice(None)), (shuffled, order)):
            sent = rows[chosen], numbers[chosen]
            if rule == "foolsgold":
                outcomes.append(foolsgold(*sent, memory))
            else:
                known = {"window": 3, "start": 5}
                outcomes.append(fldetector(sent[0], model, sent[1], seeded(), memory, **known))
        one, other = outcomes
        assert_close(other.update, one.update)
        assert_close(other.scores, one.scores[order])
        assert other.accepted.equal(one.accepted[order])
        state, shuffled = one.state, other.state
        model = model + one.update


@pytest.mark.parametrize("rule", ["fldetector", "foolsgold", "centered_clipping"])
def test_a_state_that_was_saved_gives_the_same_bits(rule, tmp_path):
    model, updates = history(2, dtype=torch.float32)
    model = model.float()
    state = {}
    for round_, clients in enumerate(PRESENT):
        rows, numbers = updates(round_, model.double(), clients), torch.tensor(clients)
        path = tmp_path / f"{round_}.parquet"
        write_state(path, "run", state)
        outcomes = []
        for memory in (state, read_state(path, "run")):
            before = {name: tensor.clone() for name, tensor in memory.items()}
            if rule == "centered_clipping":
                outcomes.append(centered_clipping(rows, memory, tau=0.5))
            elif rule == "foolsgold":
                outcomes.append(foolsgold(rows, numbers, memory))
            else:
                known = {"window": 3, "start": 5}
                outcomes.append(fldetector(rows, model, numbers, seeded(), memory, **known))
            assert_same_state(memory, before)
        one, other = outcomes
        assert one.update.dtype == torch.float32
        assert one.update.equal(other.update)
        assert_same_state(one.state, other.state)
        # the state shares no memory with the round: the server may change its model in place
        kept = {name: tensor.clone() for name, tensor in one.state.items()}
        state = kept
        model += one.update
        assert_same_state(one.state, kept)
