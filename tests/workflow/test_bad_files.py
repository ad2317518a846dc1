"""A damaged input of a job: the message names it, and who follows it gets the right result."""

import os
import re
import shutil

import pytest

from .harness import Project
from .test_commands import skymask

LONGER = {"rounds": 6}
NAMED = re.compile(r"(results/\S+) [^.]*\. Delete it and run snakemake again")


def flip(path):
    """Flip a bit in the middle of a file; its time stays, as when a disk loses it."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def follow(project):
    """Do as the messages say until all is done; return the files that they named."""
    named = []
    for _ in range(6):
        done = project.snakemake(check=False)
        assert "Traceback" not in done.stdout
        if done.returncode == 0:
            return named
        found = set(NAMED.findall(done.stdout))
        assert found, done.stdout
        for path in found:
            (project.folder / path).unlink()
        named += sorted(found)
    raise AssertionError(f"not done, though these were deleted: {named}")


def numbers(project):
    """The bytes of all rows and tables."""
    tables = (project.folder / "results" / "tables" / "tiny").iterdir()
    kept = (".csv", ".md", ".tex", ".parquet")
    return project.rows() | {p.name: p.read_bytes() for p in tables if p.suffix in kept}


@pytest.fixture(scope="module")
def longer(finished, tmp_path_factory):
    """The finished study with two rounds more; never changed."""
    project = finished.clone(tmp_path_factory.mktemp("longer") / "project")
    project.set_study(**LONGER)
    project.snakemake()
    return project


KINDS = {
    "data": "results/data/digits/train.parquet",
    "partition": "results/partitions/*.parquet",
    "experiment": "results/runs/*krum*/experiment.json",
    "model": "results/runs/*krum*/spans/3-4/model.parquet",
    "state": "results/runs/*skymask*/spans/3-4/defense_state.parquet",
    "rows": "results/runs/*krum*/spans/1-2/aggregates.parquet",
}


@pytest.mark.parametrize("kind", KINDS)
def test_to_follow_the_message_leads_to_the_right_result(project, longer, kind):
    (path,) = project.folder.glob(KINDS[kind])
    flip(path)
    project.set_study(**LONGER)
    assert follow(project) == [str(path.relative_to(project.folder))]
    assert numbers(project) == numbers(longer)


def test_collected_rows_that_are_damaged_are_collected_again(project, finished):
    path = project.runs()[0] / "metrics.parquet"
    flip(path)
    shutil.rmtree(project.folder / "results" / "tables")
    name = str(path.relative_to(project.folder))
    # questions about it are answered with a sentence, and no number comes of it
    status = skymask(project, "status", "study.yaml")
    assert (status.returncode, status.stderr) == (0, "")
    assert follow(project) == [name]
    assert numbers(project) == numbers(finished)


def test_a_damaged_model_between_two_rounds_is_made_again(finished, tmp_path):
    project = Project.create(tmp_path / "project", defense="krum", rounds=2, rounds_per_job=1)
    project.snakemake()
    path = project.runs()[0] / "rounds" / "2" / "model.parquet"
    flip(path)
    project.set_study(defense="krum", rounds_per_job=1)
    assert follow(project) == [str(path.relative_to(project.folder))]
    rows = project.rows()
    assert rows == {path: finished.rows()[path] for path in rows}


def test_results_of_an_older_version_are_never_mixed_in(finished, tmp_path):
    project = Project.create(tmp_path / "project", defense="krum")
    source = "src/skymask/study/experiment.py"
    text = (project.folder / source).read_text()
    (version,) = re.findall(r"^SCHEMA_VERSION = (\d+)$", text, re.MULTILINE)
    now, before = f"SCHEMA_VERSION = {version}", f"SCHEMA_VERSION = {int(version) - 1}"
    project.edit(source, now, before)
    project.snakemake()
    (old,) = project.runs()
    project.edit(source, before, now)
    # the data too: they are where they were
    named = follow(project)
    assert named == []
    new = [run for run in project.runs() if run != old]
    assert len(new) == 1
    rows = {path: content for path, content in project.rows().items() if new[0].name in path}
    assert rows == {path: finished.rows()[path] for path in rows}
    # an old file where a new one should be is refused
    shutil.copytree(old / "spans", new[0] / "spans", dirs_exist_ok=True)
    shutil.copy(old / "metrics.parquet", new[0] / "metrics.parquet")
    shutil.rmtree(project.folder / "results" / "tables")
    done = project.snakemake(check=False)
    assert done.returncode != 0
    assert f"says skymask.schema_version = {int(version) - 1} where {version} is" in done.stdout
    assert "Traceback" not in done.stdout


def test_questions_about_damaged_files_are_answered_with_sentences(project):
    table = "results/tables/tiny/accuracy.csv"
    trace = ("trace", table, "--cell", "fang_trim,krum")
    assert skymask(project, *trace).returncode == 0
    run = next(run for run in project.runs() if "krum" in run.name)
    for file in (
        run / "experiment.json",
        run / "metrics.parquet",
        run / "spans" / "1-2" / "aggregates.parquet",
        project.folder / "results" / "data" / "digits" / "test.parquet",
        project.folder / "results" / "tables" / "tiny" / "runs.parquet",
    ):
        whole = file.read_bytes()
        flip(file)
        done = skymask(project, *trace)
        assert done.returncode == 1, file
        assert "Traceback" not in done.stderr
        assert file.name in done.stdout + done.stderr
        assert "Delete it" in done.stdout + done.stderr
        file.write_bytes(whole)
    csv = project.folder / table
    whole = csv.read_bytes()
    for damaged in (whole.replace(b"0.", b"0x", 1), b"\xff" + whole, whole[:40], b""):
        csv.write_bytes(damaged)
        done = skymask(project, *trace)
        assert done.returncode == 1, damaged
        assert "Traceback" not in done.stderr
        assert "accuracy.csv" in done.stdout + done.stderr
    csv.write_bytes(whole)
    page = ("publish", "study.yaml", "--to", str(project.folder.parent / "pages"))
    markdown = project.folder / "results" / "tables" / "tiny" / "accuracy.md"
    flip(markdown)
    done = skymask(project, *page)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "accuracy.md is not as it was written" in done.stderr
    assert not (project.folder.parent / "pages").exists()
    markdown.unlink()
    project.snakemake()
    assert skymask(project, *page).returncode == 0
