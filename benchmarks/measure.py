"""Timing of alternatives that take turns in one process.

On a shared machine single times vary too much.  Ratios of two times from the same turn are
comparable, and their spread shows how much they vary.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

Work = Callable[[], object]
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        topic: Heading of the table.
        setting: What is measured.
        build: Function that returns the contenders, name → work to time; the first one is the
            baseline.  Called only where the case is measured.
        target: Smallest ratio, the baseline's seconds / the contender's, that the contender named
            ``ours`` should reach.
        ours: Name of that contender.
        repeats: Number of turns, after a first one that is not counted.
        note: Text for the last column.
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
    # let the threads of the previous contender fall asleep
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


def markdown_row(cells: Iterable[object]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def markdown_header(names: Sequence[str]) -> str:
    """Return the first two lines of a Markdown table."""
    return f"{markdown_row(names)}\n{markdown_row(['---'] * len(names))}"


def write(out: Path, title: str, text: str, table: pa.Table, facts: dict[str, str]) -> None:
    """Write ``table`` to OUT.parquet, and ``text`` below the title and the machine to OUT.md."""
    out.parent.mkdir(parents=True, exist_ok=True)
    described = table.replace_schema_metadata({"machine": json.dumps(facts)})
    pq.write_table(described, out.with_suffix(".parquet"))
    machine = f"{markdown_header([*facts])}\n{markdown_row(facts.values())}"
    page = f"# {title}\n\n{machine}\n\n{text}\n"
    out.with_suffix(".md").write_text(page, encoding="utf-8")


def in_markdown(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown page with a table per topic."""
    yield "Written by `make bench`.  A ratio is the baseline's time / the contender's in the same"
    yield "turn: median (smallest – largest).  Single times are those of a shared machine."
    columns = ["setting", "device", "contender", "ms", "ratio", "target", "note"]
    for topic in dict.fromkeys(row["topic"] for row in rows):
        yield from ("", f"## {topic}", "", markdown_header(columns))
        yield from (_line(row) for row in rows if row["topic"] == topic)


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
    names = (row["setting"], row["device"], row["contender"])
    return markdown_row((*names, times, ratios, target, row["note"]))


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
