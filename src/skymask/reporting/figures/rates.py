"""Detection rates and accuracy against the one axis that a study varies."""

from collections.abc import Mapping
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from skymask.reporting.figures.style import (
    ACROSS,
    LETTER,
    STYLE,
    WIDTH,
    label_rows,
    legend,
    line_handles,
    line_styles,
    note,
    panels,
    save,
)
from skymask.reporting.tables import cells_table, runs_table
from skymask.study.grid import Study

ROWS = {
    "false positive rate": "fpr",
    "false negative rate": "fnr",
    "test accuracy": "accuracy",
}
CLOSE = 0.08
"""Ticks nearer than this share of an axis would touch."""

Places = Mapping[str, float]


def rates(study: Study, folder: Path, targets: list[Path]) -> None:
    """FPR, FNR and final accuracy against the axis that varies besides attack and defense.

    A column of panels per attack, a line per defense: mean over seeds, ± one standard deviation.
    Numbers stand at their value, other values in the order of the study.  A line has a gap where
    a figure is not defined.  ``folder`` holds the runs.

    Raises ValueError unless exactly one axis varies.
    """
    axis, values = _axis(study)
    cells = cells_table(runs_table(study, folder), study)
    defined = cells[cells["seeds"] > 0]
    styles = line_styles(dict.fromkeys(defined["defense"]))
    places = _places(values)
    attacks = list(dict.fromkeys(defined["attack"]))
    last = list(ROWS)[-1]
    slanted = _slanted(values, len(attacks))
    below = 0.9 * LETTER * max(len(str(value)) for value in values.values()) if slanted else 0.25
    with plt.rc_context(STYLE):
        figure, found = panels(attacks, list(ROWS), 1.6, below=below)
        for (row, attack), axes in found.items():
            of_attack = cells[cells["attack"] == attack]
            for defense, style in styles.items():
                line = of_attack[of_attack["defense"] == defense]
                _line(axes, line, ROWS[row], places, {**style, "label": defense})
            if not axes.lines:
                note(axes, "not defined")
            # lines at 0 and 1 are drawn whole
            axes.set_ylim(-0.04, 1.04)
            axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
            _ticks(axes, values, places, slanted, labelled=row == last)
            if row == last:
                axes.set_xlabel(axis)
        for row in ROWS:
            of_row = {place: axes for place, axes in found.items() if place[0] == row}
            label_rows(of_row, row, named=False)
        legend(figure, line_handles(styles))
        save(figure, targets)


def _axis(study: Study) -> tuple[str, dict[str, Any]]:
    """The axis that varies, and its value in each setting."""
    axes = {axis for cell in study.cells for axis in cell.varied}
    if len(axes) != 1:
        raise ValueError(
            f"study {study.name} varies {len(axes)} axes besides attack, defense and seeds; the "
            "figure rates needs exactly one: leave it out of the targets"
        )
    (axis,) = axes
    return axis, {cell.setting: cell.varied[axis] for cell in study.cells}


def _numeric(values: Mapping[str, Any]) -> bool:
    return all(type(value) in (int, float) for value in values.values())


def _places(values: Mapping[str, Any]) -> dict[str, float]:
    """Where each setting stands on the axis: at its value, if it is a number."""
    if _numeric(values):
        return {setting: float(value) for setting, value in values.items()}
    return {setting: float(i) for i, setting in enumerate(values)}


def _slanted(values: Mapping[str, Any], attacks: int) -> bool:
    """Whether the labels of the axis are wider, side by side, than a panel."""
    room = WIDTH / min(attacks, ACROSS) - 0.6
    return LETTER * sum(len(str(value)) + 1 for value in values.values()) > room


def _line(
    axes: Axes, line: pd.DataFrame, figure: str, places: Places, style: dict[str, Any]
) -> None:
    """One defense's line with its bars, if the figure is defined anywhere on it."""
    line = line.assign(place=line["setting"].map(places)).sort_values("place")
    mean, spread = line[f"{figure}_mean"], line[f"{figure}_std"]
    if mean.notna().any():
        bars: dict[str, Any] = {"ecolor": (style["color"], 0.5), "elinewidth": 0.8, "capsize": 1.5}
        axes.errorbar(line["place"], mean, yerr=spread, **bars, **style)


def _ticks(
    axes: Axes, values: Mapping[str, Any], places: Places, slanted: bool, labelled: bool
) -> None:
    """A tick at each value of the axis; logarithmic where a linear one would crowd them."""
    at = sorted(set(places.values()))
    labels = {places[setting]: f"{value}" for setting, value in values.items()}
    if _numeric(values) and _better_logarithmic(at):
        axes.set_xscale("log")
    else:
        margin = 0.06 * (at[-1] - at[0]) or 0.5
        axes.set_xlim(at[0] - margin, at[-1] + margin)
    slant: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
    shown = [labels[place] if labelled else "" for place in at]
    axes.set_xticks(at, shown, **(slant if slanted else {}))
    axes.set_xticks([], minor=True)


def _better_logarithmic(at: list[float]) -> bool:
    """Whether values stand too close on a linear axis, and further apart on a logarithmic one."""

    def closest(places: list[float]) -> float:
        return min(b - a for a, b in pairwise(places)) / (places[-1] - places[0])

    if len(at) < 3 or at[0] <= 0:
        return False
    return closest(at) < min(CLOSE, closest([log(place) for place in at]))
