"""Tables as they are read, in Markdown, LaTeX and HTML."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

UNDEFINED, ABSENT, UNKNOWN, MARK = "undefined", "–", "unknown", "†"
KEYS = ["setting", "attack"]
"""The columns that identify a row of a table of defenses."""

FORMATS = {
    "accuracy": (1, "{:.3f}"),
    "argmax_accuracy": (1, "{:.3f}"),
    "fpr": (100, "{:.1f}"),
    "fnr": (100, "{:.1f}"),
    "attacker_weight": (100, "{:.1f}"),
    "benign_distance": (1, "{:.2f}"),
    "attack_success_rate": (100, "{:.1f}"),
}
"""The factor and the number format of each metric in a cell."""

WORDS = {"setting", "attack", "defense", "figure", "layer", "run", "best baseline"}
"""Columns that LaTeX aligns to the left; the others hold numbers."""

SYMBOLS = str.maketrans(
    {
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "≥": r"$\geq$",
        "−": "$-$",
        "–": "--",
        MARK: r"$^\dagger$",
    }
)
"""Characters that pandas leaves as they are and LaTeX does not have in every font."""


def _as_shown(cells: pd.DataFrame, metric: str) -> pd.Series:
    """Means of a metric, rounded to the digits that are shown, so that ties are seen as ties."""
    factor, layout = FORMATS[metric]
    return cells[f"{metric}_mean"].map(lambda value: float(layout.format(factor * value)))


def _detection_errors(cells: pd.DataFrame) -> pd.Series:
    """FPR + FNR; only FPR in rows without an FNR, where no client attacks."""
    fnr = _as_shown(cells, "fnr")
    attacked = fnr.notna().groupby([cells[key] for key in KEYS]).transform("any")
    return (_as_shown(cells, "fpr") + fnr.where(attacked, 0.0)).round(6)


@dataclass(frozen=True)
class TableLayout:
    """The content of a table with a row per attack and a column per defense.

    Attributes:
        metrics: a cell shows their means, of a single metric its standard deviation, too.
        loss: maps cells to numbers; the lowest of a row is the best, NaN never is.
        best: what the best cell of a row is, in words.
    """

    metrics: tuple[str, ...]
    loss: Callable[[pd.DataFrame], pd.Series]
    best: str


LAYOUTS = {
    "accuracy": TableLayout(
        ("accuracy",), lambda cells: -_as_shown(cells, "accuracy"), "the highest mean"
    ),
    "argmax_accuracy": TableLayout(
        ("argmax_accuracy",), lambda cells: -_as_shown(cells, "argmax_accuracy"), "the highest mean"
    ),
    "detection": TableLayout(
        ("fpr", "fnr"),
        _detection_errors,
        "the lowest sum of both rates (without attackers the lowest false positive rate)",
    ),
    "got_through": TableLayout(
        ("attacker_weight", "benign_distance"),
        lambda cells: _as_shown(cells, "benign_distance"),
        "the lowest distance",
    ),
    "attack_success": TableLayout(
        ("attack_success_rate", "accuracy"),
        lambda cells: _as_shown(cells, "attack_success_rate"),
        "the lowest attack success rate",
    ),
}
"""The tables that have a row per attack and a column per defense."""


def cell_text(row: pd.Series, layout: TableLayout) -> str:
    """Format a cell: ``0.953 ± 0.004`` for one metric, ``12.5 / 0.953`` for two."""
    means = {metric: row[f"{metric}_mean"] for metric in layout.metrics}
    texts = [
        ABSENT if pd.isna(mean) else FORMATS[metric][1].format(FORMATS[metric][0] * mean)
        for metric, mean in means.items()
    ]
    spread = row.get(f"{layout.metrics[0]}_std") if len(texts) == 1 else None
    return " / ".join(texts) + ("" if pd.isna(spread) else f" ± {spread:.3f}")


def pivot(
    cells: pd.DataFrame, layout: TableLayout, excluded: Collection[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Arrange cells as attacks (and settings) × defenses.

    Args:
        cells: one row per (setting, defense, attack).
        layout: content of the table.
        excluded: defenses that are never the best of a row.

    Returns:
        The texts of the cells, and a table of the same shape that is true where a cell is the best
        of its row.  Cells with equal texts are equally good.
    """
    defined = cells["undefined"].isna()
    shown = [
        cell_text(row, layout) if has_runs else UNDEFINED
        for has_runs, (_, row) in zip(defined, cells.iterrows(), strict=True)
    ]
    loss = layout.loss(cells).where(defined & ~cells["defense"].isin(list(excluded)))
    lowest = loss.groupby([cells[key] for key in KEYS]).transform("min")
    wide = cells.assign(shown=shown, best=loss == lowest).pivot(
        index=KEYS, columns="defense", values=["shown", "best"]
    )
    settings, attacks = (cells[key].unique() for key in KEYS)
    order = [(s, a) for s in settings for a in attacks if (s, a) in wide.index]
    wide = wide.reindex(index=pd.MultiIndex.from_tuples(order, names=KEYS))
    defenses = list(cells["defense"].unique())
    wide.columns.names = [None, None]
    text = without_setting(wide["shown"][defenses].fillna(ABSENT).reset_index())
    best = wide["best"][defenses].eq(True).reset_index()
    best[KEYS] = False
    return text, best[text.columns]


