"""A study's results in an archive, and its tables on another machine."""

import io
import json
import shutil
import tarfile

import pyarrow as pa
import pytest

from ..support.disks import small_disk
from .harness import TINY, Project


@pytest.fixture(scope="module")
def archive(finished, tmp_path_factory):
    """The archive of the finished study, for its tables."""
    path = tmp_path_factory.mktemp("archive") / "tiny.tar.zst"
    done = finished.skymask("export", "study.yaml", "--to", str(path))
    assert done.returncode == 0, done.stderr
    return path


def imported(tmp_path, archive, *arguments):
    """A fresh clone with an imported archive."""
    project = Project.create(tmp_path / "elsewhere")
    done = project.skymask("import", str(archive), *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return project, done.stdout


def test_tables_are_rebuilt_to_the_byte_and_nothing_is_trained(finished, archive, tmp_path):
    project, shown = imported(tmp_path, archive)
    assert "next: snakemake --cores all tables --configfile results/studies/tiny.yaml" in shown
    assert not (project.folder / "results" / "tables").exists()
    done = project.snakemake("tables", "--configfile", "results/studies/tiny.yaml").stdout
    ran = {line.split()[0] for line in done.splitlines() if line[-2:].strip().isdigit()}
    assert "study_tables" in ran
    assert not ran & {"data", "partition", "experiments", "span", "collect"}
    for path in finished.tables().iterdir():
        if path.suffix in (".csv", ".md", ".tex", ".parquet"):
            assert (project.tables() / path.name).read_bytes() == path.read_bytes(), path.name
    assert project.planned() == {}


def test_new_runs_are_added_to_an_imported_study(archive, tmp_path):
    project, _ = imported(tmp_path, archive)
    project.set_study(defense=[*TINY["defense"], "median"])
    planned = project.planned()
    assert (planned["span"], planned["collect"]) == (2, 1)


def test_an_archive_with_models_has_everything(finished, tmp_path):
    path = tmp_path / "all.tar.zst"
    done = finished.skymask("export", "study.yaml", "--models", "--to", str(path))
    assert done.returncode == 0, done.stderr
    project, _ = imported(tmp_path, path)
    assert "Nothing to be done" in project.snakemake("-n").stdout
    # rounds are continued from the models
    project.set_study(rounds=6)
    planned = project.planned()
    assert planned["span"] == 2
    assert "data" not in planned


def test_an_unpacked_archive_is_as_good(finished, tmp_path):
    path = tmp_path / "all.tar.zst"
    finished.skymask("export", "study.yaml", "--models", "--to", str(path))
    project = Project.create(tmp_path / "elsewhere")
    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        content = stream.read()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(project.folder, filter="data")
    assert "Nothing to be done" in project.snakemake("-n").stdout


def test_the_same_results_give_the_same_bytes(finished, archive, tmp_path):
    moved = finished.clone(tmp_path / "moved")
    path = tmp_path / "again.tar.zst"
    moved.skymask("export", "study.yaml", "--to", str(path))
    assert path.read_bytes() == archive.read_bytes()


def test_results_of_other_code_are_not_exported(project, tmp_path):
    project.edit("src/skymask/defenses/krum.py", "assumed_malicious - 2", "assumed_malicious - 1")
    done = project.skymask("export", "study.yaml", "--to", str(tmp_path / "x.tar.zst"))
    assert done.returncode == 1
    assert f"1 of 2 runs are outdated (the first: {project.run('krum').name}): " in done.stderr
    assert list(tmp_path.glob("*.zst")) == []


def test_an_unfinished_study_is_not_exported(project, tmp_path):
    (project.run("krum") / "metrics.parquet").unlink()
    done = project.skymask("export", "study.yaml", "--to", str(tmp_path / "x.tar.zst"))
    assert done.returncode == 1
    assert "metrics.parquet is missing: run snakemake --configfile study.yaml" in done.stderr


def test_an_import_says_that_the_code_is_another(archive, tmp_path):
    project = Project.create(tmp_path / "elsewhere")
    project.edit("src/skymask/defenses/krum.py", "assumed_malicious - 2", "assumed_malicious - 1")
    done = project.skymask("import", str(archive))
    assert done.returncode == 0
    assert "1 of 2 runs were made by other code than this" in done.stdout


def test_files_that_are_there_are_not_replaced_unasked(project, archive):
    rows = project.run("krum") / "timings.parquet"
    before = rows.read_bytes()
    shutil.copy(project.run("skymask") / "timings.parquet", rows)
    other = rows.read_bytes()
    (project.run("skymask") / "clients.parquet").unlink()
    done = project.skymask("import", str(archive))
    assert done.returncode == 1
    assert "timings.parquet is there with other contents" in done.stderr
    assert rows.read_bytes() == other
    assert not (project.run("skymask") / "clients.parquet").exists()
    done = project.skymask("import", "--replace", str(archive))
    assert done.returncode == 0
    assert rows.read_bytes() == before
    assert "3 are new" in done.stdout  # with the study file


def test_the_archive_lists_the_size_and_checksum_of_each_file(archive):
    with pa.CompressedInputStream(pa.OSFile(str(archive)), "zstd") as stream:
        content = stream.read()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = tar.getmembers()
        listed = json.load(tar.extractfile(members[0]))["files"]
    assert {f"results/{name}" for name in listed} == {member.name for member in members[1:]}
    assert {(m.mtime, m.uid, m.gid, m.uname) for m in members} == {(0, 0, 0, "")}


def test_a_disk_that_is_too_small_is_one_sentence(archive, tmp_path):
    with small_disk(tmp_path / "disk", "64k") as disk:
        done = Project.create(tmp_path / "elsewhere").skymask(
            "import", str(archive), "--results", str(disk / "results")
        )
        assert done.returncode == 1
        assert "it needs" in done.stderr or "no space is left" in done.stderr
        assert "Traceback" not in done.stderr
        assert [path for path in disk.rglob("*") if path.is_file()] == []


def test_a_results_folder_that_is_a_file_is_one_sentence(archive, tmp_path):
    (tmp_path / "results").write_text("")
    elsewhere = Project.create(tmp_path / "elsewhere")
    done = elsewhere.skymask("import", str(archive), "--results", str(tmp_path / "results"))
    assert done.returncode == 1
    assert str(tmp_path / "results") in done.stderr
    assert "Traceback" not in done.stderr
