"""Heat map of the final test accuracy, defense × attack."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from skymask.reporting.figures.inputs import KEYS, read_study_table
from skymask.reporting.figures.style import ACROSS, LETTER, STYLE, WIDTH, folded, grid, save
from skymask.study.grid import Study

COLOURS = "cividis"
"""Colour map that colour-blind readers see alike; higher values are lighter, in grey too."""

UNDEFINED = "undef."
NARROWEST_CELL, WIDEST_CELL = 0.3, 0.8  # inches
NARROWEST_PANEL = 1.6  # inches, for the title
COLOUR_BAR = 0.75  # inches, with its numbers


@rc_context(STYLE)
def draw(study: Study, results: Path, targets: list[Path]) -> None:
    """Draw the final test accuracy as colours and numbers: a panel per setting.

    The numbers are those of the table ``accuracy``, means over seeds.  Undefined cells are
    hatched; cells that the study excludes are blank.

    Args:
        study: the study.
        results: folder of the results; reads tables/STUDY/accuracy.parquet.
        targets: files to write; their suffixes are the formats.

    Raises:
        ArtifactError: the table is missing, damaged or of another version.
    """
    columns = [*KEYS, "undefined", "accuracy_mean"]
    cells = read_study_table(study, results, "accuracy", columns)
    settings, defenses, attacks = (list(cells[key].unique()) for key in KEYS)
    figure, panels, across, width = _panels(settings, defenses, attacks)
    for i, (setting, panel) in enumerate(zip(settings, panels, strict=True)):
        mesh = _draw_cells(panel, cells[cells["setting"] == setting], defenses, attacks, width)
        panel.set_title(_title(setting, width * len(attacks)))
        if i % across == 0:
            panel.set_yticks(_centres(defenses), [folded(name) for name in defenses])
        if i + across >= len(settings):
            slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
            slant = slant if _too_long(attacks, width) else {}
            panel.set_xticks(_centres(attacks), attacks, **slant)
    aspect = figure.get_figheight() / 0.15
    figure.colorbar(mesh, ax=panels, label="final test accuracy", pad=0.02, aspect=aspect)
    save(figure, targets)


def _title(setting: str, width: float) -> str:
    return folded(setting, int(width / LETTER))


def _panels(
    settings: list[str], defenses: list[str], attacks: list[str]
) -> tuple[Figure, list[Axes], int, float]:
    """Make a panel per setting; return also the panels per row and the width of a cell."""
    lines = [folded(name).split("\n") for name in defenses]
    left = LETTER * max(len(line) for label in lines for line in label) + 0.2
    room = WIDTH - left - COLOUR_BAR
    across = int(room / max(0.42 * len(attacks), NARROWEST_PANEL))
    across = min(max(1, across), ACROSS, len(settings))
    down = -(-len(settings) // across)
    across = -(-len(settings) // down)
    width = min(max(room / across / len(attacks), NARROWEST_CELL), WIDEST_CELL)
    height = max(0.24, 0.14 * max(map(len, lines)))
    titles = [_title(setting, width * len(attacks)).count("\n") for setting in settings]
    above = 0.3 + 0.14 * max(titles)
    below = 0.75 * LETTER * max(map(len, attacks)) if _too_long(attacks, width) else 0.4
    size = (
        left + across * (width * len(attacks) + 0.1) + COLOUR_BAR,
        down * (height * len(defenses) + above) + below + 0.1,
    )
    figure, panels = grid(down, across, size, len(settings))
    return figure, panels, across, width


def _centres(names: list[str]) -> list[float]:
    return [i + 0.5 for i in range(len(names))]


def _too_long(attacks: list[str], width: float) -> bool:
    """Whether a name is wider than a cell, so that names are slanted."""
    return LETTER * max(map(len, attacks)) > width


def _draw_cells(
    panel: Axes, cells: pd.DataFrame, defenses: list[str], attacks: list[str], width: float
) -> QuadMesh:
    """Colour the cells of one setting and write their values on them."""
    table = cells.set_index(["defense", "attack"])
    undefined = set(table.index[table["undefined"].notna()])
    values = table["accuracy_mean"].unstack().reindex(index=defenses, columns=attacks)
    shown = np.ma.masked_invalid(values.to_numpy(dtype=float))
    mesh = panel.pcolormesh(shown, cmap=COLOURS, vmin=0, vmax=1, edgecolors="white", linewidth=0.8)
    size = 7 if width >= 0.36 else 6
    centred: dict[str, Any] = {"ha": "center", "va": "center_baseline"}
    for (row, column), value in np.ndenumerate(shown.filled(np.nan)):
        centre = (column + 0.5, row + 0.5)
        if not np.isnan(value):
            colour = _text_colour(mesh.cmap(value))
            panel.text(*centre, f"{value:.2f}", fontsize=size, color=colour, **centred)
        elif (defenses[row], attacks[column]) in undefined:
            hatch: dict[str, Any] = {"hatch": "/////", "facecolor": "white", "edgecolor": "0.75"}
            panel.add_patch(Rectangle((column, row), 1, 1, linewidth=0, **hatch))
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            panel.text(*centre, UNDEFINED, fontsize=size - 1, color="black", bbox=box, **centred)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set(xlim=(0, len(attacks)), ylim=(len(defenses), 0))
    return mesh


def _text_colour(background: tuple[float, ...]) -> str:
    """Black or white, whichever has more contrast by WCAG 2's relative luminance."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in background[:3]]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    # contrast is 1.05 / (L + 0.05) with white, (L + 0.05) / 0.05 with black
    return "white" if (luminance + 0.05) ** 2 < 1.05 * 0.05 else "black"
