"""A number of a table followed back to its files: what agrees, what does not, what is missing."""

import csv
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest

from skymask import cli
from skymask.artifacts.parquet import write_table
from skymask.artifacts.records import read_rows, write_rows
from skymask.artifacts.schemas import SCHEMAS
from skymask.reporting import tables
from skymask.reporting.trace import labels_of, trace
from skymask.study import grid

STUDY = {
    "study": "s",
    "dataset": "digits",
    "model": "mlp",
    "clients": 12,
    "malicious_share": [0.25, 0.5],
    "attack": [
        "min_max",
        {"name": "min_max", "perturbation": "std", "knowledge": "partial"},
        {"name": "scaling", "patch": 3, "coordinates": {"share": 0.5}},
    ],
    "defense": ["krum", ["nnm", "krum"], "bulyan"],
    "data_seed": [1, 2],
    "rounds": 5,
    "evaluate_every": 2,
    "final_evaluations": 2,
    "rounds_per_job": 3,
    "local_lr": 0.1,
}
LABEL = "min_max(perturbation=std, knowledge=partial)"
CELL = ("min_max", "krum", "malicious_share=0.25")
# evaluated in rounds 2 and 4; the fifth round is not evaluated, but its verdicts count
ACCURACY = {1: {2: 0.25, 4: 0.75}, 2: {2: 0.5, 4: 0.75}}
FPR = {1: [0.0, 0.0, 0.5, 0.5, 1.0], 2: [1.0] * 5}


def rows_of(seed, rounds):
    """The rows of metrics and aggregates of some rounds of one run."""
    metrics = [
        {
            "round": r,
            "accuracy": ACCURACY[seed][r],
            "attack_success_rate": 0.5,
            "model_updated": True,
        }
        for r in rounds
        if r in ACCURACY[seed]
    ]
    aggregates = [
        {
            "round": r,
            "fpr": FPR[seed][r - 1],
            "fnr": 0.0,
            "attacker_weight": 0.25,
            "benign_distance": 2.0,
            "model_updated": True,
        }
        for r in rounds
    ]
    return {"metrics": metrics, "aggregates": aggregates}


def write_run(results, experiment, staged):
    """All files of a run, by hand."""
    folder, run = results / "runs" / experiment.run, experiment.run
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text(experiment.to_json())
    for kind, rows in rows_of(experiment.data_seed, range(1, 6)).items():
        write_rows(folder / f"{kind}.parquet", kind, run, rows)
    jobs = [(r, r) for r in range(1, 6)] if staged else [(1, 3), (4, 5)]
    for first, last in jobs:
        place = folder / ("rounds" if staged else "spans")
        place /= str(first) if staged else f"{first}-{last}"
        for kind, rows in rows_of(experiment.data_seed, range(first, last + 1)).items():
            if rows:
                write_rows(place / f"{kind}.parquet", kind, run, rows)
        write_table(place / "model.parquet", "model", run, pa.table({"w": [0.0]}))
    split = experiment.partition_id
    write_rows(results / "partitions" / f"{split}.parquet", "partition", split, [])
    for part in ("train", "test"):
        path = results / "data" / experiment.dataset / f"{part}.parquet"
        write_table(path, "samples", experiment.dataset, pa.table({"label": [0]}))


@pytest.fixture(params=[False, True], ids=["spans", "rounds"])
def results(request, tmp_path, monkeypatch):
    """The results of a study, its files made by hand and its tables by the package."""
    monkeypatch.chdir(tmp_path)
    read_study = grid.read(STUDY)
    for cell in read_study.runs.values():
        write_run(tmp_path / "results", cell.experiment, request.param)
    target = tmp_path / "results" / "tables" / "s"
    runs = tables.runs_table(read_study, tmp_path / "results" / "runs")
    cells = tables.cells_table(runs, read_study)
    rows = pa.Table.from_pandas(runs, schema=SCHEMAS["runs"], preserve_index=False)
    write_table(target / "runs.parquet", "runs_table", "s", rows)
    keys = ["setting", "defense", "attack", "seeds", "undefined"]
    figures = {
        "accuracy": ["accuracy"],
        "detection": ["fpr", "fnr"],
        "got_through": ["attacker_weight", "benign_distance"],
        "attack_success": ["attack_success_rate", "accuracy"],
    }
    for name, of_table in figures.items():
        columns = [f"{figure}_{kind}" for figure in of_table for kind in ("mean", "std")]
        plain = cells[[*keys, *columns]]
        (target / f"{name}.csv").write_text(plain.to_csv(index=False, lineterminator="\n"))
        table = pa.Table.from_pandas(plain, preserve_index=False)
        write_table(target / f"{name}.parquet", f"{name}_table", "s", table)
    return Path("results")


def table(results, name="accuracy.csv"):
    return results / "tables" / "s" / name


def follow(results, name="accuracy.csv", cell="min_max,krum", setting=CELL[2], columns=()):
    return trace(table(results, name), cell, setting, columns)


