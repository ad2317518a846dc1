"""Studies on a SLURM cluster: equal bytes, the right resources, no job twice."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
import yaml

from skymask.jobs import resources
from skymask.study import grid
from tests.workflow.harness import Project, wait_until

# all tests share one cluster, so pytest -n 2 --dist loadgroup runs them in one process
pytestmark = pytest.mark.xdist_group("slurm")

# the profile checks the status of jobs after a minute, which suits jobs of half an hour
EARLY_CHECK = ("--slurm-init-seconds-before-status-checks", "8")
SLURM = ("--profile", "profiles/slurm", *EARLY_CHECK)

# the default study has 147 jobs; this part of it has fewer, of fewer rounds
PART = {
    "loss": "cross_entropy",
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
    """Return the arguments of Snakemake for the part of the default study with ``changes``."""
    return ["--config", *(f"{key}={value}" for key, value in {**PART, **changes}.items())]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A project with the default study that has not run; never changed."""
    project = Project.create(tmp_path_factory.mktemp("bare") / "project")
    shutil.copy(project.folder / "config" / "config.yaml", project.folder / "study.yaml")
    return project


def rows_only(*arguments):
    """Return the arguments of Snakemake for rows and tables, without figures."""
    return [*arguments, "--until", "study_tables"]


@pytest.fixture(scope="module")
def local(bare, tmp_path_factory):
    """The study, run without SLURM, and a copy with more rounds; never changed."""
    project = bare.clone(tmp_path_factory.mktemp("local") / "project")
    project.snakemake(*rows_only(*overrides()))
    longer = project.clone(tmp_path_factory.mktemp("longer") / "project")
    longer.snakemake(*rows_only(*overrides(rounds=6)))
    return project, longer


@pytest.fixture(scope="module")
def on_slurm(cluster, bare, tmp_path_factory):
    """The study, run with the profile; never changed."""
    project = bare.clone(tmp_path_factory.mktemp("on_slurm") / "project")
    project.snakemake(*rows_only(*SLURM, *overrides()), **cluster.environment)
    return project


def runs_of(project):
    """Read the runs of the study as the Snakefile does."""
    config = yaml.safe_load((project.folder / "study.yaml").read_text())
    return grid.read({**config, **PART, "defense": ["krum", "skymask"]}).runs


def task(job):
    """Return the rule and the wildcards of a job."""
    return job["Comment"]


def rule_of(job):
    return re.match(r"rule_([a-z_]+?)(_wildcards_|$)", task(job))[1]


def minutes(job):
    hours, minutes, seconds = map(int, job["TimeLimit"].split(":"))
    return 60 * hours + minutes + seconds / 60


def test_the_default_study_gives_the_same_bytes_on_slurm(local, on_slurm):
    assert on_slurm.rows() == local[0].rows()
    assert len(on_slurm.runs()) == 2
    tables = sorted((local[0].folder / "results/tables/digits").glob("*.csv"))
    assert len(tables) > 3
    for table in tables:
        twin = on_slurm.folder / table.relative_to(local[0].folder)
        assert twin.read_bytes() == table.read_bytes()


@pytest.mark.skipif(
    "SKYMASK_SLURM_WHOLE" not in os.environ,
    reason="twice the default study takes half an hour; SKYMASK_SLURM_WHOLE=1 runs it",
)
def test_the_whole_default_study_gives_the_same_bytes_on_slurm(cluster, bare, tmp_path):
    here, there = bare.clone(tmp_path / "here"), bare.clone(tmp_path / "there")
    for project, arguments, added in ((there, SLURM, cluster.environment), (here, (), {})):
        done = subprocess.run(
            project.command(*rows_only(*arguments)),
            cwd=project.folder,
            env={**project.environment, **added},
            check=False,
        )
        assert done.returncode == 0
    assert len(there.runs()) == 144
    assert there.rows() == here.rows()
    states = [(rule_of(job), job["JobState"]) for job in cluster.jobs(there.folder)]
    assert sorted(states) == [("partition", "COMPLETED")] * 3 + [("span", "COMPLETED")] * 144


def test_jobs_ask_for_the_resources_of_their_rules(cluster, on_slurm):
    jobs = cluster.jobs(on_slurm.folder)
    runs = runs_of(on_slurm)
    # all other jobs run where Snakemake does
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


