"""Published values, and their comparison with cells of a study."""

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from skymask.artifacts.parquet import read_table
from skymask.artifacts.records import write_rows
from skymask.reporting import captions, console, outputs, published, published_table, table_files
from skymask.study import grid as study_grid
from skymask.study.model import StudyFile
from skymask.study.registry import registry

ROOT = Path(__file__).parents[2]
PAPER = {
    "study": "ours",
    "dataset": "cifar10",
    "model": "resnet20",
    "clients": 100,
    "malicious_share": 0.2,
    "partition": {"name": "label_bias", "bias": 0.5},
    "root_size": 100,
    "attack": "min_max",
    "defense": ["fedavg", "krum", {"name": "skymask", "mask_lr": 1e8}],
    "rounds": 500,
    "evaluate_every": 5,
    "batch_size": 64,
    "local_lr": 0.5,
    "global_lr": 0.5,
    "gradient_clip": 0.01,
    "loss": "batch_softmax",
    "data_seed": [1, 2, 3],
    "training_seed": [1, 2, 3],
    "paired": [["data_seed", "training_seed"]],
}
SEEDS = (1, 2, 3)


def read(**changes):
    config = {**PAPER, **changes}
    return study_grid.read({k: v for k, v in config.items() if v is not ...})


def claims(grid):
    """The published figures of each cell, None where it is unknown."""
    return {
        (*comparison.place, comparison.metric): comparison.claim
        and (comparison.claim.low, comparison.claim.high)
        for comparison in published.comparisons(grid)
    }


def known(grid):
    return {place: claim for place, claim in claims(grid).items() if claim is not None}


def run_rows(figures, setting="", **others):
    """Rows of runs: ``figures`` maps (defense, attack) to an accuracy per seed.

    The accuracy by the largest output is half of it.
    """
    return [
        {
            "setting": setting,
            "defense": defense,
            "attack": attack,
            "data_seed": seed,
            "training_seed": seed,
            "accuracy": accuracy,
            "argmax_accuracy": accuracy / 2,
            "fpr": None,
            "fnr": None,
            **others.get(defense, {}),
        }
        for (defense, attack), accuracies in figures.items()
        for seed, accuracy in zip(SEEDS, accuracies, strict=False)
    ]


def table_of(grid, rows):
    found = published_table.rows(grid, rows)
    return {(row["defense"], row["attack"], row["figure"]): row for row in found}


# --- the file -----------------------------------------------------------------------------------


def test_the_file_contains_exactly_the_known_values():
    accuracy = {
        ("cifar10", "min_max"): (58, 68, 77),
        ("cifar10", "fang_trim"): (10, 68, 76),
        ("cifar10", "fang_krum"): (58, 75, 77),
        ("cifar100", "min_max"): (16, 30, 44),
        ("cifar100", "fang_trim"): (1, 34, 44),
        ("cifar100", "fang_krum"): (3, 37, 44),
    }
    wanted = {
        ("accuracy", *place, defense): [(value, value, {})]
        for place, values in accuracy.items()
        for defense, value in zip(("fedavg", "fltrust", "skymask"), values, strict=True)
    }
    detection = {
        ("tolpegin", "min_max"): (36.5, 88),
        ("tolpegin", "min_sum"): (38.8, 78),
        ("tolpegin", "fang_krum"): (37.4, 84),
        ("fldetector", "min_max"): (100, 100),
        ("fldetector", "min_sum"): (100, 100),
        ("fldetector", "fang_krum"): (87.2, 100),
        ("skymask", "min_max"): (0, 0),
        ("skymask", "min_sum"): (0, 0),
        ("skymask", "fang_krum"): (0, 0),
    }
    for (defense, attack), rates in detection.items():
        for figure, rate in zip(("fpr", "fnr"), rates, strict=True):
            wanted[figure, "cifar10", attack, defense] = [(rate, rate, {})]
    for dataset in ("fashion_mnist", "cifar10", "cifar100"):
        for attack in ("min_max", "min_sum", "fang_trim", "fang_krum", "scaling", "lie_backdoor"):
            for figure in ("fpr", "fnr"):
                many = (0, 0, {"clients": [200, 500]})
                wanted.setdefault((figure, dataset, attack, "skymask"), []).append(many)
        for defense, low, high in (("skymask", -1, 1), ("fltrust", 2, 5), ("krum", 6, 27)):
            wanted["below_fedavg", dataset, "none", defense] = [(low, high, {})]
    found = {
        key: [(claim.low, claim.high, claim.only) for claim in of_key]
        for key, of_key in published.load().claims.items()
    }
    assert found == wanted


