"""Whatever happens to the bytes of a file, it is an error that names it, never another number."""

import json
import os
import shutil
import subprocess
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skymask.artifacts import checksum
from skymask.artifacts.atomic import StorageError, atomic, unwritable
from skymask.artifacts.errors import ArtifactError
from skymask.artifacts.parquet import read_schema, read_table, write_table
from skymask.artifacts.records import collect_updates, read_experiment, read_rows, write_rows
from skymask.artifacts.samples import (
    read_groups,
    read_labels,
    read_partition,
    write_partition,
    write_samples,
)
from skymask.artifacts.tensors import (
    read_parameters,
    read_samples,
    read_state,
    write_parameters,
    write_state,
)
from skymask.models.flat_parameters import Layout
from skymask.study.experiment import Method
from tests.support.federations import BASE

LAYOUT = Layout.of(nn.Linear(3, 2))
EXPERIMENT = replace(
    BASE,
    partition=Method("dirichlet", {"alpha": 0.5}),
    attack=Method("min_max", {"perturbation": "unit"}),
    malicious=3,
    defense=Method("skymask", {"clusters": "auto"}, (Method("nnm"),)),
    assumed_malicious=3,
)


def _updates(path):
    rows = torch.randn(3, LAYOUT.dimension, generator=torch.Generator().manual_seed(0))
    write_parameters(path, "updates", "s", LAYOUT, rows, client=[0, 1, 2])


def _samples(path):
    pixels = np.arange(24, dtype=np.uint8).reshape(6, 1, 2, 2)
    write_samples(
        path, "s", pixels, np.arange(6), classes=6, scale=255.0, groups=np.zeros(6, np.int32)
    )


def _rows(path):
    write_rows(path, "metrics", "s", [{"round": r, "accuracy": r / 7} for r in range(1, 5)])


def _table(path):
    frame = pd.DataFrame({"defense": ["krum"], "accuracy_mean": [0.5]})
    write_table(path, "accuracy_table", "s", pa.Table.from_pandas(frame, preserve_index=False))


KINDS = {
    "updates": (
        _updates,
        [
            lambda path: read_parameters(path, "updates", "s", LAYOUT),
            lambda path: read_parameters(path, "updates", "s", LAYOUT, ["bias"]),
            lambda path: read_schema(path, "updates", "s"),
            lambda path: collect_updates([path], path.with_name("collected"), "s"),
        ],
    ),
    "state": (
        lambda path: write_state(path, "s", {"a": torch.arange(4.0), "b": torch.tensor([True])}),
        [lambda path: read_state(path, "s")],
    ),
    "samples": (
        _samples,
        [
            lambda path: read_samples(path, "s"),
            lambda path: read_labels(path, "s"),
            lambda path: read_groups(path, "s"),
        ],
    ),
    "partition": (
        lambda path: write_partition(path, "s", np.arange(-2, 9, dtype=np.int32)),
        [lambda path: read_partition(path, "s")],
    ),
    "rows": (_rows, [lambda path: read_rows(path, "metrics", "s")]),
    "table": (_table, [lambda path: read_table(path, "accuracy_table", "s")]),
}


def refused(path, read):
    """Whether reading fails with an error that names the file and says what to do."""
    try:
        read(path)
    except ArtifactError as error:
        return str(path) in str(error) and "delete it and rerun snakemake" in str(error)
    return False


