"""A disk that is full or read-only: a sentence, nothing half-written; the same command goes on."""

import os
import re
import shutil
import subprocess

import pytest

from .harness import Project

KIB = 1024


def mount(*arguments):
    """Mount, or skip where that is not possible."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small(tmp_path):
    """A project of one run whose results lie on a disk of their own, of 3 MiB."""
    project = Project.create(tmp_path / "project", defense="krum", rounds_per_job=2)
    results = project.folder / "results"
    results.mkdir()
    mount("-t", "tmpfs", "-o", "size=3m", "skymask-test", str(results))
    yield project
    subprocess.run(["umount", "-l", str(results)], check=True)


def fill(project, free):
    """Leave ``free`` bytes on the disk with the results."""
    ballast = project.folder / "results" / "ballast"
    ballast.unlink(missing_ok=True)
    ballast.write_bytes(bytes(shutil.disk_usage(ballast.parent).free - free))


def empty(project):
    (project.folder / "results" / "ballast").unlink()


def temporary(project):
    return list(project.folder.glob("results/**/.*.tmp"))


def krum(rows):
    return {path: content for path, content in rows.items() if "krum" in path}


@pytest.mark.parametrize("free", [100 * KIB, 480 * KIB])
def test_a_full_disk_is_said_and_the_same_command_goes_on(small, finished, free):
    fill(small, free)
    done = small.snakemake(check=False)
    assert done.returncode != 0
    assert re.search(r"results/\S+ cannot be written: no space is left for ", done.stdout), (
        done.stdout
    )
    assert "Free space there and run the same command again" in done.stdout
    assert "Traceback" not in done.stdout
    assert temporary(small) == []
    # what is there is whole
    for path in small.folder.glob("results/[dpr]*/**/*.parquet"):
        twin = finished.folder / path.relative_to(small.folder)
        if path.name != "timings.parquet":
            assert path.read_bytes() == twin.read_bytes()
    empty(small)
    small.snakemake()
    assert small.rows() == krum(finished.rows())


def test_a_disk_that_is_full_from_the_start_is_said_before_any_job(small):
    fill(small, 0)
    done = small.snakemake(check=False)
    assert done.returncode != 0
    assert f"nothing can be written to {small.folder}/results (No space left" in done.stdout
    assert "Traceback" not in done.stdout
    assert sorted(p.name for p in (small.folder / "results").iterdir()) == ["ballast"]


def test_read_only_results_are_said_before_any_job(small, finished):
    results = small.folder / "results"
    mount("-o", "remount,ro", str(results))
    done = small.snakemake(check=False)
    assert done.returncode != 0
    assert f"nothing can be written to {results} (Read-only file system)" in done.stdout
    assert "Traceback" not in done.stdout
    # to plan writes nothing
    assert small.planned()["span"] == 2
    mount("-o", "remount,rw", str(results))
    small.snakemake()
    assert small.rows() == krum(finished.rows())
    mount("-o", "remount,ro", str(results))
    assert "Nothing to be done" in small.snakemake().stdout
