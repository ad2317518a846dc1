"""The table ``published``: our figures beside the paper's, and where the settings differ."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from skymask.reporting.published import (
    BELOW_FEDAVG,
    FILE,
    Claim,
    Comparison,
    Place,
    comparisons,
    load,
    setting_of,
)
from skymask.reporting.table_layout import ABSENT, MARK, UNDEFINED, UNKNOWN, signed, without_setting
from skymask.study.grid import Study

Run = Mapping[Any, Any]
Seed = tuple[int, int]


def differences(study: Study, file: Path = FILE) -> dict[str, tuple[list[Any], list[Any]]]:
    """Settings in which compared cells differ from the paper: ours, and the paper's.

    Of the cells for which a published figure is known; malicious share and partition are equal.
    """
    found: dict[str, tuple[list[Any], list[Any]]] = {}
    for comparison in comparisons(study, file):
        if comparison.claim is None or not comparison.defined:
            continue
        cell, claim = comparison.runs[0], comparison.claim
        for key, wanted in claim.wanted.items():
            equal = key in claim.only or key in ("malicious_share", "partition")
            own = wanted if equal else setting_of(cell, key, wanted)
            if own != wanted:
                ours, theirs = found.setdefault(key, ([], []))
                ours += [own] if own not in ours else []
                theirs += [wanted] if wanted not in theirs else []
    return found


def unknown_settings(study: Study, file: Path = FILE) -> list[str]:
    """Settings that are known of the paper for another data set, but not for one of the study."""
    settings = load(file).settings
    every = dict.fromkeys(key for wanted in settings.values() for key in wanted)
    own = {cell.experiment.dataset for cell in study.cells} & set(settings)
    return [key for key in every if any(key not in settings[dataset] for dataset in own)]


def certainties(study: Study, file: Path = FILE) -> dict[str, list[str]]:
    """Which figures of the study's table have which certainty."""
    found: dict[str, list[str]] = {}
    for comparison in comparisons(study, file):
        if comparison.claim is not None:
            figures = found.setdefault(comparison.claim.certainty, [])
            figures += [comparison.figure] if comparison.figure not in figures else []
    return found


def rows(study: Study, runs: Iterable[Run], file: Path = FILE) -> list[dict[str, Any]]:
    """The table: our figure beside the published one; everything in points (1 point is 1 %).

    ``runs`` are the rows of the study's runs.  ``ours_mean`` and ``ours_std`` (ddof 1) are over
    seeds; the figure ``below_fedavg`` is FedAvg's accuracy less the defense's, seed by seed.
    ``difference`` is our mean less the published figure, of a range less its nearer end and 0
    within; ``beyond_spread`` says whether |difference| > 2 ``ours_std``.  What is not known or not
    defined is None: the figure, the spread of one seed, and what rests on them.
    """
    by_place: dict[Place, dict[Seed, Run]] = {}
    for run in runs:
        place = (run["setting"], run["defense"], run["attack"])
        seed = (run["data_seed"], run["training_seed"])
        by_place.setdefault(place, {})[seed] = run
    source = load(file).source
    table = []
    for comparison in comparisons(study, file):
        setting, defense, attack = comparison.place
        values = _values(comparison, by_place)
        mean = fmean(values) if values else None
        spread = stdev(values) if len(values) > 1 else None
        claim = comparison.claim
        difference = None if claim is None or mean is None else _distance(mean, claim)
        beyond = None
        if difference is not None and spread is not None:
            # figures are shares of samples: anything smaller is rounding
            beyond = abs(difference) > 2 * spread + 1e-9
        table.append(
            {
                "setting": setting,
                "defense": defense,
                "attack": attack,
                "figure": comparison.figure,
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
    """Our figure per pair of seeds, in points; none where a run has no such figure."""
    own = runs.get(comparison.place, {})
    if comparison.figure == BELOW_FEDAVG:
        rival = comparison.rivals[0]
        fedavg = runs.get((rival.setting, rival.defense, rival.attack), {})
        return [
            100 * (fedavg[seed]["accuracy"] - run["accuracy"])
            for seed, run in own.items()
            if seed in fedavg
        ]
    values = [run[comparison.figure] for run in own.values()]
    # NaN is how pandas has what is missing
    whole = all(value is not None and value == value for value in values)
    return [100 * value for value in values] if whole else []


def _distance(value: float, claim: Claim) -> float:
    """By how much a value lies above (+) or below (−) what is published, 0 within a range."""
    return max(value - claim.high, 0.0) + min(value - claim.low, 0.0)


def show(table: pd.DataFrame) -> pd.DataFrame:
    """The table ``published`` as it is read."""

    def ours(row: pd.Series) -> str:
        if pd.notna(row["undefined"]):
            return UNDEFINED
        if pd.isna(row["ours_mean"]):
            return ABSENT
        spread = "" if pd.isna(row["ours_std"]) else f" ± {row['ours_std']:.1f}"
        return f"{row['ours_mean']:.1f}{spread}".replace("-", "−")

    def theirs(row: pd.Series) -> str:
        ends = [f"{row[f'published_{end}']:.1f}".replace("-", "−") for end in ("low", "high")]
        one = row["published_low"] == row["published_high"]
        return UNKNOWN if pd.isna(row["published_low"]) else ends[0] if one else " to ".join(ends)

    def difference(row: pd.Series) -> str:
        if pd.isna(row["difference"]):
            return ABSENT
        marked = pd.notna(row["beyond_spread"]) and row["beyond_spread"]
        return signed(row["difference"], 1) + (f" {MARK}" if marked else "")

    columns: dict[str, Callable[[pd.Series], str]] = {
        "ours": ours,
        "published": theirs,
        "difference": difference,
    }
    shown = table[["setting", "attack", "defense", "figure", "seeds"]].copy()
    shown["figure"] = shown["figure"].str.replace("_", " ")
    for name, write in columns.items():
        shown[name] = [write(row) for _, row in table.iterrows()]
    return without_setting(shown)
