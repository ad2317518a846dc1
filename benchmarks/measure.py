"""Timing of alternatives that take turns in one process.

A single time proves nothing on a shared machine. The ratio of two times from the same turn does,
and its spread shows how much.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

Work = Callable[[], object]
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One comparison.

    ``build`` makes the contenders, name → work to time; the first is the baseline that the others
    are measured against, and it is called only where the case is measured.  ``target`` is the
    least ratio, baseline's seconds over the contender's, that the contender of the name ``ours``
    should reach.  ``repeats`` counts turns after a first one that does not count.
    """

    topic: str
    setting: str
    build: Callable[[], dict[str, Work]]
    target: float | None = None
    ours: str = "skymask"
    repeats: int = 5
    note: str = ""


def measure(case: Case, device: str) -> list[Row]:
    """Return a row per contender: its seconds and its ratios to the baseline, turn by turn."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        return [_row(case, device, case.ours, "", [], [], "not measured: no GPU here")]
    contenders = case.build()
    baseline = next(iter(contenders))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(case.repeats + 1):
        for name, work in contenders.items():
            taken = _timed(work, device)
            if turn:
                seconds[name].append(taken)
    return [
        _row(
            case,
            device,
            name,
            baseline,
            times,
            [base / own for base, own in zip(seconds[baseline], times, strict=True)],
            case.note,
        )
        for name, times in seconds.items()
    ]


def _timed(work: Work, device: str) -> float:
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.synchronize()
    # threads of the one before stay awake for a moment
    time.sleep(0.02)
    start = time.perf_counter()
    work()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _row(
    case: Case,
    device: str,
    contender: str,
    baseline: str,
    seconds: list[float],
    ratios: list[float],
    note: str,
) -> Row:
    return {
        "device": device,
        "topic": case.topic,
        "setting": case.setting,
        "contender": contender,
        "baseline": baseline,
        "repeats": len(seconds),
        **_spread("seconds", seconds),
        **_spread("ratio", ratios),
        "target": case.target if contender == case.ours else None,
        "note": note,
    }


def _spread(name: str, values: list[float]) -> dict[str, float | None]:
    if not values:
        return {f"{name}_{part}": None for part in ("min", "median", "max")}
    parts = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {f"{name}_{part}": value for part, value in parts.items()}


def machine(threads: int) -> dict[str, str]:
    """Describe the machine and the versions of the measurement."""
    facts = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "threads": str(threads),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }
    if torch.cuda.is_available():
        facts["card"] = torch.cuda.get_device_name()
        facts["cuda"] = str(torch.version.cuda)
        facts["driver"] = _driver()
    for package in ("torch", "numba", "triton", "numpy", "pyarrow", "snakemake", "byzfl"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "none"
    return facts


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _driver() -> str:
    file = Path("/proc/driver/nvidia/version")
    words = file.read_text().split() if file.exists() else []
    return next((word for word in words if word[:1].isdigit() and "." in word), "unknown")


def in_markdown(rows: list[Row], facts: dict[str, str]) -> Iterator[str]:
    """Yield the lines of a Markdown page: the machine, then a table per topic."""
    yield "# Benchmarks"
    yield ""
    yield "Written by `make bench`.  A ratio is the baseline's time over the contender's, of the"
    yield "same turn: median (least – most).  Times are of a shared machine and say little alone."
    yield ""
    yield "| " + " | ".join(facts) + " |"
    yield "|" + " --- |" * len(facts)
    yield "| " + " | ".join(facts.values()) + " |"
    for topic in dict.fromkeys(row["topic"] for row in rows):
        yield from ("", f"## {topic}", "")
        yield "| setting | device | contender | ms | ratio | target | |"
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        for row in rows:
            if row["topic"] == topic:
                yield _line(row)


def _line(row: Row) -> str:
    times = ratios = ""
    if row["repeats"]:
        times = _number(1e3 * row["seconds_median"])
        if row["contender"] == row["baseline"]:
            ratios = "1"
        else:
            low, middle, high = (row[f"ratio_{part}"] for part in ("min", "median", "max"))
            ratios = f"{_number(middle)} ({_number(low)} – {_number(high)})"
    target = "" if row["target"] is None else f"≥ {row['target']:g}"
    cells = (row["setting"], row["device"], row["contender"], times, ratios, target, row["note"])
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