def test_every_value_has_a_source_and_a_certainty():
    file = published.load()
    assert "2312.12484" in file.source
    assert "full text not available" in file.source
    certainties = {claim.certainty for of_key in file.claims.values() for claim in of_key}
    assert certainties == {
        "quoted",
        "quoted with two decimals",
        "read from text, which names no data set",
    }


def test_the_names_in_the_file_are_those_of_studies():
    file = published.load()
    datasets = registry("skymask.data.datasets", "DATASETS")
    attacks = {
        **registry("skymask.attacks", "ATTACKS"),
        **registry("skymask.attacks", "DATA_ATTACKS"),
    }
    defenses = registry("skymask.defenses", "DEFENSES")
    masks = set(defenses["skymask"].parameters)
    assert set(file.settings) <= set(datasets)
    for settings in file.settings.values():
        assert set(settings) <= {*StudyFile.model_fields, *masks}
    for figure, dataset, attack, defense in file.claims:
        assert dataset in file.settings
        assert attack in file.studied[figure]["attacks"]
        assert defense in file.studied[figure]["defenses"]
    for studied in file.studied.values():
        assert set(studied["attacks"]) <= set(attacks)
        assert set(studied["defenses"]) <= set(defenses)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("unit: share", "unit: miles", "entry 1 of figures"),
        ("skymask: [-1, 1]", "skymask: [1, -1]", "entry 7 of figures .*1 is greater than -1"),
        ("datasets: [cifar100]", "datasets: [imagenet]", "entry 2 of figures"),
        ("source: ", "sauce: ", "the file does not have the form"),
        ("figures:\n  - ", "figures: [\n  - ", "the file does not have the form"),
    ],
)
def test_an_incomplete_file_is_an_error_that_names_the_entry(tmp_path, old, new, message):
    text = published.FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "published.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(published.PublishedError, match=f"published.yaml: {message}"):
        published.load(path)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(published.PublishedError, match=r"nowhere\.yaml is missing"):
        published.load(tmp_path / "nowhere.yaml")


# --- what is compared ---------------------------------------------------------------------------


def test_cells_in_the_papers_setting_are_compared_with_known_and_unknown_values():
    label = "skymask(mask_lr=100000000.0)"
    assert claims(read()) == {
        ("", "fedavg", "min_max", "accuracy"): (58, 58),
        ("", "krum", "min_max", "accuracy"): None,
        ("", label, "min_max", "accuracy"): (77, 77),
        ("", label, "min_max", "fpr"): (0, 0),
        ("", label, "min_max", "fnr"): (0, 0),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "digits", "model": "mlp", "samples_per_client": 10},
        {"partition": "iid"},
        {"partition": {"name": "label_bias", "bias": 0.3}},
        {"malicious_share": 0.3},
        {"attack": "ipm"},
        {"attack": {"name": "min_max", "coordinates": {"share": 0.1}}},
        {"defense": ["median", ["nnm", "skymask"], "oracle"]},
    ],
)
def test_cells_that_the_paper_does_not_study_are_not_compared(changes):
    grid = read(**changes)
    assert claims(grid) == {}
    assert "published" not in outputs.tables(grid)


