"""Damaged files: a message names the file, and deleting it gives the right result."""

import os
import re
import shutil

import pytest

from .harness import Project

LONGER = {"rounds": 6}
NAMED = re.compile(r"cannot read (results/\S+): [^;]*; delete it and rerun snakemake")


def flip_bit(path):
    """Change one bit in the middle of a file, but not its time, as a failing disk does."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def delete_as_told(project):
    """Run and delete the files that messages name until the study is done; return their paths."""
    named = []
    for _ in range(6):
        done = project.snakemake(check=False)
        assert "Traceback" not in done.stdout
        if done.returncode == 0:
            return named
        paths = set(NAMED.findall(done.stdout))
        assert paths, done.stdout
        for path in paths:
            (project.folder / path).unlink()
        named += sorted(paths)
    raise AssertionError(f"the study is not done after these were deleted: {named}")


def results(project):
    """Read the bytes of all rows and tables, by path."""
    suffixes = (".csv", ".md", ".tex", ".parquet")
    tables = project.tables().iterdir()
    return project.rows() | {p.name: p.read_bytes() for p in tables if p.suffix in suffixes}


@pytest.fixture(scope="module")
def longer(finished, tmp_path_factory):
    """The finished study with two more rounds; never changed."""
    project = finished.clone(tmp_path_factory.mktemp("longer") / "project")
    project.set_study(**LONGER)
    project.snakemake()
    return project


FILES = {
    "data": "results/data/digits/train.parquet",
    "partition": "results/partitions/*.parquet",
    "experiment": "results/runs/*krum*/experiment.json",
    "model": "results/runs/*krum*/spans/3-4/model.parquet",
    "state": "results/runs/*skymask*/spans/3-4/defense_state.parquet",
    "rows": "results/runs/*krum*/spans/1-2/aggregates.parquet",
}


@pytest.mark.parametrize("kind", FILES)
def test_deleting_the_named_file_gives_the_right_result(project, longer, kind):
    (path,) = project.folder.glob(FILES[kind])
    flip_bit(path)
    project.set_study(**LONGER)
    # experiment.json is small enough to be compared with its checksum before anything runs
    named = [] if kind == "experiment" else [str(path.relative_to(project.folder))]
    assert delete_as_told(project) == named
    assert results(project) == results(longer)


def test_damaged_collected_rows_are_collected_again(project, finished):
    path = project.run("krum") / "metrics.parquet"
    flip_bit(path)
    shutil.rmtree(project.folder / "results" / "tables")
    status = project.skymask("status", "study.yaml")
    assert (status.returncode, status.stderr) == (0, "")
    assert delete_as_told(project) == [str(path.relative_to(project.folder))]
    assert results(project) == results(finished)


def test_a_damaged_model_between_two_rounds_is_computed_again(finished, tmp_path):
    project = Project.create(tmp_path / "project", defense="krum", rounds=2, rounds_per_job=1)
    project.snakemake()
    path = project.run("krum") / "rounds" / "2" / "model.parquet"
    flip_bit(path)
    project.set_study(defense="krum", rounds_per_job=1)
    assert delete_as_told(project) == [str(path.relative_to(project.folder))]
    rows = project.rows()
    assert rows == {path: finished.rows()[path] for path in rows}


def test_results_of_an_older_version_are_not_used(finished, tmp_path):
    project = Project.create(tmp_path / "project", defense="krum")
    source = "src/skymask/study/experiment.py"
    text = (project.folder / source).read_text()
    (version,) = re.findall(r"^SCHEMA_VERSION = (\d+)$", text, re.MULTILINE)
    now, before = f"SCHEMA_VERSION = {version}", f"SCHEMA_VERSION = {int(version) - 1}"
    project.edit(source, now, before)
    project.snakemake()
    (old,) = project.runs()
    project.edit(source, before, now)
    # the same holds for the data, whose path does not change
    assert delete_as_told(project) == []
    (new,) = [run for run in project.runs() if run != old]
    rows = {path: content for path, content in project.rows().items() if new.name in path}
    assert rows == {path: finished.rows()[path] for path in rows}
    # an old file in the place of a new one is made again
    shutil.copytree(old / "spans", new / "spans", dirs_exist_ok=True)
    shutil.copy(old / "metrics.parquet", new / "metrics.parquet")
    shutil.rmtree(project.folder / "results" / "tables")
    assert project.planned()["span"] == 2
    project.snakemake()
    rows = {path: content for path, content in project.rows().items() if new.name in path}
    assert rows == {path: finished.rows()[path] for path in rows}


def refused(done, name):
    """Whether a command has failed with a message about the file ``name``."""
    assert "Traceback" not in done.stderr
    return done.returncode == 1 and name in done.stdout + done.stderr


def test_trace_names_a_damaged_file(project):
    csv = project.tables() / "accuracy.csv"
    trace = ("trace", str(csv.relative_to(project.folder)), "--cell", "fang_trim,krum")
    assert project.skymask(*trace).returncode == 0
    run = project.run("krum")
    for file in (
        run / "experiment.json",
        run / "metrics.parquet",
        run / "spans" / "1-2" / "aggregates.parquet",
        project.folder / "results" / "data" / "digits" / "test.parquet",
        project.tables() / "runs.parquet",
    ):
        whole = file.read_bytes()
        flip_bit(file)
        done = project.skymask(*trace)
        assert refused(done, file.name), file
        assert "delete it" in (done.stdout + done.stderr).lower()
        file.write_bytes(whole)
    whole = csv.read_bytes()
    for damaged in (whole.replace(b"0.", b"0x", 1), b"\xff" + whole, whole[:40], b""):
        csv.write_bytes(damaged)
        assert refused(project.skymask(*trace), "accuracy.csv"), damaged


def test_publish_refuses_a_damaged_table(project, tmp_path):
    publish = ("publish", "study.yaml", "--to", str(tmp_path / "pages"))
    markdown = project.tables() / "accuracy.md"
    flip_bit(markdown)
    done = project.skymask(*publish)
    assert refused(done, "accuracy.md has changed since it was written")
    assert not (tmp_path / "pages").exists()
    markdown.unlink()
    project.snakemake()
    assert project.skymask(*publish).returncode == 0
