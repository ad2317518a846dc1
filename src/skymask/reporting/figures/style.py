"""The one style of all figures: its colours, marks, panels, legends, and how they are saved.

Colours of Okabe and Ito, which colour-blind readers tell apart, and a second mark (dashes, shapes,
filling) for everything a colour says, so that figures are read in grey, too.  Sizes fit a page 7
inches wide.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from skymask.artifacts.atomic import atomic

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "v", "D", "P", "X")
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "savefig.dpi": 200,
}
# the upper bound lies under the others, so that what reaches it stays visible; its mark, as wide
# as the line, shows a single point
BOUND: dict[str, Any] = {
    "color": "0.8",
    "linewidth": 3.5,
    "marker": "o",
    "markersize": 3.5,
    "markeredgewidth": 0,
    "zorder": 1,
}
WIDTH, PANEL_HEIGHT, ACROSS = 7.0, 2.1, 4
LETTER = 0.066  # inches: how wide a letter is, on average

Panels = dict[tuple[str, str], Axes]


def folded(label: str, width: int = 20) -> str:
    r"""A label that is too long for one line, cut before its brackets and at its spaces.

    >>> folded("dba(parts=3)"), folded("dba(parts=3)", 9)
    ('dba(parts=3)', 'dba\n(parts=3)')
    """
    if len(label) <= width:
        return label
    pieces = label.replace("(", "\n(").replace("[", "\n[").split("\n")
    return "\n".join(line for piece in pieces for line in textwrap.wrap(piece, width))


def line_styles(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How the line of each label is drawn: a colour, a dash and a mark of its own.

    Of 36 lines no two share dash and mark.  The first seven marks are hollow, the next seven
    filled.  ``oracle`` is ``BOUND`` and takes none of them.
    """
    found: dict[str, dict[str, Any]] = {}
    for label in labels:
        i = len(found.keys() - {"oracle"})
        again = i // len(OKABE_ITO)
        found[label] = (
            BOUND
            if label == "oracle"
            else {
                "color": OKABE_ITO[i % len(OKABE_ITO)],
                "linestyle": DASHES[i % len(DASHES)],
                # a colour that comes again has another mark
                "marker": MARKERS[(i + 4 * again) % len(MARKERS)],
                "markersize": 4,
                "markeredgewidth": 0.8,
                "fillstyle": "full" if again % 2 else "none",
            }
        )
    return found


def marked(points: int, line: int, lines: int) -> tuple[int, int]:
    """Which of a line's points get its mark, as (first, step): about six, each line's own.

    >>> marked(4, 1, 2), marked(60, 0, 2), marked(60, 1, 2)
    ((0, 1), (0, 10), (5, 10))
    """
    step = max(1, points // 6)
    return line * step // lines, step


def panels(
    columns: Sequence[str],
    rows: Sequence[str],
    height: float = PANEL_HEIGHT,
    across: int = ACROSS,
    below: float = 0.25,
) -> tuple[Figure, Panels]:
    """A grid of panels ``height`` inches high, by (row, column), titled by column.

    More than ``across`` columns are wrapped: the rest stands below, in all rows again.  ``below``
    are the inches that the labels below the last row take.
    """
    across = min(len(columns), across)
    blocks = [columns[i : i + across] for i in range(0, len(columns), across)]
    lines = [(block, row) for block in blocks for row in rows]
    figure, axes = plt.subplots(
        len(lines),
        across,
        figsize=(WIDTH, height * len(lines) + below * len(blocks)),
        squeeze=False,
        layout="constrained",
    )
    found: Panels = {}
    for (block, row), line in zip(lines, axes, strict=True):
        for column, panel in zip(block, line, strict=False):
            found[row, column] = panel
            if row == rows[0]:
                panel.set_title(folded(column))
        for spare in line[len(block) :]:
            spare.remove()
    return figure, found


def label_rows(panels: Mapping[tuple[str, str], Axes], label: str, named: bool) -> None:
    """Label the panels on the left with ``label`` and, if they are ``named``, with their row."""
    for (row, _), axes in panels.items():
        place = axes.get_subplotspec()
        if place is not None and place.is_first_col():
            axes.set_ylabel(f"{label}\n{folded(row, 24)}" if named else label)


def note(axes: Axes, text: str) -> None:
    """Write ``text`` where a panel has nothing to show, and no numbers beside it."""
    axes.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.4")


def legend(figure: Figure, handles: Sequence[Line2D], length: float = 3) -> None:
    """A legend below all panels, in as few lines as fit; the figure grows by what it takes.

    ``length`` is that of the samples, in letters.  The labels of axes are put in line, too.
    """
    figure.align_labels()
    for lines in range(1, len(handles) + 1):
        drawn = figure.legend(
            handles=list(handles),
            loc="outside lower center",
            ncols=-(-len(handles) // lines),
            handlelength=length,
        )
        box = drawn.get_window_extent()
        if box.width <= figure.bbox.width or lines == len(handles):
            break
        drawn.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def few_ticks(axes: Axes) -> None:
    """Short labels on both axes, few enough not to touch, and no power of ten set apart."""
    axes.locator_params("x", nbins=3)
    axes.locator_params("y", nbins=4)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))


def line_handles(styles: Mapping[str, Mapping[str, Any]]) -> list[Line2D]:
    """What stands in the legend for lines of these styles."""
    return [Line2D([], [], label=label, **style) for label, style in styles.items()]


def save(figure: Figure, targets: list[Path]) -> None:
    """Write a figure in each format that ``targets`` name, and close it."""
    for target in targets:
        # without a date, equal figures are equal files
        metadata = {"CreationDate": None} if target.suffix == ".pdf" else {"Software": None}
        with atomic(target) as temporary:
            figure.savefig(temporary, format=target.suffix[1:], metadata=metadata)
    plt.close(figure)
