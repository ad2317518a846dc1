"""A copy of the project to run, edit and break."""

import os
import re
import shutil
import subprocess
import sys
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

# three runs, side by side: backdoors, attacked coordinates, compositions, memories on both sides
VARIED: dict[str, Any] = {
    "attack": [
        {"name": "scaling", "patch": 3, "coordinates": {"share": 0.5}},
        {"name": "mimic", "warm_up": 2, "coordinates": {"layers": ["1.weight", "3.bias"]}},
        {"name": "lie_backdoor", "patch": 3, "epochs": 1},
    ],
    "defense": [
        ["norm_clip", {"name": "fldetector", "window": 2, "start": 2}],
        ["nnm", "skymask"],
        ["bucketing", "centered_clipping"],
    ],
    "paired": [["attack", "defense"]],
}
KINDS = ("metrics", "clients", "aggregates", "layers")


@dataclass(frozen=True)
class Project:
    """A project folder; Snakemake runs in it, with the study ``study.yaml``."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, **study: Any) -> "Project":
        """Copy the project's own files into ``folder``, with a tiny study."""
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
        """A copy with all results and Snakemake's records of them."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def set_study(self, **changes: Any) -> None:
        """Write study.yaml: the tiny study with ``changes``."""
        (self.folder / "study.yaml").write_text(yaml.safe_dump({**TINY, **changes}))

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a piece of a file that must be there."""
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {path}"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def command(self, *arguments: str, cores: int = 2) -> list[str]:
        """The command line of a Snakemake run of this project."""
        base = [sys.executable, "-m", "snakemake", "--cores", str(cores)]
        return [*base, *arguments, "--configfile", "study.yaml"]

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the checkout under test may leak into the copy."""
        kept = {k: v for k, v in os.environ.items() if k != "SKYMASK_SUMMARY"}
        kept["PYTHONPATH"] = str(ROOT / "tests" / "offline")
        return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def snakemake(
        self, *arguments: str, cores: int = 2, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake; its whole output is in ``stdout``."""
        done = subprocess.run(
            self.command(*arguments, cores=cores),
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def start(self) -> subprocess.Popen[bytes]:
        """Start Snakemake on one core, in a process group of its own, and do not wait."""
        return subprocess.Popen(
            self.command(cores=1),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
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
            timeout=600,
        )

    def planned(self, *arguments: str) -> dict[str, int]:
        """Jobs that a dry run would start, by rule, without the target rules."""
        output = self.snakemake("-n", *arguments).stdout
        jobs = dict(re.findall(r"^([a-z_]+) +(\d+)$", output, re.MULTILINE))
        targets = ("total", "all", "tables", "figures")
        return {rule: int(count) for rule, count in jobs.items() if rule not in targets}

    def runs(self) -> list[Path]:
        """The folders of all runs."""
        return sorted((self.folder / "results" / "runs").iterdir())

    def rows(self) -> dict[str, bytes]:
        """The bytes of every run's rows but for the timings, by path."""
        return {
            f"{run.name}/{kind}": (run / f"{kind}.parquet").read_bytes()
            for run in self.runs()
            for kind in KINDS
        }
