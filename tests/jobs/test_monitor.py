"""What the terminal shows: fed with the log records that Snakemake sends."""

import io
import logging
import os
import pty
import re
import termios
from contextlib import suppress

import pytest

from skymask.jobs import log as jobs_log
from skymask.jobs import monitor, progress
from skymask.jobs.monitor import Job, Terminal

CALL = "c0ffee"


@pytest.fixture
def call(monkeypatch):
    monkeypatch.setenv(jobs_log.CALL, CALL)


def record(message, event=None, **values):
    made = logging.LogRecord("snakemake.logging", logging.INFO, "", 0, message, (), None)
    made.__dict__.update(values)
    if event:
        made.event = type("Event", (), {"value": event})
    return made


def study(tmp_path):
    """The jobs of two runs of two spans of 5 rounds, and their logs."""
    jobs = {}
    for run in ("a", "b"):
        for first, last in ((1, 5), (6, 10)):
            wildcards = {"run": run, "first": str(first), "last": str(last)}
            jobs[len(jobs)] = Job("span", wildcards, tmp_path / f"{run}-{first}.log")
        jobs[len(jobs)] = Job("collect", {"run": run}, tmp_path / f"{run}.log")
    return jobs


def shown(jobs, runs=2):
    out = io.StringIO()
    return Terminal(jobs, runs, lambda run: f"{run}: accuracy 0.5", out), out


def begun(*lines, call=CALL):
    return "\n".join((f"skymask: begun by process 1, start 1, on h, call {call}", *lines)) + "\n"


def test_a_finished_run_has_one_line_with_its_accuracy_and_the_runs_done(tmp_path, call):
    jobs = study(tmp_path)
    watcher, out = shown(jobs, runs=5)
    for number in jobs:
        watcher.emit(record("", "job_info", jobid=number))
        watcher.emit(record("", "job_finished", job_id=number))
    assert out.getvalue().splitlines() == [
        "a: accuracy 0.5 (4 of 5 runs)",
        "b: accuracy 0.5 (5 of 5 runs)",
    ]
    assert watcher._done() == 20
    assert not watcher.failed


def test_rounds_of_running_jobs_count_by_their_logs(tmp_path, call):
    jobs = study(tmp_path)
    watcher, _ = shown(jobs)
    watcher.emit(record("", "job_info", jobid=1))
    assert watcher._done() == 0
    jobs[1].log.write_text(begun(progress.meter(8, 10, 2.0, before=5)))
    assert watcher._done() == 3
    # what an earlier call left in the log is not of this one
    jobs[1].log.write_text(begun(progress.meter(8, 10, 2.0, before=5), call="decade"))
    assert watcher._done() == 0


def test_an_error_is_said_at_once_and_again_at_the_end(tmp_path, call):
    jobs = study(tmp_path)
    watcher, out = shown(jobs)
    jobs[1].log.write_text(begun("Traceback", "skymask: failed: ValueError: no data"))
    watcher.emit(record("", "job_info", jobid=1))
    watcher.emit(record("", "job_error", jobid=1))
    said = f"    ValueError: no data\n    log: {jobs[1].log}\n"
    assert out.getvalue() == f"\nfailed: span a rounds 6 to 10\n{said}"
    # what will not pass is not tried again, though Snakemake starts it
    watcher.emit(record("Trying to restart job 1."))
    watcher.emit(record("", "job_info", jobid=1))
    watcher.emit(record("", "job_error", jobid=1))
    assert out.getvalue() == f"\nfailed: span a rounds 6 to 10\n{said}"
    watcher._ticker.start()
    watcher.end()
    assert "1 job failed" in out.getvalue()
    assert out.getvalue().endswith(f"\n  span a rounds 6 to 10\n{said}")


