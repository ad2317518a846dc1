"""The tables of a study, from hand-written rows."""

import csv
import math
import re
import shutil
import subprocess

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skymask.artifacts.errors import ArtifactError
from skymask.artifacts.parquet import read_table, write_table
from skymask.artifacts.records import write_rows
from skymask.reporting import captions, outputs, table_files, table_layout, tables
from skymask.study import grid as study_grid

BASE = {
    "study": "tiny_study",
    "dataset": "digits",
    "model": "mlp",
    "clients": 4,
    "samples_per_client": 10,
    "partition": "iid",
    "malicious_share": 0.25,
    "attack": ["none", "min_max"],
    "defense": ["fedavg", "trimmed_mean", "skymask"],
    "assumed_malicious": 2,  # 4 clients are too few for trimmed_mean
    "rounds": 4,
    "evaluate_every": 1,
    "final_evaluations": 2,
    "local_lr": 0.1,
    "data_seed": [1, 2],
    "training_seed": [1, 2],
    "paired": [["data_seed", "training_seed"]],
    "exclude": [{"attack": "none", "defense": "skymask"}],
}
# accuracy per round and data seed; the last two rounds belong to a longer study
ACCURACY = {1: [0.0, 0.25, 0.375, 0.625, 1.0, 1.0], 2: [0.0, 0.5, 0.75, 0.75, 1.0, 1.0]}
# the clients that SkyMask rejects per round and data seed; 0, 1, 2 are benign, 3 is malicious
REJECTED = {1: [{3}, {3}, {0, 3}, set(), {0, 1, 2}, {0, 1, 2}], 2: [{3}] * 4 + [set()] * 2}
# influence of attackers per round and data seed; in round 3 of seed 1 SkyMask accepts no client
WEIGHT = {1: [0.25, 0.5, None, 0.0, 1.0, 1.0], 2: [0.5] * 4 + [1.0] * 2}
DISTANCE = {1: [0.5, 1.0, 1.0, 1.5, 9.0, 9.0], 2: [2.0] * 4 + [9.0] * 2}
SUCCESS = {1: [0.0, 0.5, 0.75, 0.25, 1.0, 1.0], 2: [0.0, 0.5, 1.0, 1.0, 0.0, 0.0]}
LAYERS = ("1.weight", "1.bias", "3.weight", "3.bias")


def read(**changes):
    config = {**BASE, **changes}
    return study_grid.read({k: v for k, v in config.items() if v is not ...})


def one_seed(**changes):
    return read(data_seed=1, training_seed=1, paired=[], **changes)


def aggregate_row(run, round_):
    """The aggregate of a round, with the verdicts of ``REJECTED``."""
    masked = run.defense.name == "skymask"
    attackers = set(range(run.clients - run.malicious, run.clients))
    benign = set(range(run.clients)) - attackers
    rejected = REJECTED[run.data_seed][round_ - 1]
    row = {
        "round": round_,
        "benign_distance": DISTANCE[run.data_seed][round_ - 1],
        "attacker_weight": 0.25,
        "model_updated": True,
    }
    if masked:
        row["fpr"] = len(rejected & benign) / len(benign)
        row["fnr"] = len(attackers - rejected) / len(attackers) if attackers else None
        row["attacker_weight"] = WEIGHT[run.data_seed][round_ - 1]
        row["model_updated"] = row["attacker_weight"] is not None
    return row


def layer_rows(run, round_):
    """Shares of each layer: tenths by role, a hundredth per layer, a thousandth per round."""
    roles = {"benign": 0.1, "malicious": 0.2, "server": 0.3}
    for role, tenth in roles.items():
        for place, layer in enumerate(LAYERS):
            if role != "malicious" or run.malicious:
                off = tenth + place / 100 + round_ / 1000 + run.data_seed / 10
                unlike = 0.0 if role == "server" else off / 2
                yield {
                    "round": round_,
                    "layer": layer,
                    "role": role,
                    "switched_off": off,
                    "unlike_server": unlike,
                }


def written(grid, folder, rounds=6):
    """The collected files of each run of ``grid``; rounds 5 and 6 are beyond its own."""
    for name, cell in grid.runs.items():
        run = cell.experiment
        accuracy, success = ACCURACY[run.data_seed], SUCCESS[run.data_seed]
        hidden = run.attack.name in ("scaling", "dba")
        metrics = [
            {
                "round": r,
                "accuracy": accuracy[r - 1],
                "argmax_accuracy": accuracy[r - 1] / (2 if run.loss == "batch_softmax" else 1),
                "attack_success_rate": success[r - 1] if hidden else None,
            }
            for r in range(1, rounds + 1)
            if run.evaluates(r)
        ]
        aggregates = [aggregate_row(run, r) for r in range(1, rounds + 1)]
        masked = run.defense.name == "skymask"
        layers = [row for r in range(1, rounds + 1) for row in layer_rows(run, r)]
        write_rows(folder / name / "metrics.parquet", "metrics", name, metrics)
        write_rows(folder / name / "aggregates.parquet", "aggregates", name, aggregates)
        write_rows(folder / name / "layers.parquet", "layers", name, layers if masked else [])
    return folder


@pytest.fixture
def grid(tmp_path):
    """The study of ``BASE`` with its runs in ``tmp_path``."""
    found = read()
    written(found, tmp_path)
    return found


def text_of(table, cell):
    return table_layout.cell_text(pd.Series(cell), table_layout.LAYOUTS[table])


def cells_of(grid, folder):
    table = tables.cells_table(tables.runs_table(grid, folder), grid)
    return {(row["defense"], row["attack"]): row for row in table.to_dict("records")}


