"""What SkyMask sees: where masks and updates lie, and what the masks do to each layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from skymask.artifacts.records import read_rows
from skymask.reporting.figures.style import (
    ACROSS,
    LETTER,
    OKABE_ITO,
    PANEL_HEIGHT,
    STYLE,
    WIDTH,
    few_ticks,
    folded,
    label_rows,
    legend,
    note,
    panels,
    save,
)
from skymask.reporting.outputs import masked
from skymask.study.experiment import SERVER
from skymask.study.grid import Cell, Study

MARKS: dict[str, dict[str, Any]] = {
    "benign": {"color": OKABE_ITO[0], "marker": "o", "markersize": 4},
    "malicious": {"color": OKABE_ITO[1], "marker": "^", "markersize": 5},
    "server": {"color": "#000000", "marker": "*", "markersize": 9, "zorder": 5},
}
MANY = 16
"""How many layers a panel names; of more, some."""

Filling = Mapping[str, Literal["full", "none"]]
VERDICTS: Filling = {"accepted": "full", "rejected": "none"}


def mask_scatter(study: Study, folder: Path, targets: list[Path]) -> None:
    """The masks' two principal coordinates in one round: benign, malicious and server.

    A panel per attack, of the first seed; a row per SkyMask variant and setting.  Filled marks are
    accepted, hollow ones rejected.
    """
    first = _first_seeds(study)
    rows = list(dict.fromkeys(row for row, _ in first))
    with plt.rc_context(STYLE):
        figure, found = panels(list(dict.fromkeys(attack for _, attack in first)), rows)
        for place, axes in found.items():
            if place in first:
                clients = _clients(first[place], folder, study.scatter_round)
                _scatter(axes, clients, "mask", "no masks")
            else:
                note(axes, "not run")
            if place[0] == rows[-1]:
                axes.set_xlabel("first coordinate")
        label_rows(found, "second coordinate", named=rows != ["skymask"])
        shown = _rounds(first, study)
        figure.suptitle(f"principal coordinates of the binary masks, {shown}", fontsize=8)
        legend(figure, _handles(VERDICTS), 1)
        save(figure, targets)


def mask_geometry(study: Study, folder: Path, targets: list[Path]) -> None:
    """The principal coordinates of the updates beside those of the masks, in one round.

    A pair of panels per attack, SkyMask variant and setting, of the first seed: the same clients
    with the same marks, filled where accepted and hollow where rejected.  The server sends no
    update, and stands among the masks alone.
    """
    first = _first_seeds(study)
    several = {row for row, _ in first} != {"skymask"}
    pairs = 1 if len(first) <= ACROSS else 2
    down = -(-len(first) // pairs)
    with plt.rc_context(STYLE):
        size = (WIDTH, (PANEL_HEIGHT if pairs == 1 else 1.75) * down + 0.45)
        figure, axes = plt.subplots(down, 2 * pairs, figsize=size, squeeze=False)
        figure.set_layout_engine("constrained")
        places = axes.reshape(-1, 2)
        for spare in places[len(first) :].flat:
            spare.remove()
        for i, ((row, attack), cell) in enumerate(first.items()):
            clients = _clients(cell, folder, study.scatter_round)
            updates, masks = places[i]
            _scatter(updates, clients, "update", "no updates")
            _scatter(masks, clients, "mask", "no masks")
            of = [attack, row] if several else [attack]
            updates.set_ylabel("\n".join([*map(folded, of), "second coordinate"]))
            if i < pairs:
                updates.set_title("updates")
                masks.set_title("masks")
            if i + pairs >= len(first):
                updates.set_xlabel("first coordinate")
                masks.set_xlabel("first coordinate")
        figure.suptitle(f"principal coordinates, {_rounds(first, study)}", fontsize=8)
        legend(figure, _handles(VERDICTS), 1)
        save(figure, targets)


def mask_layers(study: Study, folder: Path, targets: list[Path]) -> None:
    """What the masks do to each layer, for benign and malicious clients and the server.

    Filled marks are the share that is switched off, hollow ones the share in which the masks
    differ from the server's.  A panel per attack, a row per SkyMask variant and setting; means
    over rounds, clients and seeds.
    """
    cells = [cell for cell in study.cells if cell.undefined is None and masked(cell)]
    tables = [_layers(cell, folder) for cell in cells]
    attacks = list(dict.fromkeys(cell.attack for cell in cells))
    rows = list(dict.fromkeys(map(_row, cells)))
    names = {tuple(dict.fromkeys(table["layer"])) for table in tables if len(table)}
    longest = max((len(name) for layers in names for name in layers), default=0)
    across = ACROSS if max(map(len, names), default=0) <= MANY else 2
    with plt.rc_context(STYLE):
        figure, found = panels(attacks, rows, 1.8, across, 0.9 * LETTER * longest)
        for (row, attack), axes in found.items():
            shown = [
                table
                for cell, table in zip(cells, tables, strict=True)
                if (_row(cell), cell.attack) == (row, attack)
            ]
            if any(map(len, shown)):
                # panels of the same layers name them once, below the last
                _draw_layers(axes, pd.concat(shown), len(names) > 1 or row == rows[-1])
            else:
                note(axes, "no masks" if shown else "not run")
            axes.set_ylim(0, 1)
        label_rows(found, "share of the layer", named=rows != ["skymask"])
        legend(figure, _handles({"switched off": "full", "unlike the server's": "none"}), 1)
        save(figure, targets)


def _row(cell: Cell) -> str:
    return f"{cell.defense}, {cell.setting}" if cell.setting else cell.defense


def _first_seeds(study: Study) -> dict[tuple[str, str], Cell]:
    """The first cell of SkyMask for each row and attack."""
    first: dict[tuple[str, str], Cell] = {}
    for cell in study.cells:
        if cell.undefined is None and masked(cell):
            first.setdefault((_row(cell), cell.attack), cell)
    return first


def _shown_round(cell: Cell, round_: int | None) -> int:
    return min(round_ or cell.rounds, cell.rounds)


def _rounds(cells: Mapping[tuple[str, str], Cell], study: Study) -> str:
    shown = sorted({_shown_round(cell, study.scatter_round) for cell in cells.values()})
    return f"round {' and '.join(map(str, shown))}"


def _clients(cell: Cell, folder: Path, round_: int | None) -> pd.DataFrame:
    """The rows of the clients and the server in the round that is shown."""
    run = cell.experiment.run
    clients: pd.DataFrame = read_rows(folder / run / "clients.parquet", "clients", run).to_pandas()
    clients = clients[clients["round"] == _shown_round(cell, round_)]
    server = clients["client"] == SERVER
    malicious = clients["malicious"].eq(True)
    role = pd.Series("benign", clients.index).mask(malicious, "malicious").mask(server, "server")
    return clients.assign(role=role, filled=server | clients["accepted"].eq(True))


def _scatter(axes: Axes, clients: pd.DataFrame, what: str, nothing: str) -> None:
    """Mark clients at their coordinates ``{what}_1`` and ``{what}_2``."""
    clients = clients.dropna(subset=[f"{what}_1", f"{what}_2"])
    for role, mark in MARKS.items():
        for filled in (True, False):
            chosen = clients[(clients["role"] == role) & (clients["filled"] == filled)]
            if len(chosen):
                axes.plot(
                    chosen[f"{what}_1"],
                    chosen[f"{what}_2"],
                    linestyle="",
                    fillstyle="full" if filled else "none",
                    **mark,
                )
    few_ticks(axes)
    if clients.empty:
        note(axes, nothing)


def _layers(cell: Cell, folder: Path) -> pd.DataFrame:
    run = cell.experiment.run
    table: pd.DataFrame = read_rows(folder / run / "layers.parquet", "layers", run).to_pandas()
    return table[table["round"] <= cell.rounds]


def _draw_layers(axes: Axes, table: pd.DataFrame, named: bool) -> None:
    layers = list(dict.fromkeys(table["layer"]))
    means = table.groupby(["role", "layer"])[["switched_off", "unlike_server"]].mean()
    for offset, (role, mark) in zip((-0.25, 0.25, 0.0), MARKS.items(), strict=True):
        # a mark at 0 or 1 is drawn whole
        size = min(mark["markersize"], 6) * (1 if len(layers) <= MANY else 0.6)
        mark = {**mark, "markersize": size, "clip_on": False}
        places = [place + offset for place in range(len(layers))]
        found = means.reindex([(role, layer) for layer in layers])
        axes.plot(places, found["switched_off"], linestyle="", **mark)
        if role != "server":
            axes.plot(places, found["unlike_server"], linestyle="", fillstyle="none", **mark)
    step = -(-len(layers) // MANY)
    shown = [name if named and i % step == 0 else "" for i, name in enumerate(layers)]
    axes.set_xticks(range(len(layers)), shown, rotation=60, ha="right", rotation_mode="anchor")


def _handles(filling: Filling) -> list[Line2D]:
    handles = [
        Line2D([], [], linestyle="", fillstyle=fill, label=f"{role}, {meaning}", **MARKS[role])
        for role in ("benign", "malicious")
        for meaning, fill in filling.items()
    ]
    return [*handles, Line2D([], [], linestyle="", label="server", **MARKS["server"])]
