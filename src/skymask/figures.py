"""A study's figures: accuracy over rounds, and where the masks lie.

One style: colours of Okabe and Ito, which colour-blind readers tell apart, and a second mark
(dashes, shapes, filling) for everything a colour says.  Sizes fit a page 7 inches wide.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from skymask.artifacts import read_rows
from skymask.experiment import SERVER
from skymask.files import atomic
from skymask.study import Cell, Study

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "savefig.dpi": 200,
}
# the upper bound lies under the others, so that what reaches it stays visible
BOUND: dict[str, Any] = {"color": "0.8", "linewidth": 3.5, "zorder": 1}
WIDTH, PANEL_HEIGHT = 7.0, 2.1


def _panels(
    study: Study, cells: Iterable[Cell], rows: list[str]
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A grid of panels: an attack across, a row for each of ``rows``."""
    attacks = list(dict.fromkeys(cell.attack for cell in cells))
    height = PANEL_HEIGHT * len(rows) + 0.6
    figure, axes = plt.subplots(
        len(rows),
        len(attacks),
        figsize=(max(WIDTH, 1.75 * len(attacks)), height),
        squeeze=False,
        layout="constrained",
    )
    panels = {}
    for i, row in enumerate(rows):
        for j, attack in enumerate(attacks):
            panels[row, attack] = axes[i][j]
            if i == 0:
                axes[i][j].set_title(attack)
    return figure, panels


def accuracy_curves(study: Study, folder: Path, targets: list[Path]) -> None:
    """Test accuracy over rounds: a panel per attack, a line per defense, mean over seeds.

    The band is ± one standard deviation over seeds.  ``folder`` holds the runs.
    """
    cells = [cell for cell in study.cells if cell.undefined is None]
    defenses = list(dict.fromkeys(cell.defense for cell in cells))
    settings = list(dict.fromkeys(cell.setting for cell in cells))
    with plt.rc_context(STYLE):
        figure, panels = _panels(study, cells, settings)
        for (setting, attack), axes in panels.items():
            for i, defense in enumerate(defenses):
                curves = pd.concat(
                    [
                        _metrics(cell, folder)
                        for cell in cells
                        if (cell.setting, cell.attack, cell.defense) == (setting, attack, defense)
                    ]
                    or [pd.DataFrame({"round": [], "accuracy": []})]
                )
                over_seeds = curves.groupby("round")["accuracy"].agg(["mean", "std"])
                style: dict[str, Any] = {"color": OKABE_ITO[i % 7], "linestyle": DASHES[i % 6]}
                if defense == "oracle":
                    style = BOUND
                axes.plot(over_seeds.index, over_seeds["mean"], label=defense, **style)
                low = over_seeds["mean"] - over_seeds["std"]
                high = over_seeds["mean"] + over_seeds["std"]
                axes.fill_between(
                    over_seeds.index, low, high, color=style["color"], alpha=0.15, lw=0
                )
            axes.set_ylim(0, 1)
            axes.set_xlim(left=0)
            axes.set_xlabel("round")
        for setting in settings:
            first = next(axes for (row, _), axes in panels.items() if row == setting)
            first.set_ylabel("test accuracy" + (f"\n{setting}" if setting else ""))
        handles, labels = next(iter(panels.values())).get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(len(defenses), 6), handlelength=3
        )
        _save(figure, targets)


def _metrics(cell: Cell, folder: Path) -> pd.DataFrame:
    run = cell.experiment.run
    table = read_rows(folder / run / "metrics.parquet", "metrics", run)
    metrics: pd.DataFrame = table.select(["round", "accuracy"]).to_pandas()
    return metrics[metrics["round"] <= cell.rounds]


def mask_scatter(study: Study, folder: Path, targets: list[Path]) -> None:
    """The masks' two principal coordinates in one round: benign, malicious and server.

    A panel per attack, of the first seed; a row per SkyMask variant and setting.  Filled marks are
    accepted, hollow ones rejected.
    """
    first: dict[tuple[str, str], Cell] = {}
    for cell in study.cells:
        if cell.undefined is None and cell.experiment.defense.name == "skymask":
            first.setdefault((_row(cell), cell.attack), cell)
    with plt.rc_context(STYLE):
        figure, panels = _panels(study, first.values(), list(dict.fromkeys(r for r, _ in first)))
        rounds = set()
        for place, axes in panels.items():
            if place in first:
                rounds.add(_scatter(axes, first[place], folder, study.scatter_round))
            axes.set_xlabel("first coordinate")
        for row in dict.fromkeys(row for row, _ in panels):
            axes = next(axes for (name, _), axes in panels.items() if name == row)
            axes.set_ylabel("second coordinate" + (f"\n{row}" if row != "skymask" else ""))
        shown = " and ".join(str(round_) for round_ in sorted(rounds))
        figure.suptitle(f"principal coordinates of the binary masks, round {shown}", fontsize=8)
        figure.legend(handles=_legend(), loc="outside lower center", ncols=5)
        _save(figure, targets)


def _row(cell: Cell) -> str:
    return f"{cell.defense}, {cell.setting}" if cell.setting else cell.defense


MARKS: dict[str, dict[str, Any]] = {
    "benign": {"color": OKABE_ITO[0], "marker": "o", "markersize": 4},
    "malicious": {"color": OKABE_ITO[1], "marker": "^", "markersize": 5},
    "server": {"color": "#000000", "marker": "*", "markersize": 9, "zorder": 5},
}


def _scatter(axes: Axes, cell: Cell, folder: Path, round_: int | None) -> int:
    run = cell.experiment.run
    clients = read_rows(folder / run / "clients.parquet", "clients", run).to_pandas()
    clients = clients[clients["round"] <= cell.rounds]
    shown = min(round_ or cell.rounds, cell.rounds)
    clients = clients[clients["round"] == shown]
    for _, row in clients.iterrows():
        server = row["client"] == SERVER
        role = "server" if server else ("malicious" if row["malicious"] else "benign")
        filled = bool(server or row["accepted"])
        axes.plot(
            row["mask_1"],
            row["mask_2"],
            linestyle="",
            fillstyle="full" if filled else "none",
            **MARKS[role],
        )
    return shown


def _legend() -> list[Line2D]:
    filling: dict[str, Literal["full", "none"]] = {"accepted": "full", "rejected": "none"}
    handles = [
        Line2D([], [], linestyle="", fillstyle=fill, label=f"{role}, {verdict}", **MARKS[role])
        for role in ("benign", "malicious")
        for verdict, fill in filling.items()
    ]
    return [*handles, Line2D([], [], linestyle="", label="server", **MARKS["server"])]


def _save(figure: Figure, targets: list[Path]) -> None:
    for target in targets:
        # without a date, equal figures are equal files
        metadata = {"CreationDate": None} if target.suffix == ".pdf" else {"Software": None}
        with atomic(target) as temporary:
            figure.savefig(temporary, format=target.suffix[1:], metadata=metadata)
    plt.close(figure)