def test_shares_that_the_paper_studies_without_known_values_are_unknown():
    grid = read(malicious_share=0.4)
    assert set(claims(grid).values()) == {None}
    assert "published" not in outputs.tables(grid)


def test_a_study_has_the_table_if_a_value_of_a_defined_cell_is_known():
    assert "published" in outputs.tables(read())
    # the paper's figure for krum is not known
    assert "published" not in outputs.tables(read(defense="krum"))
    # tolpegin's is, under min_max
    assert "published" in outputs.tables(read(defense="tolpegin"))
    assert "published" not in outputs.tables(read(defense="tolpegin", attack="fang_trim"))


def test_a_cell_that_cannot_be_run_is_not_known():
    grid = read(defense=["krum", "skymask"])
    assert published.known(grid)
    cells = [replace(cell, undefined="too few clients") for cell in grid.cells]
    assert not published.known(replace(grid, cells=cells))


def test_only_the_papers_value_of_a_varied_setting_is_compared():
    grid = read(root_bias=[None, 0.5], defense="skymask")
    assert known(grid) == {
        ("root_bias=None", "skymask", "min_max", "accuracy"): (77, 77),
        ("root_bias=None", "skymask", "min_max", "fpr"): (0, 0),
        ("root_bias=None", "skymask", "min_max", "fnr"): (0, 0),
    }
    assert ("root_bias=0.5", "skymask", "min_max", "accuracy") in claims(grid)


def test_all_settings_are_compared_if_none_is_the_papers():
    grid = read(clients=[20, 40], samples_per_client=50, defense="fedavg")
    assert known(grid) == {
        (f"clients={clients}", "fedavg", "min_max", "accuracy"): (58, 58) for clients in (20, 40)
    }


def test_values_for_many_clients_are_valid_only_for_these_numbers():
    grid = read(
        dataset="fashion_mnist",
        model="cnn",
        clients=[100, 200, 500],
        attack=["none", "scaling"],
        defense=["fedavg", "skymask"],
    )
    assert known(grid) == {
        ("clients=100", "skymask", "none", "below_fedavg"): (-1, 1),
        **{
            (f"clients={clients}", "skymask", "scaling", figure): (0, 0)
            for clients in (200, 500)
            for figure in ("fpr", "fnr")
        },
    }


def test_values_for_many_clients_are_not_compared_with_fewer():
    grid = read(dataset="fashion_mnist", model="cnn", clients=20, attack="scaling")
    assert set(claims(grid).values()) == {None}


def test_only_the_papers_malicious_share_has_known_values():
    grid = read(malicious_share=[0.2, 0.4], defense="fedavg")
    assert claims(grid) == {
        ("malicious_share=0.2", "fedavg", "min_max", "accuracy"): (58, 58),
        ("malicious_share=0.4", "fedavg", "min_max", "accuracy"): None,
    }


def test_settings_are_stacked_as_in_the_other_tables():
    grid = read(attack=["min_max", "fang_krum"], defense="fedavg", local_lr=[0.5, 0.1])
    assert list(claims(grid).items()) == [
        (("local_lr=0.5", "fedavg", "min_max", "accuracy"), (58, 58)),
        (("local_lr=0.5", "fedavg", "fang_krum", "accuracy"), (58, 58)),
        (("local_lr=0.1", "fedavg", "min_max", "accuracy"), None),
        (("local_lr=0.1", "fedavg", "fang_krum", "accuracy"), None),
    ]


def test_a_loss_to_fedavg_needs_fedavg():
    assert known(read(attack="none", defense=["krum", "fltrust"])) == {}
    assert known(read(attack="none", defense=["fedavg", "krum", "fltrust"])) == {
        ("", "krum", "none", "below_fedavg"): (6, 27),
        ("", "fltrust", "none", "below_fedavg"): (2, 5),
    }


