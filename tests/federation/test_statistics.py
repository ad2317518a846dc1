"""Running statistics of batch normalisation: trained by clients, averaged, seen by no rule."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from skymask.federation import stacked_training
from skymask.federation.aggregate import Verdict, aggregate, averaged_statistics
from skymask.federation.evaluate import evaluate
from skymask.federation.federation import Checkpoint, Federation
from skymask.federation.local_training import train_clients
from skymask.federation.records import client_rows
from skymask.federation.rounds import run_span
from skymask.federation.settings import LocalTraining
from skymask.federation.storage import (
    read_matrix,
    read_model,
    write_matrix,
    write_model,
)
from skymask.federation.train import train, training_data
from skymask.models.architectures import build
from skymask.models.flat_parameters import Layout, ResidentModel, by_batch
from skymask.models.functional import FunctionalModel, root_loss
from skymask.models.samples import Samples
from skymask.seeds import generator
from skymask.study.experiment import Method
from tests.support.federations import BASE

COUNTS = [17, 8, 0, 30]


def normalised():
    """A small network with batch normalisation that tracks, of other momenta than the default."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4, momentum=0.3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 6 * 6, 5),
        nn.BatchNorm1d(5, momentum=0.2),
    ).double()


def parties(counts=COUNTS):
    source = torch.Generator().manual_seed(1)
    return [
        Samples(
            torch.rand(n, 1, 8, 8, generator=source, dtype=torch.float64),
            torch.randint(0, 5, (n,), generator=source),
        )
        for n in counts
    ]


def trained(batching, statistics=None):
    model = ResidentModel(normalised())
    settings = LocalTraining(2, 8, 0.3, batching=batching)
    full = [Samples(p.features[: len(p) // 8 * 8], p.labels[: len(p) // 8 * 8]) for p in parties()]
    begun = model.statistics.clone() if statistics is None else statistics
    start = model.vector.clone()
    return train_clients(model, start, full, settings, lambda c: generator(0, "batches", c), begun)


def test_the_running_statistics_are_those_of_torch():
    updates, statistics = trained("loop")
    module = normalised()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.3)
    own, order = parties()[3], generator(0, "batches", 3)
    for _ in range(2):
        for batch in torch.randperm(24, generator=order).split(8):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(module(own.features[batch]), own.labels[batch])
            loss.backward()
            optimiser.step()
    buffers = {n: b for n, b in module.named_buffers() if b.is_floating_point()}
    layout = Layout.of_statistics(module)
    assert layout.names == ("1.running_mean", "1.running_var", "5.running_mean", "5.running_var")
    assert_close(statistics[3], layout.flatten(buffers))
    assert updates.shape == (4, Layout.of(module).dimension)


@pytest.mark.parametrize("memory", [1, 10**9])
def test_stacked_clients_end_with_the_same_statistics(memory, monkeypatch):
    monkeypatch.setitem(stacked_training.MEMORY, "cpu", memory)
    begun = torch.linspace(0.5, 1.5, 18, dtype=torch.float64)
    for result, expected in zip(trained("stacked", begun), trained("loop", begun), strict=True):
        assert_close(result, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("batching", ["loop", "stacked"])
def test_a_client_begins_with_the_statistics_of_the_global_model(batching):
    zeros = torch.zeros(18, dtype=torch.float64)
    _, from_zero = trained(batching, zeros)
    _, from_one = trained(batching, zeros + 1)
    # the batches are the same, and so what is added: what was there fades by its momentum
    fading = torch.cat([torch.full((8,), 0.7), torch.full((10,), 0.8)]).double()
    assert_close((from_one - from_zero)[3], fading**6)
    assert from_one[2].equal(zeros + 1)
    assert not zeros.any()


def test_a_cumulative_mean_is_refused_where_clients_are_stacked():
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4, momentum=None))
    with pytest.raises(ValueError, match=r"1 has momentum None.*batching='loop'"):
        stacked_training.StackedModel(module)


def verdict(accepted, finite=None, updated=True):
    finite = torch.ones(4, dtype=torch.bool) if finite is None else torch.tensor(finite)
    chosen = None if accepted is None else torch.tensor(accepted)
    values = {field.name: None for field in fields(Verdict)}
    return Verdict(**{**values, "finite": finite, "accepted": chosen, "model_updated": updated})


# layers first.weight, first.bias and second.weight, and two statistics of the first module
MODEL = ResidentModel(
    nn.ModuleDict({"first": nn.BatchNorm1d(1), "second": nn.Linear(1, 1, bias=False)})
)
ROWS = torch.tensor([[1.0, 2.0], [3.0, 6.0], [100.0, 100.0], [5.0, 10.0]])
BEFORE = torch.tensor([7.0, 8.0])


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (verdict([True, True, False, False]), [2.0, 4.0]),
        (verdict(None), [27.25, 29.5]),
        (verdict(None, [True, True, False, True]), [3.0, 6.0]),
        (verdict([True, True, True, True], [True, False, False, True]), [3.0, 6.0]),
        (verdict([False] * 4), [7.0, 8.0]),
        (verdict([True] * 4, updated=False), [7.0, 8.0]),
    ],
)
def test_statistics_are_averaged_over_the_accepted(seen, expected):
    assert averaged_statistics(ROWS, seen, BEFORE, MODEL).tolist() == expected


