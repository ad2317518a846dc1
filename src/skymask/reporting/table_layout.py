"""Tables as they are read: what a cell shows, which is best, Markdown and LaTeX."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import pandas as pd

UNDEFINED, ABSENT, UNKNOWN, MARK = "undefined", "–", "unknown", "†"
KEYS = ["setting", "attack"]
"""What a row of a table of defenses is."""

PER_CENT, PLAIN, LENGTHS = (100, "{:.1f}"), (1, "{:.3f}"), (1, "{:.2f}")
WIDE = 100
"""Characters in a row of a LaTeX table above which it is scaled to the width of the text."""

_LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: rf"\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
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


def show_accuracy(row: pd.Series) -> str:
    """``0.953 ± 0.004``."""
    spread = "" if pd.isna(row["accuracy_std"]) else f" ± {row['accuracy_std']:.3f}"
    return f"{row['accuracy_mean']:.3f}{spread}"


def _both(row: pd.Series, **figures: tuple[float, str]) -> str:
    """``12.5 / 0.953``: the means of two figures, each with its factor and its format."""
    shown = []
    for figure, (factor, layout) in figures.items():
        value = row[f"{figure}_mean"]
        shown.append(ABSENT if pd.isna(value) else layout.format(factor * value))
    return " / ".join(shown)


def show_detection(row: pd.Series) -> str:
    """``0.0 / 12.5``: FPR and FNR in per cent."""
    return _both(row, fpr=PER_CENT, fnr=PER_CENT)


def show_influence(row: pd.Series) -> str:
    """``0.0 / 0.12``: the attackers' share of the weight in per cent, the relative distance."""
    return _both(row, attacker_weight=PER_CENT, benign_distance=LENGTHS)


def show_success(row: pd.Series) -> str:
    """``98.2 / 0.931``: attack success rate in per cent, accuracy."""
    return _both(row, attack_success_rate=PER_CENT, accuracy=PLAIN)


def _as_shown(cells: pd.DataFrame, figure: str, how: tuple[float, str]) -> pd.Series:
    """The means of a figure with the digits that are shown, so that what looks equal is equal."""
    factor, layout = how
    return cells[f"{figure}_mean"].map(
        lambda value: float("nan") if pd.isna(value) else float(layout.format(factor * value))
    )


def _worse_accuracy(cells: pd.DataFrame) -> pd.Series:
    return -_as_shown(cells, "accuracy", PLAIN)


def _worse_detection(cells: pd.DataFrame) -> pd.Series:
    """FPR + FNR; where no cell of a row has an FNR nobody attacks, and FPR counts alone."""
    fnr = _as_shown(cells, "fnr", PER_CENT)
    attacked = fnr.notna().groupby([cells[key] for key in KEYS]).transform("any")
    return (_as_shown(cells, "fpr", PER_CENT) + fnr.where(attacked, 0.0)).round(6)


def _worse_influence(cells: pd.DataFrame) -> pd.Series:
    return _as_shown(cells, "benign_distance", LENGTHS)


def _worse_success(cells: pd.DataFrame) -> pd.Series:
    return _as_shown(cells, "attack_success_rate", PER_CENT)


@dataclass(frozen=True)
class Layout:
    """How a table of defenses is shown: its figures, a cell's text, and what of a row is best.

    ``worse`` maps cells to numbers of which the lowest of a row is best (NaN never is), and
    ``best`` names that.
    """

    figures: tuple[str, ...]
    show: Callable[[pd.Series], str]
    worse: Callable[[pd.DataFrame], pd.Series]
    best: str


LAYOUTS = {
    "accuracy": Layout(("accuracy",), show_accuracy, _worse_accuracy, "the highest mean"),
    "detection": Layout(
        ("fpr", "fnr"),
        show_detection,
        _worse_detection,
        "the lowest sum of both rates (without attackers the lowest false positive rate)",
    ),
    "got_through": Layout(
        ("attacker_weight", "benign_distance"),
        show_influence,
        _worse_influence,
        "the lowest distance",
    ),
    "attack_success": Layout(
        ("attack_success_rate", "accuracy"),
        show_success,
        _worse_success,
        "the lowest attack success rate",
    ),
}
"""The tables that have a row per attack and a column per defense."""


