"""Atomic writes, with two writers at once and after a writer that was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import skymask
from skymask.artifacts.atomic import atomic

WRITER = """
import sys, time
from pathlib import Path
from skymask.artifacts.atomic import atomic
with atomic(Path(sys.argv[1])) as path:
    path.write_text("half")
    print("begun", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is in the middle of writing ``tmp_path / "made"``."""
    environment = {**os.environ, "PYTHONPATH": str(Path(skymask.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "made")],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    yield process
    process.kill()
    process.communicate()


def test_the_next_writer_removes_what_a_killed_writer_left(writer, tmp_path):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".made.")
    other = tmp_path / ".made_otherwise.0.tmp"
    other.write_text("of another file")
    with atomic(tmp_path / "made") as path:
        path.write_text("whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == [other.name, "made"]
    assert (tmp_path / "made").read_text() == "whole"


def test_the_file_of_a_living_writer_stays(writer, tmp_path):
    (left,) = tmp_path.iterdir()
    with atomic(tmp_path / "made") as path:
        path.write_text("whole")
    assert left.read_text() == "half"
    assert (tmp_path / "made").read_text() == "whole"


def test_two_writers_of_one_file_in_one_process(tmp_path):
    made = tmp_path / "made"
    with atomic(made) as one, atomic(made) as two:
        one.write_text("one")
        two.write_text("two")
        assert not made.exists()
    assert made.read_text() == "one"
    assert [*tmp_path.iterdir()] == [made]


def test_files_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with atomic(tmp_path / "made") as path:
        path.write_text("whole")
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_that_fails_leaves_the_old_one(tmp_path):
    made = tmp_path / "made"
    made.write_text("old")

    def fail():
        with atomic(made) as path:
            path.write_text("half")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert made.read_text() == "old"
    assert [*tmp_path.iterdir()] == [made]