def test_a_run_on_slurm_is_complete_on_another_machine(on_slurm, tmp_path):
    project = on_slurm.clone(tmp_path / "project")
    # with another number of rounds per job, on this machine
    assert project.planned(*rows_only(*overrides(rounds_per_job=4))) == {}
    assert project.planned(*rows_only(*overrides(rounds_per_job=3, rounds=6))) == {
        "span": 2,
        "collect": 2,
        "study_tables": 1,
    }


def test_jobs_that_use_a_gpu_go_to_the_partition_with_gpus(cluster, local, on_slurm, tmp_path):
    project = on_slurm.clone(tmp_path / "project")
    # two jobs that ask for a GPU and do not use it
    rules = "workflow/rules/common.smk"
    project.edit(rules, "GPUS = int(any(", "GPUS = int(bool(RUNS) or any(")
    record = "echo G${{{{CUDA_VISIBLE_DEVICES:-}}}} >> gpus; export THP"
    project.edit(rules, "export THP", record)
    project.snakemake(*rows_only(*SLURM, *overrides(rounds=6)), **cluster.environment)
    jobs = cluster.jobs(project.folder)
    assert [rule_of(job) for job in jobs] == ["span"] * 2
    assert {(job["Partition"], job["TresPerJob"]) for job in jobs} == {("gpu", "gres:gpu:1")}
    # at the same time, each with its own GPU, although a machine without SLURM has one slot
    assert {"G0", "G1"} < set((project.folder / "gpus").read_text().split())
    assert project.rows() == local[1].rows()


def duplicates(jobs):
    """List pairs of jobs that made the same files at the same time."""
    ran = [job for job in jobs if job["StartTime"] != "Unknown"]
    return [
        (one["JobId"], other["JobId"])
        for number, one in enumerate(ran)
        for other in ran[number + 1 :]
        if task(one) == task(other)
        and max(one["StartTime"], other["StartTime"]) < min(one["EndTime"], other["EndTime"])
    ]


@pytest.mark.parametrize("adopt", [False, True], ids=["cancel", "adopt"])
def test_after_a_kill_one_command_continues_without_a_duplicate(
    cluster, local, on_slurm, tmp_path, adopt
):
    project = on_slurm.clone(tmp_path / "project")
    # each job waits for the test, so that it runs until all below is checked
    waiting = "for i in $(seq 3000); do test ! -e hold || sleep 0.2; done; export THP"
    project.edit("workflow/rules/common.smk", "export THP", waiting)
    hold = project.folder / "hold"
    hold.touch()
    # two more rounds of both runs, one job each
    arguments = rows_only(*SLURM, *overrides(rounds=6))
    environment = {**project.environment, **cluster.environment}

    def resume():
        """Call resume; return its exit code and output.  Jobs go on once it has named them."""
        python = [sys.executable, "-m", "skymask.cli", "resume", *(["--adopt"] if adopt else [])]
        with subprocess.Popen(
            [*python, *project.command(*arguments)[3:]],
            cwd=project.folder,
            env={**environment, "PYTHONPATH": str(project.folder / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as call:
            output = ""
            for line in call.stdout:
                output += line
                if "2 SLURM jobs (2 running)" in line:
                    hold.unlink(missing_ok=True)
            return call.wait(), output

    def states():
        return sorted(job["JobState"] for job in cluster.jobs(project.folder))

    main = project.start(*arguments, cores=2, env=environment)
    try:
        wait_until(lambda: states() == ["RUNNING"] * 2, failed=lambda: main.poll() is not None)
        code, output = resume()
        assert code == 1
        assert f"a Snakemake runs in this folder (process {main.pid} on " in output
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

    code, output = resume()
    assert code == 0, output
    jobs = cluster.jobs(project.folder)
    assert duplicates(jobs) == []
    if adopt:
        assert "Waiting for 2 SLURM jobs (2 running)" in output
        assert {job["JobId"] for job in jobs} == orphans
    else:
        assert "Cancelled 2 SLURM jobs (2 running)" in output
        ended = {job["JobId"]: job["JobState"] for job in jobs}
        assert {number for number, state in ended.items() if state == "CANCELLED"} == orphans
        assert sorted(ended.values()) == ["CANCELLED"] * 2 + ["COMPLETED"] * 2
    assert project.rows() == local[1].rows()
    assert cluster.ask("squeue", "--noheader") == ""
    # an edit of the code makes the files of these jobs outdated too, which Snakemake did not see
    krum = project.folder / "src" / "skymask" / "defenses" / "krum.py"
    krum.write_text(f"{krum.read_text()}\n\nCHANGED = True\n")
    assert project.planned(*overrides(rounds=6))["span"] == 3
