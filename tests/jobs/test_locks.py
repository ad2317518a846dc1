"""Who may remove the locks of Snakemake's folder."""

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
def beside(folder):
    """Another process that has the folder in use, and a lock in it."""
    code = "import sys, pathlib; from skymask.jobs import locks; "
    code += "mark = locks.hold(pathlib.Path(sys.argv[1])); print('held', flush=True); input()"
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


def test_the_locks_of_a_killed_run_go_those_of_a_live_one_stay(folder, beside):
    with jobs_locks.hold(folder):
        assert locked(folder)
    beside.kill()
    beside.wait()
    with jobs_locks.hold(folder):
        assert not locked(folder)


def test_what_another_host_locked_stays(folder):
    (folder / "in-use").write_text("another-host 17\n")
    with jobs_locks.hold(folder):
        assert locked(folder)
    # and it stays known who did
    assert (folder / "in-use").read_text() == "another-host 17\n"
    assert jobs_locks.unlock(folder) == 1
    with jobs_locks.hold(folder):
        pass
    assert (folder / "in-use").read_text() == f"{os.uname().nodename} {os.getpid()}\n"


def test_a_folder_in_use_cannot_be_seized(folder, beside):
    with pytest.raises(InUseError, match=f"process {beside.pid} on {os.uname().nodename}"):
        jobs_locks.seize(folder)
    beside.kill()
    beside.wait()
    with jobs_locks.seize(folder):
        # nor used by a Snakemake that starts meanwhile and would take it for free
        found = subprocess.run(
            ["flock", "--nonblock", "--shared", str(folder / "in-use"), "true"], check=False
        )
        assert found.returncode == 1


def test_who_cannot_be_seen_is_not_taken_for_dead(folder):
    (folder / "in-use").write_text("another-host 17\n")
    with pytest.raises(InUseError, match=r"run this on another-host, or delete .*in-use"):
        jobs_locks.seize(folder)
    assert locked(folder)


def test_no_folder_is_said(tmp_path):
    with pytest.raises(InUseError, match="no Snakemake has run here"):
        jobs_locks.seize(tmp_path / ".snakemake")


def test_a_file_system_without_locks(folder, monkeypatch):
    def refuse(file, how):
        raise OSError(38, "not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert jobs_locks.hold(folder) is None
    assert locked(folder)
    with pytest.raises(InUseError, match=f"process {os.getpid()} on"):
        jobs_locks.seize(folder)
    ended = subprocess.Popen(["true"])
    ended.wait()
    (folder / "in-use").write_text(f"{os.uname().nodename} {ended.pid}\n")
    jobs_locks.seize(folder).close()
