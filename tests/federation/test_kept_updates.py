"""Kept updates: written while training goes on, readable by layer."""

import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from skymask.artifacts import parquet
from skymask.artifacts.errors import ArtifactError
from skymask.artifacts.parquet import packed, read_row_groups, read_table
from skymask.artifacts.records import collect_updates
from skymask.artifacts.tensors import read_parameters, write_parameters
from skymask.federation import storage
from skymask.federation.storage import kept_updates, write_matrix
from skymask.federation.timing import Clock
from skymask.models.flat_parameters import Layout
from skymask.study.experiment import Method
from tests.support.federations import carried, federation, same_bits

ATTACKED = {"attack": Method("sign_flip"), "malicious": 2}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spans" / "1-9" / "updates.parquet"


def drawn(parties, rounds):
    source = torch.Generator().manual_seed(0)
    shape = (parties.experiment.clients, parties.model.layout.dimension)
    return {round_: torch.randn(shape, generator=source) for round_ in rounds}


def write(parties, path, rounds, clock=None):
    with kept_updates(parties, str(path), clock or Clock()) as keep:
        for round_, updates in rounds.items():
            keep(round_, updates)


def test_kept_rounds_are_a_row_group_each_with_their_bits_and_keys(path):
    parties = federation(**ATTACKED)
    rounds = drawn(parties, (2, 5, 9))
    rounds[5][0, :3] = torch.tensor([float("nan"), -0.0, 1e-45])
    write(parties, path, rounds)
    run, layout = parties.experiment.run, parties.model.layout
    groups = list(read_row_groups(path, "updates", run))
    assert [set(group["round"].to_pylist()) for group in groups] == [{2}, {5}, {9}]
    for group in groups:
        assert group.column_names == ["round", "client", "malicious", *layout.names]
        assert group["client"].to_pylist() == [*range(6)]
        assert group["malicious"].to_pylist() == parties.malicious.tolist()
    again = read_parameters(path, "updates", run, layout)
    assert same_bits(again, torch.cat([*rounds.values()]))
    assert pq.read_schema(path).field("1.weight").metadata[b"shape"] == b"[10, 64]"


def test_a_span_hands_its_kept_rounds_on_and_keeps_none(path):
    parties, given = federation(**ATTACKED), {}
    rounds, wanted = range(1, 6), frozenset({1, 4})
    plain, collected = carried(parties, rounds, keep_updates=wanted)
    with kept_updates(parties, str(path), Clock()) as keep:

        def both(round_, updates):
            given[round_] = updates
            keep(round_, updates)

        progress, span = carried(parties, rounds, keep_updates=wanted, keep=both)
    assert span.updates == {}
    assert [*given] == [*collected.updates] == [1, 4]
    assert same_bits(progress.global_parameters, plain.global_parameters)
    again = read_parameters(path, "updates", parties.experiment.run, parties.model.layout)
    assert same_bits(again, torch.cat([*collected.updates.values()]))


def test_a_span_that_keeps_nothing_writes_an_empty_file(path):
    parties = federation()
    write(parties, path, {})
    run, layout = parties.experiment.run, parties.model.layout
    assert read_parameters(path, "updates", run, layout).shape == (0, layout.dimension)
    collect_updates([path], path.with_name("all.parquet"), run)
    assert len(read_table(path.with_name("all.parquet"), "updates", run)) == 0


def test_no_more_than_two_rounds_wait_to_be_written(path, monkeypatch):
    parties = federation()
    written, waiting, most = threading.Semaphore(0), [], []
    table = storage.parameters_table

    def slow(layout, updates, **keys):
        written.acquire(timeout=10)
        waiting.remove(keys["round"][0])
        return table(layout, updates, **keys)

    monkeypatch.setattr(storage, "parameters_table", slow)

    def release():
        for _ in range(8):
            time.sleep(0.02)
            written.release()

    thread = threading.Thread(target=release)
    with kept_updates(parties, str(path), Clock()) as keep:
        thread.start()
        for round_, updates in drawn(parties, range(1, 9)).items():
            waiting.append(round_)
            keep(round_, updates)
            most.append(len(waiting))
    thread.join()
    # accepted and not yet written: never a third one
    assert max(most) == 2
    assert waiting == []


def test_time_that_rounds_wait_for_writing_is_counted_as_writing(path, monkeypatch):
    parties, clock = federation(), Clock()
    table = storage.parameters_table

    def slow(*arguments, **keys):
        time.sleep(0.1)
        return table(*arguments, **keys)

    monkeypatch.setattr(storage, "parameters_table", slow)
    write(parties, path, drawn(parties, range(1, 5)), clock)
    rows = {row["stage"]: row["seconds"] for row in clock.rows([], 4, "cpu")}
    assert rows["write"] >= 0.35


@pytest.mark.parametrize("rounds", [1, 6])
def test_an_error_in_writing_ends_the_span_and_leaves_no_file(path, monkeypatch, rounds):
    parties = federation()

    def full(*arguments, **keys):
        raise OSError("no space left on device")

    monkeypatch.setattr(storage, "parameters_table", full)
    with pytest.raises(OSError, match="no space left on device"):
        write(parties, path, drawn(parties, range(1, rounds + 1)))
    assert list(path.parent.iterdir()) == []