def test_a_killed_job_shows_the_end_of_its_log_and_is_tried_again(tmp_path, call):
    jobs = study(tmp_path)
    watcher, out = shown(jobs)
    jobs[0].log.write_text(begun(*(f"line {i}" for i in range(20))))
    watcher.emit(record("", "job_info", jobid=0))
    watcher.emit(record("", "job_error", jobid=0))
    watcher.emit(record("Trying to restart job 0."))
    lines = out.getvalue().splitlines()
    assert lines[1:3] == [
        "failed: span a rounds 1 to 5",
        "    it ended without a word: killed, perhaps for want of memory",
    ]
    assert lines[3:11] == [f"    | line {i}" for i in range(12, 20)]
    assert lines[-1] == "    span a rounds 1 to 5 is tried once more"
    watcher.emit(record("", "job_info", jobid=0))
    watcher.emit(record("", "job_finished", job_id=0))
    assert not watcher.failed


def test_the_error_of_an_earlier_call_is_not_this_one_s(tmp_path, call):
    jobs = study(tmp_path)
    watcher, out = shown(jobs)
    jobs[0].log.write_text(begun("skymask: failed: ValueError: long ago", call="decade"))
    watcher.emit(record("", "job_error", jobid=0))
    assert "without a word" in out.getvalue()


def test_an_interrupt_is_no_failure(tmp_path, call):
    jobs = study(tmp_path)
    watcher, out = shown(jobs)
    watcher.emit(record("", "job_info", jobid=0))
    watcher.emit(record("Terminating processes on user request, this might take some time."))
    watcher.emit(record("", "job_error", jobid=0))
    watcher._ticker.start()
    watcher.end()
    assert "failed" not in out.getvalue()
    assert "the same command goes on" in out.getvalue()


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
def test_of_snakemake_s_own_lines_those_about_single_jobs_are_left_out(
    tmp_path, message, event, passes
):
    watcher, _ = shown(study(tmp_path))
    assert watcher._passes(record(message, event)) == passes


def read_all(leader):
    """What was written to a terminal that is closed, piece by piece as the system hands it out."""
    pieces = []
    with os.fdopen(leader, "rb", buffering=0) as terminal, suppress(OSError):
        while piece := terminal.read(1 << 16):
            pieces.append(piece)
    return b"".join(pieces).decode()


def test_on_a_terminal_there_is_one_bar_and_elsewhere_lines(tmp_path, call, monkeypatch):
    monkeypatch.setattr(monitor, "TICK", 0.01)
    monkeypatch.setattr(monitor, "QUIET_TICK", 0.01)
    jobs = study(tmp_path)
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    with os.fdopen(follower, "w") as out:
        watcher = Terminal(jobs, 2, lambda run: f"{run}: accuracy 0.5", out)
        watcher._ticker.start()
        for number in (0, 1, 2):
            watcher.emit(record("", "job_info", jobid=number))
            watcher.emit(record("", "job_finished", job_id=number))
        watcher.end()
    seen = read_all(leader)
    assert re.search(r"\r 50%\|█+\S* *\| 10/20 \[00:00<00:00, +[\d.]+ rounds/s\]", seen)
    assert "\ra: accuracy 0.5 (1 of 2 runs)\r\n" in seen

    watcher, quiet = shown(jobs)
    watcher._ticker.start()
    while "0/20" not in quiet.getvalue():
        pass
    watcher.end()
    assert "\r" not in quiet.getvalue()
    assert quiet.getvalue().splitlines()[0].startswith("  0%|")


def test_what_goes_wrong_in_showing_does_not_stop_the_work(tmp_path, call, capsys):
    def broken(run):
        raise OSError("no such rows")

    watcher = Terminal(study(tmp_path), 2, broken, io.StringIO())
    watcher.emit(record("", "job_info", jobid=2))
    watcher.emit(record("", "job_finished", job_id=2))
    assert "no such rows" in capsys.readouterr().err


# --- a job's own log ------------------------------------------------------------------------------


def test_a_log_shows_the_first_round_the_last_and_some_between(capsys, monkeypatch):
    times = iter([0.0, *(float(i) for i in range(1, 21))])
    monkeypatch.setattr(progress, "perf_counter", lambda: next(times))
    say = progress.RoundLog(11, 30)
    for round_ in range(11, 31):
        say(round_)
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