def pivot(
    cells: pd.DataFrame, layout: Layout, aside: Collection[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Settings and attacks down, defenses across: what is shown, and where it is the row's best.

    ``cells`` has a row per (setting, defense, attack).  Both results have the same rows and
    columns.  Defenses in ``aside`` are never best; of equal ones, as they are shown, all are.
    """
    defined = cells["undefined"].isna()
    shown = [
        layout.show(row) if whole else UNDEFINED
        for whole, (_, row) in zip(defined, cells.iterrows(), strict=True)
    ]
    worse = layout.worse(cells).where(defined & ~cells["defense"].isin(list(aside)))
    lowest = worse.groupby([cells[key] for key in KEYS]).transform("min")
    marked = cells.assign(shown=shown, best=worse == lowest)
    settings, attacks = (list(dict.fromkeys(cells[key])) for key in KEYS)
    found = set(zip(cells["setting"], cells["attack"], strict=True))
    rows = pd.MultiIndex.from_tuples(
        [(s, a) for s in settings for a in attacks if (s, a) in found], names=KEYS
    )
    columns = list(dict.fromkeys(cells["defense"]))

    def wide(values: str, missing: str | bool) -> pd.DataFrame:
        table = marked.pivot(index=KEYS, columns="defense", values=values)
        table = table.reindex(index=rows, columns=columns)
        return table.astype(object).where(table.notna(), missing)

    text, best = wide("shown", ABSENT).reset_index(), wide("best", False).reset_index()
    text.columns.name = best.columns.name = None
    best[KEYS] = False
    return without_setting(text), best[without_setting(text).columns]


def without_setting(table: pd.DataFrame) -> pd.DataFrame:
    """Less the column ``setting`` where it says nothing."""
    return table.drop(columns="setting") if set(table["setting"]) <= {""} else table


def signed(value: float, digits: int) -> str:
    """A number with its sign, the minus a real one; 0 has none.

    >>> signed(-1.25, 1), signed(3, 1), signed(-0.01, 1)
    ('−1.2', '+3.0', '0.0')
    """
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def markdown(table: pd.DataFrame, best: pd.DataFrame | None = None) -> str:
    """A table as Markdown, its columns aligned for a terminal too; cells in ``best`` are bold."""
    rows = [[str(name) for name in table.columns], *_texts(table, best, "**{}**".format)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = [
        "| " + " | ".join(v.ljust(w) for v, w in zip(r, widths, strict=True)) + " |" for r in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def latex(table: pd.DataFrame, caption: str, label: str, best: pd.DataFrame | None = None) -> str:
    """A table as LaTeX (booktabs), with caption and label; cells in ``best`` are bold.

    A wide table is scaled to the width of the text (graphicx).
    """
    rows = _texts(table.map(_escaped), best, r"\textbf{{{}}}".format)
    header = [escaped(str(name)) for name in table.columns]
    lines = [" & ".join(row) + r" \\" for row in [header, *rows]]
    width = max(map(len, markdown(table).splitlines()))
    opening, closing = (r"\resizebox{\textwidth}{!}{%", "}") if width > WIDE else ("", "")
    text = [
        "% needs \\usepackage{booktabs}" + (" and \\usepackage{graphicx}" if opening else ""),
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{escaped(caption)}}}",
        rf"\label{{{label}}}",
        opening,
        rf"\begin{{tabular}}{{{_alignment(table)}}}",
        r"\toprule",
        lines[0],
        r"\midrule",
        *lines[1:],
        r"\bottomrule",
        r"\end{tabular}",
        closing,
        r"\end{table}",
    ]
    return "\n".join(filter(None, text)) + "\n"


def escaped(text: str) -> str:
    r"""Text as LaTeX has it.

    >>> escaped("a_b: 5 % ± 1")
    'a\\_b: 5 \\% $\\pm$ 1'
    """
    return "".join(_LATEX.get(mark, mark) for mark in text)


def _escaped(value: object) -> str:
    return escaped(_plain(value))


def _alignment(table: pd.DataFrame) -> str:
    """Words to the left, figures to the right."""
    words = {"setting", "attack", "defense", "figure", "layer", "run", "best baseline"}
    return "".join("l" if name in words else "r" for name in table.columns)


def _texts(
    table: pd.DataFrame, best: pd.DataFrame | None, bold: Callable[[str], str]
) -> list[list[str]]:
    """The rows of a table as texts."""
    rows = [[_plain(value) for value in row] for row in table.to_numpy(dtype=object)]
    if best is None:
        return rows
    marks = best.to_numpy(dtype=bool)
    return [
        [bold(text) if mark else text for text, mark in zip(row, marked, strict=True)]
        for row, marked in zip(rows, marks, strict=True)
    ]


def _plain(value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
