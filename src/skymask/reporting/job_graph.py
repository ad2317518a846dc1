"""The jobs of a study as a picture: rules, how many jobs each has, and what feeds what."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

from skymask.jobs import spans as jobs_spans
from skymask.reporting import outputs
from skymask.study.grid import Study

WIDTH, HEIGHT, ACROSS, DOWN, EDGE = 132, 44, 36, 18, 8
"""Of a box, between boxes, and around the picture, in pixels."""


@dataclass(frozen=True)
class Box:
    """A rule: its place, column from the left and row from the top, and its number of jobs."""

    rule: str
    jobs: int
    column: int
    row: float


def boxes(study: Study, runs: Path) -> tuple[list[Box], list[tuple[str, str]]]:
    """The rules of a study with their jobs, and the pairs (from, to) of rules that feed each other.

    ``runs`` is the folder of the runs: how a run is cut into jobs depends on what is there.
    """
    cells = list(study.runs.values())
    staged = study.rounds_per_job == 1
    first = [
        Box("data", len({cell.experiment.dataset for cell in cells}), 0, 0),
        Box("partition", len({cell.experiment.partition_id for cell in cells}), 1, 0),
        Box("experiments", 1, 1, 1),
    ]
    if staged:
        whole = sum(cell.rounds for cell in cells)
        judged = sum(cell.rounds // cell.experiment.evaluate_every for cell in cells)
        counts = dict.fromkeys(jobs_spans.STAGES, whole) | {"evaluate": judged}
        middle = [
            Box(stage, counts[stage], 2 + i, 0.5) for i, stage in enumerate(jobs_spans.STAGES)
        ]
    else:
        spans = 0
        for cell in cells:
            length = jobs_spans.rounds_per_job(study, cell)
            spans += len(jobs_spans.spans(runs / cell.experiment.run, cell.rounds, length))
        middle = [Box("span", spans, 2, 0.5)]
    column = 2 + len(middle)
    last = [
        Box("collect", len(cells), column, 0.5),
        Box("study_tables", 1, column + 1, 0),
        Box("figures", len(outputs.figures(study)), column + 1, 1),
        Box("overview", 1, column + 2, 0.5),
    ]
    inner = [box.rule for box in middle]
    arrows = [("data", "partition"), ("partition", inner[0]), ("experiments", inner[0])]
    arrows += list(zip(inner, [*inner[1:], "collect"], strict=True))
    arrows += [("collect", "study_tables"), ("collect", "figures")]
    arrows += [("study_tables", "overview"), ("figures", "overview")]
    return [*first, *middle, *last], arrows


def svg(study: Study, runs: Path) -> str:
    """The picture as an SVG element; a rule whose jobs follow each other round by round says so."""
    found, arrows = boxes(study, runs)
    place = {box.rule: _corner(box) for box in found}
    width = max(x for x, _ in place.values()) + WIDTH + EDGE
    height = max(y for _, y in place.values()) + HEIGHT + EDGE
    parts = [
        f'<svg class="jobs" role="img" aria-label="the jobs of the study" '
        f'style="max-width: {width:.0f}px" viewBox="0 0 {width:.0f} {height:.0f}" '
        'xmlns="http://www.w3.org/2000/svg">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#64748b"/></marker></defs>',
    ]
    for source, target in arrows:
        (x, y), (to_x, to_y) = place[source], place[target]
        x, y, to_y = x + WIDTH, y + HEIGHT / 2, to_y + HEIGHT / 2
        bend = (x + to_x) / 2
        parts.append(
            f'<path d="M{x:.0f} {y:.0f}C{bend:.0f} {y:.0f} {bend:.0f} {to_y:.0f} '
            f'{to_x:.0f} {to_y:.0f}" fill="none" stroke="#64748b" marker-end="url(#tip)"/>'
        )
    for box in found:
        x, y = place[box.rule]
        count = f"{box.jobs:,} job" + ("" if box.jobs == 1 else "s")
        chained = box.rule in ("span", *jobs_spans.STAGES)
        count += ", in chains" if chained else ""
        middle = x + WIDTH / 2
        parts.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
            'fill="#f1f5f9" stroke="#64748b"/>'
            f'<text x="{middle:.0f}" y="{y + 19:.0f}" text-anchor="middle" font-weight="600" '
            f'font-size="13">{escape(box.rule)}</text>'
            f'<text x="{middle:.0f}" y="{y + 35:.0f}" text-anchor="middle" font-size="11" '
            f'fill="#475569">{escape(count)}</text>'
        )
    return "".join([*parts, "</svg>"])


def _corner(box: Box) -> tuple[float, float]:
    """The upper left corner of a box."""
    return EDGE + box.column * (WIDTH + ACROSS), EDGE + box.row * (HEIGHT + DOWN)
