"""Full and read-only disks: a message, no partial file, and the same command continues."""

import re
import shutil

import pytest

from tests.support.disks import mount, small_disk

from .harness import Project

KIB = 1024


@pytest.fixture
def small(tmp_path):
    """A project of one run whose results are on a disk of 3 MiB."""
    project = Project.create(tmp_path / "project", defense="krum")
    with small_disk(project.folder / "results", "3m"):
        yield project


def fill(project, free):
    """Leave ``free`` bytes on the disk with the results."""
    ballast = project.folder / "results" / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(ballast.parent).free - free))
    return ballast


def krum(rows):
    return {path: content for path, content in rows.items() if "krum" in path}


# a file of a job, or what Snakemake records after it, is the first without space
@pytest.mark.parametrize("free", [88 * KIB, 100 * KIB, 480 * KIB])
def test_a_full_disk_is_reported_and_the_same_command_continues(small, finished, free):
    ballast = fill(small, free)
    done = small.snakemake(check=False)
    assert done.returncode != 0
    of_a_job = r"results/\S+ cannot be written: no space is left for .*Free space there and run"
    of_a_record = r"its result could not be recorded \(.*No space left.*\): free space on the disk"
    assert re.search(f"{of_a_job}|{of_a_record}", done.stdout), done.stdout
    assert "run the same command again" in done.stdout
    assert "Traceback" not in done.stdout
    assert list(small.folder.glob("results/**/.*.tmp")) == []
    # the files that were written are complete
    for path in small.folder.glob("results/[dpr]*/**/*.parquet"):
        twin = finished.folder / path.relative_to(small.folder)
        if path.name != "timings.parquet":
            assert path.read_bytes() == twin.read_bytes()
    ballast.unlink()
    small.snakemake()
    assert small.rows() == krum(finished.rows())


def test_a_disk_that_is_full_from_the_start_is_reported_before_any_job(small):
    fill(small, 0)
    done = small.snakemake(check=False)
    assert done.returncode != 0
    assert f"nothing can be written to {small.folder}/results (No space left" in done.stdout
    assert "Traceback" not in done.stdout
    assert [path.name for path in (small.folder / "results").iterdir()] == ["ballast"]


def test_a_read_only_disk_is_reported_before_any_job(small, finished):
    results = small.folder / "results"
    mount("-o", "remount,ro", str(results))
    done = small.snakemake(check=False)
    assert done.returncode != 0
    assert f"nothing can be written to {results} (Read-only file system)" in done.stdout
    assert "Traceback" not in done.stdout
    # a dry run writes nothing
    assert small.planned()["span"] == 2
    mount("-o", "remount,rw", str(results))
    small.snakemake()
    assert small.rows() == krum(finished.rows())
    mount("-o", "remount,ro", str(results))
    assert "Nothing to be done" in small.snakemake().stdout
