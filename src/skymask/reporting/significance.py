"""Paired t-tests over seeds of SkyMask against the best baseline."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import ttest_rel

from skymask.reporting.table_layout import ABSENT, UNDEFINED, signed, without_setting
from skymask.study.grid import Study

LEVEL = 0.95
"""Confidence level of the intervals."""

Values = npt.NDArray[np.float64]


def rows(study: Study, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Compare each variant of SkyMask with the best baseline, per setting and attack.

    The best baseline has the highest mean accuracy over its seeds among the defenses other than
    SkyMask and oracle; of equal ones it is the first of the study.  Runs with the same data seed
    and training seed are paired: ``difference`` is the mean of d_s = SkyMask_s - baseline_s,
    ``low`` to ``high`` its confidence interval, ``p`` that of the two-sided paired t-test of
    mean d = 0, and ``p_holm`` the same after Holm's correction over all rows.

    Args:
        study: the study.
        runs: its table ``runs``.

    Returns:
        Rows of the table ``significance``; accuracies and differences from 0 to 1.  With one seed,
        or if all d_s are equal, the test is undefined: interval and p are None.
    """
    names = {cell.defense: cell.experiment.defense.name for cell in study.cells}
    settings = dict.fromkeys(cell.setting for cell in study.cells)
    attacks = dict.fromkeys(cell.attack for cell in study.cells)
    accuracy = {
        place: of_place.set_index(["data_seed", "training_seed"])["accuracy"]
        for place, of_place in runs.groupby(["setting", "attack", "defense"], sort=False)
    }
    table: list[dict[str, Any]] = []
    for setting, attack in product(settings, attacks):
        here = {d: accuracy[setting, attack, d] for d in names if (setting, attack, d) in accuracy}
        baselines = {d: v for d, v in here.items() if names[d] not in ("skymask", "oracle")}
        if not baselines:
            continue
        best = max(baselines, key=lambda d: baselines[d].mean())
        for defense in (d for d in here if names[d] == "skymask"):
            pairs = pd.concat([here[defense], here[best]], axis=1, join="inner").to_numpy()
            table.append(
                {
                    "setting": setting,
                    "attack": attack,
                    "defense": defense,
                    "accuracy_mean": float(here[defense].mean()),
                    "baseline": best,
                    "baseline_mean": float(here[best].mean()),
                    "seeds": len(pairs),
                    **_test(pairs[:, 0], pairs[:, 1]),
                }
            )
    corrected = holm([row["p"] for row in table])
    return [{**row, "p_holm": p} for row, p in zip(table, corrected, strict=True)]


def _test(ours: Values, theirs: Values) -> Mapping[str, float | None]:
    """Return the paired t-test of two arrays [s]."""
    differences = ours - theirs
    result: dict[str, float | None] = {
        "difference": float(differences.mean()) if len(differences) else None,
        "low": None,
        "high": None,
        "p": None,
    }
    # accuracies are shares of samples: a smaller spread is a rounding error
    if len(differences) > 1 and np.ptp(differences) > 1e-12:
        test = ttest_rel(ours, theirs)
        low, high = test.confidence_interval(LEVEL)
        result |= {"low": float(low), "high": float(high), "p": float(test.pvalue)}
    return result


def holm(values: list[float | None]) -> list[float | None]:
    """Apply Holm's correction to the p-values of all defined tests; None stays None.

    The k-th smallest of m becomes the greatest of min(1, (m − j + 1) p_j) over j ≤ k.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    order = sorted((p, i) for i, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        corrected[i] = highest
    return corrected


def show(table: pd.DataFrame) -> pd.DataFrame:
    """Arrange the table for reading; differences in points."""

    def interval(row: pd.Series) -> str:
        if pd.isna(row["low"]):
            return UNDEFINED
        return f"{signed(100 * row['low'], 1)} to {signed(100 * row['high'], 1)}"

    def probability(value: float) -> str:
        if pd.isna(value):
            return UNDEFINED
        return "< 0.001" if value < 0.001 else f"{value:.3f}"

    def difference(value: float) -> str:
        return ABSENT if pd.isna(value) else signed(100 * value, 1)

    shown = table[["setting", "attack", "defense"]].copy()
    shown["accuracy"] = table["accuracy_mean"].map("{:.3f}".format)
    shown["best baseline"] = table["baseline"]
    shown["its accuracy"] = table["baseline_mean"].map("{:.3f}".format)
    shown["difference"] = table["difference"].map(difference)
    shown["95 % interval"] = [interval(row) for _, row in table.iterrows()]
    shown["p"] = table["p"].map(probability)
    shown["p (Holm)"] = table["p_holm"].map(probability)
    shown["seeds"] = table["seeds"]
    return without_setting(shown)
