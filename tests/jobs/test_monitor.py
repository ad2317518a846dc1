"""What the terminal shows, from the log records that Snakemake sends."""

import io
import logging
import os
import pty
import re
import termios
from contextlib import suppress

import pytest

from skymask.jobs import log as jobs_log
from skymask.jobs import monitor, progress, slurm_ends
from skymask.jobs.monitor import Job, Monitor
from tests.workflow.harness import wait_until


@pytest.fixture(autouse=True)
def call(monkeypatch):
    monkeypatch.setenv(jobs_log.CALL, "c0ffee")


def record(message="", event=None, **values):
    made = logging.LogRecord("snakemake.logging", logging.INFO, "", 0, message, (), None)
    made.__dict__.update(values)
    if event:
        made.event = type("Event", (), {"value": event})
    return made


def begin(watcher, number, job):
    values = {"rule_name": job.rule, "wildcards": job.wildcards, "log": [str(job.log)]}
    watcher.emit(record(event="job_info", jobid=number, **values))


def finish(watcher, number):
    watcher.emit(record(event="job_finished", job_id=number))


def fail(watcher, number, **values):
    watcher.emit(record(event="job_error", jobid=number, **values))


def study(tmp_path):
    """The jobs of two runs of two spans of 5 rounds, and their logs."""
    jobs = []
    for run in ("a", "b"):
        for first, last in ((1, 5), (6, 10)):
            wildcards = {"run": run, "first": str(first), "last": str(last)}
            jobs.append(Job("span", wildcards, tmp_path / f"{run}-{first}.log"))
        jobs.append(Job("collect", {"run": run}, tmp_path / f"{run}.log"))
    return jobs


def watch(jobs, runs=2):
    out = io.StringIO()
    return Monitor(jobs, runs, lambda run: f"{run}: accuracy 0.5", out), out


def begun(*lines, call=None):
    first = f"skymask: begun by process 1 on h, call {call or os.environ[jobs_log.CALL]}"
    return "\n".join((first, *lines)) + "\n"


def test_a_finished_run_has_one_line_with_its_accuracy_and_the_runs_done(tmp_path):
    jobs = study(tmp_path)
    watcher, out = watch(jobs, runs=5)
    for number, job in enumerate(jobs):
        begin(watcher, number, job)
        finish(watcher, number)
    assert out.getvalue().splitlines() == [
        "a: accuracy 0.5 (4 of 5 runs)",
        "b: accuracy 0.5 (5 of 5 runs)",
    ]
    assert watcher.done() == 20


def test_rounds_of_running_jobs_count_by_their_logs(tmp_path):
    jobs = study(tmp_path)
    watcher, _ = watch(jobs)
    begin(watcher, 1, jobs[1])
    assert watcher.done() == 0
    jobs[1].log.write_text(begun(progress.meter(8, 10, 2.0, before=5)))
    assert watcher.done() == 3
    # not what an earlier call left in the log
    jobs[1].log.write_text(begun(progress.meter(8, 10, 2.0, before=5), call="decade"))
    assert watcher.done() == 0


def test_each_round_counts_when_it_is_aggregated_where_each_stage_is_a_job():
    jobs = [Job(rule, {"run": "a", "round": "3"}) for rule in ("train", "attack", "aggregate")]
    assert [len(job.rounds) for job in jobs] == [0, 0, 1]
    assert [job.name for job in jobs][1:] == ["attack a round 3", "aggregate a round 3"]


def test_an_error_is_shown_at_once_and_again_at_the_end(tmp_path):
    jobs = study(tmp_path)
    watcher, out = watch(jobs)
    watcher.start()
    jobs[1].log.write_text(begun("Traceback", "skymask: failed: ValueError: no data"))
    begin(watcher, 1, jobs[1])
    fail(watcher, 1)
    error = f"    ValueError: no data\n    log: {jobs[1].log}\n"
    assert out.getvalue() == f"\nfailed: span a rounds 6 to 10\n{error}"
    # Snakemake retries the job, which ends at once
    begin(watcher, 1, jobs[1])
    fail(watcher, 1)
    assert out.getvalue() == f"\nfailed: span a rounds 6 to 10\n{error}"
    watcher.end()
    assert "1 job failed" in out.getvalue()
    assert out.getvalue().endswith(f"\n  span a rounds 6 to 10\n{error}")


def test_a_killed_job_shows_the_end_of_its_log_and_is_retried(tmp_path):
    jobs = study(tmp_path)
    watcher, out = watch(jobs)
    watcher.start()
    jobs[0].log.write_text(begun(*(f"line {i}" for i in range(20))))
    begin(watcher, 0, jobs[0])
    fail(watcher, 0)
    begin(watcher, 0, jobs[0])
    lines = out.getvalue().splitlines()
    assert lines[1:3] == [
        "failed: span a rounds 1 to 5",
        "    it ended without an error message: killed, perhaps for lack of memory",
    ]
    assert lines[3:11] == [f"    | line {i}" for i in range(12, 20)]
    assert lines[-1] == "    span a rounds 1 to 5: retrying"
    finish(watcher, 0)
    before = out.getvalue()
    watcher.end()
    assert out.getvalue() == before


