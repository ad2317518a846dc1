"""A copy of the repository in which tests run Snakemake."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "src", "workflow", "config", "profiles", "environment.yml", "README.md")

TINY: dict[str, Any] = {
    "study": "tiny",
    "dataset": "digits",
    "model": "mlp",
    "clients": 12,
    "malicious_share": 0.25,
    "attack": "fang_trim",
    "defense": ["krum", "skymask"],
    "rounds": 4,
    "evaluate_every": 2,
    "final_evaluations": 1,
    "local_lr": 0.3,
    "rounds_per_job": 2,
}

# three runs with backdoors, attacked coordinates and rounds, composed defenses, verdicts per layer,
# and states on both sides
VARIED: dict[str, Any] = {
    "attack": [
        {"name": "scaling", "patch": 3, "coordinates": {"share": 0.5}},
        {"name": "mimic", "warm_up": 2, "coordinates": {"layers": ["1.weight", "3.bias"]}},
        {"name": "neurotoxin", "patch": 3, "epochs": 1, "attack_rounds": {"first": 2, "every": 2}},
    ],
    "defense": [
        ["norm_clip", {"name": "fldetector", "window": 2, "start": 2}],
        ["nnm", {"name": "skymask", "per": "layer"}],
        ["bucketing", {"name": "centered_clipping", "per": "layer"}],
    ],
    "loss": ["batch_softmax", "logit_adjusted", "cross_entropy"],
    "paired": [["attack", "defense", "loss"]],
}
KINDS = ("metrics", "clients", "aggregates", "layers")

DEADLINE = 3600.0
"""Seconds that a test waits for an event or a process before it fails."""


def wait_until(holds: Callable[[], object], failed: Callable[[], bool] = lambda: False) -> None:
    """Wait until ``holds()`` is true; fail after DEADLINE or as soon as ``failed()`` is true."""
    end = time.monotonic() + DEADLINE
    while not holds():
        assert not failed()
        assert time.monotonic() < end, "the deadline has passed"
        time.sleep(0.02)


@dataclass(frozen=True)
class Project:
    """A folder in which Snakemake runs the study ``study.yaml``."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, **study: Any) -> "Project":
        """Copy the repository into ``folder`` and write a tiny study."""
        folder.mkdir(parents=True)
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=ignored)
            elif (ROOT / part).exists():
                shutil.copy2(ROOT / part, folder / part)
        project = cls(folder)
        project.set_study(**study)
        return project

    def clone(self, folder: Path) -> "Project":
        """Copy the folder with all results and Snakemake's records of them."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def set_study(self, **changes: Any) -> None:
        """Write the tiny study with ``changes`` into study.yaml."""
        (self.folder / "study.yaml").write_text(yaml.safe_dump({**TINY, **changes}))

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text in a file; fail if the file does not contain it."""
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {path}"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def command(self, *arguments: str, cores: int = 2) -> list[str]:
        """Return the command line of Snakemake for this project."""
        base = [sys.executable, "-m", "snakemake", "--cores", str(cores)]
        return [*base, *arguments, "--configfile", "study.yaml"]

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that must not import from the checkout under test."""
        kept = {k: v for k, v in os.environ.items() if k != "SKYMASK_SUMMARY"}
        kept["PYTHONPATH"] = str(ROOT / "tests" / "offline")
        return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def snakemake(
        self, *arguments: str, cores: int = 2, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake; ``stdout`` has the whole output."""
        done = subprocess.run(
            self.command(*arguments, cores=cores),
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def start(self, *arguments: str, cores: int = 1, **options: Any) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own; ``options`` are those of Popen."""
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(
            self.command(*arguments, cores=cores),
            cwd=self.folder,
            text=True,
            start_new_session=True,
            **{"env": self.environment, **silent, **options},
        )

    def skymask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command ``skymask``, of the package in the folder or else of the checkout."""
        source = self.folder if (self.folder / "src").exists() else ROOT
        return subprocess.run(
            [sys.executable, "-m", "skymask.cli", *arguments],
            cwd=self.folder,
            env={**self.environment, "PYTHONPATH": str(source / "src")},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    def planned(self, *arguments: str) -> dict[str, int]:
        """Count the jobs that a dry run would start, by rule, without the target rules."""
        output = self.snakemake("-n", *arguments).stdout
        jobs = dict(re.findall(r"^([a-z_]+) +(\d+)$", output, re.MULTILINE))
        targets = ("total", "all", "tables", "figures")
        return {rule: int(count) for rule, count in jobs.items() if rule not in targets}

    def runs(self) -> list[Path]:
        """List the folders of all runs."""
        return sorted((self.folder / "results" / "runs").iterdir())

    def run(self, name: str) -> Path:
        """Return the folder of the one run with ``name`` in its name."""
        (found,) = [run for run in self.runs() if f"-{name}-" in run.name]
        return found

    def tables(self) -> Path:
        """Return the folder of the study's tables."""
        return self.folder / "results" / "tables" / TINY["study"]

    def rows(self) -> dict[str, bytes]:
        """Read the bytes of every run's rows, except the timings, by path."""
        return {
            f"{run.name}/{kind}": (run / f"{kind}.parquet").read_bytes()
            for run in self.runs()
            for kind in KINDS
        }
