"""What an overview says of a study: what was run, by what, on what, and at what cost.

All of it comes from the study's artifacts but the commit and the machine, which are those where and
when it is asked for.
"""

import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from skymask.artifacts.parquet import read_schema
from skymask.artifacts.records import read_rows
from skymask.study.grid import Study


def facts(study: Study, file: str, results: Path, base: Path) -> dict[str, str]:
    """What was run, each fact under its name; those that are empty left out.

    ``file`` is the study's, ``results`` the folder of its artifacts, ``base`` that of the code.
    Raises ArtifactError for a run that cannot be read.
    """
    runs = study.runs
    rounds = sum(cell.rounds for cell in runs.values())
    lengths = sorted({cell.rounds for cell in runs.values()})
    length = str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    seeds = {(c.experiment.data_seed, c.experiment.training_seed) for c in runs.values()}
    left_out = [cell for cell in study.cells if cell.undefined]
    costs = cost(study, results)
    found = {
        "study": study.name,
        "file": file,
        "scale": study.scale,
        "attacks": _listed(cell.attack for cell in study.cells),
        "defenses": _listed(cell.defense for cell in study.cells),
        "settings": "; ".join(dict.fromkeys(c.setting for c in study.cells if c.setting)),
        "seeds (data.training)": ", ".join(
            f"{data}.{training}" for data, training in sorted(seeds)
        ),
        "runs": f"{len(runs):,}",
        "undefined cells": f"{len(left_out)}: {left_out[0].undefined}" if left_out else "",
        "rounds": f"{rounds:,} in all, {length} a run",
        **{name: f"{hours} (from the timings of the runs)" for name, hours in costs.items()},
        "versions": _versions(study, results),
        "commit": f"{commit(base) or 'none: not a git checkout'} (when this page was made)",
        "machine": f"{machine()} (where this page was made)",
    }
    return {name: value for name, value in found.items() if value}


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(labels))


def cost(study: Study, results: Path) -> dict[str, str]:
    """Core hours of the study's rounds, those of GPUs apart, by the timings of its runs.

    Raises ArtifactError for a run that cannot be read.
    """
    seconds: Counter[str] = Counter()
    for run, cell in study.runs.items():
        rows = read_rows(results / "runs" / run / "timings.parquet", "timings", run)
        for row in rows.select(["round", "seconds", "device"]).to_pylist():
            if row["round"] <= cell.rounds:
                on_cpu = (row["device"] or "cpu").startswith("cpu")
                seconds["cpu" if on_cpu else "gpu"] += row["seconds"] * (
                    cell.experiment.threads if on_cpu else 1
                )
    shown = {"core hours": f"{seconds['cpu'] / 3600:.3g}"}
    return shown | ({"GPU hours": f"{seconds['gpu'] / 3600:.3g}"} if seconds["gpu"] else {})


def _versions(study: Study, results: Path) -> str:
    """The packages that wrote the runs, from the metadata of their rows."""
    found: Counter[str] = Counter()
    for run in study.runs:
        path = results / "runs" / run / "metrics.parquet"
        marks = read_schema(path, "metrics", run).metadata or {}
        versions = json.loads(marks.get(b"skymask.versions", b"{}"))
        found[", ".join(f"{package} {version}" for package, version in versions.items())] += 1
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{count} runs by {versions}" for versions, count in found.items())


def commit(base: Path) -> str:
    """The commit that is checked out in ``base``, and whether files differ from it.

    Empty where ``base`` is no git checkout or there is no git.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(base), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    found = git("rev-parse", "HEAD") if top and Path(top).resolve() == base.resolve() else ""
    changed = found and git("status", "--porcelain", "--untracked-files=no")
    return f"{found}, with uncommitted changes" if changed else found


def machine() -> str:
    """This machine: processor, cores, memory, operating system."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = platform.system()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        held = f", {memory:.1f} GiB of memory"
    except (OSError, ValueError):
        held = ""
    return f"{processor}, {os.cpu_count()} cores{held}, {system}"