def test_the_error_of_snakemake_belongs_to_the_job_whose_thread_reported_it(tmp_path):
    jobs = study(tmp_path)
    watcher, out = watch(jobs)
    for number in (0, 1, 2):
        begin(watcher, number, jobs[number])
    for thread, name in ((10, "SIGKILL: 9"), (11, "SIGSEGV: 11")):
        text = f"RuleException:\nCommand 'x' died with <Signals.{name}>."
        watcher.emit(record(text, "error", exception="RuleException", thread=thread))
    fail(watcher, 1, thread=11)
    fail(watcher, 0, thread=10)
    # an error is that of one job only
    fail(watcher, 2, thread=10)
    shown = [line for line in out.getvalue().splitlines() if line.startswith("    it ")]
    assert [re.search(r"SIG\w+|without", line)[0] for line in shown] == [
        "SIGSEGV",
        "SIGKILL",
        "without",
    ]


def test_the_kernels_count_tells_why_a_job_was_killed(tmp_path, monkeypatch):
    counts = iter([5, 5, 6, None, 7])
    monkeypatch.setattr(monitor.causes, "oom_kills", lambda: next(counts))
    jobs = study(tmp_path)
    watcher, out = watch(jobs)
    text = "RuleException:\nCommand 'x' died with <Signals.SIGKILL: 9>."
    begin(watcher, 0, jobs[0])
    begin(watcher, 1, jobs[1])
    watcher.emit(record(text, "error"))
    fail(watcher, 0)
    assert "    the kernel killed it (SIGKILL), as memory ran out: " in out.getvalue()
    begin(watcher, 2, jobs[2])
    watcher.emit(record(text, "error"))
    fail(watcher, 2)
    assert "    it was killed (SIGKILL), perhaps for lack of memory: " in out.getvalue()


def test_slurm_is_asked_about_its_job_and_its_log_is_named(tmp_path, monkeypatch):
    jobs, asked = study(tmp_path), []
    watcher, out = watch(jobs)

    def answer(_, number):
        asked.append(number)
        return slurm_ends.End("NODE_FAIL", node="c1")

    monkeypatch.setattr(slurm_ends.Ends, "of", answer)
    (tmp_path / "12.log").write_text("slurmstepd: error: the node is gone\n")
    for number in ("12", "13"):
        begin(watcher, 0, jobs[0])
        logs = [str(jobs[0].log), str(tmp_path / f"{number}.log")]
        fail(watcher, 0, log=logs, aux={"external_jobid": number}, rule_msg="SLURM-job failed")
    assert asked == ["12", "13"]
    assert out.getvalue().splitlines() == [
        "",
        "failed: span a rounds 1 to 5",
        "    SLURM job 12 was lost: its node c1 failed; a retry runs on another node",
        "    | slurmstepd: error: the node is gone",
        f"    SLURM log: {tmp_path / '12.log'}",
        "    span a rounds 1 to 5: retrying",
        "",
        "failed: span a rounds 1 to 5",
        "    SLURM job 13 was lost: its node c1 failed; a retry runs on another node",
    ]


def test_a_job_without_its_output_has_failed(tmp_path):
    jobs = study(tmp_path)
    watcher, out = watch(jobs)
    watcher.start()
    begin(watcher, 4, jobs[4])
    text = (
        "MissingOutputException in file x, line 1:\nJob 4  completed successfully, but "
        "some output files are missing. Missing files after 1 seconds. If that is the case, "
        "consider to increase the wait time with --latency-wait:\na/b (missing locally)"
    )
    missing = record(text, "error", exception="MissingOutputException")
    # shown once, in the monitor's words
    assert not watcher.passes(missing)
    watcher.emit(missing)
    watcher.end()
    sentence = "the job itself finished, but its output a/b is missing here"
    assert out.getvalue().count(sentence) == 2
    assert "1 job failed" in out.getvalue()


class Queue:
    """Explanations of a queue, one for each look."""

    def __init__(self, *texts):
        self.texts, self.looks, self.moves = list(texts), 0, 0

    def look(self):
        self.looks += 1
        text = self.texts.pop(0) if self.texts else None
        if isinstance(text, Exception):
            raise text
        return text

    def moved(self):
        self.moves += 1