def test_runs_table_is_read_as_it_was_written(grid, tmp_path):
    folder = tmp_path / "results" / "tables" / grid.name
    table_files.write(grid, tmp_path, folder)
    table = tables.read_runs(folder)
    pd.testing.assert_frame_equal(table, tables.runs_table(grid, tmp_path))
    # runs 5 and 6 rounds long belong to a longer study
    assert set(table["rounds"]) == {4}
    assert pq.read_schema(folder / "runs.parquet").field("rounds").metadata[b"description"]


def test_runs_table_with_other_columns_is_an_error(grid, tmp_path):
    folder = tmp_path / "results" / "tables" / grid.name
    table_files.write(grid, tmp_path, folder)
    path = folder / "runs.parquet"
    old = read_table(path, "runs_table", grid.name).drop_columns(["rounds"])
    write_table(path, "runs_table", grid.name, old)
    with pytest.raises(ArtifactError, match=r"runs\.parquet.*delete it and rerun snakemake"):
        tables.read_runs(folder)


# --- numbers ------------------------------------------------------------------------------------


def test_a_runs_accuracy_is_the_mean_of_its_last_evaluations(grid, tmp_path):
    runs = tables.runs_table(grid, tmp_path)
    found = dict(zip(runs["run"], runs["accuracy"], strict=True))
    assert len(found) == 6
    for name, cell in grid.runs.items():
        assert found[name] == {1: 0.5, 2: 0.75}[cell.experiment.data_seed]
    assert set(runs["round"]) == {4}
    assert set(runs["evaluations"]) == {2}


@pytest.mark.parametrize(("final", "accuracy"), [(1, 0.625), (2, 0.5), (4, 0.3125)])
def test_final_evaluations_sets_how_many_evaluations_are_averaged(tmp_path, final, accuracy):
    found = one_seed(final_evaluations=final, attack="none", defense="fedavg", exclude=[])
    (row,) = tables.runs_table(found, written(found, tmp_path)).to_dict("records")
    assert (row["accuracy"], row["evaluations"]) == (accuracy, final)


def test_final_evaluations_counts_evaluations_not_rounds(tmp_path):
    found = one_seed(evaluate_every=2, attack="none", defense="fedavg", exclude=[])
    (row,) = tables.runs_table(found, written(found, tmp_path)).to_dict("records")
    # rounds 2 and 4
    assert (row["accuracy"], row["round"], row["evaluations"]) == (0.4375, 4, 2)


def test_the_last_evaluated_round_may_be_before_the_last_round(tmp_path):
    found = one_seed(
        evaluate_every=3, final_evaluations=1, attack="none", defense="fedavg", exclude=[]
    )
    (row,) = tables.runs_table(found, written(found, tmp_path)).to_dict("records")
    assert (row["accuracy"], row["round"]) == (0.375, 3)


def test_a_cells_accuracy_is_mean_and_standard_deviation_over_seeds(grid, tmp_path):
    cells = cells_of(grid, tmp_path)
    for place in (("fedavg", "none"), ("fedavg", "min_max"), ("skymask", "min_max")):
        assert cells[place]["seeds"] == 2
        assert cells[place]["accuracy_mean"] == 0.625
        # ddof = 1: the deviation of 0.5 and 0.75
        assert cells[place]["accuracy_std"] == pytest.approx(0.25 / math.sqrt(2), rel=1e-12)


def test_one_seed_has_no_standard_deviation(tmp_path):
    found = one_seed()
    cell = cells_of(found, written(found, tmp_path))["fedavg", "min_max"]
    assert (cell["seeds"], cell["accuracy_mean"]) == (1, 0.5)
    assert math.isnan(cell["accuracy_std"])
    assert text_of("accuracy", cell) == "0.500"


def test_detection_rates_are_shares_of_rounds_and_clients(grid, tmp_path):
    runs = tables.runs_table(grid, tmp_path).to_dict("records")
    rates = {r["data_seed"]: (r["fpr"], r["fnr"]) for r in runs if r["defense"] == "skymask"}
    # of 4 rounds × 3 benign clients one is rejected; of 4 rounds the attacker gets through once
    assert rates[1] == (pytest.approx(1 / 12, rel=1e-12), 0.25)
    assert rates[2] == (0.0, 0.0)
    cell = cells_of(grid, tmp_path)["skymask", "min_max"]
    assert cell["fpr_mean"] == pytest.approx(1 / 24, rel=1e-12)
    assert cell["fnr_mean"] == 0.125
    assert cell["fpr_std"] == pytest.approx(1 / 12 / math.sqrt(2), rel=1e-12)
    assert text_of("detection", cell) == "4.2 / 12.5"


def test_a_defense_without_verdicts_has_no_detection_rates(grid, tmp_path):
    runs = tables.runs_table(grid, tmp_path)
    rates = runs[runs["defense"] == "fedavg"][["fpr", "fnr"]]
    assert rates.isna().all(axis=None)
    assert text_of("detection", cells_of(grid, tmp_path)["fedavg", "min_max"]) == "– / –"


def test_rejecting_only_non_finite_updates_gives_no_detection_rates(tmp_path):
    found = one_seed(attack="min_max", defense="fedavg", exclude=[])
    written(found, tmp_path)
    (name,) = found.runs
    # a round without any finite update: the rule was not called, and all clients were rejected
    rows = read_table(tmp_path / name / "aggregates.parquet", "aggregates", name).to_pylist()
    rows[0].update(fpr=1.0, fnr=0.0)
    write_rows(tmp_path / name / "aggregates.parquet", "aggregates", name, rows)
    (row,) = tables.runs_table(found, tmp_path).to_dict("records")
    assert math.isnan(row["fpr"])
    assert math.isnan(row["fnr"])


