"""Figure of detection rates and accuracy against the axis that varies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes

from skymask.reporting.figures import style
from skymask.reporting.figures.inputs import KEYS, read_study_table
from skymask.reporting.figures.style import ACROSS, LETTER, WIDTH
from skymask.reporting.outputs import abscissas
from skymask.study.grid import Study

ROWS = {
    "false positive rate": "fpr",
    "false negative rate": "fnr",
    "test accuracy": "accuracy",
}
CLOSE = 0.08
"""Share of an axis below which the labels of two ticks would touch."""


@rc_context(style.STYLE)
def draw(study: Study, results: Path, targets: list[Path]) -> None:
    """Draw FPR, FNR and final accuracy against the one axis that varies.

    A column of panels per attack, and per loss if it varies too, a line per defense: mean over
    seeds, ± one standard deviation.  Numbers are placed at their value, other values in the order
    of the study.  A line has a gap where a metric is undefined.

    Args:
        study: the study; exactly one axis apart from attack, defense, loss and seeds varies.
        results: folder of the results; reads tables/STUDY/{accuracy,detection}.parquet.
        targets: files to write; their suffixes are the formats.

    Raises:
        ValueError: no axis or several axes vary.
        ArtifactError: a table is missing, damaged or of another version.
    """
    axis, values = _axis(study)
    cells = _cells(study, results)
    defined = cells[cells["seeds"] > 0]
    styles = style.line_styles(defined["defense"])
    numeric = all(type(value) in (int, float) for value in values.values())
    places = {s: float(value) if numeric else i for i, (s, value) in enumerate(values.items())}
    columns = list(defined["panel"].unique())
    labels = {places[setting]: str(value) for setting, value in values.items()}
    # slanted where they do not fit side by side
    room = WIDTH / min(len(columns), ACROSS) - 0.6
    slanted = LETTER * sum(len(label) + 1 for label in labels.values()) > room
    below = 0.9 * LETTER * max(map(len, labels.values())) if slanted else 0.25
    figure, panels = style.panels(columns, list(ROWS), 1.6, below=below)
    for (row, panel), axes in panels.items():
        of_panel = cells[cells["panel"] == panel]
        for defense, line in styles.items():
            points = of_panel[of_panel["defense"] == defense]
            _draw_line(axes, points, ROWS[row], places, {**line, "label": defense})
        if not axes.lines:
            style.note(axes, "undefined")
        # with room for lines at 0 and 1
        axes.set(ylim=(-0.04, 1.04), yticks=np.linspace(0, 1, 6))
        last = row == list(ROWS)[-1]
        _set_ticks(axes, labels if last else dict.fromkeys(labels, ""), numeric, slanted)
        if last:
            axes.set_xlabel(axis)
    style.label_rows(panels)
    style.legend(figure, style.line_handles(styles))
    style.save(figure, targets)


def _axis(study: Study) -> tuple[str, dict[str, Any]]:
    """Return the axis that varies, and its value in each setting."""
    axes = abscissas(study.cells)
    if len(axes) != 1:
        raise ValueError(
            f"study {study.name} varies {len(axes)} axes apart from attack, defense, loss and "
            "seeds; the figure rates needs exactly one: remove it from the targets"
        )
    (axis,) = axes
    return axis, {cell.setting: cell.varied[axis] for cell in study.cells}


def _cells(study: Study, results: Path) -> pd.DataFrame:
    """Return a row per cell with the means and standard deviations of all metrics.

    The column ``panel`` names the attack, and the loss if it varies.
    """
    metrics = {"accuracy": ["accuracy"], "detection": ["fpr", "fnr"]}
    keys = [*KEYS, "seeds"]
    accuracy, detection = (
        read_study_table(
            study, results, name, keys + [f"{n}_{kind}" for n in names for kind in ("mean", "std")]
        )
        for name, names in metrics.items()
    )
    cells = accuracy.merge(detection, on=keys)
    losses = {cell.setting: cell.varied.get("loss") for cell in study.cells}
    pairs = zip(cells["attack"], cells["setting"].map(losses), strict=True)
    return cells.assign(panel=[", ".join(filter(None, pair)) for pair in pairs])


def _draw_line(
    axes: Axes,
    points: pd.DataFrame,
    metric: str,
    places: Mapping[str, float],
    line: dict[str, Any],
) -> None:
    """Draw one defense's line with error bars, if the metric is defined anywhere on it."""
    points = points.assign(place=points["setting"].map(places)).sort_values("place")
    mean, spread = points[f"{metric}_mean"], points[f"{metric}_std"]
    if mean.notna().any():
        bars: dict[str, Any] = {"ecolor": (line["color"], 0.5), "elinewidth": 0.8, "capsize": 1.5}
        axes.errorbar(points["place"], mean, yerr=spread, **bars, **line)


def _set_ticks(axes: Axes, labels: Mapping[float, str], numeric: bool, slanted: bool) -> None:
    """Set a tick at each value, on a logarithmic axis if a linear one would crowd them."""
    places = np.sort(np.fromiter(labels, dtype=float))
    if numeric and _better_logarithmic(places):
        axes.set_xscale("log")
    else:
        margin = 0.06 * np.ptp(places) or 0.5
        axes.set_xlim(places[0] - margin, places[-1] + margin)
    slant: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(places, [labels[place] for place in places], **(slant if slanted else {}))
    axes.set_xticks([], minor=True)


def _better_logarithmic(places: npt.NDArray[np.float64]) -> bool:
    """Whether values are too close on a linear axis and further apart on a logarithmic one."""

    def closest(values: npt.NDArray[np.float64]) -> float:
        return float(np.diff(values).min() / np.ptp(values))

    if len(places) < 3 or places[0] <= 0:
        return False
    return closest(places) < min(CLOSE, closest(np.log(places)))