def test_without_attack_a_defense_must_assume_the_papers_share():
    told = {"attack": "none", "defense": ["fedavg", "krum"]}
    assert ("", "krum", "none", "below_fedavg") in known(read(**told))
    assert known(read(**told, assumed_malicious=30)) == {}


# --- the numbers --------------------------------------------------------------------------------


def test_the_difference_is_ours_minus_the_published_value_in_points():
    grid = read(defense=["fedavg", "fltrust", "krum"])
    accuracies = {
        ("fedavg", "min_max"): (0.5, 0.54, 0.58),
        ("fltrust", "min_max"): (0.675, 0.68, 0.685),
        ("krum", "min_max"): (0.1, 0.2, 0.3),
    }
    table = table_of(grid, run_rows(accuracies))
    fedavg = table["fedavg", "min_max", "accuracy"]
    assert fedavg["seeds"] == 3
    assert fedavg["ours_mean"] == pytest.approx(54)
    assert fedavg["ours_std"] == pytest.approx(4)  # of 50, 54, 58
    assert (fedavg["published_low"], fedavg["published_high"]) == (58, 58)
    assert fedavg["difference"] == pytest.approx(-4)
    # 4 points are one of our standard deviations
    assert fedavg["beyond_spread"] is False
    assert fedavg["certainty"] == "quoted with two decimals"
    assert "2312.12484" in fedavg["source"]
    assert table["fltrust", "min_max", "accuracy"]["difference"] == pytest.approx(0, abs=1e-9)
    krum = table["krum", "min_max", "accuracy"]
    assert krum["ours_mean"] == pytest.approx(20)
    for unknown in ("published_low", "published_high", "difference", "beyond_spread", "source"):
        assert krum[unknown] is None


@pytest.mark.parametrize(
    ("accuracies", "beyond"),
    [
        ((0.55, 0.56, 0.57), False),  # 2 points below 58, spread 1: just not more than twice
        ((0.549, 0.559, 0.569), True),  # 2.1 points
        ((0.60, 0.60, 0.60), True),  # no spread at all
        ((0.58, 0.58, 0.58), False),
        ((0.40,), None),  # one seed has no spread
    ],
)
def test_a_difference_is_marked_beyond_twice_our_spread(accuracies, beyond):
    grid = read(defense="fedavg")
    table = table_of(grid, run_rows({("fedavg", "min_max"): accuracies}))
    assert table["fedavg", "min_max", "accuracy"]["beyond_spread"] is beyond


def test_one_seed_has_a_difference_and_no_spread():
    table = table_of(read(defense="fedavg"), run_rows({("fedavg", "min_max"): (0.5,)}))
    row = table["fedavg", "min_max", "accuracy"]
    assert (row["seeds"], row["ours_mean"], row["ours_std"]) == (1, 50, None)
    assert row["difference"] == pytest.approx(-8)


def test_rates_are_compared_in_per_cent():
    grid = read(defense="tolpegin")
    rates = {"tolpegin": {"fpr": 0.4, "fnr": 0.8}}
    table = table_of(grid, run_rows({("tolpegin", "min_max"): (0.5, 0.6, 0.7)}, **rates))
    fpr, fnr = (table["tolpegin", "min_max", figure] for figure in ("fpr", "fnr"))
    assert (fpr["ours_mean"], fpr["published_low"]) == (pytest.approx(40), 36.5)
    assert fpr["difference"] == pytest.approx(3.5)
    assert fnr["difference"] == pytest.approx(-8)


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_rate_that_a_run_does_not_have_is_missing(missing):
    grid = read(defense="tolpegin")
    rates = {"tolpegin": {"fpr": missing, "fnr": 0.8}}
    table = table_of(grid, run_rows({("tolpegin", "min_max"): (0.5, 0.6, 0.7)}, **rates))
    row = table["tolpegin", "min_max", "fpr"]
    assert (row["seeds"], row["ours_mean"], row["difference"]) == (3, None, None)
    assert row["published_low"] == 36.5


