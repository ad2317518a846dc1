"""Small disks in memory."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest


def mount(*arguments):
    """Mount a disk; skip the test where that is not possible."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")


@contextmanager
def small_disk(folder, size):
    """Make ``folder`` a disk of its own, of a size as ``mount`` reads it: 256k, 3m."""
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "skymask-test", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
