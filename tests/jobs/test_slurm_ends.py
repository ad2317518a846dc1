"""How SLURM jobs ended, with fake programs that answer as SLURM does."""

import os
import pwd
import time

import pytest

from skymask.jobs import slurm_ends
from skymask.jobs.slurm_ends import End, Ends, sentence

CONTROLLER = (
    "JobId=7 JobName=skymask_x UserId=ann(1000) Priority=1 Account=(null) QOS=(null) "
    "JobState={state} Reason={reason} Requeue=0 Restarts=0 ExitCode={exit} RunTime=00:01:00 "
    "TimeLimit=00:15:00 Partition=cpu NodeList=c1 BatchHost=c1 NumNodes=1 "
    "TRES=cpu=1,mem=1000M MinCPUsNode=1 MinMemoryNode=1000M WorkDir=/x"
)
FORGOTTEN = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
NO_ACCOUNTS = "echo 'Slurm accounting storage is disabled' >&2; exit 1"


def controller(slurm, state, exit="0:0", reason="None"):
    slurm("scontrol", f"echo '{CONTROLLER.format(state=state, exit=exit, reason=reason)}'")


MORE = "a retry asks for more; to set it: --set-resources span"


@pytest.mark.parametrize("accounting", [NO_ACCOUNTS, "echo", "echo 'a|b'"])
@pytest.mark.parametrize(
    ("state", "exit_", "expected"),
    [
        ("CANCELLED", "0:15", "was cancelled (scancel)"),
        (
            "TIMEOUT",
            "0:15",
            f"was ended at its time limit of 00:15:00: {MORE}:runtime=MINUTES",
        ),
        (
            "OUT_OF_MEMORY",
            "0:125",
            f"was killed: it exceeded its memory limit of 1000M: {MORE}:mem_mb=MB",
        ),
        ("NODE_FAIL", "1:0", "was lost: its node c1 failed; a retry runs on another node"),
        (
            "BOOT_FAIL",
            "0:0",
            "did not start: its node c1 did not boot; a retry runs on another node",
        ),
        ("PREEMPTED", "0:15", "was preempted: its place went to a job of higher priority"),
        ("DEADLINE", "0:0", "was ended at its deadline"),
        (
            "FAILED",
            "3:0",
            "failed with exit code 3 on node c1, without an error in the job's own log",
        ),
        ("FAILED", "0:9", "was ended by SIGKILL on node c1"),
        ("FAILED", "0:99", "was ended by signal 99 on node c1"),
        ("SPECIAL_EXIT", "0:0", "ended in state SPECIAL_EXIT on node c1"),
    ],
)
def test_the_controller_tells_how_a_job_ended(slurm, state, exit_, expected, accounting):
    controller(slurm, state, exit_)
    slurm("sacct", accounting)
    assert sentence("7", Ends().of("7"), [], "span") == f"SLURM job 7 {expected}"


def test_the_accounting_answers_for_a_job_that_the_controller_has_forgotten(slurm):
    slurm("scontrol", FORGOTTEN)
    slurm("sacct", 'echo "$@" > asked; echo "7|TIMEOUT|0:0|c[1-2]|00:15:00|1000M"')
    ends = Ends()
    assert ends.of("7") == End("TIMEOUT", 0, 0, "", "c[1-2]", "00:15:00", "1000M")
    assert "--jobs=7" in (slurm.here / "asked").read_text().split()
    # that was an answer: the controller is asked about the next job
    controller(slurm, "NODE_FAIL")
    assert ends.of("8").state == "NODE_FAIL"


def test_the_accounting_tells_who_cancelled_a_job(slurm):
    controller(slurm, "CANCELLED")
    for user, name in ((os.getuid(), pwd.getpwuid(os.getuid()).pw_name), (4242424, "4242424")):
        slurm("sacct", f"echo '7|CANCELLED by {user}|0:0|c1|00:15:00|1000M'")
        told = sentence("7", Ends().of("7"), [], "span")
        assert told == f"SLURM job 7 was cancelled (scancel) by user {name}"


def test_the_accounting_tells_that_a_step_ran_out_of_memory(slurm):
    controller(slurm, "FAILED", "1:0")
    rows = ("7|FAILED|1:0|c1|00:15:00|1000M", "7.0|OUT_OF_MEMORY|0:125|c1||")
    slurm("sacct", "\n".join(["cat <<'END'", *rows, "END"]))
    assert Ends().of("7").state == "OUT_OF_MEMORY"


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("slurmstepd-c1: error: StepId=3.0 exceeded memory limit (41 > 5), being", "OUT_OF_MEMORY"),
        ("slurmstepd: error: Exceeded job memory limit", "OUT_OF_MEMORY"),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=3.0", "OUT_OF_MEMORY"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=3.0", "OUT_OF_MEMORY"),
        ("srun: error: n1: task 0: Out Of Memory", "OUT_OF_MEMORY"),
        ("slurmstepd-c1: error: *** JOB 2 ON c1 CANCELLED AT 20 DUE TO TIME LIMIT ***", "TIMEOUT"),
        ("slurmstepd: error: *** JOB 2 ON c1 CANCELLED AT 20 DUE TO PREEMPTION ***", "PREEMPTED"),
        (
            "slurmstepd: error: *** STEP 2.0 ON c1 CANCELLED AT 20 DUE TO NODE FAILURE, SEE x ***",
            "NODE_FAIL",
        ),
        ("slurmstepd-c1: error: *** JOB 1 ON c1 CANCELLED AT 2026-11-24T19:43:22 ***", "FAILED"),
        ("job: Exceeded job memory limit", "FAILED"),
    ],
)
def test_the_log_tells_what_the_controller_calls_failed(line, state):
    log = ["Building DAG of jobs...", line, "srun: error: c1: task 0: Exited with exit code 1"]
    assert slurm_ends.state_of(End("FAILED", 1), log) == state
    assert slurm_ends.state_of(End("NODE_FAIL", 1), log) == "NODE_FAIL"
    assert slurm_ends.lines_of_slurm(log) == ([line] if "error" in line else [])


def test_many_failed_jobs_do_not_wait_for_a_slurm_that_is_silent(slurm, monkeypatch):
    monkeypatch.setattr(slurm_ends, "TIMEOUT", 0.2)
    for name in ("scontrol", "sacct"):
        slurm(name, f"echo x >> {name}; exec sleep 600")
    ends, now = Ends(), time.monotonic()
    monkeypatch.setattr(slurm_ends.time, "monotonic", lambda: now)
    assert [ends.of(str(number)) for number in range(50)] == [None] * 50
    asked = [(slurm.here / name).read_text() for name in ("scontrol", "sacct")]
    assert asked == ["x\n", "x\n"]
    # later it is asked again
    now += slurm_ends.PAUSE
    monkeypatch.setattr(slurm_ends, "TIMEOUT", 60.0)
    controller(slurm, "TIMEOUT")
    assert ends.of("51").state == "TIMEOUT"


def test_a_slurm_that_is_missing_or_answers_nonsense_hides_nothing(slurm, monkeypatch):
    silent = "SLURM job 7 failed, and SLURM does not tell why: neither scontrol nor sacct knows"
    for answer in ("echo", "echo nonsense", "printf '\\377|||||\\n'", "exit 3"):
        for name in ("scontrol", "sacct"):
            slurm(name, answer)
        assert sentence("7", Ends().of("7"), [], "span").startswith(silent)
    monkeypatch.setenv("PATH", str(slurm.here))
    assert sentence("7", Ends().of("7"), [], "span").startswith(silent)
