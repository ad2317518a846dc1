"""Killed runs: the same command continues them and gives the same bytes."""

import os
import random
import signal
import time

import pytest

from .harness import VARIED, Project, wait_until


def kill_group(process):
    """End Snakemake and all its jobs at once, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


KILLS = 20
LONGEST = 3.0
"""Seconds between the first job's start and the kill, at most."""


def count_begun(project):
    """Count the jobs with rounds that have begun, over all calls."""
    marks = project.folder / "begun"
    return len(marks.read_text().split()) if marks.exists() else 0


def mark_begun(project):
    """Make each job with rounds leave a mark when it begins."""
    for script in ("span", "train", "attack", "aggregate", "evaluate"):
        logged = "with logged(snakemake.log[0])"
        mark = "with open('begun', 'a') as marks:\n    marks.write('x ')\n"
        project.edit(f"workflow/scripts/{script}.py", logged, mark + logged)


@pytest.mark.parametrize("rounds_per_job", [1, 4])
def test_a_study_killed_at_twenty_moments_gives_the_same_bytes(tmp_path, rounds_per_job):
    first = {key: VARIED[key][0:1] for key in ("attack", "defense")}
    rounds = {1: 12, 4: 96}[rounds_per_job]
    study = {**first, "rounds": rounds, "rounds_per_job": rounds_per_job}
    project = Project.create(tmp_path / "project", **study)
    mark_begun(project)
    # the same moments every time
    draw = random.Random(rounds_per_job)
    for number in range(KILLS):
        before = count_begun(project)
        process = project.start()
        # a call has nothing to lose in its first two seconds
        wait_until(lambda: count_begun(project) > before or process.poll() is not None)  # noqa: B023
        time.sleep(draw.uniform(0.0, LONGEST))
        assert process.poll() is None, f"the study was done after {number} of {KILLS} kills"
        kill_group(process)
    project.snakemake(cores=1)

    undisturbed = Project.create(tmp_path / "undisturbed", **study | {"rounds_per_job": rounds})
    undisturbed.snakemake()
    assert project.rows() == undisturbed.rows()
    jobs = {1: 3 * rounds + rounds // 2, 4: rounds // 4}[rounds_per_job]
    assert jobs <= count_begun(project) <= jobs + KILLS
    assert not list(project.folder.glob("results/**/.*.tmp"))


def test_a_second_run_next_to_a_running_one_is_refused(tmp_path):
    # far more rounds than the test needs; they end with the first run
    project = Project.create(
        tmp_path / "project", defense="krum", rounds=100_000, rounds_per_job=50_000
    )
    first = project.start()
    try:
        wait_until(
            lambda: list(project.folder.glob(".snakemake/locks/*.lock")),
            failed=lambda: first.poll() is not None,
        )
        second = project.snakemake(check=False)
        assert second.returncode != 0
        assert "cannot be locked" in second.stdout
        assert first.poll() is None
    finally:
        kill_group(first)
