"""A killed run goes on where it was and ends with the same bytes."""

import os
import random
import signal
import time

import pytest

from .harness import VARIED, Project


def kill_group(process):
    """End Snakemake and all its jobs at once, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


KILLS = 20
DEADLINE = 300.0
"""Seconds that a test waits for what must come."""


def begun(project):
    """How often a job that computes rounds has begun, over all calls."""
    found = project.folder / "begun"
    return len(found.read_text().split()) if found.exists() else 0


def count_jobs(project):
    """Make every job that computes rounds leave a mark when it begins, and another when it ends."""
    for script in ("span", "train", "attack", "aggregate", "evaluate"):
        project.edit(
            f"workflow/scripts/{script}.py",
            "with logged(snakemake.log[0]):\n",
            "with logged(snakemake.log[0]):\n"
            "    with open('begun', 'a') as marks:\n"
            "        marks.write('x ')\n",
        )


def drawn_moments(seed, count, longest):
    """Seconds from the start of the first job of a call to its end, the same every time."""
    draw = random.Random(seed)
    return [draw.uniform(0.0, longest) for _ in range(count)]


@pytest.mark.parametrize(("grain", "longest"), [(1, 3.0), (4, 3.0)])
def test_killed_at_twenty_moments_it_ends_with_the_same_bytes(varied, tmp_path, grain, longest):
    first = {key: VARIED[key][0:1] for key in ("attack", "defense")}
    rounds = {1: 12, 4: 96}[grain]
    study = {**first, "rounds": rounds, "rounds_per_job": grain}
    project = Project.create(tmp_path / "project", **study)
    count_jobs(project)
    killed = 0
    for moment in drawn_moments(grain, KILLS, longest):
        before = begun(project)
        process = project.start()
        deadline = time.monotonic() + DEADLINE
        # a call begins with two seconds in which there is nothing to lose
        while begun(project) == before and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(moment)
        if process.poll() is not None:
            break
        kill_group(process)
        killed += 1
    assert killed == KILLS, "the study was over before all moments had come"
    project.snakemake(cores=1)

    undisturbed = Project.create(tmp_path / "undisturbed", **study | {"rounds_per_job": rounds})
    undisturbed.snakemake()
    assert project.rows() == undisturbed.rows()
    jobs = {1: 3 * rounds + rounds // 2, 4: rounds // 4}[grain]
    assert jobs <= begun(project) <= jobs + KILLS
    assert not list(project.folder.glob("results/**/.*.tmp"))


def test_a_second_run_beside_a_live_one_is_refused(tmp_path):
    project = Project.create(tmp_path / "project", defense="krum", rounds=40, rounds_per_job=40)
    first = project.start()
    try:
        while not list(project.folder.glob(".snakemake/locks/*.lock")):
            assert first.poll() is None
            time.sleep(0.02)
        second = project.snakemake(check=False)
        assert second.returncode != 0
        assert "cannot be locked" in second.stdout
        assert first.poll() is None
    finally:
        kill_group(first)
