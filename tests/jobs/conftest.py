"""Fake programs of SLURM."""

import os

import pytest


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder of programs; ``slurm(name, text)`` writes one."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def write(name, script):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    write.here = here
    return write
