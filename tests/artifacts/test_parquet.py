"""Parquet artifacts: bits are kept, and a file that is not what it should be is an error."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from skymask.artifacts import checksum, parquet
from skymask.artifacts.atomic import atomic
from skymask.artifacts.errors import ArtifactError
from skymask.artifacts.parquet import read_table, write_table
from skymask.artifacts.records import collect_rows, read_rows, write_rows
from skymask.artifacts.samples import read_labels, read_partition, write_partition, write_samples
from skymask.artifacts.schemas import SCHEMAS
from skymask.artifacts.tensors import (
    read_parameters,
    read_samples,
    read_state,
    write_parameters,
    write_state,
)
from skymask.models.flat_parameters import Layout

LAYOUT = Layout.of(nn.Linear(5, 3))


def updates(n=4):
    rows = torch.randn(n, LAYOUT.dimension, generator=torch.Generator().manual_seed(0))
    rows[0, :5] = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45])
    rows[1].view(torch.int32)[3] = 0x7FC12345  # a NaN with a payload
    return rows


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "file.parquet"


@pytest.mark.parametrize("n", [0, 1, 4])
def test_updates_survive_to_the_bit(path, n):
    rows = updates()[:n]
    keys = {"client": list(range(n)), "malicious": [True] * n}
    write_parameters(path, "updates", "run", LAYOUT, rows, **keys)
    again = read_parameters(path, "updates", "run", LAYOUT)
    assert again.dtype == torch.float32
    assert again.view(torch.int32).equal(rows.view(torch.int32))
    again.zero_()  # a copy of its own
    table = read_table(path, "updates", "run")
    assert table.column_names == ["client", "malicious", "weight", "bias"]
    assert table.schema.field("weight").type == pa.list_(pa.float32(), 15)
    assert table.schema.field("malicious").type == pa.bool_()


def test_one_layer_can_be_read_alone(path):
    write_parameters(path, "updates", "run", LAYOUT, updates())
    table = read_table(path, "updates", "run", columns=["bias"])
    assert table.column_names == ["bias"]
    assert table["bias"][2].as_py() == updates()[2, 15:].tolist()
    assert pq.read_schema(path).field("weight").metadata[b"shape"] == b"[3, 5]"


def test_state_survives_with_its_dtypes_and_shapes(path):
    source = torch.Generator().manual_seed(0)
    state = {
        "history": torch.randn(2, 3, 4, generator=source),
        "double": torch.tensor([1e-300, float("nan"), -0.0], dtype=torch.float64),
        "counts": torch.arange(5),
        "small": torch.tensor([1, -1], dtype=torch.int32),
        "bytes": torch.tensor([[0, 255]], dtype=torch.uint8),
        "flags": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 7),
        "strided": torch.arange(6.0).view(2, 3).T,
    }
    write_state(path, "run", state)
    again = read_state(path, "run")
    assert set(again) == set(state)
    for name, tensor in state.items():
        assert again[name].dtype == tensor.dtype, name
        assert again[name].shape == tensor.shape, name
        assert again[name].numpy().tobytes() == tensor.contiguous().numpy().tobytes(), name


def test_an_empty_state_is_empty(path):
    write_state(path, "run", {})
    assert read_state(path, "run") == {}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_samples_survive_with_their_shape_scale_and_labels(path, dtype):
    values = np.random.default_rng(0).integers(0, 17, (6, 1, 4, 3)).astype(dtype)
    labels = np.array([0, 1, 2, 2, 1, 0])
    write_samples(path, "digits", values, labels, classes=3, scale=16.0)
    features, again, classes = read_samples(path, "digits")
    assert features.dtype == torch.float32
    assert features.equal(torch.from_numpy(values.astype(np.float32)) / 16)
    assert again.tolist() == labels.tolist()
    assert again.dtype == torch.int64
    assert classes == 3
    only, count = read_labels(path, "digits")
    assert (only.tolist(), count) == (labels.tolist(), 3)


def test_samples_of_bytes_are_a_byte_each_and_lists_are_read_too(path):
    values = np.random.default_rng(0).integers(0, 256, (6, 1, 4, 3)).astype(np.uint8)
    write_samples(path, "digits", values, np.arange(6), classes=6, scale=255.0)
    table = read_table(path, "samples", "digits")
    assert table.schema.field("features").type == pa.binary(12)
    assert table["features"][3].as_py() == values[3].tobytes()
    # as they were written before
    lists = pa.array([sample.ravel().tolist() for sample in values], pa.list_(pa.uint8(), 12))
    old = table.set_column(1, "features", lists).replace_schema_metadata(table.schema.metadata)
    write_table(path.with_name("old"), "samples", "digits", old)
    found, again = (read_samples(file, "digits") for file in (path, path.with_name("old")))
    assert found[0].equal(torch.from_numpy(values.astype(np.float32)) / 255)
    assert found[0].equal(again[0])
    assert found[1].equal(again[1])


def test_partition_survives(path):
    assignment = np.array([-1, 0, 3, -2, 1], dtype=np.int32)
    write_partition(path, "p", assignment)
    again = read_partition(path, "p")
    assert again.dtype == np.int32
    assert (again == assignment).all()


def test_rows_survive_and_what_is_missing_is_null(path):
    rows = [{"round": 1, "stage": "train", "seconds": 0.5}, {"round": 2, "device": "cpu"}]
    write_rows(path, "timings", "run", rows)
    again = read_rows(path, "timings", "run").to_pylist()
    assert again == [{name: row.get(name) for name in SCHEMAS["timings"].names} for row in rows]


def test_the_same_artifact_is_the_same_file(tmp_path):
    one, two = tmp_path / "1", tmp_path / "2"
    for path in (one, two):
        write_parameters(path, "updates", "run", LAYOUT, updates())
    assert one.read_bytes() == two.read_bytes()


def test_collected_rows_do_not_depend_on_how_they_were_cut(tmp_path):
    rows = [{"round": r, "client": c, "score": r / 3} for r in (1, 2, 3) for c in (0, 1, -1)]
    write_rows(tmp_path / "all", "clients", "run", rows)
    for part in (1, 2, 3):
        own = [row for row in rows if row["round"] == part]
        write_rows(tmp_path / str(part), "clients", "run", own)
    collect_rows([tmp_path / "all"], tmp_path / "a", "clients", "run")
    collect_rows([tmp_path / part for part in "312"], tmp_path / "b", "clients", "run")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    table = read_rows(tmp_path / "a", "clients", "run")
    keys = list(zip(*(table[name].to_pylist() for name in ("round", "client")), strict=True))
    assert keys == sorted(keys)
    collect_rows([], tmp_path / "none", "clients", "run")
    assert len(read_rows(tmp_path / "none", "clients", "run")) == 0


def assert_refused(path, words, read, *arguments):
    with pytest.raises(ArtifactError, match=words) as error:
        read(path, *arguments)
    assert str(path) in str(error.value)
    assert "rerun snakemake" in str(error.value)


@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, -1])
def test_a_truncated_file_is_refused(path, kept):
    write_parameters(path, "updates", "run", LAYOUT, updates())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept == 0.5 else kept])
    words = "it is empty" if kept == 0 else "it is truncated or not Parquet"
    assert_refused(path, words, read_parameters, "updates", "run", LAYOUT)


def test_what_is_not_parquet_or_not_there_is_refused(path, tmp_path):
    (tmp_path / "text").write_text("PAR1 round,accuracy\n1,0.5\n" * 20)
    assert_refused(tmp_path / "text", "not Parquet", read_rows, "metrics", "run")
    assert_refused(path, "it is missing", read_rows, "metrics", "run")
    assert_refused(tmp_path, "cannot read", read_rows, "metrics", "run")


def test_a_file_of_another_kind_or_run_is_refused(path):
    write_rows(path, "timings", "run", [{"round": 1}])
    words = "expected artifact=metrics, found timings"
    assert_refused(path, words, read_rows, "metrics", "run")
    words = "expected spec=another, found run"
    assert_refused(path, words, read_rows, "timings", "another")


def test_a_file_of_another_program_is_refused(path):
    path.parent.mkdir()
    pq.write_table(SCHEMAS["metrics"].empty_table().replace_schema_metadata(None), path)
    assert_refused(path, "it has no checksum", read_rows, "metrics", "run")
    checksum.add(path)
    assert_refused(path, "expected artifact=metrics, found nothing", read_rows, "metrics", "run")


def test_a_file_of_an_older_version_is_refused(path, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(parquet, "SCHEMA_VERSION", parquet.SCHEMA_VERSION - 1)
        write_state(path, "run", {})
    assert_refused(path, "expected schema_version=5, found 4", read_state, "run")


def test_rows_with_other_columns_are_refused(path):
    write_table(path, "metrics", "run", pa.table({"round": [1], "accuracy": [0.5]}))
    assert_refused(path, "does not have the columns of metrics", read_rows, "metrics", "run")


@pytest.mark.parametrize("module", [nn.Linear(6, 3), nn.Sequential(nn.Linear(5, 3))])
def test_layers_of_another_model_are_refused(path, module):
    write_parameters(path, "model", "run", LAYOUT, updates(2))
    assert_refused(path, "no layer .*weight", read_parameters, "model", "run", Layout.of(module))


def test_atomic_writes_appear_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    with atomic(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "half"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_nothing_behind_and_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with atomic(path) as temporary:
            temporary.write_text("half of the new")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_failed_artifact_keeps_the_old_one(path, monkeypatch):
    write_state(path, "run", {"a": torch.tensor(1.0)})

    def fail(table, where, **options):
        where.write_bytes(b"PAR1 half")
        raise OSError("no space left on device")

    monkeypatch.setattr(parquet.pq, "write_table", fail)
    with pytest.raises(OSError, match="no space left"):
        write_state(path, "run", {"a": torch.tensor(2.0)})
    assert read_state(path, "run")["a"] == 1.0
    assert [p.name for p in path.parent.iterdir()] == [path.name]
