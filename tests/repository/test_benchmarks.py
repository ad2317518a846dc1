"""Baselines and tables of the benchmarks."""

import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from skymask.masks import learning
from skymask.models import architectures
from skymask.models.flat_parameters import Layout
from skymask.models.functional import root_loss
from skymask.models.samples import Samples

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in [path.stem for path in BENCHMARKS.glob("*.py")]:
        sys.modules.pop(name, None)


def test_the_baseline_of_mask_learning_learns_the_same_masks():
    from peers import autograd_masks

    source = torch.Generator().manual_seed(0)
    module = architectures.build("small_cnn", (1, 8, 8), 10, 0).double()
    features = torch.rand(20, 1, 8, 8, generator=source, dtype=torch.float64)
    loss = root_loss(module, Samples(features, torch.randint(0, 10, (20,), generator=source)))
    layout = Layout.of(module)
    start = layout.flatten(dict(module.named_parameters())).detach()
    noise = torch.randn(4, layout.dimension, generator=source, dtype=torch.float64)
    rows = start + 0.1 * noise
    theta = autograd_masks(rows, list(layout.shapes), loss, 1e7, 1e-7, 5)
    flat = torch.stack([torch.cat([layer.flatten() for layer in model]) for model in theta])
    ours = learning.learn_masks(rows, loss, steps=5, tolerance=-1.0)
    assert (ours - 1).abs().max() > 1
    assert_close(flat.detach(), ours, rtol=0, atol=1e-6)


def test_the_baseline_of_training_takes_the_same_steps():
    from peers import DataLoaderLoop, paper_cnn

    from skymask.federation.local_training import train_clients
    from skymask.federation.settings import LocalTraining
    from skymask.models.flat_parameters import ResidentModel

    source = torch.Generator().manual_seed(0)
    # one batch a client, so that the order of the samples does not matter
    data = [
        Samples(torch.rand(16, 1, 28, 28, generator=source), torch.arange(16) % 10)
        for _ in range(2)
    ]
    with torch.random.fork_rng():
        torch.manual_seed(0)  # a drawn start may sit on a kink of the loss, where one bit decides
        net = paper_cnn()
    model = ResidentModel(architectures.build("cnn", (1, 28, 28), 10, 0))
    start = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    ours = train_clients(
        model, start, data, LocalTraining(1, 16, 0.5, 1e-2), lambda _: torch.Generator()
    ).updates
    theirs = DataLoaderLoop(net, data, 16, 0.5, 1e-2)()
    flat = torch.stack([torch.cat([layer.flatten() for layer in update]) for update in theirs])
    assert ours.norm() > 0.1
    assert_close(ours, flat, rtol=1e-3, atol=1e-5)


def test_ratios_compare_times_of_the_same_turn_without_the_first(monkeypatch):
    import measure

    times = iter([100, 1, 8, 2, 6, 6, 20, 4])
    monkeypatch.setattr(measure, "_timed", lambda work, device: float(next(times)))
    case = measure.Case("a", "b", lambda: {"old": list, "skymask": list}, target=3.0, repeats=3)
    old, ours = measure.measure(case, "cpu")
    assert (old["seconds_min"], old["seconds_median"], old["seconds_max"]) == (6, 8, 20)
    assert (ours["ratio_min"], ours["ratio_median"], ours["ratio_max"]) == (1, 4, 5)
    assert (old["target"], ours["target"]) == (None, 3.0)
    lines = "\n".join(measure.in_markdown([old, ours]))
    assert "| b | cpu | skymask | 4000 | 4 (1 – 5) | ≥ 3 |  |" in lines


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_its_rows_say_that_nothing_was_measured():
    import measure

    def never():
        raise AssertionError("a case was built")

    (row,) = measure.measure(measure.Case("a", "b", never, target=30.0), "cuda")
    assert row["seconds_median"] is None
    assert row["note"] == "not measured: no GPU here"
    assert "not measured" in "\n".join(measure.in_markdown([row]))


