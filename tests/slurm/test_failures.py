"""What the terminal shows of failed jobs and of a queue that does not move, on a cluster."""

import os
import re
import signal
from contextlib import contextmanager

import pytest

from tests.workflow.harness import DEADLINE, Project, wait_until

pytestmark = pytest.mark.xdist_group("slurm")

# the profile checks the status of jobs after a minute
ARGUMENTS = (
    *("--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "8"),
    *("--until", "study_tables"),
)

MISFORTUNES = """
    import os, signal, time
    print("at work", flush=True)
    name = snakemake.wildcards.run
    if "-krum-" in name:
        memory = bytearray(4_000_000_000)
    if "-krum-" in name or "-fedavg-" in name or "-flame-" in name:
        time.sleep(3600)
    if "-median-" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "-trimmed_mean-" in name:
        # no file can be written there
        os.makedirs(snakemake.log[0].replace("/logs/", "/benchmarks/").replace(".log", ".tsv"))
"""


@contextmanager
def snakemake(project, cluster, *arguments):
    """Run Snakemake in the block; yields its process and a function that reads its output."""
    out = project.folder / "output"
    with out.open("w") as file:
        main = project.start(
            *ARGUMENTS,
            *arguments,
            env={**project.environment, **cluster.environment},
            stdout=file,
            stderr=file,
        )
    try:
        yield main, out.read_text
    finally:
        if main.poll() is None:
            os.killpg(main.pid, signal.SIGKILL)
            main.wait()


def wait_for(main, holds):
    """Wait until ``holds()`` is true; fail if Snakemake ends before."""
    wait_until(holds, failed=lambda: main.poll() is not None and not holds())


def running(cluster, project, name):
    """List the numbers of the running jobs with ``name`` in their wildcards."""
    return [
        job["JobId"]
        for job in cluster.jobs(project.folder)
        if job["JobState"] == "RUNNING" and f"-{name}-" in job["Comment"]
    ]


def at_work(project, name):
    logs = project.folder.glob(f"results/logs/span/*-{name}-*/*.log")
    return any("at work" in log.read_text() for log in logs)


def test_the_cause_of_each_failed_job_is_named(cluster, tmp_path):
    defenses = ["krum", "fedavg", "median", "trimmed_mean", "flame"]
    project = Project.create(tmp_path / "project", defense=defenses, rounds_per_job=4)
    first = "    clock = Clock()\n"
    project.edit("workflow/scripts/span.py", first, f"{first}{MISFORTUNES}")
    with snakemake(project, cluster, "--retries", "0") as (main, output):
        wait_for(main, lambda: at_work(project, "fedavg"))
        cluster.ask("scancel", *running(cluster, project, "fedavg"))
        wait_for(main, lambda: at_work(project, "flame"))
        (number,) = running(cluster, project, "flame")
        cluster.ask("scontrol", "update", f"JobId={number}", "TimeLimit=1")
        assert main.wait(DEADLINE) == 1
        text = output()
    failed = re.findall(r"\nfailed: span \S+?fang_trim-(\w+)-\S+ .*\n    (.*)\n", text)
    causes = {name: re.sub(r"job \d+", "job N", cause) for name, cause in failed}
    more = "a retry asks for more"
    assert causes.keys() == set(defenses)
    assert causes["fedavg"] == "SLURM job N was cancelled (scancel)"
    assert re.fullmatch(
        r"SLURM job N was killed: it exceeded its memory limit of \d+M: "
        rf"{more}; to set it: --set-resources span:mem_mb=MB",
        causes["krum"],
    )
    assert causes["flame"] == (
        "SLURM job N was ended at its time limit of 00:01:00: "
        f"{more}; to set it: --set-resources span:runtime=MINUTES"
    )
    assert causes["median"] == (
        f"in SLURM job N, it was killed (SIGKILL), perhaps for lack of memory: {more}"
    )
    assert re.match(
        r"the job itself finished, but its result could not be recorded \(IsADirectoryError: "
        r"\[Errno 21\] Is a directory: 'results/benchmarks/span/\S+/1-4\.tsv'\): free space on ",
        causes["trimmed_mean"],
    )
    # the lines of the log that tell why
    assert re.search(r"\n    \| slurmstepd\S* error: \*\*\* JOB \d+ ON c1 CANCELLED AT ", text)
    assert re.search(r"\n    \| slurmstepd\S* error: .* exceeded memory limit \(", text)
    assert re.search(r"\n    SLURM log: results/logs/slurm/rule_span/\S+/\d+\.log\n", text)
    assert "5 jobs failed" in text


def test_a_drained_node_is_reported_and_nothing_has_to_be_restarted(cluster, tmp_path):
    project = Project.create(tmp_path / "project", defense="krum", rounds_per_job=4)
    project.edit("src/skymask/jobs/slurm_queue.py", "STILL = 60.0", "STILL = 2.0")
    hold = project.folder / "hold"
    hold.touch()
    first = "    clock = Clock()\n"
    wait = "    import os, time\n    print('at work', flush=True)\n"
    wait += "    while os.path.exists('hold'):\n        time.sleep(0.2)\n"
    project.edit("workflow/scripts/span.py", first, first + wait)

    def node(state, *reason):
        cluster.ask("scontrol", "update", "NodeName=c1", f"State={state}", *reason, check=False)

    def lost(number):
        return number not in running(cluster, project, "krum")

    explained = re.compile(
        r"\nno job has started or ended for a minute: 1 waits in SLURM's queue, 0 run\n"
        r"    1 waiting for nodes of the partition that are down, drained or reserved\n"
        r"    partition cpu: 1 of 1 nodes cannot be used: c1 (drained|down) "
        r"\(disk swap until Monday\)\n"
        r"    nothing has to be restarted: they start by themselves once they can\n"
    )
    with snakemake(project, cluster) as (main, output):
        try:
            wait_for(main, lambda: at_work(project, "krum"))
            (number,) = running(cluster, project, "krum")
            # else SLURM itself would start the same job again
            cluster.ask("scontrol", "update", f"JobId={number}", "Requeue=0")
            node("DOWN", "Reason=disk swap until Monday")
            wait_for(main, lambda: lost(number))
            # so that it stays out of service when it answers again
            node("DRAIN", "Reason=disk swap until Monday")
            told = f"    SLURM job {number} was lost: its node c1 failed; a retry runs on another"
            wait_for(main, lambda: told in output())
            wait_for(main, lambda: explained.search(output()))
        finally:
            hold.unlink()
            node("RESUME")
        assert main.wait(DEADLINE) == 0
    assert "(1 of 1 runs)" in output()