def test_statistics_of_a_module_are_of_clients_accepted_in_all_of_its_layers():
    # the second module, whose verdict differs, has no statistics
    accepted = [[True, True, False], [True, False, True], [False] * 3, [True, True, False]]
    assert averaged_statistics(ROWS, verdict(accepted), BEFORE, MODEL).tolist() == [3.0, 6.0]
    # no client is accepted in both layers of the first module
    accepted = [[True, False, True], [False, True, True]] * 2
    assert averaged_statistics(ROWS, verdict(accepted), BEFORE, MODEL).equal(BEFORE)
    finite = [False, True, True, True]
    accepted = [[True] * 3, [True] * 3, [False] * 3, [False] * 3]
    assert averaged_statistics(ROWS, verdict(accepted, finite), BEFORE, MODEL).tolist() == [3, 6]


def test_statistics_that_are_not_finite_do_not_count():
    rows = ROWS.clone()
    rows[2, 1] = torch.nan
    rows[3, 0] = torch.inf
    assert averaged_statistics(rows, verdict(None), BEFORE, MODEL).tolist() == [2.0, 4.0]
    rows[:] = torch.nan
    assert averaged_statistics(rows, verdict(None), BEFORE, MODEL).equal(BEFORE)


@pytest.fixture(scope="module")
def residual():
    """Six clients with a residual network on random images."""
    source = torch.Generator().manual_seed(5)
    train_data, test_data = (
        Samples(
            torch.rand(n, 1, 8, 8, generator=source), torch.randint(0, 10, (n,), generator=source)
        )
        for n in (70, 40)
    )
    run = replace(BASE, model="resnet20", defense=Method("skymask"))
    assignment = np.arange(70, dtype=np.int32) % 7 - 1
    return Federation(replace(run, evaluate_every=1), train_data, test_data, assignment, 10)


def test_rules_see_the_trainable_parameters_alone(residual):
    start = residual.initial_parameters()
    assert len(start) == Layout.of(residual.model.module).dimension == 272_186
    result = train(residual, training_data(residual), start, 1)
    assert result.updates.shape == (6, 272_186)
    assert result.statistics.shape == (6, 1_568)
    _, seen, _ = aggregate(residual, result.updates, start, {}, 1)
    assert seen.accepted is not None
    assert seen.update_coordinates.shape == (6, 2)
    # principal coordinates are centred, and no longer than the updates' spread
    assert_close(seen.update_coordinates.mean(dim=0), torch.zeros(2).double(), atol=1e-9, rtol=0)
    spread = (result.updates - result.updates.mean(dim=0)).double().square().sum()
    assert 0 < seen.update_coordinates.square().sum() < spread


def test_clients_begin_a_round_with_the_statistics_of_the_global_model(residual):
    start, data = residual.initial_parameters(), training_data(residual)
    begun = train(residual, data, start, 1)
    moved = train(residual, data, start, 1, torch.full((1_568,), 0.5))
    assert moved.updates.equal(begun.updates)
    assert not torch.isclose(moved.statistics, begun.statistics).any(dim=0).all()


