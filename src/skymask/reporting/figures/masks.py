"""Common parts of the figures about masks: marks, rows, principal coordinates."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from skymask.reporting.figures.inputs import read_run
from skymask.reporting.figures.style import OKABE_ITO, legend, note
from skymask.reporting.outputs import masked
from skymask.study.experiment import SERVER
from skymask.study.grid import Cell, Study

MARKS: dict[str, dict[str, Any]] = {
    "benign": {"color": OKABE_ITO[0], "marker": "o", "markersize": 4},
    "malicious": {"color": OKABE_ITO[1], "marker": "^", "markersize": 5},
    "server": {"color": "#000000", "marker": "*", "markersize": 9, "zorder": 5},
}
"""How clients of each role and the server are marked."""


def row_name(cell: Cell) -> str:
    """Return the label of a cell's row of panels: its SkyMask variant and setting."""
    return f"{cell.defense}, {cell.setting}" if cell.setting else cell.defense


def role_handles(filled: str, hollow: str) -> list[Line2D]:
    """Return the legend's entries for the roles.

    Args:
        filled: what filled marks of clients mean.
        hollow: what hollow marks of clients mean.
    """
    fills: dict[Literal["full", "none"], str] = {"full": filled, "none": hollow}
    handles = [
        Line2D([], [], linestyle="", fillstyle=fill, label=f"{role}, {meaning}", **MARKS[role])
        for role in ("benign", "malicious")
        for fill, meaning in fills.items()
    ]
    return [*handles, Line2D([], [], linestyle="", label="server", **MARKS["server"])]


def first_seeds(study: Study) -> dict[tuple[str, str], Cell]:
    """Return the cells with masks of the first seed, by (row of panels, attack)."""
    first: dict[tuple[str, str], Cell] = {}
    for cell in study.cells:
        if cell.undefined is None and masked(cell):
            first.setdefault((row_name(cell), cell.attack), cell)
    return first


def draw_clients(
    axes: Axes, cell: Cell, study: Study, results: Path, what: Literal["mask", "update"]
) -> None:
    """Draw clients and server at their principal coordinates in the study's scatter round.

    Filled marks are accepted clients, hollow marks rejected ones.

    Args:
        axes: where to draw.
        cell: the cell.
        study: the study.
        results: folder of the results; reads runs/RUN/clients.parquet.
        what: whose coordinates; the server has no update.
    """
    clients = _clients(cell, study, results).dropna(subset=[f"{what}_1", f"{what}_2"])
    for (role, rejected), marked in clients.groupby(["role", "rejected"]):
        fill: Literal["full", "none"] = "none" if rejected else "full"
        x, y = marked[f"{what}_1"], marked[f"{what}_2"]
        axes.plot(x, y, linestyle="", fillstyle=fill, **MARKS[str(role)])
    # short labels, few enough not to touch, without a common power of ten
    axes.locator_params("x", nbins=3)
    axes.locator_params("y", nbins=4)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))
    if clients.empty:
        note(axes, f"no {what}s")


def finish(figure: Figure, title: str, cells: Iterable[Cell], study: Study) -> None:
    """Add the legend and the title, which names the rounds that are shown."""
    rounds = sorted({_shown_round(cell, study) for cell in cells})
    figure.suptitle(f"{title}, round {' and '.join(map(str, rounds))}", fontsize=8)
    legend(figure, role_handles("accepted", "rejected"), 1)


def _shown_round(cell: Cell, study: Study) -> int:
    return min(study.scatter_round or cell.rounds, cell.rounds)


def _clients(cell: Cell, study: Study, results: Path) -> pd.DataFrame:
    """Rows of the clients and the server in the round that is shown."""
    clients = read_run(cell, results, "clients")
    clients = clients[clients["round"] == _shown_round(cell, study)]
    server = clients["client"] == SERVER
    malicious = clients["malicious"].eq(True)
    role = pd.Series("benign", clients.index).mask(malicious, "malicious").mask(server, "server")
    return clients.assign(role=role, rejected=~(server | clients["accepted"].eq(True)))
