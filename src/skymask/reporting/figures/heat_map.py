"""Final accuracy at a glance, defense × attack."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from skymask.reporting.figures.style import ACROSS, LETTER, STYLE, WIDTH, folded, save
from skymask.reporting.tables import cells_table, runs_table
from skymask.study.grid import Study

COLOURS = "cividis"
"""Read alike by colour-blind readers, and the brighter the higher in grey, too."""

UNDEFINED = "undef."
LOWEST, WIDEST = 0.3, 0.8  # inches: how narrow and how wide a cell may be
NARROWEST = 1.6  # inches: how narrow a panel may be beside others, for its title
SCALE = 0.75  # inches: the colour bar with its numbers


def heat_map(study: Study, folder: Path, targets: list[Path]) -> None:
    """Final test accuracy as colours and numbers: a panel per setting, defenses × attacks.

    The numbers are those of the table of accuracies, means over seeds.  Cells that are undefined
    are hatched, those that the study leaves out are blank.  ``folder`` holds the runs.
    """
    cells = cells_table(runs_table(study, folder), study)
    settings = list(dict.fromkeys(cells["setting"]))
    defenses = list(dict.fromkeys(cells["defense"]))
    attacks = list(dict.fromkeys(cells["attack"]))
    with plt.rc_context(STYLE):
        figure, used, across, wide = _grid(settings, defenses, attacks)
        for i, (setting, panel) in enumerate(zip(settings, used, strict=True)):
            mesh = _draw(panel, cells[cells["setting"] == setting], defenses, attacks, wide)
            panel.set_title(_title(setting, wide * len(attacks)))
            if i % across == 0:
                panel.set_yticks(_middles(defenses), [folded(name) for name in defenses])
            if i + across >= len(settings):
                _name_attacks(panel, attacks, wide)
        figure.colorbar(
            mesh,
            ax=used,
            label="final test accuracy",
            pad=0.02,
            aspect=figure.get_figheight() / 0.15,
        )
        save(figure, targets)


def _title(setting: str, wide: float) -> str:
    return folded(setting, int(wide / LETTER))


def _grid(
    settings: list[str], defenses: list[str], attacks: list[str]
) -> tuple[Figure, list[Axes], int, float]:
    """Room for a panel per setting: figure, panels, how many side by side, inches per cell."""
    lines = [folded(name).split("\n") for name in defenses]
    left = LETTER * max(len(line) for label in lines for line in label) + 0.2
    room = WIDTH - left - SCALE
    across = min(max(1, int(room / max(0.42 * len(attacks), NARROWEST))), ACROSS, len(settings))
    down = -(-len(settings) // across)
    across = -(-len(settings) // down)
    wide = min(max(room / across / len(attacks), LOWEST), WIDEST)
    high = max(0.24, 0.14 * max(map(len, lines)))
    titles = [_title(setting, wide * len(attacks)).count("\n") for setting in settings]
    above = 0.3 + 0.14 * max(titles)
    names = _slanted(attacks, wide)
    below = 0.75 * LETTER * max(map(len, attacks)) if names else 0.4
    figure, axes = plt.subplots(
        down,
        across,
        figsize=(
            left + across * (wide * len(attacks) + 0.1) + SCALE,
            down * (high * len(defenses) + above) + below + 0.1,
        ),
        squeeze=False,
        layout="constrained",
    )
    places = list(axes.flat)
    for spare in places[len(settings) :]:
        spare.remove()
    return figure, places[: len(settings)], across, wide


def _middles(names: list[str]) -> list[float]:
    return [i + 0.5 for i in range(len(names))]


def _slanted(attacks: list[str], wide: float) -> bool:
    return LETTER * max(map(len, attacks)) > wide


def _name_attacks(panel: Axes, attacks: list[str], wide: float) -> None:
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    panel.set_xticks(_middles(attacks), attacks, **(slant if _slanted(attacks, wide) else {}))


def _draw(
    panel: Axes, cells: pd.DataFrame, defenses: list[str], attacks: list[str], wide: float
) -> QuadMesh:
    """Colour the cells of one setting and write their values on them."""
    table = cells.set_index(["defense", "attack"])
    undefined = set(table.index[table["undefined"].notna()])
    values = table["accuracy_mean"].unstack().reindex(index=defenses, columns=attacks)
    shown = np.ma.masked_invalid(values.to_numpy(dtype=float))
    mesh = panel.pcolormesh(shown, cmap=COLOURS, vmin=0, vmax=1, edgecolors="white", linewidth=0.8)
    written: dict[str, Any] = {"ha": "center", "va": "center_baseline"}
    for (row, column), value in np.ndenumerate(shown.filled(np.nan)):
        if not np.isnan(value):
            panel.text(
                column + 0.5,
                row + 0.5,
                f"{value:.2f}",
                fontsize=7 if wide >= 0.36 else 6,
                color=_on(mesh.cmap(value)),
                **written,
            )
        elif (defenses[row], attacks[column]) in undefined:
            hatch: dict[str, Any] = {"hatch": "/////", "facecolor": "white", "edgecolor": "0.75"}
            panel.add_patch(Rectangle((column, row), 1, 1, linewidth=0, **hatch))
            panel.text(
                column + 0.5,
                row + 0.5,
                UNDEFINED,
                fontsize=6 if wide >= 0.36 else 5,
                color="black",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
                **written,
            )
    panel.set_xticks([])
    panel.set_yticks([])
    panel.tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.set_xlim(0, len(attacks))
    panel.set_ylim(len(defenses), 0)
    return mesh


def _on(background: tuple[float, ...]) -> str:
    """Black or white, whichever stands out more: WCAG's contrast by relative luminance."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in background[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # against white (1.05) / (L + 0.05), against black (L + 0.05) / 0.05
    return "white" if (luminance + 0.05) ** 2 < 1.05 * 0.05 else "black"
