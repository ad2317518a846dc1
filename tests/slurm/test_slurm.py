"""Studies on a real SLURM through profiles/slurm: the same bytes, the right jobs, no duplicate."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from skymask.jobs import resources
from skymask.study import grid
from tests.workflow.harness import Project

# one cluster for all, in one process, with pytest -n 2 --dist loadgroup
pytestmark = pytest.mark.xdist_group("slurm")

# the profile looks after a minute, which is right for jobs of half an hour
LOOK = ("--slurm-init-seconds-before-status-checks", "8")
SLURM = ("--profile", "profiles/slurm", *LOOK)

# the default study with fewer attacks, defenses, seeds and rounds: whole, it is 75 jobs
PART = {
    "attack": "fang_trim",
    "defense": "[krum,skymask]",
    "data_seed": 1,
    "training_seed": 1,
    "rounds": 4,
    "final_evaluations": 2,
    # two jobs one after the other
    "rounds_per_job": 2,
}


def overrides(**changes):
    """The default study in part, with ``changes``, as --config takes it."""
    return ["--config", *(f"{key}={value}" for key, value in {**PART, **changes}.items())]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A copy of the project whose study is the default one; never run."""
    project = Project.create(tmp_path_factory.mktemp("bare") / "project")
    shutil.copy(project.folder / "config" / "config.yaml", project.folder / "study.yaml")
    return project


def rows_only(*arguments):
    """Arguments of Snakemake to make the rows and tables, which SLURM has a part in."""
    return [*arguments, "--until", "study_tables"]


@pytest.fixture(scope="module")
def local(bare, tmp_path_factory):
    """The study, run without SLURM; once more with more rounds."""
    project = bare.clone(tmp_path_factory.mktemp("local") / "project")
    project.snakemake(*rows_only(*overrides()))
    longer = project.clone(tmp_path_factory.mktemp("longer") / "project")
    longer.snakemake(*rows_only(*overrides(rounds=6)))
    return project, longer


@pytest.fixture(scope="module")
def on_slurm(cluster, bare, tmp_path_factory):
    """The study, run through the profile; never changed."""
    project = bare.clone(tmp_path_factory.mktemp("on_slurm") / "project")
    project.snakemake(*rows_only(*SLURM, *overrides()), **cluster.environment)
    return project


def runs_of(project):
    """The study in part, as the Snakefile reads it."""
    config = yaml.safe_load((project.folder / "study.yaml").read_text())
    return grid.read({**config, **PART, "defense": ["krum", "skymask"]}).runs


def task(job):
    """What a job makes: its rule and wildcards."""
    return job["Comment"]


def rule_of(job):
    return re.match(r"rule_([a-z_]+?)(_wildcards_|$)", task(job))[1]


def minutes(job):
    hours, minutes, seconds = map(int, job["TimeLimit"].split(":"))
    return 60 * hours + minutes + seconds / 60


def test_the_default_study_has_the_same_bytes_on_slurm(local, on_slurm):
    assert on_slurm.rows() == local[0].rows()
    assert len(on_slurm.runs()) == 2
    tables = sorted((local[0].folder / "results/tables/digits").glob("*.csv"))
    assert len(tables) > 3
    for table in tables:
        twin = on_slurm.folder / table.relative_to(local[0].folder)
        assert twin.read_bytes() == table.read_bytes()


@pytest.mark.skipif(
    "SKYMASK_SLURM_WHOLE" not in os.environ,
    reason="twice the default study takes a quarter of an hour; SKYMASK_SLURM_WHOLE=1 runs it",
)
def test_the_whole_default_study_has_the_same_bytes_on_slurm(cluster, bare, tmp_path):
    here, there = bare.clone(tmp_path / "here"), bare.clone(tmp_path / "there")
    for project, arguments, added in ((there, SLURM, cluster.environment), (here, (), {})):
        done = subprocess.run(
            project.command(*rows_only(*arguments)),
            cwd=project.folder,
            env={**project.environment, **added},
            check=False,
        )
        assert done.returncode == 0
    assert len(there.runs()) == 72
    assert there.rows() == here.rows()
    states = [(rule_of(job), job["JobState"]) for job in cluster.jobs(there.folder)]
    assert sorted(states) == [("partition", "COMPLETED")] * 3 + [("span", "COMPLETED")] * 72


def test_jobs_ask_for_what_their_rules_reckon(cluster, on_slurm):
    jobs = cluster.jobs(on_slurm.folder)
    runs = runs_of(on_slurm)
    # what SLURM has no part in runs where Snakemake does
    assert sorted(map(rule_of, jobs)) == ["partition", *["span"] * 4]
    (memory,) = {resources.memory(cell.experiment) for cell in runs.values()}
    (time_limit,) = {resources.minutes(cell.experiment, 2) for cell in runs.values()}
    for job in jobs:
        assert job["JobState"] == "COMPLETED", job
        assert job["JobName"].startswith("skymask_")
        assert (job["Partition"], job["NumCPUs"]) == ("cpu", "1")
        assert "gres" not in job["TRES"]
        span = rule_of(job) == "span"
        asked = memory if span else resources.memory_of_data("digits")
        assert job["MinMemoryNode"] == f"{asked}M"
        assert minutes(job) == (time_limit if span else resources.START)