def test_without_attackers_there_is_no_false_negative_rate(tmp_path):
    found = one_seed(attack="none", defense="skymask", exclude=[])
    cell = cells_of(found, written(found, tmp_path))["skymask", "none"]
    # client 3 is benign here, and rejected in 3 of 4 rounds; client 0 once: 4 of 16
    assert cell["fpr_mean"] == 0.25
    assert math.isnan(cell["fnr_mean"])
    assert text_of("detection", cell) == "25.0 / –"


def test_the_influence_of_attackers_is_a_mean_over_all_rounds(grid, tmp_path):
    runs = tables.runs_table(grid, tmp_path).to_dict("records")
    found = {
        r["data_seed"]: (r["attacker_weight"], r["benign_distance"])
        for r in runs
        if r["defense"] == "skymask"
    }
    # the model stayed in round 3 of seed 1: it has a distance, and no weight to share
    assert found == {1: (0.25, 1.0), 2: (0.5, 2.0)}
    cell = cells_of(grid, tmp_path)["skymask", "min_max"]
    assert cell["attacker_weight_mean"] == 0.375
    assert cell["benign_distance_mean"] == 1.5
    assert cell["benign_distance_std"] == pytest.approx(1 / math.sqrt(2), rel=1e-12)
    assert text_of("got_through", cell) == "37.5 / 1.50"
    assert text_of("got_through", cells_of(grid, tmp_path)["fedavg", "min_max"]) == "25.0 / 1.50"


def test_a_defense_that_is_not_linear_has_a_distance_and_no_weight(tmp_path):
    found = one_seed(attack="min_max", defense="median", exclude=[])
    written(found, tmp_path)
    (name,) = found.runs
    rows = read_table(tmp_path / name / "aggregates.parquet", "aggregates", name).to_pylist()
    rows[1]["attacker_weight"] = None
    write_rows(tmp_path / name / "aggregates.parquet", "aggregates", name, rows)
    cell = cells_of(found, tmp_path)["median", "min_max"]
    assert math.isnan(cell["attacker_weight_mean"])
    assert text_of("got_through", cell) == "– / 1.00"


def test_a_backdoors_success_is_the_mean_of_the_last_evaluations(tmp_path):
    found = read(attack=["none", "scaling"], defense="fedavg", exclude=[])
    written(found, tmp_path)
    runs = tables.runs_table(found, tmp_path).to_dict("records")
    rates = {r["data_seed"]: r["attack_success_rate"] for r in runs if r["attack"] == "scaling"}
    assert rates == {1: 0.5, 2: 1.0}
    assert all(math.isnan(r["attack_success_rate"]) for r in runs if r["attack"] == "none")
    cells = cells_of(found, tmp_path)
    assert text_of("attack_success", cells["fedavg", "scaling"]) == "75.0 / 0.625"
    assert text_of("attack_success", cells["fedavg", "none"]) == "– / 0.625"


def test_the_layers_table_is_a_mean_over_rounds_and_seeds(grid, tmp_path):
    table = tables.mask_layers_table(grid, tmp_path)
    assert list(table.columns) == [
        "setting",
        "defense",
        "attack",
        "layer",
        "off_benign",
        "off_malicious",
        "off_server",
        "unlike_benign",
        "unlike_malicious",
    ]
    # in the model's order
    assert table["layer"].tolist() == list(LAYERS)
    assert set(table["defense"]) == {"skymask"}
    third = table.to_dict("records")[2]
    # the third layer: rounds 1 to 4 have the mean 2.5, seeds 1 and 2 the mean 1.5
    common = 0.02 + 0.0025 + 0.15
    assert third["off_benign"] == pytest.approx(0.1 + common)
    assert third["off_malicious"] == pytest.approx(0.2 + common)
    assert third["off_server"] == pytest.approx(0.3 + common)
    assert third["unlike_benign"] == pytest.approx((0.1 + common) / 2)
    assert third["unlike_malicious"] == pytest.approx((0.2 + common) / 2)


def test_layers_of_several_cells_are_in_the_order_of_the_study(tmp_path):
    variants = {"name": "skymask", "threshold": [0.75, 0.25]}
    found = one_seed(attack=["none", "min_max"], defense=[variants, "fedavg"], exclude=[])
    table = tables.mask_layers_table(found, written(found, tmp_path))
    places = list(dict.fromkeys(zip(table["attack"], table["defense"], strict=True)))
    assert places == [
        (attack, f"skymask(threshold={threshold})")
        for attack in ("none", "min_max")
        for threshold in (0.75, 0.25)
    ]
    assert table["layer"].tolist() == list(LAYERS) * 4
    assert table[table["attack"] == "none"]["off_malicious"].isna().all()
    assert table[table["attack"] == "min_max"]["off_malicious"].notna().all()