def test_large_networks_have_the_size_of_the_published_ones():
    import workloads

    for name, size in (("resnet20", 272_474), ("resnet18", 11_173_962)):
        module = getattr(workloads, name)((3, 32, 32), 10)
        assert Layout.of(module).dimension == size
        assert module(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_files_have_the_machine_and_the_rows(tmp_path):
    import json

    import measure
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts, table = {"processor": "x", "cores": "2"}, pa.table({"a": [1]})
    measure.write(tmp_path / "out" / "bench", "Title", "text", table, facts)
    written = pq.read_table(tmp_path / "out" / "bench.parquet")
    assert written.to_pylist() == [{"a": 1}]
    assert json.loads(written.schema.metadata[b"machine"]) == facts
    assert (tmp_path / "out" / "bench.md").read_text("utf-8").splitlines() == [
        *["# Title", "", "| processor | cores |", "| --- | --- |", "| x | 2 |", "", "text"]
    ]


@pytest.mark.parametrize("topic", ["training", "masks", "aggregation", "processes"])
def test_every_topic_has_cases_and_builds_only_what_is_measured(topic):
    import importlib

    cases = list(importlib.import_module(f"speed_{topic}").cases("cuda"))
    assert cases
    assert len({(case.topic, case.setting) for case in cases}) == len(cases)


@pytest.mark.parametrize("name", ["steps", "colluding_2", "label_flip_4"])
def test_a_world_reports_its_rates_and_accuracies(name):
    import worlds

    row = worlds.measured((name, "batch_softmax", 1, 2))
    assert row["fpr"] == 0
    assert row["perfect"] == (1 if row["fnr"] in (0, None) or row["fnr"] != row["fnr"] else 0)
    assert 0 < row["accuracy"] <= 1
    assert 0 < row["oracle"] <= 1


def test_a_closed_loop_counts_both_kinds_of_errors():
    import closed_loop
    from federations import experiment

    run = experiment("digits", 10, None, "min_max", 2, 11, "0.5", "batch_softmax")
    row = closed_loop.measured((run, 2))
    assert (row["fpr"], row["fnr"]) == (0, 0)
    assert {"skymask", "oracle", "fedavg", "fltrust"} <= row.keys()


def test_errors_of_both_kinds_are_counted():
    import federations
    import numpy as np

    accepted = np.array([[True, False, True, False], [False, False, True, True]])
    counts = federations.count(accepted, np.array([False, False, True, True]))
    assert counts.tolist() == [3, 4, 3, 4]
    assert federations.rates(counts) == "75.0 / 75.0"
    assert federations.rates(np.array([1, 4, 0, 0])) == "25.0"


def test_images_by_class_are_read_in_mixed_order(tmp_path):
    import loss_on_cifar
    import numpy as np
    from PIL import Image

    for part, count in (("train", 5), ("test", 2)):
        for label in range(10):
            folder = tmp_path / part / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.full((32, 32, 3), (label, i, 7), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    train, test = loss_on_cifar.read(tmp_path)
    assert train.features.shape == (50, 3, 32, 32)
    assert len(test) == 20
    channels = (train.features * 255).round().long()[:, :, 3, 4]
    assert channels[:, 0].tolist() == train.labels.tolist()
    assert channels[:, 2].unique().tolist() == [7]
    assert len(train.labels[:10].unique()) > 3
    (tmp_path / "train" / "more").mkdir()
    with pytest.raises(loss_on_cifar.DataError, match="no ten folders"):
        loss_on_cifar.read(tmp_path)


def test_calibration_subtracts_what_the_outputs_are_on_the_root_data():
    import loss_on_cifar
    import numpy as np
    from federations import federation

    source = torch.Generator().manual_seed(0)
    train, test = (
        Samples(torch.rand(n, 3, 12, 12, generator=source), torch.arange(n) % 10)
        for n in (2200, 300)
    )
    parties = federation(loss_on_cifar.run_of("batch_softmax"), (train, test))
    assert (np.bincount(parties.assignment + 2)[1:] > 0).all()
    row = parties.initial_parameters()
    row[-10:] += 3 * torch.rand(10, generator=source)
    outputs = parties.model.copy(row).module(test.features).detach()
    root = parties.model.copy(row).module(parties.root.features).detach()
    classes = [outputs.argmax(dim=1), (outputs - root.exp().sum(dim=0).log()).argmax(dim=1)]
    right = [float((own == test.labels).double().mean()) for own in classes]
    measured = loss_on_cifar.accuracies(parties, row)
    assert right[0] != right[1]
    assert [measured[0], measured[3]] == right


def test_a_loss_without_means_ignores_what_is_added_to_an_output():
    import loss_on_cifar

    from skymask.models.functional import FunctionalModel

    source = torch.Generator().manual_seed(0)
    module = architectures.build("logistic_regression", (6,), 3, 0)
    samples = Samples(torch.rand(9, 6, generator=source), torch.arange(9) % 3)
    row = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    moved = row.clone()
    moved[-1] += 5
    usual = FunctionalModel(module, (6,)).loss_on(samples)
    centred = loss_on_cifar.WithoutMeans(module, (6,)).loss_on(samples)
    assert abs(usual(moved) - usual(row)) > 0.1
    assert_close(centred(moved), centred(row))