def test_losses_to_fedavg_are_paired_by_seed_and_compared_with_the_published_range():
    grid = read(attack="none", defense=["fedavg", "krum", "fltrust", "skymask"])
    accuracies = {
        ("fedavg", "none"): (0.80, 0.90, 0.70),
        ("krum", "none"): (0.75, 0.85, 0.66),  # 5, 5 and 4 points below, where 6 to 27 are known
        ("fltrust", "none"): (0.76, 0.86, 0.67),  # 4, 4 and 3: within 2 to 5
        ("skymask", "none"): (0.83, 0.92, 0.71),  # 3, 2 and 1 above, where 1 is known
    }
    table = table_of(grid, run_rows(accuracies))
    krum = table["krum", "none", "below_fedavg"]
    assert krum["ours_mean"] == pytest.approx(14 / 3)
    assert krum["ours_std"] == pytest.approx(1 / math.sqrt(3))
    assert krum["difference"] == pytest.approx(14 / 3 - 6)
    assert krum["beyond_spread"] is True
    fltrust = table["fltrust", "none", "below_fedavg"]
    assert (fltrust["difference"], fltrust["beyond_spread"]) == (0, False)
    skymask = table["skymask", "none", "below_fedavg"]
    assert skymask["ours_mean"] == pytest.approx(-2)
    assert skymask["difference"] == pytest.approx(-1)
    assert skymask["beyond_spread"] is False


def test_only_seeds_that_both_have_count_for_a_loss_to_fedavg():
    grid = read(attack="none", defense=["fedavg", "krum"])
    rows = run_rows({("fedavg", "none"): (0.8, 0.9), ("krum", "none"): (0.7, 0.7, 0.1)})
    row = table_of(grid, rows)["krum", "none", "below_fedavg"]
    assert (row["seeds"], row["ours_mean"]) == (2, pytest.approx(15))


def test_an_undefined_cell_has_a_reason():
    grid = read(defense=["fedavg", "trimmed_mean"], assumed_malicious=60)
    rows = table_of(grid, run_rows({("fedavg", "min_max"): (0.5, 0.5, 0.5)}))
    row = rows["trimmed_mean", "min_max", "accuracy"]
    assert row["undefined"].startswith("trimmed_mean needs n > 2 f clients")
    assert (row["seeds"], row["ours_mean"]) == (0, None)
    assert rows["fedavg", "min_max", "accuracy"]["undefined"] is None


# --- how it is read -----------------------------------------------------------------------------


def test_the_table_is_read_with_ranges_marks_and_unknowns():
    grid = read(attack=["none", "min_max"], defense=["fedavg", "krum", "fltrust", "trimmed_mean"])
    rows = published_table.rows(
        grid,
        run_rows(
            {
                ("fedavg", "none"): (0.8, 0.9, 0.7),
                ("krum", "none"): (0.75, 0.85, 0.66),
                ("fltrust", "none"): (0.84,),
                ("fedavg", "min_max"): (0.599, 0.60, 0.601),
                ("krum", "min_max"): (0.5,),
            }
        ),
    )
    for row in rows:
        row["undefined"] = "too many" if row["defense"] == "trimmed_mean" else None
    shown = published_table.show(pd.DataFrame(rows))
    assert list(shown.columns) == [
        "attack",
        "defense",
        "figure",
        "seeds",
        "ours",
        "published",
        "difference",
    ]
    found = {tuple(row[:3]): row[3:] for row in shown.to_numpy().tolist()}
    assert found["none", "krum", "below fedavg"] == [3, "4.7 ± 0.6", "6.0 to 27.0", "−1.3 †"]
    assert found["none", "fltrust", "below fedavg"] == [1, "−4.0", "2.0 to 5.0", "−6.0"]
    assert found["min_max", "fedavg", "accuracy"] == [3, "60.0 ± 0.1", "58.0", "+2.0 †"]
    assert found["min_max", "krum", "accuracy"] == [1, "50.0", "unknown", "–"]
    assert found["min_max", "fltrust", "accuracy"] == [0, "–", "68.0", "–"]
    assert found["min_max", "trimmed_mean", "accuracy"] == [0, "undefined", "unknown", "–"]