def test_rates_are_means_over_the_rounds_with_an_attack(tmp_path):
    attack = {"name": "min_max", "attack_rounds": {"first": 2, "every": 2}}
    found = one_seed(attack=attack, defense="skymask", exclude=[])
    written(found, tmp_path)
    (name,) = found.runs
    rows = [
        {
            "round": round_,
            "fpr": rate,
            "fnr": rate,
            "attacker_weight": rate,
            "benign_distance": 1.0,
            "model_updated": True,
        }
        for round_, rate in enumerate([None, 0.25, None, 0.75, None, 1.0], 1)
    ]
    write_rows(tmp_path / name / "aggregates.parquet", "aggregates", name, rows)
    (run,) = tables.runs_table(found, tmp_path).to_dict("records")
    # round 6 is beyond the study
    assert (run["fpr"], run["fnr"], run["attacker_weight"]) == (0.5, 0.5, 0.5)
    assert "those of 4 rounds with an attack" in captions.captions(found)["detection"]
    # a round with an attack that lacks the rates makes them unknown
    rows[1]["fnr"] = None
    write_rows(tmp_path / name / "aggregates.parquet", "aggregates", name, rows)
    (run,) = tables.runs_table(found, tmp_path).to_dict("records")
    assert math.isnan(run["fnr"])


def test_verdicts_per_layer_have_a_table_of_their_own(tmp_path):
    layered = {"name": "multi_metrics", "per": ["model", "layer"]}
    found = one_seed(attack=["none", "min_max"], defense=[layered, "lasa"], exclude=[])
    assert "layer_verdicts" in outputs.tables(found)
    assert "layer_verdicts" not in outputs.tables(one_seed(defense=["krum", "fedavg"], exclude=[]))
    written(found, tmp_path)
    for name, cell in found.runs.items():
        roles = {"benign": 0.5, "malicious": 0.25 if cell.experiment.malicious else None}
        rows = [
            {"round": r, "layer": layer, "role": role, "accepted": share + r / 100}
            for r in range(1, 7)
            for role, share in roles.items()
            for layer in LAYERS
            if share is not None
        ]
        judged = cell.defense != "multi_metrics"
        write_rows(tmp_path / name / "layers.parquet", "layers", name, rows if judged else [])
    table_files.write(found, tmp_path, tmp_path / "tables")
    table = tables.layer_verdicts_table(found, tmp_path)
    assert set(table["defense"]) == {"multi_metrics(per=layer)", "lasa"}
    assert table["layer"].tolist() == list(LAYERS) * 4
    # rounds 1 to 4 count
    assert table["accepted_benign"].tolist() == [pytest.approx(0.525)] * 16
    attacked = table["attack"] == "min_max"
    assert table["accepted_malicious"][attacked].tolist() == [pytest.approx(0.275)] * 8
    assert table["accepted_malicious"][~attacked].isna().all()
    _, header, shown = markdown_table(tmp_path / "tables" / "layer_verdicts.md")
    assert (header[-1], len(shown)) == ("accepted_malicious", 16)


def test_without_learned_masks_the_layers_table_is_empty(tmp_path):
    # in every round no update was finite
    found = one_seed(attack="none", defense="skymask", exclude=[])
    written(found, tmp_path)
    for name in found.runs:
        write_rows(tmp_path / name / "layers.parquet", "layers", name, [])
    table_files.write(found, tmp_path, tmp_path / "tables")
    _, header, rows = markdown_table(tmp_path / "tables" / "mask_layers.md")
    assert header[-1] == "unlike_malicious"
    assert rows == []


def test_rounds_beyond_the_cells_own_are_ignored(tmp_path):
    longer, shorter = read(rounds=6), read()
    assert set(longer.runs) == set(shorter.runs)
    written(longer, tmp_path)
    before = tables.runs_table(shorter, tmp_path)
    assert tables.runs_table(longer, tmp_path)["accuracy"].tolist() == [1.0] * 6
    written(shorter, tmp_path, rounds=4)
    assert tables.runs_table(shorter, tmp_path).equals(before)


def test_cells_that_share_a_run_each_have_their_row(tmp_path):
    found = one_seed(
        attack="none", defense="fedavg", rounds=[4, 3], final_evaluations=1, exclude=[]
    )
    assert len(found.runs) == 1
    rows = tables.runs_table(found, written(found, tmp_path)).to_dict("records")
    assert [(r["setting"], r["accuracy"]) for r in rows] == [
        ("rounds=4", 0.625),
        ("rounds=3", 0.375),
    ]


# --- cells without a run ------------------------------------------------------------------------


def test_an_undefined_cell_has_its_reason_and_no_number(grid, tmp_path):
    cells = cells_of(grid, tmp_path)
    for attack in ("none", "min_max"):
        cell = cells["trimmed_mean", attack]
        assert cell["undefined"] == "trimmed_mean needs n > 2 f clients (n = 4, f = 2)"
        assert cell["seeds"] == 0
        assert math.isnan(cell["accuracy_mean"])
        assert not isinstance(cells["fedavg", attack]["undefined"], str)


def test_an_excluded_cell_is_absent(grid, tmp_path):
    cells = cells_of(grid, tmp_path)
    assert ("skymask", "none") not in cells
    assert list(cells) == [
        (defense, attack)
        for attack in ("none", "min_max")
        for defense in ("fedavg", "trimmed_mean", "skymask")
        if (defense, attack) != ("skymask", "none")
    ]


def test_a_missing_or_foreign_run_is_an_error_that_names_the_file(grid, tmp_path):
    first, second = list(grid.runs)[:2]
    path = tmp_path / first / "metrics.parquet"
    path.write_bytes((tmp_path / second / "metrics.parquet").read_bytes())
    with pytest.raises(ArtifactError, match=re.escape(str(path))):
        tables.runs_table(grid, tmp_path)
    path.unlink()
    with pytest.raises(ArtifactError, match=re.escape(str(path))):
        tables.runs_table(grid, tmp_path)


# --- what is written ----------------------------------------------------------------------------


TABLES = ["accuracy", "detection", "got_through", "mask_layers", "runs", "significance"]