def first_run(results):
    """The first run of the cell: that of data seed 1."""
    read_study = grid.read(STUDY)
    named = [c for c in read_study.cells if (c.attack, c.defense, c.setting) == CELL]
    assert [cell.experiment.data_seed for cell in named] == [1, 2]
    return named[0].experiment, results / "runs" / named[0].experiment.run


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        # ((0.25 + 0.75) / 2 + (0.5 + 0.75) / 2) / 2, and the spread of 0.5 and 0.625
        ("accuracy", "accuracy_mean", 0.5625),
        ("accuracy", "accuracy_std", 0.125 / 2**0.5),
        ("detection", "fpr_mean", (0.4 + 1.0) / 2),
        ("detection", "fnr_mean", 0.0),
        ("got_through", "attacker_weight_mean", 0.25),
        ("got_through", "benign_distance_mean", 2.0),
        ("attack_success", "attack_success_rate_mean", 0.5),
        ("attack_success", "accuracy_mean", 0.5625),
    ],
)
def test_every_number_of_a_cell_is_computed_again(results, name, column, value, suffix):
    found = follow(results, f"{name}.{suffix}", columns=[column])
    assert found.problems == []
    line = next(line for line in found.text.splitlines() if "computed again" in line)
    shown = line.replace(",", "").split()
    assert float(shown[1]) == pytest.approx(value, abs=1e-12)
    assert float(shown[5]) == pytest.approx(value, abs=1e-12)
    assert line.endswith("they agree")


def test_the_runs_their_seeds_and_their_files_are_named(results):
    found = follow(results)
    assert "over 2 runs, seeds (data.training) 1.1, 2.1" in found.text
    experiment, folder = first_run(results)
    files = [path for path in folder.rglob("*") if path.is_file()]
    files.append(results / "partitions" / f"{experiment.partition_id}.parquet")
    files += (results / "data" / "digits").glob("*.parquet")
    lines = {line.split()[0]: line for line in found.text.splitlines() if " sha256 " in line}
    for path in files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert f"sha256 {digest}" in lines[str(path)]
    assert f"spec {experiment.hash}" in lines[str(folder / "metrics.parquet")]
    assert "versions [1]: " in found.text
    assert "torch 2" in found.text
    assert "rounds 1 to 5, 2 evaluations up to round 4" in found.text


@pytest.mark.parametrize(
    "cell",
    [
        f"{LABEL},nnm + krum",
        f"nnm + krum,{LABEL}",
        f" {LABEL} , nnm + krum ",
        "scaling(patch=3)[share=0.5],nnm + krum",
    ],
)
def test_labels_with_commas_and_brackets_are_found_in_either_order(results, cell):
    assert follow(results, cell=cell).problems == []


def test_labels_are_split_at_commas_outside_brackets():
    assert labels_of("a(b=1, c=2)[d=3, e=4] , f + g(h=5)") == [
        "a(b=1, c=2)[d=3, e=4]",
        "f + g(h=5)",
    ]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"cell": "min_mx,krum"}, "'min_mx' is not in it, near: min_max"),
        ({"cell": "min_max(perturbation=std),krum"}, f"near: {LABEL}"),
        ({"cell": "min_max,krm"}, "near: krum, nnm + krum"),
        ({"cell": "krum,krum"}, "has no cell 'krum,krum'"),
        ({"cell": "krum"}, "write attack,defense"),
        ({"setting": None}, "add --setting with one of\n  malicious_share=0.25"),
        ({"setting": "malicious_share=0.3"}, "but\n  malicious_share=0.25\n  malicious_share=0.5"),
        ({"columns": ["fpr_mean"]}, "known: accuracy_mean, accuracy_std"),
        ({"cell": "min_max,bulyan", "setting": "malicious_share=0.5"}, "is undefined: bulyan"),
        ({"name": "runs.parquet"}, "has no cells"),
        ({"name": "accuracy.md"}, "name the .csv or .parquet file"),
    ],
)
def test_an_unknown_cell_setting_or_column_is_an_error_with_hints(results, change, shown):
    with pytest.raises(ValueError) as caught:
        follow(results, **change)
    assert shown in str(caught.value)


