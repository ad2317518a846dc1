"""Paired t-tests of SkyMask against the best baseline, from accuracies written by hand."""

import math

import pandas as pd
import pytest

from skymask.reporting import captions, outputs, significance
from skymask.study import grid as study_grid

BASE = {
    "study": "tested",
    "dataset": "digits",
    "model": "mlp",
    "clients": 10,
    "samples_per_client": 10,
    "attack": "min_max",
    "defense": ["fedavg", "median", "skymask", "oracle"],
    "rounds": 10,
    "evaluate_every": 1,
    "final_evaluations": 1,
    "local_lr": 0.1,
    "data_seed": [1, 2, 3],
    "training_seed": [1, 2, 3],
    "paired": [["data_seed", "training_seed"]],
}
SKYMASK = [0.90, 0.93, 0.93]


def read(**changes):
    return study_grid.read({**BASE, **changes})


def runs_of(accuracies, attack="min_max", setting=""):
    """Runs with the accuracies of each defense, seed by seed; None is no run."""
    rows = [
        {
            "setting": setting,
            "attack": attack,
            "defense": defense,
            "data_seed": seed,
            "training_seed": seed,
            "accuracy": value,
        }
        for defense, values in accuracies.items()
        for seed, value in enumerate(values, start=1)
        if value is not None
    ]
    return pd.DataFrame(rows)


def test_skymask_is_tested_against_the_best_baseline_seed_by_seed():
    runs = runs_of(
        {
            "fedavg": [0.5, 0.6, 0.7],
            "median": [0.89, 0.91, 0.90],
            "skymask": SKYMASK,
            "oracle": [1.0, 1.0, 1.0],
        }
    )
    (row,) = significance.rows(read(), runs)
    assert (row["defense"], row["baseline"], row["seeds"]) == ("skymask", "median", 3)
    assert row["accuracy_mean"] == pytest.approx(0.92)
    assert row["baseline_mean"] == pytest.approx(0.90)
    # differences 0.01, 0.02, 0.03: mean 0.02, standard error 0.01 / √3, t = 2 √3, 2 degrees
    assert row["difference"] == pytest.approx(0.02)
    # of two degrees p = 1 − t / √(2 + t²), and t 0.975 is 4.302653
    assert row["p"] == pytest.approx(1 - math.sqrt(12) / math.sqrt(14))
    assert row["low"] == pytest.approx(0.02 - 4.302653 * 0.01 / math.sqrt(3), abs=1e-8)
    assert row["high"] == pytest.approx(0.02 + 4.302653 * 0.01 / math.sqrt(3), abs=1e-8)
    assert row["p_holm"] == row["p"]


def test_the_test_is_two_sided():
    better = runs_of({"fedavg": [0.89, 0.91, 0.90], "skymask": SKYMASK})
    worse = runs_of({"fedavg": SKYMASK, "skymask": [0.89, 0.91, 0.90]})
    (up,), (down,) = (
        significance.rows(read(defense=["fedavg", "skymask"]), runs) for runs in (better, worse)
    )
    assert down["difference"] == pytest.approx(-up["difference"])
    assert down["p"] == pytest.approx(up["p"])
    assert down["low"] == pytest.approx(-up["high"])


def test_runs_are_paired_by_their_seeds_not_by_their_order():
    runs = runs_of({"fedavg": [0.89, 0.91, 0.90], "skymask": SKYMASK})
    mixed = runs.iloc[[2, 0, 1, 4, 5, 3]]
    grid = read(defense=["fedavg", "skymask"])
    (ordered,), (shuffled,) = (significance.rows(grid, rows) for rows in (runs, mixed))
    for key, value in ordered.items():
        assert shuffled[key] == (pytest.approx(value) if isinstance(value, float) else value)


def test_only_seeds_that_both_have_are_paired():
    runs = runs_of({"fedavg": [0.89, 0.91, 0.90, 0.1], "skymask": [*SKYMASK[:2], None, 0.2]})
    (row,) = significance.rows(read(defense=["fedavg", "skymask"]), runs)
    # 0.01, 0.02 and 0.1; the means are over all that each has
    assert row["seeds"] == 3
    assert row["difference"] == pytest.approx(0.13 / 3)
    assert row["baseline_mean"] == pytest.approx(0.70)


def test_differences_that_are_all_equal_have_no_test():
    runs = runs_of({"fedavg": [0.1, 0.2, 0.3], "skymask": [0.3, 0.4, 0.5]})
    (row,) = significance.rows(read(defense=["fedavg", "skymask"]), runs)
    assert row["difference"] == pytest.approx(0.2)
    assert [row[key] for key in ("low", "high", "p", "p_holm")] == [None] * 4


def test_one_seed_has_a_difference_and_no_test():
    runs = runs_of({"fedavg": [0.5], "skymask": [0.75]})
    (row,) = significance.rows(read(defense=["fedavg", "skymask"]), runs)
    assert (row["seeds"], row["difference"], row["p"], row["low"]) == (1, 0.25, None, None)