@pytest.fixture
def folder(grid, tmp_path):
    """The written tables of ``grid``."""
    table_files.write(grid, tmp_path, tmp_path / "tables" / grid.name)
    return tmp_path / "tables" / grid.name


def markdown_table(path):
    """Caption, header and rows of a Markdown file with one table; asserts that it is one."""
    caption, blank, header, rule, *rows = path.read_text(encoding="utf-8").splitlines()
    assert blank == ""
    assert re.fullmatch(r"\|(-+\|)+", rule)
    lines = [header, rule, *rows]
    assert all(line.startswith("|") and line.endswith("|") for line in lines)
    assert len({len(line) for line in lines}) == 1  # aligned
    header, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
    assert all(len(row) == len(header) for row in rows)
    return caption, header, rows


def test_every_table_is_written_in_four_formats(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{table}.{suffix}" for table in TABLES for suffix in ("csv", "md", "parquet", "tex")
    )


def test_an_excluded_cell_is_a_dash_and_the_others_are_numbers(tmp_path):
    found = read(assumed_malicious=1)
    table_files.write(found, written(found, tmp_path), tmp_path / "tables")
    _, _, rows = markdown_table(tmp_path / "tables" / "accuracy.md")
    best = "**0.625 ± 0.177**"
    assert rows == [["none", best, best, "–"], ["min_max", best, best, best]]


def test_markdown_is_a_table_of_attacks_by_defenses(folder):
    caption, header, rows = markdown_table(folder / "accuracy.md")
    assert header == ["attack", "fedavg", "trimmed_mean", "skymask"]
    assert rows == [
        ["none", "**0.625 ± 0.177**", "undefined", "–"],
        ["min_max", "**0.625 ± 0.177**", "undefined", "**0.625 ± 0.177**"],
    ]
    assert caption == (
        "Study tiny_study: final test accuracy after 4 rounds, the mean of the last 2 evaluations; "
        "mean ± standard deviation over 2 seeds. Bold: the highest mean of each row. "
        "Setting: data set digits, model mlp, 4 clients, 25 % of clients malicious (no client "
        "with attack none), partition iid, 10 samples per client, loss cross_entropy."
    )
    caption, header, rows = markdown_table(folder / "detection.md")
    assert rows == [
        ["none", "– / –", "undefined", "–"],
        ["min_max", "– / –", "undefined", "**4.2 / 12.5**"],
    ]
    assert "over all 4 rounds and 2 seeds" in caption


def test_markdown_shows_influence_and_layers(folder):
    caption, header, rows = markdown_table(folder / "got_through.md")
    assert header == ["attack", "fedavg", "trimmed_mean", "skymask"]
    assert rows == [
        ["none", "**25.0 / 1.50**", "undefined", "–"],
        ["min_max", "**25.0 / 1.50**", "undefined", "**37.5 / 1.50**"],
    ]
    assert (
        "over all 4 rounds (the share: over rounds in which the model was updated) and 2 seeds"
        in caption
    )
    caption, header, rows = markdown_table(folder / "mask_layers.md")
    assert header[:3] == ["defense", "attack", "layer"]
    assert len(rows) == 4
    assert rows[0][-5:] == ["0.2525", "0.3525", "0.4525", "0.1263", "0.1763"]


def test_only_attacks_with_a_trigger_are_in_the_attack_success_table(tmp_path):
    found = read(attack=["none", "scaling", "min_max", "dba"], exclude=[])
    table_files.write(found, written(found, tmp_path), tmp_path / "tables")
    caption, header, rows = markdown_table(tmp_path / "tables" / "attack_success.md")
    assert header == ["attack", "fedavg", "trimmed_mean", "skymask"]
    best = "**75.0 / 0.625**"
    assert rows == [[attack, best, "undefined", best] for attack in ("scaling", "dba")]
    assert "attack success rate" in caption
    plain = rows_of(tmp_path / "tables" / "attack_success.csv")
    assert [row["attack"] for row in plain] == ["scaling"] * 3 + ["dba"] * 3
    assert float(plain[0]["attack_success_rate_mean"]) == 0.75
    assert float(plain[0]["accuracy_mean"]) == 0.625
    assert sorted({p.stem for p in (tmp_path / "tables").iterdir()}) == sorted(
        [*TABLES, "attack_success"]
    )


def test_only_cells_with_two_measures_are_in_the_table_of_the_largest_output(tmp_path):
    found = read(loss=["batch_softmax", "cross_entropy"])
    table_files.write(found, written(found, tmp_path), tmp_path / "tables")
    plain = rows_of(tmp_path / "tables" / "argmax_accuracy.csv")
    assert {row["setting"] for row in plain} == {"loss=batch_softmax"}
    assert float(plain[0]["argmax_accuracy_mean"]) == 0.625 / 2
    caption, _, rows = markdown_table(tmp_path / "tables" / "argmax_accuracy.md")
    assert "by the largest output, with loss batch_softmax" in caption
    assert "**0.312 ± 0.088**" in rows[0]
    # the table of the accuracy has the measure of each loss, and all cells
    both = rows_of(tmp_path / "tables" / "accuracy.csv")
    assert {row["setting"] for row in both} == {"loss=batch_softmax", "loss=cross_entropy"}
    assert {float(row["accuracy_mean"]) for row in both if row["seeds"] != "0"} == {0.625}


def test_a_study_without_masks_and_backdoors_lacks_their_tables(tmp_path):
    found = read(defense=["fedavg", "trimmed_mean"], exclude=[])
    table_files.write(found, written(found, tmp_path), tmp_path / "tables")
    names = {path.stem for path in (tmp_path / "tables").iterdir()}
    assert names == {"accuracy", "detection", "got_through", "runs"}