def test_a_run_on_slurm_has_nothing_left_to_do_elsewhere(on_slurm, tmp_path):
    project = on_slurm.clone(tmp_path / "project")
    # the jobs of another grain, on this machine
    assert project.planned(*rows_only(*overrides(rounds_per_job=4))) == {}
    assert project.planned(*rows_only(*overrides(rounds_per_job=3, rounds=6))) == {
        "span": 2,
        "collect": 2,
        "study_tables": 1,
    }


def test_jobs_that_use_a_gpu_go_where_there_are_some(cluster, local, on_slurm, tmp_path):
    project = on_slurm.clone(tmp_path / "project")
    # two jobs that only say they use a GPU
    rules = "workflow/rules/common.smk"
    project.edit(rules, "GPUS = int(any(", "GPUS = int(bool(RUNS) or any(")
    tell = "echo G${{{{CUDA_VISIBLE_DEVICES:-}}}} >> gpus; export THP"
    project.edit(rules, "export THP", tell)
    project.snakemake(*rows_only(*SLURM, *overrides(rounds=6)), **cluster.environment)
    jobs = cluster.jobs(project.folder)
    assert [rule_of(job) for job in jobs] == ["span"] * 2
    assert {(job["Partition"], job["TresPerJob"]) for job in jobs} == {("gpu", "gres:gpu:1")}
    # side by side, each on its own, though a machine without SLURM has one slot
    assert {"G0", "G1"} < set((project.folder / "gpus").read_text().split())
    assert project.rows() == local[1].rows()


def wait_for(holds, seconds=120):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def at_once(jobs):
    """Pairs of jobs that made the same thing at the same time."""
    ran = [job for job in jobs if job["StartTime"] != "Unknown"]
    return [
        (one["JobId"], other["JobId"])
        for number, one in enumerate(ran)
        for other in ran[number + 1 :]
        if task(one) == task(other)
        and max(one["StartTime"], other["StartTime"]) < min(one["EndTime"], other["EndTime"])
    ]


@pytest.mark.parametrize("adopt", [False, True], ids=["cancel", "adopt"])
def test_after_a_kill_one_command_goes_on_without_a_duplicate(
    cluster, local, on_slurm, tmp_path, adopt
):
    project = on_slurm.clone(tmp_path / "project")
    # jobs of seconds would end before all below was asked about them: they wait for the test
    waiting = "for i in $(seq 600); do test ! -e hold || sleep 0.2; done; export THP"
    project.edit("workflow/rules/common.smk", "export THP", waiting)
    held = project.folder / "hold"
    held.touch()
    # two rounds more of both runs, in a job each
    arguments = rows_only(*SLURM, *overrides(rounds=6))
    environment = {**project.environment, **cluster.environment}

    def resume():
        """Its exit code and what it said; jobs go on when it has said what becomes of them."""
        python = [sys.executable, "-m", "skymask.cli", "resume", *(["--adopt"] if adopt else [])]
        with subprocess.Popen(
            [*python, *project.command(*arguments)[3:]],
            cwd=project.folder,
            env={**environment, "PYTHONPATH": str(project.folder / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as call:
            said = ""
            for line in call.stdout:
                said += line
                if "2 SLURM jobs (2 running)" in line:
                    held.unlink(missing_ok=True)
            return call.wait(), said

    def states():
        return sorted(job["JobState"] for job in cluster.jobs(project.folder))

    main = subprocess.Popen(
        project.command(*arguments),
        cwd=project.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: main.poll() is None and states() == ["RUNNING"] * 2)
        code, said = resume()
        assert code == 1
        assert f"a Snakemake is at work in this folder (process {main.pid} on " in said
    finally:
        os.kill(main.pid, signal.SIGKILL)
        main.wait()
    assert states() == ["RUNNING"] * 2
    orphans = {job["JobId"] for job in cluster.jobs(project.folder)}

    plain = project.snakemake(*arguments, check=False, **cluster.environment)
    assert plain.returncode == 1
    assert "Nothing was started: 2 SLURM jobs (2 running) of this folder" in plain.stdout
    same = shlex.join(project.command(*arguments)[3:])
    assert f"skymask resume {same}\n" in plain.stdout
    assert f"skymask resume --adopt {same}\n" in plain.stdout
    assert {job["JobId"] for job in cluster.jobs(project.folder)} == orphans

    code, said = resume()
    assert code == 0, said
    jobs = cluster.jobs(project.folder)
    assert at_once(jobs) == []
    if adopt:
        assert "Waiting for 2 SLURM jobs (2 running)" in said
        assert {job["JobId"] for job in jobs} == orphans
    else:
        assert "Cancelled 2 SLURM jobs (2 running)" in said
        ended = {job["JobId"]: job["JobState"] for job in jobs}
        assert {number for number, state in ended.items() if state == "CANCELLED"} == orphans
        assert sorted(ended.values()) == ["CANCELLED"] * 2 + ["COMPLETED"] * 2
    assert project.rows() == local[1].rows()
    assert cluster.ask("squeue", "--noheader") == ""
    # what orphans made is on record: an edit of the code makes it stale, as all the rest
    krum = project.folder / "src" / "skymask" / "defenses" / "krum.py"
    krum.write_text(f"{krum.read_text()}\n\nCHANGED = True\n")
    listed = project.snakemake("--list-changes", "params", *overrides(rounds=6)).stdout
    assert re.search(r"-krum-.*/spans/1-2/model\.parquet", listed)
    assert re.search(r"-krum-.*/spans/5-6/model\.parquet", listed)
