"""Logs of jobs, retries, and what the terminal shows of an error."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
import torch

import skymask
from skymask.artifacts.atomic import StorageError
from skymask.artifacts.errors import ReadError
from skymask.jobs.log import CALL, read_log, retry_may_help


def job(path, body, call=None):
    """Run a process that logs to ``path``; return its output on the terminal and its exit code."""
    code = f"from skymask.jobs.log import logged\nwith logged({str(path)!r}):\n    {body}\n"
    environment = {**os.environ, "PYTHONPATH": str(Path(skymask.__file__).parents[1])}
    environment.pop(CALL, None)
    if call:
        environment[CALL] = call
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    return done.stderr, done.returncode


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (pa.ArrowMemoryError("malloc failed"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (ConnectionResetError(), True),
        (FileNotFoundError(errno.ENOENT, "no such file"), False),
        (PermissionError(errno.EACCES, "not yours"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (OSError(errno.EROFS, "Read-only file system"), False),
        (ValueError("wrong"), False),
        (RuntimeError("no GPU here"), False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (ReadError(errno.EIO, "cannot read x"), True),
        (ReadError(errno.EACCES, "cannot read x"), False),
        (StorageError(errno.EMFILE, "x cannot be written"), True),
        (StorageError(errno.EDQUOT, "x cannot be written"), False),
    ],
)
def test_a_retry_may_help_after_a_failure_of_memory_device_or_file_system(error, passes):
    assert retry_may_help(error) == passes


def test_an_error_that_no_retry_changes_ends_the_retry_at_once_within_a_call(tmp_path):
    log, trace = tmp_path / "log", tmp_path / "trace"
    body = f"open({str(trace)!r}, 'a').write('x'); raise ValueError('wrong')"
    assert job(log, body, "one") == ("", 1)
    before = log.read_text()
    assert read_log(log).call == "one"
    # as Snakemake does before a retry
    log.unlink()
    assert job(log, body, "one") == ("", 1)
    assert trace.read_text() == "x"
    assert log.read_text() == before
    # in the next call the job runs again
    job(log, body, "two")
    job(log, body, "three")
    assert trace.read_text() == "xxx"


def test_a_retry_that_may_help_runs_the_job_again(tmp_path):
    log, trace = tmp_path / "log", tmp_path / "trace"
    body = f"open({str(trace)!r}, 'a').write('x'); raise MemoryError('too much')"
    job(log, body, "one")
    found = read_log(log)
    assert (found.state, found.error, found.retry) == (
        "failed",
        "MemoryError: too much",
        True,
    )
    job(log, body, "one")
    assert trace.read_text() == "xx"


def test_without_a_call_the_job_shows_its_error_itself(tmp_path):
    shown, code = job(tmp_path / "log", "raise ValueError('wrong')")
    assert code == 1
    assert shown == f"\nValueError: wrong\n(traceback in {tmp_path / 'log'})\n\n"


def test_an_error_reaches_the_terminal_where_the_log_cannot_be_written():
    # a device on which every write finds the disk full
    shown, code = job(Path("/dev/full"), "raise ValueError('wrong')", "one")
    assert code != 0
    assert "\nValueError: wrong\n(traceback in /dev/full)\n" in shown


def test_a_terminated_job_cleans_up_and_notes_it_in_its_log(tmp_path):
    log, made = tmp_path / "log", tmp_path / "made"
    code = (
        "import time\nfrom pathlib import Path\nfrom skymask.artifacts.atomic import atomic\n"
        f"from skymask.jobs.log import logged\nwith logged({str(log)!r}):\n"
        f"    with atomic(Path({str(made)!r})) as path:\n"
        "        path.write_text('half'); print('writing', flush=True); time.sleep(300)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(skymask.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    while not (log.exists() and "writing" in log.read_text()):
        assert process.poll() is None
        time.sleep(0.02)
    assert len(list(tmp_path.iterdir())) == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 130
    assert (read_log(log).state, read_log(log).signal) == ("stopped", "SIGTERM")
    assert log.read_text().endswith("skymask: stopped by SIGTERM\n")
    assert list(tmp_path.iterdir()) == [log]