def test_markdown_names_every_run(folder, grid):
    _, header, rows = markdown_table(folder / "runs.md")
    assert [row[header.index("run")] for row in rows] == list(grid.runs)
    assert {row[header.index("accuracy")] for row in rows} == {"0.5000", "0.7500"}
    assert {row[header.index("data_seed")] for row in rows} == {"1", "2"}
    assert {row[header.index("fpr")] for row in rows} == {"", "0.0833", "0.0000"}


@pytest.mark.parametrize(
    ("axis", "values"), [("root_size", [10, 20]), pytest.param("local_lr", [0.1, 0.2])]
)
def test_settings_are_stacked(tmp_path, axis, values):
    found = one_seed(**{axis: values})
    table_files.write(found, written(found, tmp_path), tmp_path / "tables")
    _, header, rows = markdown_table(tmp_path / "tables" / "accuracy.md")
    assert header == ["setting", "attack", "fedavg", "trimmed_mean", "skymask"]
    assert [row[:2] for row in rows] == [
        [f"{axis}={value}", attack] for value in values for attack in ("none", "min_max")
    ]


def test_a_cell_with_fewer_seeds_has_its_own_count(tmp_path):
    found = read(exclude=[{"attack": "none", "data_seed": 2}])
    table_files.write(found, written(found, tmp_path), tmp_path / "tables")
    _, _, rows = markdown_table(tmp_path / "tables" / "accuracy.md")
    assert [row[:2] for row in rows] == [
        ["none", "**0.500**"],
        ["min_max", "**0.625 ± 0.177**"],
    ]
    with (tmp_path / "tables" / "accuracy.csv").open(encoding="utf-8") as file:
        seeds = {(r["defense"], r["attack"]): r["seeds"] for r in csv.DictReader(file)}
    assert (seeds["fedavg", "none"], seeds["fedavg", "min_max"]) == ("1", "2")


def test_captions_of_one_seed_and_of_several_lengths():
    found = captions.captions(one_seed(rounds=[4, 3]))
    assert "after 3 to 4 rounds, the mean of the last 2 evaluations; one seed." in found["accuracy"]
    assert "over all 3 to 4 rounds and one seed;" in found["detection"]


# --- what is best -------------------------------------------------------------------------------


def cells_by_hand(*rows, **columns):
    """Cells (attack, defense, undefined) with the means in ``columns``, one setting."""
    table = pd.DataFrame(rows, columns=["attack", "defense"]).assign(setting="")
    table["undefined"] = pd.array([None] * len(rows), dtype="string")
    for name, values in columns.items():
        table[name] = pd.array(values, dtype="float64")
    return table


def shown_and_best(cells, table, aside=()):
    """The texts of a table, row by row, and the same with the best marked by a star."""
    shown, best = table_layout.pivot(cells, table_layout.LAYOUTS[table], aside)
    assert list(shown.columns) == list(best.columns)
    marks = best.to_numpy(dtype=bool)
    return shown.to_numpy().tolist(), [
        [name for name, mark in zip(best.columns, row, strict=True) if mark] for row in marks
    ]


FOUR = [("min_max", name) for name in ("fedavg", "krum", "skymask", "oracle")]


def test_the_highest_accuracy_of_a_row_is_best_without_oracle():
    cells = cells_by_hand(
        *FOUR,
        *(("none", name) for _, name in FOUR),
        accuracy_mean=[0.5, 0.75, 0.7, 0.9, 0.9, 0.8, 0.85, 0.9],
        accuracy_std=[0.1] * 8,
    )
    shown, best = shown_and_best(cells, "accuracy", ["oracle"])
    assert [row[0] for row in shown] == ["min_max", "none"]
    assert shown[0][1:] == ["0.500 ± 0.100", "0.750 ± 0.100", "0.700 ± 0.100", "0.900 ± 0.100"]
    assert best == [["krum"], ["fedavg"]]
    assert shown_and_best(cells, "accuracy")[1] == [["oracle"], ["fedavg", "oracle"]]


def test_cells_with_equal_texts_are_equally_good():
    # 0.7504 and 0.7496 are both shown as 0.750; 0.7494 is not
    cells = cells_by_hand(
        *FOUR, accuracy_mean=[0.7504, 0.7496, 0.7494, 0.1], accuracy_std=[math.nan] * 4
    )
    shown, best = shown_and_best(cells, "accuracy", ["oracle"])
    assert shown == [["min_max", "0.750", "0.750", "0.749", "0.100"]]
    assert best == [["fedavg", "krum"]]


def test_a_cell_without_a_run_is_never_best():
    cells = cells_by_hand(*FOUR[:3], accuracy_mean=[math.nan, 0.2, 0.1], accuracy_std=[0.0] * 3)
    cells.loc[0, "undefined"] = "too few clients"
    shown, best = shown_and_best(cells, "accuracy")
    assert shown == [["min_max", "undefined", "0.200 ± 0.000", "0.100 ± 0.000"]]
    assert best == [["krum"]]
    undefined = cells.assign(undefined="too few clients")
    assert shown_and_best(undefined, "accuracy") == ([["min_max", *["undefined"] * 3]], [[]])


def test_the_best_detection_has_the_lowest_sum_of_both_rates():
    cells = cells_by_hand(
        *FOUR,
        # 0.1 + 0.2, 5 + 40, 0.3 + 0, and a rule without an FNR
        fpr_mean=[0.001, 0.05, 0.003, 0.0],
        fnr_mean=[0.002, 0.4, 0.0, math.nan],
    )
    shown, best = shown_and_best(cells, "detection")
    assert shown == [["min_max", "0.1 / 0.2", "5.0 / 40.0", "0.3 / 0.0", "0.0 / –"]]
    assert best == [["fedavg", "skymask"]]


