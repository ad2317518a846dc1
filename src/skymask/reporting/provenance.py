"""Facts about a study: what was run, with what, at what cost."""

import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from skymask.artifacts.parquet import read_schema
from skymask.jobs import paths
from skymask.reporting import timings
from skymask.study.grid import Study


def facts(study: Study, file: str, results: Path, base: Path) -> dict[str, str]:
    """Describe a study by its artifacts; commit and machine are those of this call.

    Args:
        study: the study.
        file: its study file.
        results: the results folder.
        base: folder of the repository.

    Returns:
        Facts by their names.

    Raises:
        ArtifactError: a file of a run cannot be read.
    """
    runs = study.runs
    rounds = [cell.rounds for cell in runs.values()]
    length = " to ".join(map(str, sorted({min(rounds), max(rounds)})))
    seeds = {(c.experiment.data_seed, c.experiment.training_seed) for c in runs.values()}
    undefined = [cell for cell in study.cells if cell.undefined]
    values = {
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
        "undefined cells": f"{len(undefined)}: {undefined[0].undefined}" if undefined else "",
        "rounds": f"{sum(rounds):,} in total, {length} per run",
        **{
            name: f"{hours} (from the timings of the runs)"
            for name, hours in timings.cost(study, results).items()
        },
        "versions": _versions(study, results),
        "commit": f"{commit(base) or 'none: not a git checkout'} (when this page was made)",
        "machine": f"{machine()} (where this page was made)",
    }
    return {name: value for name, value in values.items() if value}


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(labels))


def _versions(study: Study, results: Path) -> str:
    """Return the versions of packages that wrote the runs, from the metadata of their files."""
    counts = Counter(
        versions_of(read_schema(paths.run(run, results) / "metrics.parquet", "metrics", run))
        for run in study.runs
    )
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{count} runs by {versions}" for versions, count in counts.items())


def versions_of(schema: pa.Schema) -> str:
    """Return the versions of packages that wrote a file, by the metadata of its schema."""
    versions = json.loads((schema.metadata or {}).get(b"skymask.versions", b"{}"))
    return ", ".join(f"{package} {version}" for package, version in versions.items())


def commit(base: Path) -> str:
    """Return the commit that is checked out in ``base``, and whether files differ from it.

    The result is empty if ``base`` is not a git checkout or git is not installed.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(base), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    head = git("rev-parse", "HEAD") if top and Path(top).resolve() == base.resolve() else ""
    changed = head and git("status", "--porcelain", "--untracked-files=no")
    return f"{head}, with uncommitted changes" if changed else head


def machine() -> str:
    """Describe this machine: processor, cores, memory, operating system."""
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
        gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        memory = f", {gibibytes:.1f} GiB of memory"
    except (OSError, ValueError):
        memory = ""
    return f"{processor}, {os.cpu_count()} cores{memory}, {system}"
