"""Common style of all figures: colours, marks, panels, legends, files.

The colours are those of Okabe and Ito, which colour-blind readers can tell apart.  What a colour
shows is also shown by dashes, marks or filling, so that figures can be read in grey.
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
# the upper bound is drawn below the other lines, so that those that reach it stay visible; its
# mark, as wide as the line, shows a single point
UPPER_BOUND: dict[str, Any] = {
    "color": "0.8",
    "linewidth": 3.5,
    "marker": "o",
    "markersize": 3.5,
    "markeredgewidth": 0,
    "zorder": 1,
}
WIDTH, PANEL_HEIGHT = 7.0, 2.1  # inches
ACROSS = 4  # panels per row
LETTER = 0.066  # inches: average width of a letter

Panels = dict[tuple[str, str], Axes]


def folded(label: str, width: int = 20) -> str:
    r"""Return a label in lines of at most ``width`` letters, broken before brackets and at spaces.

    >>> folded("dba(parts=3)"), folded("dba(parts=3)", 9)
    ('dba(parts=3)', 'dba\n(parts=3)')
    """
    if len(label) <= width:
        return label
    pieces = label.replace("(", "\n(").replace("[", "\n[").split("\n")
    return "\n".join(line for piece in pieces for line in textwrap.wrap(piece, width))


def line_styles(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the keyword arguments of ``Axes.plot`` for the line of each label.

    No two of 36 lines share dashes and mark.  Marks of the first seven lines are hollow, those of
    the next seven filled, and so on.  ``oracle`` is drawn as ``UPPER_BOUND`` and uses up no style.
    """
    labels = list(dict.fromkeys(labels))
    styles: dict[str, dict[str, Any]] = {}
    for i, label in enumerate(label for label in labels if label != "oracle"):
        cycle, colour = divmod(i, len(OKABE_ITO))
        styles[label] = {
            "color": OKABE_ITO[colour],
            "linestyle": DASHES[i % len(DASHES)],
            # another mark each time a colour is used again
            "marker": MARKERS[(i + 4 * cycle) % len(MARKERS)],
            "markersize": 4,
            "markeredgewidth": 0.8,
            "fillstyle": "full" if cycle % 2 else "none",
        }
    return {label: styles.get(label, UPPER_BOUND) for label in labels}


def marked_points(points: int, line: int, lines: int) -> tuple[int, int]:
    """Return which points of a line get its mark, as (first, step): about six of them.

    Args:
        points: number of points of the line.
        line: index of the line; each starts elsewhere, so that marks do not overlap.
        lines: number of lines.

    >>> marked_points(4, 1, 2), marked_points(60, 0, 2), marked_points(60, 1, 2)
    ((0, 1), (0, 10), (5, 10))
    """
    step = max(1, points // 6)
    return line * step // lines, step


def grid(
    down: int, across: int, size: tuple[float, float], count: int
) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``size`` inches with the first ``count`` panels of a grid."""
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    for unused in axes.flat[count:]:
        unused.remove()
    return figure, list(axes.flat[:count])


def panels(
    columns: Sequence[str],
    rows: Sequence[str],
    height: float = PANEL_HEIGHT,
    across: int = ACROSS,
    below: float = 0.25,
) -> tuple[Figure, Panels]:
    """Return a figure with a panel per row and column, titled by column.

    Args:
        columns: names of the columns.
        rows: names of the rows.
        height: height of a panel in inches.
        across: most columns side by side; the others follow below, again in all rows.
        below: space for the labels below the last row, in inches.

    Returns:
        The figure and its panels by (row, column).
    """
    across = min(len(columns), across)
    blocks = [columns[i : i + across] for i in range(0, len(columns), across)]
    places = [[(row, column) for column in block] for block in blocks for row in rows]
    size = (WIDTH, height * len(places) + below * len(blocks))
    figure, axes = plt.subplots(
        len(places), across, figsize=size, squeeze=False, layout="constrained"
    )
    found: Panels = {}
    for line, of_line in zip(places, axes, strict=True):
        found |= zip(line, of_line, strict=False)
        for unused in of_line[len(line) :]:
            unused.remove()
    for column in columns:
        found[rows[0], column].set_title(folded(column))
    return figure, found


def label_rows(panels: Panels, label: str = "", named: bool = True) -> None:
    """Label the leftmost panels with ``label`` and, if rows are ``named``, the row's name."""
    for (row, _), axes in panels.items():
        place = axes.get_subplotspec()
        if place is not None and place.is_first_col():
            parts = [label, folded(row, 24) if named else ""]
            axes.set_ylabel("\n".join(filter(None, parts)))


def note(axes: Axes, text: str) -> None:
    """Write ``text`` into a panel that has nothing to show, and remove its numbers."""
    axes.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.4")


def legend(figure: Figure, handles: Sequence[Line2D], length: float = 3) -> None:
    """Add a legend below all panels, in as few lines as fit, and enlarge the figure for it.

    The labels of the axes are aligned, too.

    Args:
        figure: the figure.
        handles: the entries of the legend.
        length: length of the lines in the legend, in units of the font size.
    """
    figure.align_labels()
    for lines in range(1, len(handles) + 1):
        columns = -(-len(handles) // lines)
        drawn = figure.legend(
            handles=handles, loc="outside lower center", ncols=columns, handlelength=length
        )
        box = drawn.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            break
        drawn.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def line_handles(styles: Mapping[str, Mapping[str, Any]]) -> list[Line2D]:
    """Return the legend's entries for lines of these styles."""
    return [Line2D([], [], label=label, **style) for label, style in styles.items()]


def save(figure: Figure, targets: list[Path]) -> None:
    """Write a figure to each target in the format of its suffix, and close the figure."""
    for target in targets:
        # without a date, so that the same figure gives the same bytes
        metadata = {"CreationDate": None} if target.suffix == ".pdf" else {"Software": None}
        with atomic(target) as temporary:
            figure.savefig(temporary, format=target.suffix[1:], metadata=metadata)
    plt.close(figure)
