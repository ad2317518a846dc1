"""Why jobs failed: their own errors, their signals, SLURM's answers, results not recorded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skymask.jobs import causes
from skymask.jobs import log as jobs_log
from skymask.jobs.slurm_ends import End
from skymask.jobs.snakemake_internals import JobError

LOCAL = JobError(3)
FEWER = "let fewer jobs run at once, with --cores"
COMMAND = "RuleException:\nCalledProcessError in file \"x.smk\", line 47:\nCommand 'python x' "


@pytest.fixture(autouse=True)
def call(monkeypatch, tmp_path):
    monkeypatch.setenv(jobs_log.CALL, "c0ffee")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def log(tmp_path):
    """A function that writes the log of a job of this call; returns its path."""

    def write(*lines, call="c0ffee"):
        path = Path("job.log")
        first = f"skymask: begun by process 1 on elsewhere, call {call}"
        path.write_text("\n".join((first, *lines)) + "\n")
        return path

    return write


def shown(*arguments, **options):
    return causes.cause("span", *arguments, **options).text(tail=True)


class Answers:
    """SLURM's answers about any job."""

    def __init__(self, end):
        self.end = end

    def of(self, number):
        assert number == "7"
        if isinstance(self.end, Exception):
            raise self.end
        return self.end


def on_slurm(*lines, message=""):
    """A failed SLURM job with a SLURM log of some lines."""
    path = Path("results/logs/slurm/7.log").absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return JobError(3, message, "7", (path,))


SLURM_LOG = "    SLURM log: results/logs/slurm/7.log"


def test_the_error_of_the_job_itself_comes_first(log):
    own = log("Traceback", "skymask: failed: ValueError: no data")
    expected = "    ValueError: no data\n    log: job.log"
    assert shown(own, LOCAL, f"{COMMAND}returned non-zero exit status 1.") == expected
    assert shown(own, on_slurm("srun: error: c1: task 0: Killed")) == expected
    assert not causes.cause("span", own, LOCAL).retry
    assert causes.cause("span", log("skymask: failed, a retry may help: E: x"), LOCAL).retry


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (9, f"it was killed (SIGKILL), perhaps for lack of memory: {FEWER}"),
        (15, "it was terminated (SIGTERM), by a user or the system"),
        (1, "it was terminated (SIGHUP), by a user or the system"),
        (11, "it crashed (SIGSEGV)"),
        (7, "it crashed (SIGBUS)"),
        (6, "it crashed (SIGABRT)"),
        (24, "it was ended by SIGXCPU"),
    ],
)
def test_a_signal_is_named(log, number, sentence):
    own = log("at round 3")
    code = f"import os; os.kill(os.getpid(), {number})"
    # as Snakemake runs it: where bash stays the parent, it has an exit code of its own
    for script in (f"{sys.executable} -c '{code}'", f"{sys.executable} -c '{code}'; exit $?"):
        with pytest.raises(subprocess.CalledProcessError) as error:
            subprocess.run(["bash", "-c", script], check=True, stderr=subprocess.DEVNULL)
        expected = f"    {sentence}\n    | at round 3\n    log: job.log"
        assert shown(own, LOCAL, f"RuleException:\n{error.value}") == expected


def test_the_kernel_is_named_where_it_has_killed_for_lack_of_memory(log):
    text = f"{COMMAND}died with <Signals.SIGKILL: 9>."
    expected = f"    the kernel killed it (SIGKILL), as memory ran out: {FEWER}"
    assert shown(None, LOCAL, text, kernel_killed=True) == expected
    expected = "    it crashed (SIGSEGV)"
    text = f"{COMMAND}died with <Signals.SIGSEGV: 11>."
    assert shown(None, LOCAL, text, kernel_killed=True) == expected


@pytest.mark.skipif(not os.path.exists("/proc/vmstat"), reason="no Linux")
def test_the_kernel_counts_what_it_kills():
    assert (causes.oom_kills() is not None) == ("\noom_kill " in Path("/proc/vmstat").read_text())


def test_an_exit_code_without_an_error_is_named():
    expected = "    it ended with exit code 3 and logged no error: see what it printed above"
    assert shown(None, LOCAL, f"{COMMAND}returned non-zero exit status 3.") == expected
    expected = "    it was interrupted or terminated before it began its work"
    assert shown(None, LOCAL, f"{COMMAND}returned non-zero exit status 130.") == expected


def test_a_job_that_was_stopped_tells_by_which_signal(log):
    text = f"{COMMAND}returned non-zero exit status 130."
    for name, sentence in (
        ("SIGTERM", "it was terminated (SIGTERM), by a user or the system"),
        ("SIGINT", "it was interrupted (SIGINT)"),
    ):
        own = log(f"skymask: stopped by {name}")
        assert shown(own, LOCAL, text) == f"    {sentence}\n    log: job.log"


def test_what_an_earlier_call_logged_is_not_shown(log):
    own = log("skymask: failed: ValueError: long ago", call="decade")
    expected = "    it crashed (SIGBUS)\n    log: job.log"
    assert shown(own, LOCAL, f"{COMMAND}died with <Signals.SIGBUS: 7>.") == expected
    assert "it ended without an error message" in shown(own, LOCAL)


FULL = "OSError: [Errno 28] No space left on device: 'results/benchmarks/1-2.tsv'"
FREE = "free space on the disk with results and .snakemake, or make it writable"