def overwrite(path, content):
    """Write a file in place; many file systems wait for the disk if it is emptied first."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_anywhere_is_found(tmp_path, kind):
    write, readers = KINDS[kind]
    path = tmp_path / "file.parquet"
    write(path)
    for read in readers:
        read(path)
    content = path.read_bytes()
    assert len(content) > 800
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        overwrite(path, damaged)
        assert all(refused(path, read) for read in readers), f"byte {place} of {len(content)}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_found(tmp_path, kind):
    write, readers = KINDS[kind]
    path = tmp_path / "file.parquet"
    write(path)
    content = path.read_bytes()
    for length in range(len(content)):
        overwrite(path, content[:length])
        assert all(refused(path, read) for read in readers), f"{length} of {len(content)} bytes"


@given(st.data())
def test_bytes_lost_written_over_or_put_in_are_found(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damage") / "file.parquet"
    write, readers = KINDS[data.draw(st.sampled_from(sorted(KINDS)))]
    write(path)
    content = path.read_bytes()
    first = data.draw(st.integers(0, len(content)))
    last = data.draw(st.integers(first, len(content)))
    new = data.draw(st.one_of(st.binary(max_size=600), st.just(bytes(last - first))))
    damaged = content[:first] + new + content[last:]
    path.write_bytes(damaged)
    assert all(refused(path, read) for read in readers) == (damaged != content)


def test_a_file_with_a_checksum_is_still_parquet_for_other_readers(tmp_path):
    path, plain = tmp_path / "file.parquet", tmp_path / "plain.parquet"
    table = pa.table({"round": list(range(5000)), "x": np.random.default_rng(0).random(5000)})
    write_table(path, "k", "s", table, row_group_size=1000, write_page_index=True)
    pq.write_table(table, plain)
    assert pd.read_parquet(path).equals(pd.read_parquet(plain))
    assert pq.read_table(path, filters=[("round", ">", 4321)]).num_rows == 678
    found = duckdb.sql(f"SELECT sum(x) FROM '{path}' WHERE round > 4321").fetchall()
    assert found == duckdb.sql(f"SELECT sum(x) FROM '{plain}' WHERE round > 4321").fetchall()
    assert path.stat().st_size == plain_size(tmp_path, table) + 16


def plain_size(folder, table):
    """Bytes of the same table without a checksum."""
    file = folder / "plain"
    schema = pq.read_schema(folder / "file.parquet")
    marked = table.replace_schema_metadata(schema.metadata)
    pq.write_table(marked, file, row_group_size=1000, write_page_index=True)
    return file.stat().st_size


def test_only_parquet_gets_a_checksum_and_no_file_is_read_whole(tmp_path, monkeypatch):
    text = tmp_path / "text"
    text.write_text("round,accuracy\n" * 9)
    with pytest.raises(ValueError, match="is not a Parquet file"):
        checksum.add(text)
    # chunks of any size give the same checksum
    KINDS["updates"][0](tmp_path / "one")
    monkeypatch.setattr(checksum, "_CHUNK", 7)
    KINDS["updates"][0](tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert checksum.problem(tmp_path / "one") is None


def test_experiments_do_not_survive_a_flipped_bit(tmp_path):
    path = tmp_path / EXPERIMENT.run / "experiment.json"
    path.parent.mkdir()
    content = EXPERIMENT.to_json().encode()
    path.write_bytes(content)
    assert read_experiment(path) == EXPERIMENT
    read_as_it_was = 0
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            overwrite(path, damaged)
            if not refused(path, read_experiment):
                # a space for a line's end and the like: another text, the same experiment
                assert read_experiment(path) == EXPERIMENT
                read_as_it_was += 1
    assert read_as_it_was < 200


def test_an_experiment_in_the_folder_of_another_run_is_refused(tmp_path):
    other = replace(EXPERIMENT, local_lr=0.1)
    path = tmp_path / EXPERIMENT.run / "experiment.json"
    path.parent.mkdir()
    path.write_text(other.to_json())
    with pytest.raises(ArtifactError, match=f"it belongs to another run, {other.run}; delete it"):
        read_experiment(path)
    path.write_text("")
    assert refused(path, read_experiment)
    path.write_text(json.dumps(["not", "a", "run"]))
    assert refused(path, read_experiment)
    path.unlink()
    with pytest.raises(ArtifactError, match="it is missing; rerun snakemake"):
        read_experiment(path)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(["-t", "tmpfs", "-o", "size=256k", "skymask-test", str(folder)])
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(arguments):
    """Mount, or skip where that is not possible."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")