def test_the_caption_states_that_no_setting_differs():
    caption = captions.captions(read())["published"]
    assert "No known setting of the paper differs." in caption
    assert "quoted with two decimals: accuracy; quoted: fpr, fnr" in caption
    assert "arXiv 2312.12484; full text not available" in caption
    assert "no mark with one seed" in caption
    assert "below fedavg" not in caption


def test_the_caption_states_how_accuracy_is_measured():
    measured = "With loss batch_softmax accuracy is measured as in the code released with SkyMask"
    assert measured in captions.captions(read())["published"]
    other = captions.captions(read(loss="cross_entropy"))["published"]
    assert measured not in other
    assert "paper's: loss cross_entropy (published batch_softmax)." in other


def test_published_values_are_compared_with_cells_of_the_published_loss():
    grid = read(loss=["batch_softmax", "cross_entropy"], defense=["fedavg", "krum"])
    claimed = {place[:2]: value for place, value in claims(grid).items()}
    assert claimed == {
        ("loss=batch_softmax", "fedavg"): (58, 58),
        ("loss=batch_softmax", "krum"): None,
    }
    # the only loss of a study is compared, whatever it is; the caption names the difference
    assert claims(read(loss="cross_entropy")) == claims(read())


@pytest.mark.parametrize("loss", ["batch_softmax", "cross_entropy"])
def test_accuracy_is_compared_by_the_measure_of_the_loss(loss):
    runs = run_rows({("fedavg", "none"): [0.8] * 3, ("krum", "none"): [0.6] * 3})
    table = table_of(read(loss=loss, attack=["none"]), runs)
    assert table["fedavg", "none", "accuracy"]["ours_mean"] == pytest.approx(80)
    assert table["krum", "none", "below_fedavg"]["ours_mean"] == pytest.approx(20)


def test_the_caption_of_a_scaled_down_study_lists_what_differs():
    small = {"clients": 20, "samples_per_client": 50, "rounds": 20, "final_evaluations": 1}
    caption = captions.captions(read(small=small, scale="small"))["published"]
    assert (
        "Settings that differ from the paper's: clients 20 (published 100), "
        "samples_per_client 50 (all), rounds 20 (500)." in caption
    )
    assert caption.endswith(
        "Scaled down: clients 20 (full scale 100), samples_per_client 50 (all), rounds 20 (500), "
        "final_evaluations 1 (5)."
    )


def test_the_caption_names_settings_of_the_defense_that_differ_and_those_that_are_unknown():
    caption = captions.captions(read(defense=["fedavg", "skymask"]))["published"]
    assert "paper's: mask_lr 1e+07 (published 1e+08)." in caption
    hundred = captions.captions(read(dataset="cifar100", rounds=50))["published"]
    assert (
        "No known setting of the paper differs. Settings the paper does not state: rounds, "
        in hundred
    )
    assert "mask_clamp" in hundred


def test_the_caption_covers_only_compared_cells():
    # fashion_mnist under none alone: skymask's steps differ, krum's unknown figure does not count
    grid = read(
        dataset="fashion_mnist",
        model="cnn",
        rounds=2000,
        batch_size=32,
        attack=["none", "min_max"],
        defense=["fedavg", {"name": "skymask", "mask_steps": 5}],
    )
    assert published_table.differences(grid) == {"mask_steps": ([5], [20])}