def test_without_attackers_the_lowest_false_positive_rate_is_best():
    cells = cells_by_hand(
        *(("none", name) for _, name in FOUR),
        fpr_mean=[0.3, 0.05, math.nan, 0.0],
        fnr_mean=[math.nan] * 4,
    )
    _, best = shown_and_best(cells, "detection", ["oracle"])
    assert best == [["krum"]]


def test_the_lowest_success_and_the_lowest_distance_are_best():
    success = cells_by_hand(
        *FOUR,
        attack_success_rate_mean=[0.9, 0.1, 0.2, 0.0],
        accuracy_mean=[0.9, 0.1, 0.8, 0.9],
    )
    assert shown_and_best(success, "attack_success", ["oracle"])[1] == [["krum"]]
    through = cells_by_hand(
        *FOUR,
        attacker_weight_mean=[0.2, 0.0, math.nan, 0.0],
        benign_distance_mean=[0.5, 0.4, 0.3, 0.0],
    )
    shown, best = shown_and_best(through, "got_through", ["oracle"])
    assert shown[0][3] == "– / 0.30"
    assert best == [["skymask"]]


def test_each_setting_has_its_best(tmp_path):
    cells = pd.concat(
        [
            cells_by_hand(*FOUR[:2], accuracy_mean=values, accuracy_std=[math.nan] * 2).assign(
                setting=f"clients={clients}"
            )
            for clients, values in ((10, [0.1, 0.2]), (20, [0.4, 0.3]))
        ],
        ignore_index=True,
    )
    shown, best = shown_and_best(cells, "accuracy")
    assert [row[:2] for row in shown] == [["clients=10", "min_max"], ["clients=20", "min_max"]]
    assert best == [["krum"], ["fedavg"]]


def test_the_oracle_of_a_study_is_never_bold(tmp_path):
    found = read(defense=["fedavg", "oracle"], exclude=[])
    table_files.write(found, written(found, tmp_path), tmp_path / "tables")
    caption, _, rows = markdown_table(tmp_path / "tables" / "accuracy.md")
    assert rows == [
        [attack, "**0.625 ± 0.177**", "0.625 ± 0.177"] for attack in ("none", "min_max")
    ]
    assert "Bold: the highest mean of each row, except oracle" in caption


# --- captions -----------------------------------------------------------------------------------


def test_a_caption_omits_settings_that_vary():
    caption = captions.captions(
        read(clients=[4, 8], malicious_share=[0.25, 0.5], samples_per_client=...)
    )["detection"]
    assert caption.endswith(
        "Setting: data set digits, model mlp, partition iid, loss cross_entropy."
    )
    shares = captions.captions(read(malicious_share=[0.25, 0.5], attack="min_max", exclude=[]))
    assert "malicious" not in shares["accuracy"]
    assert "4 clients, partition iid" in shares["accuracy"]
    losses = captions.captions(read(loss=["batch_softmax", "cross_entropy"]))["accuracy"]
    assert losses.endswith("10 samples per client.")


@pytest.mark.parametrize(
    ("losses", "stated"),
    [
        (["cross_entropy", "logit_adjusted"], False),
        ("batch_softmax", True),
        (["batch_softmax", "cross_entropy"], True),
    ],
)
def test_captions_of_accuracies_over_batches_state_the_measure(losses, stated):
    study = read(loss=losses, attack=["none", "scaling"], exclude=[])
    texts = captions.captions(study)
    sentence = "log-softmax over batches of 250 test samples"
    measured = {name for name, text in texts.items() if sentence in text}
    assert measured == ({"accuracy", "attack_success", "significance", "runs"} if stated else set())
    triggered = "for the attack success rate with one of them triggered."
    assert (triggered in texts["attack_success"]) == stated
    assert bool(captions.measured(study, "heat_map")) == stated
    assert not captions.measured(study, "mask_layers")


def test_a_caption_states_malicious_share_and_partition():
    caption = captions.captions(
        read(
            clients=30,
            partition={"name": "label_bias", "bias": 0.3},
            malicious_share=0.3,
            attack="min_max",
            exclude=[],
        )
    )["runs"]
    assert caption == (
        "Study tiny_study: its runs; files in results/runs/RUN. Setting: data set digits, model "
        "mlp, 30 clients, 30 % of clients malicious, partition label_bias (bias 0.3), 10 samples "
        "per client, loss cross_entropy, 4 rounds, 2 seeds."
    )


def test_a_caption_at_small_scale_lists_what_was_scaled_down():
    small = {
        "rounds": 2,
        "samples_per_client": 5,
        "partition": {"name": "label_bias", "bias": 0.1},
        "clients": 12,
        "rounds_per_job": 1,
        "data_seed": 1,
        "training_seed": 1,
        "paired": [],
    }
    found = read(samples_per_client=..., small=small, scale="small")
    sentence = (
        "Scaled down: rounds 2 (full scale 4), samples_per_client 5 (all), "
        "partition label_bias (bias 0.1) (iid), clients 12 (4), data_seed 1 ([1, 2]), "
        "training_seed 1 ([1, 2])."
    )
    for name, caption in captions.captions(found).items():
        assert caption.startswith("Study tiny_study_small: "), name
        assert caption.endswith(sentence), name
    assert "Scaled down" not in captions.captions(read())["accuracy"]


