"""Figure of the share of each layer that the masks switch off."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes

from skymask.reporting.figures import style
from skymask.reporting.figures.inputs import KEYS, read_study_table
from skymask.reporting.figures.masks import MARKS, role_handles, row_name
from skymask.reporting.figures.style import ACROSS, LETTER
from skymask.reporting.outputs import masked
from skymask.study.grid import Study

MANY = 16
"""Number of layers up to which each one is named."""

COLUMNS = [f"{kind}_{role}" for kind in ("off", "unlike") for role in MARKS][:-1]


@rc_context(style.STYLE)
def draw(study: Study, results: Path, targets: list[Path]) -> None:
    """Draw what the masks do to each layer, for benign and malicious clients and the server.

    Filled marks are the share that is switched off, hollow ones the share in which the masks
    differ from the server's mask.  A panel per attack, a row per SkyMask variant and setting; the
    numbers are those of the table ``mask_layers``, means over rounds, clients and seeds.

    Args:
        study: the study.
        results: folder of the results; reads tables/STUDY/mask_layers.parquet.
        targets: files to write; their suffixes are the formats.

    Raises:
        ArtifactError: the table is missing, damaged or of another version.
    """
    cells = [cell for cell in study.cells if cell.undefined is None and masked(cell)]
    keys = {(row_name(c), c.attack): (c.setting, c.defense, c.attack) for c in cells}
    attacks = list(dict.fromkeys(cell.attack for cell in cells))
    rows = list(dict.fromkeys(map(row_name, cells)))
    table = read_study_table(study, results, "mask_layers", [*KEYS, "layer", *COLUMNS])
    shares = {key: part.set_index("layer") for key, part in table.groupby(KEYS)}
    layers = {tuple(part.index) for part in shares.values()}
    longest = max(map(len, table["layer"]), default=0)
    across = ACROSS if max(map(len, layers), default=0) <= MANY else 2
    figure, panels = style.panels(attacks, rows, 1.8, across, 0.9 * LETTER * longest)
    for place, axes in panels.items():
        if place not in keys:
            style.note(axes, "not run")
        elif keys[place] not in shares:
            style.note(axes, "no masks")
        else:
            # panels with the same layers name them once, below the last row
            _draw_layers(axes, shares[keys[place]], len(layers) > 1 or place[0] == rows[-1])
        axes.set_ylim(0, 1)
    style.label_rows(panels, "share of the layer", named=rows != ["skymask"])
    style.legend(figure, role_handles("switched off", "differs from the server's"), 1)
    style.save(figure, targets)


def _draw_layers(axes: Axes, shares: pd.DataFrame, named: bool) -> None:
    """Draw the shares (a row per layer) of each role side by side."""
    count = len(shares)
    for offset, (role, mark) in zip((-0.25, 0.25, 0.0), MARKS.items(), strict=True):
        # marks at 0 and 1 are drawn whole
        size = min(mark["markersize"], 6) * (1 if count <= MANY else 0.6)
        mark = {**mark, "linestyle": "", "markersize": size, "clip_on": False}
        places = np.arange(count) + offset
        axes.plot(places, shares[f"off_{role}"], **mark)
        if role != "server":
            axes.plot(places, shares[f"unlike_{role}"], fillstyle="none", **mark)
    step = -(-count // MANY)
    names = [name if named and i % step == 0 else "" for i, name in enumerate(shares.index)]
    axes.set_xticks(range(count), names, rotation=60, ha="right", rotation_mode="anchor")