@pytest.fixture
def written(tmp_path):
    """The tables of a small study, as they are written, below ``tmp_path``."""
    grid = read(defense=["fedavg", "krum"], rounds=5, final_evaluations=1)
    accuracies = {1: 0.5, 2: 0.54, 3: 0.58}
    for name, cell in grid.runs.items():
        accuracy = accuracies[cell.experiment.data_seed]
        metrics = [{"round": 5, "accuracy": accuracy, "argmax_accuracy": 0.1}]
        rounds = [{"round": r, "model_updated": True} for r in range(1, 6)]
        write_rows(tmp_path / name / "metrics.parquet", "metrics", name, metrics)
        write_rows(tmp_path / name / "aggregates.parquet", "aggregates", name, rounds)
    table_files.write(grid, tmp_path, tmp_path / "tables" / "ours")
    return tmp_path / "tables" / "ours"


def test_the_table_is_written_like_the_others(written):
    columns = [
        "setting",
        "defense",
        "attack",
        "figure",
        "seeds",
        "undefined",
        "ours_mean",
        "ours_std",
        "published_low",
        "published_high",
        "difference",
        "beyond_spread",
        "certainty",
        "source",
    ]
    table = read_table(written / "published.parquet", "published_table", "ours")
    assert table.column_names == columns
    assert all(field.metadata[b"description"] for field in table.schema)
    fedavg, krum = table.to_pylist()
    assert (fedavg["ours_mean"], fedavg["published_low"]) == (pytest.approx(54), 58)
    assert (fedavg["beyond_spread"], krum["beyond_spread"]) == (False, None)
    assert (krum["published_low"], krum["source"], krum["undefined"]) == (None, None, None)
    with (written / "published.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == columns
    assert [row["beyond_spread"] for row in rows] == ["False", ""]
    markdown = (written / "published.md").read_text(encoding="utf-8")
    row = "| min_max | fedavg | accuracy | 3 | 54.0 ± 4.0 | 58.0 | −4.0 |"
    assert row in re.sub(" +", " ", markdown)
    assert "Settings that differ from the paper's: rounds 5 (published 500)." in markdown
    latex = (written / "published.tex").read_text(encoding="utf-8")
    assert "min\\_max & krum & accuracy & 3 & 54.0 $\\pm$ 4.0 & unknown & -- \\\\" in latex
    assert "\\label{tab:ours_published}" in latex


def test_the_summary_names_the_table(written, tmp_path):
    assert f"comparison with the paper's values: {written}/published.md\n" in console.summary(
        "ours", tmp_path
    )


# --- caching ------------------------------------------------------------------------------------


def test_the_digest_of_a_study_covers_the_published_file_where_it_is_shown(tmp_path, monkeypatch):
    compared, others = read(), read(defense="krum")
    before = outputs.digest(compared), outputs.digest(others)
    changed = tmp_path / "published.yaml"
    text = published.FILE.read_text(encoding="utf-8")
    changed.write_text(text.replace("skymask: 0.77", "skymask: 0.78"), encoding="utf-8")
    digest = published.digest(changed)
    assert digest != published.digest()
    monkeypatch.setattr(published, "digest", lambda: digest)
    after = outputs.digest(compared), outputs.digest(others)
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_a_comment_in_the_published_file_changes_nothing(tmp_path):
    text = published.FILE.read_text(encoding="utf-8")
    (tmp_path / "copy.yaml").write_text(f"# once more\n{text}", encoding="utf-8")
    assert published.digest(tmp_path / "copy.yaml") == published.digest()


def test_the_digest_of_a_study_covers_what_was_scaled_down():
    small = {"rounds": 50, "clients": 50}
    once = read(small=small, scale="small")
    # the same runs, scaled down from another study
    again = read(clients=80, small=small, scale="small")
    assert set(once.runs) == set(again.runs)
    assert outputs.digest(once) != outputs.digest(again)
    assert outputs.digest(once) == outputs.digest(read(small=small, scale="small"))
    assert json.loads(json.dumps(once.reduced)) == {"rounds": [500, 50], "clients": [100, 50]}
