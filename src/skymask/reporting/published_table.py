"""Our values compared with those of the paper."""

from collections.abc import Iterable, Mapping
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from skymask.reporting.published import (
    BELOW_FEDAVG,
    Claim,
    Comparison,
    Place,
    comparisons,
    load,
    place_of,
    setting_of,
)
from skymask.reporting.table_layout import ABSENT, MARK, UNDEFINED, UNKNOWN, signed, without_setting
from skymask.study.grid import Study

Run = Mapping[Any, Any]
Seed = tuple[int, int]


def differences(study: Study) -> dict[str, tuple[list[Any], list[Any]]]:
    """List the settings in which the study differs from the paper.

    Returns:
        Our values and the paper's values by setting, over all cells with a published value.
        Malicious share and partition are equal by choice of the cells.
    """
    different: dict[str, tuple[list[Any], list[Any]]] = {}
    for comparison in comparisons(study):
        if comparison.claim is None or not comparison.defined:
            continue
        cell, claim = comparison.runs[0], comparison.claim
        for key, theirs in claim.settings.items():
            equal = key in claim.only or key in ("malicious_share", "partition")
            ours = theirs if equal else setting_of(cell, key, theirs)
            if ours != theirs:
                our_values, their_values = different.setdefault(key, ([], []))
                our_values += [ours] if ours not in our_values else []
                their_values += [theirs] if theirs not in their_values else []
    return different


def unknown_settings(study: Study) -> list[str]:
    """List settings that the paper states for some data set, but not for each of the study."""
    settings = load().settings
    keys = dict.fromkeys(key for of_dataset in settings.values() for key in of_dataset)
    own = {cell.experiment.dataset for cell in study.cells} & set(settings)
    return [key for key in keys if any(key not in settings[dataset] for dataset in own)]


def certainties(study: Study) -> dict[str, list[str]]:
    """List the published metrics of the study by their certainty."""
    metrics: dict[str, dict[str, None]] = {}
    for comparison in comparisons(study):
        if comparison.claim is not None:
            metrics.setdefault(comparison.claim.certainty, {})[comparison.metric] = None
    return {certainty: list(names) for certainty, names in metrics.items()}


def rows(study: Study, runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Compare our values with the published ones, in points (1 point is 1 %).

    Mean and standard deviation (ddof 1) are over seeds; ``below_fedavg`` is FedAvg's accuracy
    minus the defense's, seed by seed.  ``difference`` is our mean minus the published
    value; for a range it is the distance to its nearer end, 0 within.  ``beyond_spread`` tells
    whether its absolute value exceeds 2 ``ours_std``.

    Args:
        study: the study.
        runs: rows of its table ``runs``.

    Returns:
        Rows of the table ``published``; None where a value is unknown or undefined.
    """
    by_place: dict[Place, dict[Seed, Run]] = {}
    for run in runs:
        place = (run["setting"], run["defense"], run["attack"])
        by_place.setdefault(place, {})[run["data_seed"], run["training_seed"]] = run
    source = load().source
    table = []
    for comparison in comparisons(study):
        setting, defense, attack = comparison.place
        values = _values(comparison, by_place)
        mean = fmean(values) if values else None
        spread = stdev(values) if len(values) > 1 else None
        claim = comparison.claim
        difference = None if claim is None or mean is None else _distance(mean, claim)
        beyond = None
        if difference is not None and spread is not None:
            # values are shares of samples: anything smaller is a rounding error
            beyond = abs(difference) > 2 * spread + 1e-9
        table.append(
            {
                "setting": setting,
                "defense": defense,
                "attack": attack,
                "figure": comparison.metric,
                "seeds": len(values) or len(by_place.get(comparison.place, {})),
                "undefined": next((c.undefined for c in comparison.runs if c.undefined), None),
                "ours_mean": mean,
                "ours_std": spread,
                "published_low": claim.low if claim else None,
                "published_high": claim.high if claim else None,
                "difference": difference,
                "beyond_spread": beyond,
                "certainty": claim.certainty if claim else None,
                "source": source if claim else None,
            }
        )
    return table


def _values(comparison: Comparison, runs: Mapping[Place, Mapping[Seed, Run]]) -> list[float]:
    """Our value per pair of seeds, in points; empty if a run lacks the metric."""
    own = runs.get(comparison.place, {})
    if comparison.metric == BELOW_FEDAVG:
        fedavg = runs.get(place_of(comparison.fedavg[0]), {})
        return [
            100 * (fedavg[seed]["accuracy"] - run["accuracy"])
            for seed, run in own.items()
            if seed in fedavg
        ]
    values = [run[comparison.metric] for run in own.values()]
    return [] if any(map(pd.isna, values)) else [100 * value for value in values]


def _distance(value: float, claim: Claim) -> float:
    """Signed distance of a value to the published range, 0 within."""
    return max(value - claim.high, 0.0) + min(value - claim.low, 0.0)


def show(table: pd.DataFrame) -> pd.DataFrame:
    """Arrange the table for reading."""

    def number(value: float) -> str:
        return f"{value:.1f}".replace("-", "−")

    def ours(row: pd.Series) -> str:
        if pd.notna(row["undefined"]):
            return UNDEFINED
        if pd.isna(row["ours_mean"]):
            return ABSENT
        spread = "" if pd.isna(row["ours_std"]) else f" ± {row['ours_std']:.1f}"
        return number(row["ours_mean"]) + spread

    def theirs(row: pd.Series) -> str:
        if pd.isna(row["published_low"]):
            return UNKNOWN
        ends = dict.fromkeys([number(row["published_low"]), number(row["published_high"])])
        return " to ".join(ends)

    def difference(row: pd.Series) -> str:
        if pd.isna(row["difference"]):
            return ABSENT
        marked = pd.notna(row["beyond_spread"]) and row["beyond_spread"]
        return signed(row["difference"], 1) + (f" {MARK}" if marked else "")

    shown = table[["setting", "attack", "defense", "figure", "seeds"]].copy()
    shown["figure"] = shown["figure"].str.replace("_", " ")
    for name, text in {"ours": ours, "published": theirs, "difference": difference}.items():
        shown[name] = [text(row) for _, row in table.iterrows()]
    return without_setting(shown)