def large(path):
    write_state(path, "s", {"a": torch.arange(20_000.0)})


def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_written(small_disk):
    path = small_disk / "run" / "state.parquet"
    large(path)
    before = path.read_bytes()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(150 * 1024))
    for target in (path, path.with_name("new.parquet")):
        with pytest.raises(StorageError, match="no space is left for") as error:
            large(target)
        assert str(target) in str(error.value)
        assert str(target.parent) in str(error.value)
        assert "Free space there and run the same command again" in str(error.value)
        # as a job's log takes it: to try again at once does not help
        assert error.value.errno == 28
    assert [file.name for file in path.parent.iterdir()] == ["state.parquet"]
    assert path.read_bytes() == before
    ballast.unlink()
    large(path.with_name("new.parquet"))
    assert path.with_name("new.parquet").read_bytes() == before


def test_the_disk_may_fill_up_at_any_byte(small_disk, tmp_path):
    """In the pages, in the footer, or when the checksum makes the file one page longer."""
    whole = tmp_path / "whole.parquet"
    large(whole)
    wanted, path = whole.read_bytes(), small_disk / "state.parquet"
    ballast, succeeded = small_disk / "ballast", []
    for kib in range(256, 140, -4):
        ballast.unlink(missing_ok=True)
        ballast.write_bytes(bytes(kib * 1024))
        try:
            large(path)
            assert path.read_bytes() == wanted
            succeeded.append(kib)
            path.unlink()
        except StorageError:
            assert [file.name for file in small_disk.iterdir()] == ["ballast"]
    assert succeeded
    assert len(succeeded) < 29


def test_a_disk_that_fills_up_between_row_groups_leaves_no_file(small_disk, tmp_path):
    path = tmp_path / "updates.parquet"
    layout = Layout.of(nn.Linear(100, 100))
    rows = torch.randn(4, layout.dimension, generator=torch.Generator().manual_seed(0))
    write_parameters(path, "updates", "s", layout, rows, round=[1] * 4)
    with pytest.raises(StorageError, match=r"updates.parquet cannot be written: no space"):
        collect_updates([path, path, path], small_disk / "updates.parquet", "s")
    assert list(small_disk.iterdir()) == []


@pytest.fixture
def read_only(small_disk):
    (small_disk / "old.txt").write_text("old")
    mount(["-o", "remount,ro", str(small_disk)])
    return small_disk


def test_a_read_only_folder_is_a_sentence(read_only):
    for target in (read_only / "old.txt", read_only / "new" / "file"):
        with pytest.raises(StorageError, match="is read-only or belongs to another user") as error:
            large(target)
        assert str(target) in str(error.value)
    assert (read_only / "old.txt").read_text() == "old"


def test_whether_a_folder_can_be_written_is_known_beforehand(tmp_path, small_disk):
    assert unwritable(tmp_path / "new") is None
    assert list((tmp_path / "new").iterdir()) == []
    (small_disk / "ballast").write_bytes(bytes(220 * 1024))
    assert "No space left on device" in unwritable(small_disk)
    (small_disk / "ballast").unlink()
    assert unwritable(small_disk) is None
    mount(["-o", "remount,ro", str(small_disk)])
    assert "Read-only file system" in unwritable(small_disk)
    assert str(small_disk) in unwritable(small_disk)
    (tmp_path / "file").write_text("")
    assert "nothing can be written" in unwritable(tmp_path / "file" / "results")


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "file"):
        (tmp_path / "missing").read_text()
    secret = PermissionError(13, "Permission denied", "/elsewhere/secret")
    with pytest.raises(PermissionError) as error, atomic(tmp_path / "file"):
        raise secret
    assert error.value is secret
    own = PermissionError(13, "Permission denied", str(tmp_path))
    with pytest.raises(StorageError, match="belongs to another user"), atomic(tmp_path / "file"):
        raise own