def test_a_queue_that_does_not_move_is_explained_while_jobs_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "TICK", 0.001)
    monkeypatch.setattr(monitor.slurm_queue, "STILL", 0.001)
    jobs, out = study(tmp_path), io.StringIO()
    queue = Queue(None, OSError("broken"), "2 jobs wait")
    watcher = Monitor(jobs, 2, str, out, queue).start()
    assert queue.looks == 0
    begin(watcher, 0, jobs[0])
    begin(watcher, 1, jobs[1])
    # the second look fails, and the third comes all the same
    wait_until(lambda: queue.looks >= 5, failed=lambda: not watcher._watcher.is_alive())
    finish(watcher, 0)
    fail(watcher, 1)
    watcher.end()
    assert out.getvalue().splitlines()[0] == "2 jobs wait"
    assert queue.moves == 2


def test_an_error_that_an_earlier_call_logged_is_not_shown(tmp_path):
    jobs = study(tmp_path)
    watcher, out = watch(jobs)
    jobs[0].log.write_text(begun("skymask: failed: ValueError: long ago", call="decade"))
    begin(watcher, 0, jobs[0])
    fail(watcher, 0)
    assert "without an error message" in out.getvalue()


def test_an_interrupt_is_no_failure(tmp_path):
    jobs = study(tmp_path)
    watcher, out = watch(jobs)
    watcher.start()
    begin(watcher, 0, jobs[0])
    watcher.emit(record("Terminating processes on user request, this might take some time."))
    fail(watcher, 0)
    watcher.end()
    assert "failed" not in out.getvalue()
    assert "run the same command again to continue" in out.getvalue()


@pytest.mark.parametrize(
    ("message", "event", "passes"),
    [
        ("Select jobs to execute...", None, False),
        ("Execute 2 jobs...", None, False),
        ("Trying to restart job 3.", None, False),
        ("RuleException:\nCalledProcessError in file", "error", False),
        ("1 of 3 steps (33%) done", "progress", False),
        ("Finished jobid: 3", "job_finished", False),
        ("Nothing to be done", None, True),
        ("Error: Directory cannot be locked.", "error", True),
        ("Job stats:", "run_info", True),
    ],
)
def test_snakemakes_own_lines_about_single_jobs_are_left_out(tmp_path, message, event, passes):
    watcher, _ = watch(study(tmp_path))
    assert watcher.passes(record(message, event)) == passes


def read_all(leader):
    """Read what was written to a terminal that is closed."""
    pieces = []
    with os.fdopen(leader, "rb", buffering=0) as terminal, suppress(OSError):
        while piece := terminal.read(1 << 16):
            pieces.append(piece)
    return b"".join(pieces).decode()


def test_a_terminal_has_one_bar_and_a_file_has_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "TICK", 0.01)
    monkeypatch.setattr(monitor, "QUIET_TICK", 0.01)
    jobs = study(tmp_path)
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    with os.fdopen(follower, "w") as out:
        watcher = Monitor(jobs, 2, lambda run: f"{run}: accuracy 0.5", out).start()
        for number in (0, 1, 2):
            begin(watcher, number, jobs[number])
            finish(watcher, number)
        watcher.end()
    seen = read_all(leader)
    assert re.search(r"\r 50%\|█+\S* *\| 10/20 \[00:00<00:00, +[\d.]+ rounds/s\]", seen)
    assert "\ra: accuracy 0.5 (1 of 2 runs)\r\n" in seen

    watcher, quiet = watch(jobs)
    watcher.start()
    while "0/20" not in quiet.getvalue():
        pass
    watcher.end()
    assert "\r" not in quiet.getvalue()
    assert quiet.getvalue().splitlines()[0].startswith("  0%|")


def test_an_error_of_the_monitor_does_not_stop_the_work(tmp_path, capsys):
    def broken(run):
        raise OSError("no such rows")

    jobs = study(tmp_path)
    watcher = Monitor(jobs, 2, broken, io.StringIO())
    begin(watcher, 2, jobs[2])
    finish(watcher, 2)
    assert "no such rows" in capsys.readouterr().err


# --- the log of a job ---------------------------------------------------------------------------


def test_a_log_shows_the_first_round_the_last_and_some_between(capsys, monkeypatch):
    times = iter([0.0, *(float(i) for i in range(1, 21))])
    monkeypatch.setattr(progress, "perf_counter", lambda: next(times))
    show = progress.RoundLog(11, 30)
    for round_ in range(11, 31):
        show(round_)
    lines = capsys.readouterr().out.splitlines()
    assert [int(re.search(r"(\d+)/30", line)[1]) for line in lines] == [11, 16, 21, 26, 30]
    # six rounds in six seconds, fourteen to go
    assert lines[1].endswith("| 16/30 [00:06<00:14,  1.00 rounds/s]")


def test_the_last_round_is_read_back(tmp_path):
    log = tmp_path / "log"
    assert progress.last_round(log) is None
    log.write_text(begun("x" * 10_000))
    assert progress.last_round(log) is None
    log.write_text(begun(*(progress.meter(r, 900, 1.0) for r in range(1, 500)), "and more"))
    assert progress.last_round(log) == 499