def test_each_variant_of_skymask_is_tested_and_none_is_a_baseline():
    variants = ["fedavg", "krum", {"name": "skymask", "threshold": [0.5, 0.25]}, ["nnm", "skymask"]]
    runs = runs_of(
        {
            "fedavg": [0.6, 0.7, 0.8],
            "krum": [0.5, 0.6, 0.9],
            "skymask": [0.9, 0.91, 0.92],
            "skymask(threshold=0.25)": [0.65, 0.7, 0.9],
            "nnm + skymask": [0.3, 0.2, 0.1],
        }
    )
    rows = significance.rows(read(defense=variants), runs)
    assert [row["defense"] for row in rows] == [
        "skymask",
        "skymask(threshold=0.25)",
        "nnm + skymask",
    ]
    assert {row["baseline"] for row in rows} == {"fedavg"}


def test_each_setting_and_attack_has_its_baseline_and_all_rows_share_the_correction():
    grid = read(
        attack=["none", "min_max"], local_lr=[0.1, 0.2], defense=["fedavg", "krum", "skymask"]
    )
    quiet, loud = [0.89, 0.91, 0.90], [0.1, 0.2, 0.4]
    runs = pd.concat(
        runs_of({"fedavg": one, "krum": other, "skymask": SKYMASK}, attack, f"local_lr={rate}")
        for attack, rate, one, other in (
            ("none", 0.1, quiet, loud),
            ("none", 0.2, loud, quiet),
            ("min_max", 0.1, loud, loud),
        )
    )
    rows = significance.rows(grid, runs)
    assert [(row["setting"], row["attack"], row["baseline"]) for row in rows] == [
        ("local_lr=0.1", "none", "fedavg"),
        ("local_lr=0.1", "min_max", "fedavg"),
        ("local_lr=0.2", "none", "krum"),
    ]
    # the two of p = 0.0742 and the one of the differences 0.8, 0.73, 0.53 with p = 0.0136
    assert [row["p"] for row in rows] == pytest.approx([0.0741799, 0.0135973, 0.0741799], abs=1e-6)
    assert [row["p_holm"] for row in rows] == pytest.approx(
        [2 * 0.0741799, 3 * 0.0135973, 2 * 0.0741799], abs=1e-5
    )


def test_holms_correction_is_stepwise_monotone_and_bounded():
    # Holm 1979: 4 × 0.01, 3 × 0.02, then 2 × 0.022 = 0.044 raised to 0.06, and 1 × 0.5
    assert significance.holm([0.5, 0.02, 0.01, 0.022]) == pytest.approx([0.5, 0.06, 0.04, 0.06])
    assert significance.holm([0.6, 0.7]) == [1.0, 1.0]
    assert significance.holm([None, 0.03, None]) == [None, 0.03, None]
    assert significance.holm([]) == []


@pytest.mark.parametrize(
    ("changes", "tested"),
    [
        ({}, True),
        ({"defense": ["fedavg", ["nnm", "skymask"]]}, True),
        ({"defense": ["fedavg", "krum"]}, False),
        ({"defense": ["skymask", "oracle"]}, False),
        ({"defense": [{"name": "skymask", "threshold": [0.5, 0.25]}]}, False),
        ({"data_seed": 1, "training_seed": 1, "paired": []}, False),
        ({"data_seed": 1, "paired": []}, True),
        # the only baseline is not defined
        ({"defense": ["skymask", "trimmed_mean"], "assumed_malicious": 5}, False),
        # no two seeds in common
        ({"exclude": [{"defense": "skymask", "data_seed": [1, 2]}]}, False),
        ({"exclude": [{"defense": ["fedavg", "median"], "data_seed": [1, 2]}]}, False),
        ({"exclude": [{"defense": "skymask", "data_seed": 1}]}, True),
    ],
)
def test_a_study_has_the_table_if_two_seeds_can_be_paired(changes, tested):
    assert ("significance" in outputs.tables(read(**changes))) == tested


def test_the_readable_table_is_in_points_with_undefined_tests():
    table = pd.DataFrame(
        [
            {
                "setting": "",
                "attack": "min_max",
                "defense": "skymask",
                "accuracy_mean": 0.92,
                "baseline": "median",
                "baseline_mean": 0.9,
                "seeds": 3,
                "difference": 0.02,
                "low": -0.0048,
                "high": 0.0448,
                "p": 0.0742,
                "p_holm": 0.1484,
            },
            {
                "setting": "",
                "attack": "none",
                "defense": "skymask",
                "accuracy_mean": 0.5,
                "baseline": "fedavg",
                "baseline_mean": 0.6,
                "seeds": 1,
                "difference": -0.1,
                "low": None,
                "high": None,
                "p": 0.0001,
                "p_holm": None,
            },
        ]
    )
    shown = significance.show(table)
    assert list(shown.columns) == [
        "attack",
        "defense",
        "accuracy",
        "best baseline",
        "its accuracy",
        "difference",
        "95 % interval",
        "p",
        "p (Holm)",
        "seeds",
    ]
    first, second = shown.to_numpy().tolist()
    assert first[2:] == [
        "0.920",
        "median",
        "0.900",
        "+2.0",
        "−0.5 to +4.5",
        "0.074",
        "0.148",
        3,
    ]
    assert second[5:] == ["−10.0", "undefined", "< 0.001", "undefined", 1]


def test_the_caption_names_the_test_and_its_limits():
    caption = captions.captions(read())["significance"]
    for shown in (
        "two-sided paired t-test",
        "p (Holm) is corrected for all rows",
        "assumes differences that are independent and normally distributed over seeds",
        "chosen after the fact, which favours the baseline",
        "few seeds have little power",
        "undefined with one seed, and where all differences are equal",
    ):
        assert shown in caption