def test_the_coordinates_of_an_update_stand_in_its_clients_row(residual):
    start = residual.initial_parameters()
    updates = train(residual, training_data(residual), start, 1).updates
    updates[3, 5] = torch.nan
    _, seen, _ = aggregate(residual, updates, start, {}, 1)
    rows = client_rows(1, residual.malicious, seen)
    assert [row["client"] for row in rows] == [0, 1, 2, 3, 4, 5, -1]
    assert rows[3]["update_1"] is rows[3]["update_2"] is None
    assert "update_1" not in rows[-1]
    for client in (0, 1, 2, 4, 5):
        result = (rows[client]["update_1"], rows[client]["update_2"])
        assert result == tuple(seen.update_coordinates[client].tolist())
    first, second = seen.update_coordinates[[0, 1, 2, 4, 5]].square().sum(dim=0)
    assert first > second


def test_evaluation_normalises_by_the_running_statistics(residual):
    start = residual.initial_parameters()
    begun = evaluate(residual, start)
    module = build("resnet20", (1, 8, 8), 10, residual.experiment.training_seed).eval()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(module(residual.test.features), residual.test.labels)
    assert_close(begun.loss, float(loss), rtol=1e-5, atol=0)
    moved = torch.full((1_568,), 0.5)
    other = evaluate(residual, start, moved)
    assert abs(other.loss - begun.loss) > 1e-3
    assert evaluate(residual, start) == begun
    assert residual.model.module.training


def test_a_span_carries_the_statistics_on(residual):
    checkpoint = Checkpoint(residual.initial_parameters())
    whole, rows = run_span(residual, checkpoint, range(1, 3))
    middle, first = run_span(residual, checkpoint, range(1, 2))
    end, second = run_span(residual, middle, range(2, 3))
    assert end.statistics.equal(whole.statistics)
    assert end.global_parameters.equal(whole.global_parameters)
    assert first.metrics + second.metrics == rows.metrics
    assert not whole.statistics.equal(residual.initial_statistics())
    seen = evaluate(residual, whole.global_parameters, whole.statistics)
    assert (rows.metrics[-1]["accuracy"], rows.metrics[-1]["loss"]) == (seen.accuracy, seen.loss)
    assert not end.statistics.equal(middle.statistics)


def test_models_and_statistics_survive_their_files(residual, tmp_path):
    parameters, statistics = residual.initial_parameters(), torch.rand(1_568)
    write_model(residual, tmp_path / "model.parquet", parameters, statistics)
    result = read_model(residual, tmp_path / "model.parquet")
    assert result[0].equal(parameters)
    assert result[1].equal(statistics)
    rows = torch.rand(6, 1_568)
    write_matrix(residual, tmp_path / "statistics.parquet", "statistics", rows, 4)
    assert read_matrix(residual, tmp_path / "statistics.parquet", "statistics").equal(rows)


def test_the_statistics_of_a_model_without_any_are_empty(tmp_path, residual):
    plain = replace(residual, experiment=replace(residual.experiment, model="mlp"))
    assert plain.initial_statistics().shape == (0,)
    path = tmp_path / "statistics.parquet"
    write_matrix(plain, path, "statistics", torch.empty(6, 0), 1)
    assert read_matrix(plain, path, "statistics").shape == (6, 0)


def test_the_loss_on_root_data_tracks_nothing_and_normalises_by_the_batch():
    module, own = normalised(), parties()[3]
    before = [b.clone() for b in module.buffers()]
    vector = ResidentModel(normalised()).vector.clone()
    value, gradient = root_loss(module, own).value_and_gradient(vector)
    assert all(b.equal(a) for a, b in zip(before, module.buffers(), strict=True))
    expected = nn.functional.cross_entropy(normalised()(own.features), own.labels)
    assert_close(value, expected)
    assert gradient.shape == vector.shape
    FunctionalModel(module, (1, 8, 8)).logits(vector, own.features)
    assert all(b.equal(a) for a, b in zip(before, module.buffers(), strict=True))


def test_a_module_in_evaluation_mode_keeps_its_statistics():
    module = normalised().eval()
    assert by_batch(module) is module
    plain = nn.Linear(2, 2)
    assert by_batch(plain) is plain
    copy = by_batch(normalised())
    assert not list(copy.buffers())