def without_setting(table: pd.DataFrame) -> pd.DataFrame:
    """Drop the column ``setting`` if it is empty."""
    return table.drop(columns="setting") if set(table["setting"]) <= {""} else table


def signed(value: float, digits: int) -> str:
    """Format a number with its sign and a true minus; 0 has no sign.

    >>> signed(-1.25, 1), signed(3, 1), signed(-0.01, 1)
    ('−1.2', '+3.0', '0.0')
    """
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _texts(table: pd.DataFrame) -> pd.DataFrame:
    """All values as text: floats with four digits, missing values empty."""
    texts = table.astype(object).map(lambda v: f"{v:.4f}" if isinstance(v, float) else str(v))
    return texts.mask(table.isna(), "")


def markdown(table: pd.DataFrame, best: pd.DataFrame | None = None) -> str:
    """Render a table as Markdown, aligned for a terminal; cells in ``best`` are bold."""
    texts = _texts(table)
    if best is not None:
        texts = texts.mask(best, "**" + texts + "**")
    return f"{texts.to_markdown(index=False, tablefmt='github', disable_numparse=True)}\n"


def _styled(table: pd.DataFrame, escape: str) -> "Styler":
    """Return the texts of a table, escaped for an output format."""
    styler = _texts(table).style.hide(axis="index").format(escape=escape)
    return styler.format_index(axis=1, escape=escape)


def latex(table: pd.DataFrame, caption: str, label: str, best: pd.DataFrame | None = None) -> str:
    """Render a table as LaTeX (booktabs, graphicx); cells in ``best`` are bold.

    LaTeX shrinks a table that is too wide to the width of the text.
    """
    styler = _styled(table, "latex")
    if best is not None:
        bold = best.map({True: "textbf:--rwrap;", False: ""}.get)
        styler = styler.apply(lambda _: bold, axis=None)
    alignment = "".join("l" if name in WORDS else "r" for name in table.columns)
    tabular = styler.to_latex(hrules=True, column_format=alignment).translate(SYMBOLS)
    escaped = re.sub(r"([&%$#_{}])", r"\\\1", caption).translate(SYMBOLS)
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{escaped}}}",
        rf"\label{{{label}}}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        tabular + "}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def html(name: str, table: pd.DataFrame, best: pd.DataFrame | None = None) -> str:
    """Render a table as an HTML element; cells in ``best`` have the class ``best``.

    ``name`` distinguishes the identifiers of several tables in one page.
    """
    styler = _styled(table, "html").set_table_attributes('class="metrics"')
    if best is not None:
        styler = styler.set_td_classes(best.map({True: "best", False: ""}.get))
    return str(styler.to_html(table_uuid=name))
