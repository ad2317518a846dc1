"""Figure of the test accuracy over rounds."""

from collections import defaultdict
from pathlib import Path

import pandas as pd
from matplotlib import rc_context

from skymask.reporting.figures import style
from skymask.reporting.figures.inputs import read_run
from skymask.study.grid import Study


@rc_context(style.STYLE)
def draw(study: Study, results: Path, targets: list[Path]) -> None:
    """Draw the test accuracy over rounds: a panel per attack, a line per defense.

    A line is the mean over seeds, its band ± one standard deviation.  Rows of panels are the
    settings.  A panel without a run says so.

    Args:
        study: the study.
        results: folder of the results; reads runs/RUN/metrics.parquet.
        targets: files to write; their suffixes are the formats.

    Raises:
        ArtifactError: a file is missing, damaged or of another version.
    """
    cells = [cell for cell in study.cells if cell.undefined is None]
    curves: defaultdict[tuple[str, str, str], list[pd.DataFrame]] = defaultdict(list)
    for cell in cells:
        curves[cell.setting, cell.attack, cell.defense].append(read_run(cell, results, "metrics"))
    styles = style.line_styles(cell.defense for cell in cells)
    settings = list(dict.fromkeys(cell.setting for cell in cells))
    # many overlapping bands must not hide the lines
    alpha = min(0.15, 1 / len(styles))
    figure, panels = style.panels(list(dict.fromkeys(cell.attack for cell in cells)), settings)
    for (setting, attack), axes in panels.items():
        axes.set_ylim(0, 1)
        for i, (defense, line) in enumerate(styles.items()):
            if (setting, attack, defense) not in curves:
                continue
            rounds = pd.concat(curves[setting, attack, defense]).groupby("round")
            mean, spread = rounds["accuracy"].mean(), rounds["accuracy"].std()
            marked = style.marked_points(len(mean), i, len(styles))
            axes.plot(mean.index, mean, label=defense, markevery=marked, **line)
            low, high = mean - spread, mean + spread
            axes.fill_between(mean.index, low, high, color=line["color"], alpha=alpha, lw=0)
        if not axes.lines:
            style.note(axes, "not run")
        axes.set_xlim(left=0)
        if setting == settings[-1]:
            axes.set_xlabel("round")
    style.label_rows(panels, "test accuracy", named=settings != [""])
    style.legend(figure, style.line_handles(styles))
    style.save(figure, targets)
