"""Failed jobs: their messages, second attempts, and the jobs that go on."""

import os
import re
import signal
import subprocess
from functools import partial

import pytest

from .harness import DEADLINE, Project, wait_until


@pytest.fixture
def broken(tmp_path):
    """A function that makes a project whose Krum runs the given lines first."""

    def build(*lines, **study):
        project = Project.create(tmp_path / "project", **study)
        begin = "def krum(updates: Tensor, assumed_malicious: int) -> Aggregation:\n"
        body = ["with open('attempts', 'a') as file:", "    file.write('x')", *lines]
        inserted = "".join(f"    {line}\n" for line in body)
        project.edit("src/skymask/defenses/krum.py", begin, begin + inserted)
        return project

    return build


def attempts(project):
    """Count how often Krum was called."""
    return len((project.folder / "attempts").read_text())


def test_an_error_is_reported_with_its_log_and_other_runs_go_on(broken):
    project = broken("raise ValueError('broken on purpose')")
    done = project.snakemake(check=False)
    assert done.returncode == 1
    assert attempts(project) == 1
    krum, skymask = project.runs()
    assert re.search(
        rf"^{skymask.name}: accuracy 0\.\d+ after 4 rounds, .* \(1 of 2 runs\)$", done.stdout, re.M
    )
    log = f"results/logs/span/{krum.name}/1-2.log"
    report = f"    ValueError: broken on purpose\n    log: {log}\n"
    assert f"\nfailed: span {krum.name} rounds 1 to 2\n{report}" in done.stdout
    end = done.stdout[done.stdout.index("1 job failed") :]
    assert f"  span {krum.name} rounds 1 to 2\n{report}" in end
    assert "Traceback" in (project.folder / log).read_text()
    assert "Traceback" not in done.stdout
    assert "RuleException" not in done.stdout
    # once the code is correct, the same command continues
    project.edit("src/skymask/defenses/krum.py", "raise ValueError('broken on purpose')", "pass")
    assert "(2 of 2 runs)" in project.snakemake().stdout


def test_a_job_without_memory_is_retried_once(broken):
    project = broken(
        "import os", "if os.stat('attempts').st_size == 1:", "    raise MemoryError('not now')"
    )
    done = project.snakemake()
    krum = project.runs()[0].name
    assert "    MemoryError: not now\n" in done.stdout
    assert f"span {krum} rounds 1 to 2: retrying\n" in done.stdout
    assert "1 job failed" not in done.stdout
    assert "(2 of 2 runs)" in done.stdout


def test_a_killed_job_shows_its_log_and_is_retried_once(broken):
    project = broken(
        "import os, signal",
        "if os.stat('attempts').st_size == 1:",
        "    print('about to die', flush=True)",
        "    os.kill(os.getpid(), signal.SIGKILL)",
    )
    done = project.snakemake()
    assert "    it was killed (SIGKILL), perhaps for lack of memory: let fewer" in done.stdout
    assert "    | about to die\n" in done.stdout
    assert ": retrying\n" in done.stdout
    assert "(2 of 2 runs)" in done.stdout


def test_a_result_that_cannot_be_recorded_is_no_killed_job(tmp_path):
    project = Project.create(tmp_path / "project", defense="krum")
    # a folder has the name of the file in which Snakemake notes the time of the job
    first = "    clock = Clock()\n"
    blocked = "snakemake.log[0].replace('/logs/', '/benchmarks/').replace('.log', '.tsv')"
    project.edit("workflow/scripts/span.py", first, f"{first}    Path({blocked}).mkdir()\n")
    done = project.snakemake("--retries", "0", check=False)
    assert done.returncode == 1
    sentence = (
        r"    the job itself finished, but its result could not be recorded \(IsADirectoryError: "
        r"\[Errno 21\] Is a directory: 'results/benchmarks/span/\S+/1-2\.tsv'\): free space on "
    )
    assert len(re.findall(sentence, done.stdout)) == 2, done.stdout
    assert "killed" not in done.stdout


def lives(group):
    """Whether a process group has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def start_interruptible(project):
    """Start Snakemake, so that its process group can be interrupted and its output read."""
    return project.start(
        cores=2,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # where a shell has started the tests in the background, the signal is ignored
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def check_interrupted(process):
    """Interrupt Snakemake and its jobs, as a terminal does, and check how they end."""
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert "stopped: finished jobs are kept; run the same command again to continue" in output
    assert "failed:" not in output
    assert "Traceback" not in output
    wait_until(lambda: not lives(process.pid))


def test_ctrl_c_while_jobs_still_import_shows_no_traceback(tmp_path):
    project = Project.create(tmp_path / "project")
    first = "import skymask.jobs.script  # noqa: F401\n"
    wait = "import time\nopen(f'importing-{snakemake.wildcards.run}', 'w').close()\n"
    project.edit("workflow/scripts/span.py", first, f"{first}{wait}time.sleep(3600)\n")
    process = start_interruptible(project)
    wait_until(
        lambda: len(list(project.folder.glob("importing-*"))) == 2,
        failed=lambda: process.poll() is not None,
    )
    check_interrupted(process)


def test_ctrl_c_ends_cleanly_and_the_same_command_continues(tmp_path, finished):
    project = Project.create(tmp_path / "project", rounds=100_000, rounds_per_job=50_000)
    process = start_interruptible(project)
    logs = "results/logs/span/*/1-50000.log"

    def both_have_begun():
        # they may still compile: numba and LLVM do not lose the signal
        found = [log.read_text() for log in project.folder.glob(logs)]
        return len(found) == 2 and all("skymask: begun" in text for text in found)

    wait_until(both_have_begun, failed=lambda: process.poll() is not None)
    check_interrupted(process)
    assert not list(project.folder.glob(".snakemake/locks/*"))
    assert not list(project.folder.glob("results/**/.*.tmp"))
    project.set_study()
    project.snakemake()
    assert project.rows() == finished.rows()


def test_the_cost_is_printed_and_the_log_shows_the_rounds(project):
    project.set_study(rounds=6)
    done = project.snakemake()
    krum, skymask = (run.name for run in project.runs())
    for run in (krum, skymask):
        assert re.search(
            rf"^{run}: accuracy 0\.\d+ after 6 rounds, [\d.:]+(?: s)? \([12] of 2 runs\)$",
            done.stdout,
            re.M,
        )
    assert re.search(
        r"^cost     [\d.e-]+ core hours for 2 runs with 12 rounds in total; this call took [\d.:]+",
        done.stdout,
        re.M,
    )
    log = (project.folder / f"results/logs/span/{krum}/5-6.log").read_text()
    assert re.search(r"^100%\|#+\| 6/6 \[\d\d:\d\d<00:00, +[\d.]+ rounds/s\]$", log, re.M)
    # Snakemake's messages about single jobs are not printed
    assert "Finished jobid" not in done.stdout
    assert "Select jobs" not in done.stdout