def test_a_study_has_a_caption_for_each_of_its_tables():
    found = read(attack=["none", "scaling"])
    assert list(captions.captions(found)) == outputs.tables(found)


# --- LaTeX --------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_latex_is_a_booktabs_table(folder, table):
    text = (folder / f"{table}.tex").read_text(encoding="utf-8")
    for command in ("\\begin{table}", "\\caption{", "\\toprule", "\\midrule", "\\bottomrule"):
        assert text.count(command) == 1
    body = text.split("\\toprule\n")[1].split("\\bottomrule")[0].replace("\\midrule\n", "")
    columns = {line.count("&") for line in body.splitlines()}
    assert len(columns) == 1
    assert all(line.endswith("\\\\") for line in body.splitlines())
    assert "–" not in text
    assert "±" not in text
    unescaped = r"(?<!\\)[_%#]"
    assert not re.search(unescaped, body)


def test_latex_holds_the_numbers_of_the_markdown(folder):
    text = (folder / "accuracy.tex").read_text(encoding="utf-8")
    assert "attack & fedavg & trimmed\\_mean & skymask \\\\" in text
    assert "none & \\textbf{0.625 $\\pm$ 0.177} & undefined & -- \\\\" in text
    assert "\\label{tab:tiny_study_accuracy}" in text


@pytest.mark.parametrize("table", TABLES)
def test_a_latex_caption_is_escaped(folder, table):
    text = (folder / f"{table}.tex").read_text(encoding="utf-8")
    caption = next(line for line in text.splitlines() if line.startswith("\\caption{"))
    assert not re.search(r"(?<!\\)[_%#]", caption)


def test_latex_shrinks_a_table_that_is_too_wide(folder):
    text = (folder / "runs.tex").read_text("utf-8")
    fit = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"
    assert f"{fit}\n\\begin{{tabular}}" in text
    assert "\\end{tabular}\n}\n\\end{table}" in text
    assert text.startswith("% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n")


def test_every_mark_of_latex_is_escaped():
    table = pd.DataFrame(
        {"attack": ["a_b & 5 % #1 {x} $y$ ~ ^ < > \\ |"], "krum": ["1 ± 2 – −3 †"]}
    )
    text = table_layout.latex(table, "50 % of a_b", "tab:x_y")
    assert (
        "a\\_b \\& 5 \\% \\#1 \\{x\\} \\$y\\$ \\textasciitilde \\space \\textasciicircum \\space "
        "\\textless{} \\textgreater{} \\textbackslash \\space \\textbar{} & "
        "1 $\\pm$ 2 -- $-$3 $^\\dagger$ \\\\"
    ) in text
    assert "\\caption{50 \\% of a\\_b}\n\\label{tab:x_y}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
def test_latex_compiles(folder, tmp_path):
    inputs = "".join(f"\\input{{{folder / table}.tex}}\\clearpage\n" for table in TABLES)
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\usepackage{graphicx}\n"
        f"\\begin{{document}}\n{inputs}\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_holds_plain_numbers_one_row_per_cell(folder):
    rows = rows_of(folder / "accuracy.csv")
    assert len(rows) == 5
    assert list(rows[0]) == [
        "setting",
        "defense",
        "attack",
        "seeds",
        "undefined",
        "accuracy_mean",
        "accuracy_std",
    ]
    first, second = rows[0], rows[1]
    assert (float(first["accuracy_mean"]), first["undefined"]) == (0.625, "")
    assert float(first["accuracy_std"]) == pytest.approx(0.17677669529663687, rel=1e-12)
    assert (second["accuracy_mean"], second["seeds"]) == ("", "0")
    assert second["undefined"] == "trimmed_mean needs n > 2 f clients (n = 4, f = 2)"
    rows = rows_of(folder / "detection.csv")
    assert float(rows[-1]["fnr_mean"]) == 0.125
    assert float(rows[-1]["fpr_mean"]) == pytest.approx(1 / 24, rel=1e-12)
    assert len(rows_of(folder / "runs.csv")) == 6


@pytest.mark.parametrize("table", TABLES)
def test_parquet_holds_what_the_csv_holds(folder, table):
    parquet = read_table(folder / f"{table}.parquet", f"{table}_table", "tiny_study")
    rows = rows_of(folder / f"{table}.csv")
    assert parquet.column_names == list(rows[0])
    for ours, theirs in zip(parquet.to_pylist(), rows, strict=True):
        for name, value in ours.items():
            if isinstance(value, float):
                assert float(theirs[name] or "nan") == pytest.approx(value, rel=1e-12, nan_ok=True)
            else:
                assert theirs[name] == ("" if value is None else str(value))
    for name in parquet.column_names:
        if name.endswith(("_mean", "_std")) or name in ("accuracy", "fpr", "fnr"):
            assert pa.types.is_floating(parquet.schema.field(name).type)


def test_missing_numbers_are_missing_not_zero(folder):
    table = pq.read_table(folder / "detection.parquet").to_pylist()
    assert table[0]["fpr_mean"] is None or math.isnan(table[0]["fpr_mean"])


def test_the_columns_of_a_table_do_not_depend_on_its_content(folder, tmp_path):
    found = read(assumed_malicious=1)
    table_files.write(found, written(found, tmp_path), tmp_path / "other")
    for table in TABLES:
        schemas = [
            pq.read_schema(where / f"{table}.parquet") for where in (folder, tmp_path / "other")
        ]
        assert schemas[0].equals(schemas[1], check_metadata=False)


def test_tables_are_the_same_bytes_every_time(grid, folder, tmp_path):
    table_files.write(grid, tmp_path, tmp_path / "again")
    for path in folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