def test_an_error_in_a_round_leaves_the_old_file(path):
    parties = federation()
    write(parties, path, drawn(parties, (1,)))
    before = path.read_bytes()

    def fail():
        with kept_updates(parties, str(path), Clock()) as keep:
            keep(1, drawn(parties, (1,))[1])
            raise ValueError("a round that failed")

    with pytest.raises(ValueError, match="a round that failed"):
        fail()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_joined_updates_do_not_depend_on_the_cut(tmp_path):
    parties = federation(**ATTACKED)
    run, rounds = parties.experiment.run, drawn(parties, (2, 3, 7))
    for round_, updates in rounds.items():
        write_matrix(parties, tmp_path / f"round{round_}", "updates", updates, round_)
    write(parties, tmp_path / "first", {2: rounds[2], 3: rounds[3]})
    write(parties, tmp_path / "second", {7: rounds[7]})
    collect_updates([tmp_path / f"round{r}" for r in rounds], tmp_path / "staged", run)
    collect_updates([tmp_path / "first", tmp_path / "second"], tmp_path / "spans", run)
    assert (tmp_path / "staged").read_bytes() == (tmp_path / "spans").read_bytes()
    again = read_parameters(tmp_path / "spans", "updates", run, parties.model.layout)
    assert same_bits(again, torch.cat([*rounds.values()]))


def test_updates_of_another_run_are_not_joined(tmp_path):
    one, other = federation(), federation(training_seed=2)
    write(one, tmp_path / "one", drawn(one, (1,)))
    write(other, tmp_path / "other", drawn(other, (2,)))
    own = one.experiment.run
    with pytest.raises(ArtifactError, match="other: expected spec="):
        collect_updates([tmp_path / "one", tmp_path / "other"], tmp_path / "both", own)
    with pytest.raises(ArtifactError, match="one: expected spec="):
        collect_updates([tmp_path / "one"], tmp_path / "both", other.experiment.run)
    assert not (tmp_path / "both").exists()


# --- one layer --------------------------------------------------------------------------------

LAYERS = Layout.of(nn.Sequential(nn.Linear(300, 50), nn.ReLU(), nn.Linear(50, 40)))


class Counting:
    """A file that counts the bytes read from it."""

    def __init__(self, path):
        self.file, self.bytes = path.open("rb"), 0
        self.closed = False

    def read(self, size=-1):
        content = self.file.read(size)
        self.bytes += len(content)
        return content

    def close(self):
        self.file.close()
        self.closed = True

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.fixture
def counted(monkeypatch):
    """The files that are opened from now on, each counting."""
    opened, parquet_file = [], pq.ParquetFile

    def opening(path, **options):
        opened.append(Counting(path))
        return parquet_file(pa.PythonFile(opened[-1], mode="r"), **options)

    monkeypatch.setattr(parquet.pq, "ParquetFile", opening)
    return opened


def sizes(path, layers):
    """The bytes of the layers' columns in a file, from its footer; and of all that is no column."""
    result = pq.ParquetFile(path).metadata
    chunks = [
        result.row_group(g).column(c)
        for g in range(result.num_row_groups)
        for c in range(result.num_columns)
    ]
    every = sum(chunk.total_compressed_size for chunk in chunks)
    own = sum(
        chunk.total_compressed_size
        for chunk in chunks
        if chunk.path_in_schema.removesuffix(".list.element") in layers
    )
    return own, path.stat().st_size - every


@pytest.mark.parametrize("layers", [["2.bias"], ["2.weight"], ["0.bias", "2.bias"], ["0.weight"]])
@pytest.mark.parametrize("packing", [False, True])
def test_one_layer_reads_one_layers_bytes(tmp_path, counted, layers, packing):
    rows = torch.randn(30, LAYERS.dimension, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "updates"
    write_parameters(path, "updates", "run", LAYERS, rows, client=[*range(30)])
    if packing:
        with parquet.row_groups(
            tmp_path / "packed", "updates", "run", pq.read_schema(path), **packed(LAYERS.names)
        ) as group:
            group(pq.read_table(path))
            group(pq.read_table(path))
        path, rows = tmp_path / "packed", torch.cat([rows, rows])
    own, rest = sizes(path, layers)
    before = sum(file.bytes for file in counted)
    result = read_parameters(path, "updates", "run", LAYERS, layers=layers)
    columns = LAYERS.columns(rows)
    expected = torch.cat([columns[name] for name in LAYERS.names if name in layers], dim=1)
    assert same_bits(result, expected.contiguous())
    read = sum(file.bytes for file in counted) - before
    assert own <= read
    # the footer is read for the check of the layers and again for the rows, up to 64 KiB at once
    assert read - own <= 2 * max(rest, 2**16)
    whole = path.stat().st_size
    if layers != ["0.weight"]:
        assert read < whole / 2


def test_layers_come_in_the_models_order_and_must_be_its_own(tmp_path):
    rows = torch.randn(3, LAYERS.dimension)
    write_parameters(tmp_path / "u", "updates", "run", LAYERS, rows)
    read = (tmp_path / "u", "updates", "run", LAYERS)
    assert same_bits(
        read_parameters(*read, layers=["2.bias", "0.bias"])[:, :50], rows[:, 15000:15050]
    )
    with pytest.raises(KeyError, match=r"no layer 2\.wait: it has 0\.weight"):
        read_parameters(*read, layers=["2.wait"])
    with pytest.raises(ArtifactError, match="another model"):
        read_parameters(*read[:3], Layout.of(nn.Linear(50, 40)), layers=["bias"])


def test_kept_updates_take_less_room(tmp_path):
    # what training leaves: many weights never move, and all are small
    parties = federation(attack=Method("none"))
    _, span = carried(parties, range(1, 2), keep_updates=frozenset({1}))
    write_matrix(parties, tmp_path / "raw", "updates", span.updates[1], 1)
    write(parties, tmp_path / "packed", span.updates)
    assert (tmp_path / "packed").stat().st_size < 0.9 * (tmp_path / "raw").stat().st_size
