"""Test accuracy over rounds."""

from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from skymask.artifacts.records import read_rows
from skymask.reporting.figures.style import (
    STYLE,
    label_rows,
    legend,
    line_handles,
    line_styles,
    marked,
    note,
    panels,
    save,
)
from skymask.study.grid import Cell, Study


def accuracy_curves(study: Study, folder: Path, targets: list[Path]) -> None:
    """Test accuracy over rounds: a panel per attack, a line per defense, mean over seeds.

    The band is ± one standard deviation over seeds.  ``folder`` holds the runs.  A panel without
    a run says so.
    """
    cells = [cell for cell in study.cells if cell.undefined is None]
    curves: defaultdict[tuple[str, str, str], list[pd.DataFrame]] = defaultdict(list)
    for cell in cells:
        curves[cell.setting, cell.attack, cell.defense].append(_metrics(cell, folder))
    styles = line_styles(dict.fromkeys(cell.defense for cell in cells))
    settings = list(dict.fromkeys(cell.setting for cell in cells))
    # many bands, one above the other, must not hide the lines
    faint = min(0.15, 1 / len(styles))
    with plt.rc_context(STYLE):
        figure, found = panels(list(dict.fromkeys(cell.attack for cell in cells)), settings)
        for (setting, attack), axes in found.items():
            axes.set_ylim(0, 1)
            for i, (defense, style) in enumerate(styles.items()):
                if (setting, attack, defense) not in curves:
                    continue
                rounds = pd.concat(curves[setting, attack, defense]).groupby("round")
                mean, spread = rounds["accuracy"].mean(), rounds["accuracy"].std()
                every = marked(len(mean), i, len(styles))
                axes.plot(mean.index, mean, label=defense, markevery=every, **style)
                low, high, colour = mean - spread, mean + spread, style["color"]
                axes.fill_between(mean.index, low, high, color=colour, alpha=faint, lw=0)
            if not axes.lines:
                note(axes, "not run")
            axes.set_xlim(left=0)
            if setting == settings[-1]:
                axes.set_xlabel("round")
        label_rows(found, "test accuracy", named=settings != [""])
        legend(figure, line_handles(styles))
        save(figure, targets)


def _metrics(cell: Cell, folder: Path) -> pd.DataFrame:
    run = cell.experiment.run
    table = read_rows(folder / run / "metrics.parquet", "metrics", run)
    metrics: pd.DataFrame = table.select(["round", "accuracy"]).to_pandas()
    return metrics[metrics["round"] <= cell.rounds]