def changed(path, column, value, line=1):
    """Write another value into a CSV table."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[line][rows[0].index(column)] = value
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def line_of_the_cell(path):
    rows = list(csv.DictReader(path.open(newline="")))
    keys = ("attack", "defense", "setting")
    return next(i for i, row in enumerate(rows, 1) if tuple(row[k] for k in keys) == CELL)


@pytest.mark.parametrize(
    ("column", "value"),
    [("accuracy_mean", "0.5626"), ("accuracy_std", "0.0"), ("accuracy_std", "")],
)
def test_a_number_that_was_changed_in_the_table_is_found(results, column, value):
    path = table(results)
    changed(path, column, value, line_of_the_cell(path))
    found = follow(results)
    assert found.problems == [f"{column} of the table is not that of its runs"]
    assert "they DIFFER" in found.text


def test_a_wrong_number_of_seeds_is_found(results):
    changed(table(results), "seeds", "3", line_of_the_cell(table(results)))
    assert follow(results).problems == ["the table has 3 seeds, runs.parquet has 2 runs"]


def test_rows_of_a_run_that_were_changed_are_found(results):
    experiment, folder = first_run(results)
    path = folder / "metrics.parquet"
    rows = read_rows(path, "metrics", experiment.run).to_pylist()
    rows[-1]["accuracy"] = 0.5
    write_rows(path, "metrics", experiment.run, rows)
    problems = "\n".join(follow(results).problems)
    assert "accuracy is 0.5 in runs.parquet, 0.375 by its files" in problems
    assert f"{path} differs from the rows of its jobs" in problems
    assert "accuracy_mean of the table is not that of its runs" in problems


def test_rows_of_a_run_that_were_changed_to_the_same_mean_are_found(results):
    experiment, folder = first_run(results)
    path = folder / "metrics.parquet"
    rows = read_rows(path, "metrics", experiment.run).to_pylist()
    rows[0]["accuracy"], rows[1]["accuracy"] = rows[1]["accuracy"], rows[0]["accuracy"]
    write_rows(path, "metrics", experiment.run, rows)
    (problem,) = follow(results).problems
    assert f"{path} differs from the rows of its jobs" in problem


@pytest.mark.parametrize(
    "kind", ["metrics", "aggregates", "experiment", "partition", "data", "job", "model"]
)
def test_a_file_that_is_missing_is_named(results, kind, capsys):
    experiment, folder = first_run(results)
    jobs = sorted(folder.glob("*/*/aggregates.parquet"))
    path = {
        "metrics": folder / "metrics.parquet",
        "aggregates": folder / "aggregates.parquet",
        "experiment": folder / "experiment.json",
        "partition": results / "partitions" / f"{experiment.partition_id}.parquet",
        "data": results / "data" / "digits" / "train.parquet",
        "job": jobs[-1],
        "model": jobs[-1].with_name("model.parquet"),
    }[kind]
    path.unlink()
    arguments = ["trace", str(table(results)), "--cell", "min_max,krum", "--setting", CELL[2]]
    assert cli.main(arguments) == 1
    shown = capsys.readouterr().out
    assert "PROBLEM: " in shown
    assert f"{path}: it is missing" in shown
    if kind in ("metrics", "aggregates", "experiment"):
        assert "cannot be computed again" in shown
    else:
        assert "they agree" in shown


def test_a_run_that_has_lost_rounds_is_named(results):
    experiment, folder = first_run(results)
    path = folder / "aggregates.parquet"
    rows = read_rows(path, "aggregates", experiment.run).to_pylist()
    write_rows(path, "aggregates", experiment.run, rows[:4])
    found = follow(results)
    assert f"{path} ends before round 5" in "\n".join(found.problems)
    assert "cannot be computed again" in found.text


def test_a_file_of_another_run_is_found(results):
    _, folder = first_run(results)
    other = next(path for path in (results / "runs").iterdir() if path != folder)
    (folder / "experiment.json").write_bytes((other / "experiment.json").read_bytes())
    assert "it belongs to another run" in "\n".join(follow(results).problems)
    values = json.loads((folder / "experiment.json").read_text())
    (folder / "experiment.json").write_text(json.dumps({**values, "local_lr": 9.0}))
    assert "experiment.json: this was written for run" in "\n".join(follow(results).problems)


def test_a_foreign_partition_is_found(results):
    experiment, _ = first_run(results)
    path = results / "partitions" / f"{experiment.partition_id}.parquet"
    write_rows(path, "partition", "other", [])
    problems = "\n".join(follow(results).problems)
    assert f"cannot read {path}: expected spec=" in problems
    assert "found other" in problems


def test_the_command_succeeds_if_all_numbers_agree(results, capsys):
    arguments = ["trace", str(table(results)), "--cell", "min_max,krum", "--setting", CELL[2]]
    assert cli.main([*arguments, "--column", "accuracy_mean"]) == 0
    shown = capsys.readouterr().out
    assert shown.endswith("0.5625 in the table, 0.5625 computed again: they agree\n")
    assert "accuracy_std" not in shown


def test_a_missing_table_is_named(results, capsys):
    arguments = ["--cell", "min_max,krum"]
    for name in ("rates.csv", "rates.parquet"):
        assert cli.main(["trace", str(table(results, name)), *arguments]) == 1
        assert f"{name} is missing: name a table" in capsys.readouterr().err
    table(results, "runs.parquet").unlink()
    assert cli.main(["trace", str(table(results)), *arguments, "--setting", CELL[2]]) == 1
    assert "runs.parquet is missing" in capsys.readouterr().err


def test_the_runs_table_has_the_columns_that_are_traced():
    assert {"run", "rounds", "round", "evaluations", *tables.METRICS} <= set(SCHEMAS["runs"].names)
