"""Provenance files: what is current and what is not."""

import errno
import io
import os
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from skymask.artifacts import checksum, provenance_file
from skymask.artifacts.parquet import write_table
from skymask.read_errors import ReadError

MADE = {"stage": "span", "rounds": (1, 20), "code": "abc"}


class Outputs(list):
    """Output files, as Snakemake gives them to a script."""

    provenance: str


@pytest.fixture
def job(tmp_path):
    """The files of a job: a Parquet file and a text, and their provenance file."""
    table, text = tmp_path / "rows.parquet", tmp_path / "rows.csv"
    write_table(table, "metrics", "run", pa.table({"x": [1.0, 2.0]}))
    text.write_text("x\n1\n")
    path = tmp_path / "provenance" / "job.json"
    provenance_file.write(path, MADE, [table, text])
    return SimpleNamespace(path=path, files=[table, text], table=table, text=text)


def current(job, **changes):
    return provenance_file.is_current(job.path, MADE | changes, job.files)


def test_files_are_current_at_any_time(job):
    for time in (0, 4e9):
        for file in (job.path, *job.files):
            os.utime(file, (time, time))
        assert current(job)


@pytest.mark.parametrize("changes", [{"code": "abe"}, {"rounds": (1, 21)}, {"more": None}])
def test_another_provenance_is_not_current(job, changes):
    assert not current(job, **changes)


def test_other_contents_are_not_current(job):
    job.text.write_text("x\n2\n")
    assert not current(job)


def test_another_parquet_file_is_not_current(job):
    write_table(job.table, "metrics", "run", pa.table({"x": [1.0, 3.0]}))
    assert not current(job)


def test_a_file_that_is_truncated_is_not_current(job):
    job.table.write_bytes(job.table.read_bytes()[:-30])
    assert checksum.stored(job.table) is None
    assert not current(job)


def test_a_file_that_was_not_written_by_the_job_is_not_current(job, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("x\n1\n")
    assert not provenance_file.is_current(job.path, MADE, [*job.files, other])


def test_a_file_that_was_deleted_does_not_count(job):
    job.table.unlink()
    assert current(job)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"made": {}}', '{"files": {}, "made": 1}'])
def test_a_damaged_provenance_file_says_nothing(job, text):
    job.path.write_text(text)
    assert provenance_file.read(job.path) is None
    assert not current(job)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("name", ["job.json", "rows.parquet", "rows.csv"])
def test_a_failed_read_decides_nothing(job, monkeypatch, name, number):
    opened = io.open

    def fails(file, *arguments, **options):
        if Path(file).name == name:
            raise OSError(number, os.strerror(number), str(file))
        return opened(file, *arguments, **options)

    monkeypatch.setattr(io, "open", fails)
    with pytest.raises(ReadError, match=f"{name}: .*the file may be intact") as caught:
        current(job)
    assert caught.value.errno == number


def test_without_a_provenance_file_nothing_is_current(job):
    job.path.unlink()
    assert not current(job)


def test_it_is_written_when_the_job_has_succeeded(job):
    outputs = Outputs(map(str, job.files))
    outputs.provenance = str(job.path)
    outputs.append(outputs.provenance)
    snakemake = SimpleNamespace(output=outputs, params=SimpleNamespace(provenance={"code": "new"}))

    def fails():
        with provenance_file.recorded(snakemake):
            raise ValueError

    with pytest.raises(ValueError):
        fails()
    assert current(job)
    with provenance_file.recorded(snakemake):
        job.text.write_text("x\n5\n")
    assert provenance_file.is_current(job.path, {"code": "new"}, job.files)
    assert set(provenance_file.read(job.path)["files"]) == {"rows.parquet", "rows.csv"}