def test_a_result_that_could_not_be_recorded_is_no_killed_job(log):
    done = log("skymask: done")
    begin = "    the job itself finished, but its result could not be recorded"
    expected = f"{begin} ({FULL}): {FREE}\n    log: job.log"
    assert shown(done, LOCAL, f"WorkflowError:\n{FULL}") == expected
    assert shown(done, LOCAL) == f"{begin}: {FREE}\n    log: job.log"
    # on SLURM the Snakemake inside the job has the error
    error = on_slurm("WorkflowError:", FULL, "srun: error: c1: task 0: Exited with exit code 1")
    expected = f"{begin} ({FULL}): {FREE}\n    log: job.log\n{SLURM_LOG}"
    assert shown(done, error, ends=Answers(End("FAILED", 1))) == expected
    # the log of the job itself may be cut where the disk is full
    expected = "    Snakemake could not run the job or record its result"
    assert shown(log(), LOCAL, f"WorkflowError:\n{FULL}").startswith(f"{expected} ({FULL}): {FREE}")
    assert shown(None, LOCAL, "WorkflowError:\nFailed to open source file x") == (
        f"{expected}: {FREE}"
    )


def test_a_job_that_crashes_after_its_work_is_not_blamed_on_the_disk(log):
    done = log("skymask: done")
    text = f"{COMMAND}died with <Signals.SIGSEGV: 11>."
    assert shown(done, LOCAL, text).startswith("    it crashed (SIGSEGV)")
    told = shown(done, on_slurm(), ends=Answers(End("TIMEOUT", minutes="00:15:00")))
    assert told.startswith("    SLURM job 7 was ended at its time limit of 00:15:00: ")


def test_an_output_that_is_missing_is_named(log):
    message = (
        "MissingOutputException in rule span in file x, line 10:\nJob 5  completed successfully, "
        "but some output files are missing. Missing files after 60 seconds. This might be due to "
        "filesystem latency. If that is the case, consider to increase the wait time with "
        "--latency-wait:\nresults/model.parquet (missing locally, parent dir contents: )"
    )
    assert shown(log("skymask: done"), JobError(5, message)) == (
        "    the job itself finished, but its output results/model.parquet is missing here: on a "
        "network file system raise --latency-wait, else find out what removed it\n    log: job.log"
    )


def test_slurm_tells_the_cause_and_its_log_has_the_details(log):
    own = log("at round 3", "skymask: stopped by SIGTERM")
    line = "slurmstepd-c1: error: *** JOB 7 ON c1 CANCELLED AT 2026-11-24T19:43:22 ***"
    error = on_slurm("Building DAG of jobs...", line)
    told = shown(own, error, ends=Answers(End("CANCELLED", user="ann")))
    assert told.splitlines() == [
        "    SLURM job 7 was cancelled (scancel) by user ann",
        f"    | {line}",
        "    log: job.log",
        SLURM_LOG,
    ]
    # else the job's own log has them, else whatever the SLURM log has
    told = shown(own, on_slurm("Building DAG"), ends=Answers(End("NODE_FAIL")))
    assert told.splitlines()[1] == "    | at round 3"
    told = shown(None, on_slurm("one", "two"), ends=Answers(End("NODE_FAIL")))
    assert told.splitlines()[1:] == ["    | one", "    | two", SLURM_LOG]


def test_no_answer_of_slurm_and_no_error_of_the_question_hides_the_failure():
    message = "SLURM-job '7' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason"
    for ends in (None, Answers(None), Answers(RuntimeError("broken"))):
        told = shown(None, on_slurm(message=message), ends=ends)
        assert told.startswith("    SLURM job 7 was ended at its time limit: a retry asks for more")
        told = shown(None, on_slurm(), ends=ends)
        assert told.startswith("    SLURM job 7 failed, and SLURM does not tell why")
    told = shown(None, JobError(3, "", "7", (Path("gone.log"),)), ends=Answers(End("FAILED", 1)))
    assert told == "    SLURM job 7 failed with exit code 1, without an error in the job's own log"


def test_a_process_that_is_killed_inside_a_slurm_job_is_named(log):
    error = on_slurm(f"{COMMAND}died with <Signals.SIGKILL: 9>.", "srun: error: c1: task 0: Killed")
    told = shown(log("at round 3"), error, ends=Answers(End("FAILED", 1)))
    assert told.splitlines()[:2] == [
        "    in SLURM job 7, it was killed (SIGKILL), perhaps for lack of memory: a retry asks for "
        "more",
        "    | srun: error: c1: task 0: Killed",
    ]
    error = on_slurm("ImportError: no torch", f"{COMMAND}returned non-zero exit status 1.")
    assert shown(None, error, ends=Answers(End("FAILED", 1))).splitlines()[:2] == [
        "    in SLURM job 7, it ended with exit code 1 and logged no error: see what it printed in "
        "its SLURM log",
        "    | ImportError: no torch",
    ]


def test_a_job_that_slurm_refuses_tells_why():
    message = (
        "SLURM sbatch failed. The error message was 'sbatch: error: invalid partition specified: "
        "cpu\nsbatch: error: Batch job submission failed: Invalid partition name specified'.\n"
        "    sbatch call:\n        sbatch --parsable\n"
    )
    assert shown(None, JobError(3, message)) == (
        "    SLURM did not take the job (sbatch: error: invalid partition specified: cpu sbatch: "
        "error: Batch job submission failed: Invalid partition name specified): compare "
        "profiles/slurm with your cluster"
    )
    message = "Job submission failed with exception: [Errno 12] Cannot allocate memory"
    assert "([Errno 12] Cannot allocate memory): compare" in shown(None, JobError(3, message))


def test_logs_that_cannot_be_read_do_not_hide_the_failure(tmp_path):
    path = tmp_path / "log"
    path.mkdir()
    error = JobError(3, "", "7", (path,))
    told = shown(path, error, ends=Answers(End("NODE_FAIL", node="c1")))
    assert told.startswith("    SLURM job 7 was lost: its node c1 failed")
