"""Locks of the working directory."""

import fcntl
import os
import subprocess
import sys

import pytest

from skymask.jobs import locks as jobs_locks
from skymask.jobs.locks import InUseError


@pytest.fixture
def folder(tmp_path):
    """Snakemake's folder with a lock."""
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").touch()
    return tmp_path / ".snakemake"


def locked(folder):
    return bool(list(folder.glob("locks/*.lock")))


@pytest.fixture
def other(folder):
    """Another process that has the folder in use, and a lock in it."""
    code = "import sys, pathlib; from skymask.jobs import locks; "
    code += (
        "mark = locks.acquire(pathlib.Path(sys.argv[1])); print('acquired', flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    process.stdout.readline()
    (folder / "locks" / "0.output.lock").touch()
    yield process
    process.kill()
    process.communicate()


def test_locks_of_a_killed_run_are_removed_and_those_of_a_live_run_stay(folder, other):
    with jobs_locks.acquire(folder):
        assert locked(folder)
    other.kill()
    other.wait()
    with jobs_locks.acquire(folder):
        assert not locked(folder)


def test_two_processes_can_have_the_folder_in_use(folder, other):
    # the lock is shared, so that the second does not wait for the first
    shared = ["flock", "--nonblock", "--shared", str(folder / "in-use"), "true"]
    assert subprocess.run(shared, check=False).returncode == 0


def test_locks_of_another_host_stay(folder):
    (folder / "in-use").write_text("another-host 17\n")
    with jobs_locks.acquire(folder):
        assert locked(folder)
    # and the file still names that host
    assert (folder / "in-use").read_text() == "another-host 17\n"
    assert jobs_locks.unlock(folder) == 1
    with jobs_locks.acquire(folder):
        pass
    assert (folder / "in-use").read_text() == f"{os.uname().nodename} {os.getpid()}\n"


def test_a_folder_in_use_cannot_be_acquired_alone(folder, other):
    with pytest.raises(InUseError, match=f"process {other.pid} on {os.uname().nodename}"):
        jobs_locks.acquire_alone(folder)
    other.kill()
    other.wait()
    with jobs_locks.acquire_alone(folder):
        # nor can a Snakemake that starts now acquire it
        found = subprocess.run(
            ["flock", "--nonblock", "--shared", str(folder / "in-use"), "true"], check=False
        )
        assert found.returncode == 1


def test_a_process_on_another_host_counts_as_running(folder):
    (folder / "in-use").write_text("another-host 17\n")
    with pytest.raises(InUseError, match=r"run this on another-host, or delete .*in-use"):
        jobs_locks.acquire_alone(folder)
    assert locked(folder)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(InUseError, match="no Snakemake has run here"):
        jobs_locks.acquire_alone(tmp_path / ".snakemake")


def test_a_file_system_without_locks(folder, monkeypatch):
    def refuse(file, how):
        raise OSError(38, "not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert jobs_locks.acquire(folder) is None
    assert locked(folder)
    with pytest.raises(InUseError, match=f"process {os.getpid()} on"):
        jobs_locks.acquire_alone(folder)
    ended = subprocess.Popen(["true"])
    ended.wait()
    (folder / "in-use").write_text(f"{os.uname().nodename} {ended.pid}\n")
    jobs_locks.acquire_alone(folder).close()
