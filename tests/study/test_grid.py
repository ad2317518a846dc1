"""Grids of study files: cells, labels, run names and shipped studies."""

import datetime
import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from skymask.attacks import ATTACKS, DATA_ATTACKS, TRIGGERS
from skymask.study import grid as study_grid
from skymask.study import load
from skymask.study.experiment import Experiment, Method
from skymask.study.grid import StudyError
from skymask.study.methods import modules_of
from skymask.study.model import StudyFile
from skymask.study.registry import entries

REPOSITORY = Path(__file__).parents[2]
FIELDS = StudyFile.model_fields
BASE = {
    "study": "tiny",
    "dataset": "digits",
    "model": "mlp",
    "clients": 10,
    "samples_per_client": 10,
    "root_size": 20,
    "attack": "min_max",
    "defense": "krum",
    "rounds": 10,
    "evaluate_every": 1,
    "local_lr": 0.1,
}


def read(**changes):
    return study_grid.read({**BASE, **changes})


def run_of(**changes):
    """The one run of a study without a grid."""
    (name,) = read(**changes).runs
    return name


def experiment_of(**changes):
    (cell,) = read(**changes).cells
    return cell.experiment


# --- the grid ---------------------------------------------------------------------------------


def test_the_grid_is_the_product_of_its_axes_in_order():
    grid = read(attack=["none", "min_max"], defense=["fedavg", "krum", "oracle"], clients=[12, 10])
    found = [(c.experiment.clients, c.attack, c.defense) for c in grid.cells]
    assert found == [
        (clients, attack, defense)
        for clients in (12, 10)
        for attack in ("none", "min_max")
        for defense in ("fedavg", "krum", "oracle")
    ]
    assert len(grid.runs) == 12
    assert list(grid.runs) == [cell.experiment.run for cell in grid.cells]


def test_the_order_of_keys_in_the_file_does_not_matter():
    config = {**BASE, "attack": ["none", "min_max"], "defense": ["krum", "fedavg"]}
    backwards = dict(reversed(config.items()))
    assert study_grid.read(config) == study_grid.read(backwards)


def test_reading_changes_nothing_in_the_configuration():
    config = {
        **BASE,
        "defense": {"name": "skymask", "threshold": [0.4, "5e-1"]},
        "local_lr": "1e-1",
    }
    before = json.dumps(config)
    study_grid.read(config)
    assert json.dumps(config) == before


def test_paired_axes_move_together():
    grid = read(
        data_seed=[1, 2, 3],
        training_seed=[7, 8, 9],
        defense=["fedavg", "krum"],
        paired=[["data_seed", "training_seed"]],
    )
    found = [(c.defense, c.experiment.data_seed, c.experiment.training_seed) for c in grid.cells]
    assert found == [(d, s, s + 6) for d in ("fedavg", "krum") for s in (1, 2, 3)]


def test_three_axes_and_methods_can_be_paired_and_groups_are_crossed():
    grid = read(
        clients=[10, 12],
        attack=["min_max", "fang_trim"],
        malicious_share=[0.1, 0.25],
        local_lr=[0.1, 0.2],
        global_lr=[1.0, 2.0],
        paired=[["malicious_share", "attack", "clients"], ["global_lr", "local_lr"]],
    )
    found = [
        (e.clients, e.malicious, e.attack.name, e.local_lr, e.global_lr)
        for e in (cell.experiment for cell in grid.cells)
    ]
    assert sorted(found) == [
        (10, 1, "min_max", 0.1, 1.0),
        (10, 1, "min_max", 0.2, 2.0),
        (12, 3, "fang_trim", 0.1, 1.0),
        (12, 3, "fang_trim", 0.2, 2.0),
    ]


def left(grid):
    return [(cell.attack, cell.defense) for cell in grid.cells]


@pytest.mark.parametrize(
    ("exclude", "kept"),
    [
        (
            [{"attack": "none", "defense": "krum"}],
            [("none", "fedavg"), ("min_max", "fedavg"), ("min_max", "krum")],
        ),
        ([{"attack": "none"}], [("min_max", "fedavg"), ("min_max", "krum")]),
        (
            [{"attack": ["none", "min_max"], "defense": "krum"}],
            [("none", "fedavg"), ("min_max", "fedavg")],
        ),
        (
            [{"attack": "none", "defense": "krum"}, {"attack": "min_max", "defense": "fedavg"}],
            [("none", "fedavg"), ("min_max", "krum")],
        ),
        ([{"attack": {"name": "none"}}], [("min_max", "fedavg"), ("min_max", "krum")]),
        ([{"defense": "krum", "clients": 10}], [("none", "fedavg"), ("min_max", "fedavg")]),
        ([{"defense": "krum", "root_bias": None}], [("none", "fedavg"), ("min_max", "fedavg")]),
    ],
)
def test_exclude_leaves_out_the_cells_where_all_its_axes_meet(exclude, kept):
    grid = read(attack=["none", "min_max"], defense=["fedavg", "krum"], exclude=exclude)
    assert left(grid) == kept


def test_exclude_by_parameter_leaves_the_other_variants():
    variants = {"name": "min_max", "perturbation": ["unit", "std"], "tolerance": [1e-3, 1e-5]}
    everything = read(attack=["none", variants])
    assert len(everything.cells) == 5
    grid = read(
        attack=["none", variants], exclude=[{"attack": {"name": "min_max", "perturbation": "std"}}]
    )
    assert [c.attack for c in grid.cells] == ["none", "min_max(tolerance=0.001)", "min_max"]
    # a default that the file does not give is a parameter too
    grid = read(
        attack=["none", variants], exclude=[{"attack": {"name": "min_max", "tolerance": 1e-5}}]
    )
    assert [c.attack for c in grid.cells] == [
        "none",
        "min_max(tolerance=0.001)",
        "min_max(perturbation=std, tolerance=0.001)",
    ]
    grid = read(attack=["none", variants], exclude=[{"attack": "min_max"}])
    assert [c.attack for c in grid.cells] == ["none"]


def test_lists_of_parameters_become_an_axis():
    spread = {"name": "skymask", "threshold": [0.4, 0.5], "mask_steps": [10, 20]}
    grid = read(defense=["fedavg", spread])
    methods = [cell.experiment.defense for cell in grid.cells]
    assert [m.name for m in methods] == ["fedavg"] + ["skymask"] * 4
    assert [(m.parameters["threshold"], m.parameters["mask_steps"]) for m in methods[1:]] == [
        (0.4, 10),
        (0.4, 20),
        (0.5, 10),
        (0.5, 20),
    ]
    assert len(grid.runs) == 5
    # the first list of the file varies slowest
    swapped = {"name": "skymask", "mask_steps": [10, 20], "threshold": [0.4, 0.5]}
    assert [cell.defense for cell in read(defense=swapped).cells] == [
        "skymask(threshold=0.4, mask_steps=10)",
        "skymask(mask_steps=10)",
        "skymask(threshold=0.4)",
        "skymask",
    ]


def test_a_single_mapping_of_lists_is_an_axis_too():
    grid = read(partition={"name": "label_bias", "bias": [0.1, 0.5]})
    assert [c.setting for c in grid.cells] == [
        "partition=label_bias(bias=0.1)",
        "partition=label_bias(bias=0.5)",
    ]


# --- values -----------------------------------------------------------------------------------


def test_a_number_that_yaml_reads_as_text_is_a_number():
    assert yaml.safe_load("1e7") == "1e7"  # why it matters
    text = read(local_lr="1e-1", defense={"name": "skymask", "mask_lr": "1e6"})
    number = read(local_lr=0.1, defense={"name": "skymask", "mask_lr": 1e6})
    assert text == number
    assert text.cells[0].experiment.defense.parameters["mask_lr"] == 1e6
    assert run_of(local_lr=["1e-1"]) == run_of(local_lr=0.1)


def test_an_integer_parameter_of_a_float_is_the_same_float():
    as_integer = run_of(defense={"name": "skymask", "mask_lr": 10_000_000})
    assert (
        as_integer
        == run_of(defense={"name": "skymask", "mask_lr": 1e7})
        == run_of(defense="skymask")
    )


@pytest.mark.parametrize("key", ["local_lr", "global_lr", "gradient_clip", "root_bias"])
def test_an_integer_where_a_float_is_meant_is_the_same_run(key):
    assert run_of(**{key: 1}) == run_of(**{key: 1.0})


@pytest.mark.parametrize("key", ["clients", "root_size", "data_seed", "batch_size", "threads"])
def test_a_whole_float_for_an_integer_is_the_integer_or_refused(key):
    value = BASE.get(key, 1)
    try:
        name = run_of(**{key: float(value)})
    except StudyError:
        return
    assert name == run_of(**{key: value})


def test_whole_floats_for_plain_integers_are_integers_or_refused():
    changes = {
        "rounds": 10.0,
        "rounds_per_job": 5.0,
        "final_evaluations": 2.0,
        "scatter_round": 3.0,
    }
    for key, value in {**changes, "keep_updates": [2.0]}.items():
        try:
            found = read(**{key: value})
        except StudyError:
            continue
        cell = found.cells[0]
        numbers = [cell.rounds, found.rounds_per_job, found.final_evaluations, *found.keep_updates]
        assert all(isinstance(number, int) for number in [*numbers, found.scatter_round or 0])


def test_the_plain_values_of_a_study_are_read():
    found = read(
        rounds_per_job=7,
        keep_updates=[3, 1],
        final_evaluations=2,
        scatter_round=4,
        data_folders=["a"],
    )
    assert (found.name, found.rounds_per_job, found.final_evaluations) == ("tiny", 7, 2)
    assert (found.keep_updates, found.scatter_round) == ({1, 3}, 4)
    assert found.data_folders == ["a"]
    assert (found.cells[0].rounds, found.cells[0].experiment.root_bias) == (10, None)


# --- labels -----------------------------------------------------------------------------------


def test_labels_show_the_parameters_that_are_not_defaults():
    def labels(value):
        return [cell.defense for cell in read(defense=value).cells]

    assert labels("skymask") == ["skymask"]
    assert labels({"name": "skymask", "threshold": 0.5, "clusters": "auto"}) == ["skymask"]
    assert labels({"name": "skymask", "threshold": 0.25}) == ["skymask(threshold=0.25)"]
    assert labels({"name": "skymask", "mask_steps": 5, "clusters": 2}) == [
        "skymask(clusters=2, mask_steps=5)"
    ]
    assert labels([{"name": "skymask", "threshold": [0.5, 0.75]}, "oracle"]) == [
        "skymask",
        "skymask(threshold=0.75)",
        "oracle",
    ]


def test_a_setting_names_the_other_axes_that_vary_and_no_seeds():
    grid = read(
        clients=[10, 12],
        malicious_share=[0.2, 0.3],
        rounds=[10, 20],
        attack=["min_max"],
        data_seed=[1, 2],
        training_seed=[1, 2],
    )
    settings_ = list(dict.fromkeys(cell.setting for cell in grid.cells))
    assert settings_[0] == "clients=10, malicious_share=0.2, rounds=10"
    assert len(settings_) == 8
    assert len(grid.cells) == 32
    assert {cell.setting for cell in read(data_seed=[1, 2]).cells} == {""}


# --- compositions -------------------------------------------------------------------------------


def test_a_composition_is_a_defense_with_pre_aggregators():
    parts = ["norm_clip", {"name": "bucketing", "size": 3}, "krum"]
    (cell,) = read(defense=[parts], malicious_share=0.1).cells
    assert cell.experiment.defense == Method(
        "krum",
        {},
        (Method("norm_clip", {"radius": None}), Method("bucketing", {"size": 3})),
    )
    assert cell.defense == "norm_clip + bucketing(size=3) + krum"
    assert cell.experiment.run.startswith("digits-mlp-min_max-norm_clip_bucketing_krum-1.1-")


def test_a_composition_spreads_over_the_lists_of_its_parts():
    buckets = {"name": "bucketing", "size": [2, 3]}
    variants = {"name": "fedavg", "weighting": ["samples", "uniform"]}
    grid = read(defense=["fedavg", [buckets, variants], ["nnm", "fedavg"]])
    assert [cell.defense for cell in grid.cells] == [
        "fedavg",
        "bucketing + fedavg(weighting=samples)",
        "bucketing + fedavg",
        "bucketing(size=3) + fedavg(weighting=samples)",
        "bucketing(size=3) + fedavg",
        "nnm + fedavg",
    ]
    assert len(grid.runs) == 6


def test_the_order_and_the_parameters_of_pre_aggregators_name_a_run():
    variants = [
        "krum",
        ["nnm", "krum"],
        ["norm_clip", "nnm", "krum"],
        ["nnm", "norm_clip", "krum"],
        ["nnm", "nnm", "krum"],
        [{"name": "norm_clip", "radius": 0.5}, "krum"],
        [{"name": "norm_clip", "radius": 1}, "krum"],
    ]
    assert len(read(defense=variants).runs) == 7
    assert run_of(defense=[["nnm", {"name": "krum"}]]) == run_of(
        defense=[[{"name": "nnm"}, "krum"]]
    )
    written_out = [[{"name": "bucketing", "size": 2}, "krum"]]
    assert run_of(defense=written_out) == run_of(defense=[["bucketing", "krum"]])


@pytest.mark.parametrize(
    ("defense", "assumed"),
    [
        ("median", None),
        (["norm_clip", "median"], None),
        # the defense does not use f, but its pre-aggregator does
        (["nnm", "median"], 2),
        (["norm_clip", "nnm", "fedavg"], 2),
        (["bucketing", "krum"], 2),
    ],
)
def test_the_server_assumes_malicious_clients_where_any_part_uses_them(defense, assumed):
    assert experiment_of(defense=[defense]).assumed_malicious == assumed


def test_bucketing_leaves_fewer_rows_to_the_defense():
    few = [{"name": "bucketing", "size": [1, 2, 3, 4, 50]}, "krum"]
    grid = read(defense=[few, [{"name": "bucketing", "size": 4}, "nnm", "fedavg"]])
    assert [cell.undefined for cell in grid.cells] == [
        None,
        None,
        "krum needs n ≥ f + 3 clients (n = 4, f = 2)",
        "krum needs n ≥ f + 3 clients (n = 3, f = 2)",
        "krum needs n ≥ f + 3 clients (n = 1, f = 2)",
        None,
    ]
    # each part is checked with the rows that the parts before it leave
    twice = [{"name": "bucketing", "size": 3}, {"name": "bucketing", "size": 2}, "nnm", "median"]
    grid = read(defense=[twice, "fedavg"], malicious_share=0.3)
    assert grid.cells[0].undefined == "nnm needs n > f clients (n = 2, f = 3)"
    both = [{"name": "bucketing", "size": 5}, "nnm", "krum"]
    grid = read(defense=[both, "fedavg"], malicious_share=0.3)
    assert grid.cells[0].undefined == (
        "nnm needs n > f clients (n = 2, f = 3); krum needs n ≥ f + 3 clients (n = 2, f = 3)"
    )


def test_exclude_matches_a_composition_by_all_its_parts():
    axis = ["krum", ["nnm", "krum"], [{"name": "bucketing", "size": [2, 3]}, "krum"]]

    def kept(*excluded):
        return [cell.defense for cell in read(defense=axis, exclude=list(excluded)).cells]

    assert kept({"defense": "krum"}) == [
        "nnm + krum",
        "bucketing + krum",
        "bucketing(size=3) + krum",
    ]
    assert kept({"defense": [["nnm", "krum"]]}) == [
        "krum",
        "bucketing + krum",
        "bucketing(size=3) + krum",
    ]
    assert kept({"defense": [["bucketing", "krum"], "krum"]}) == ["nnm + krum"]
    three = [{"name": "bucketing", "size": 3}, "krum"]
    assert kept({"defense": [three]}) == ["krum", "nnm + krum", "bucketing + krum"]
    with pytest.raises(StudyError, match="meets no cell"):
        kept({"defense": [["nnm", "bucketing", "krum"]]})
    with pytest.raises(StudyError, match="meets no cell"):
        kept({"defense": [["nnm", "fedavg"]]})


def test_a_run_depends_on_the_modules_of_all_parts_of_its_methods():
    (cell,) = read(defense=[["norm_clip", "nnm", "krum"]]).cells
    assert set(modules_of("defense", cell.experiment.defense)) == {
        f"skymask.defenses.{name}" for name in ("norm_clip", "nnm", "krum")
    }
    (cell,) = read(attack="dba").cells
    assert set(modules_of("attack", cell.experiment.attack)) == {
        "skymask.attacks.dba",
        "skymask.attacks.triggers",
    }
    assert modules_of("attack", Method("none")) == ["skymask.attacks.none"] * 2


# --- coordinates --------------------------------------------------------------------------------


def labels_of(attack, **changes):
    return [cell.attack for cell in read(attack=attack, **changes).cells]


def fine(**coordinates):
    return {"name": "min_max", "coordinates": coordinates}


def test_coordinates_are_a_parameter_of_an_update_attack():
    found = experiment_of(attack=fine(share="1e-1")).attack.parameters["coordinates"]
    assert found == {"share": 0.1, "pick": "random", "layers": None}
    found = experiment_of(attack=fine(layers=["3.bias"])).attack.parameters["coordinates"]
    assert found == {"share": None, "pick": "random", "layers": ["3.bias"]}
    assert "coordinates" not in experiment_of(attack="min_max").attack.parameters
    assert run_of(attack={"name": "min_max", "coordinates": None}) == run_of(attack="min_max")


def test_coordinates_name_a_run_and_their_defaults_need_not_be_written():
    variants = [fine(share=0.1), fine(share=0.2), fine(share=0.1, pick="largest")]
    variants += [fine(layers=["3.bias"]), fine(layers=["1.weight", "3.bias"]), "min_max"]
    assert len(read(attack=variants).runs) == 6
    assert run_of(attack=fine(share=0.1, pick="random")) == run_of(attack=fine(share=0.1))
    assert run_of(attack=fine(share=1)) == run_of(attack=fine(share=1.0))


def test_labels_show_coordinates_in_brackets_after_the_parameters():
    assert labels_of(fine(share=0.1)) == ["min_max[share=0.1]"]
    assert labels_of({**fine(layers=["1.weight", "3.bias"]), "perturbation": "std"}) == [
        "min_max(perturbation=std)[layers=1.weight+3.bias]"
    ]
    # scaling has a share of its own
    scaled = {"name": "scaling", "share": 0.25, "coordinates": {"share": 0.1, "pick": "largest"}}
    assert labels_of(scaled) == ["scaling(share=0.25)[share=0.1, pick=largest]"]


def test_cells_with_other_methods_have_other_labels():
    attack = [
        {"name": "scaling", "share": [0.1, 0.2]},
        {"name": "scaling", "coordinates": {"share": [0.1, 0.2]}},
        {"name": "scaling", "share": 0.1, "coordinates": {"share": 0.2}},
        {"name": "scaling", "share": 0.2, "coordinates": {"share": 0.1}},
    ]
    labels = labels_of(attack)
    assert len(set(labels)) == len(labels) == 6


def test_coordinates_spread_over_their_lists_but_layers_are_one_value():
    assert labels_of(fine(share=[0.1, 0.2], pick=["random", "largest"])) == [
        "min_max[share=0.1]",
        "min_max[share=0.1, pick=largest]",
        "min_max[share=0.2]",
        "min_max[share=0.2, pick=largest]",
    ]
    several = [{"share": 0.1}, {"layers": ["1.bias", "3.bias"]}]
    found = labels_of({"name": "min_max", "tolerance": [1e-3, 1e-5], "coordinates": several})
    assert found == [
        "min_max(tolerance=0.001)[share=0.1]",
        "min_max(tolerance=0.001)[layers=1.bias+3.bias]",
        "min_max[share=0.1]",
        "min_max[layers=1.bias+3.bias]",
    ]


def test_exclude_by_coordinates_leaves_the_others():
    axis = ["min_max", fine(share=[0.1, 0.2]), fine(share=0.1, pick="largest")]

    def kept(*excluded):
        return labels_of(axis, exclude=[{"attack": value} for value in excluded])

    assert kept(fine(share=0.1)) == ["min_max", "min_max[share=0.2]"]
    assert kept(fine(pick="random")) == ["min_max", "min_max[share=0.1, pick=largest]"]
    with pytest.raises(StudyError, match="meets no cell"):
        kept(fine(share=0.3))
    # all variants, or that on all coordinates alone
    both = [{"attack": "min_max"}]
    assert labels_of([*axis, "none"], exclude=both) == ["none"]
    assert "min_max" not in kept({"name": "min_max", "coordinates": None})
    assert len(kept({"name": "min_max", "coordinates": None})) == 3


def test_layers_are_those_of_each_model_of_the_grid():
    axis = fine(layers=["1.weight"])
    assert len(read(attack=axis, model=["mlp", "logistic_regression"]).cells) == 2
    with pytest.raises(StudyError, match=r"'1\.weight' is no layer of small_cnn") as caught:
        read(attack=axis, model=["mlp", "small_cnn"])
    assert len(caught.value.problems) == 1


# --- rounds with an attack, and layers ----------------------------------------------------------


def when(name="min_max", **rounds):
    return {"name": name, "attack_rounds": rounds}


def test_the_rounds_of_an_attack_are_part_of_it():
    found = experiment_of(attack=when(first=5)).attack.parameters["attack_rounds"]
    assert found == {"first": 5, "last": None, "every": 1}
    assert run_of(attack=when(first=5)) != run_of(attack="min_max")
    assert run_of(attack={"name": "min_max", "attack_rounds": None}) == run_of(attack="min_max")
    assert [r for r in range(1, 9) if experiment_of(attack=when(first=5)).attacks(r)] == [
        *range(5, 9)
    ]
    both = {**when(every=2), "coordinates": {"share": 0.1}}
    assert labels_of([when("label_flip", first=[3, 4]), both]) == [
        "label_flip[first=3]",
        "label_flip[first=4]",
        "min_max[share=0.1, every=2]",
    ]


def test_an_axis_may_have_a_method_with_and_without_an_option():
    assert labels_of(["min_max", when(first=5)]) == ["min_max", "min_max[first=5]"]
    paired = [["attack", "defense"]]
    found = read(attack=["min_max", when(first=5)], defense=["krum", "median"], paired=paired)
    assert [cell.attack for cell in found.cells] == ["min_max", "min_max[first=5]"]


def labels_of_defenses(defense, **changes):
    return [cell.defense for cell in read(defense=defense, **changes).cells]


def test_a_defense_per_layer_is_a_variant_of_it():
    axis = ["krum", {"name": "krum", "per": "layer"}]
    assert labels_of_defenses(axis) == ["krum", "krum(per=layer)"]
    assert run_of(defense={"name": "krum", "per": "model"}) == run_of(defense="krum")
    assert run_of(defense=axis[1]) != run_of(defense="krum")
    assert labels_of_defenses({"name": "krum", "per": ["model", "layer"]}) == labels_of_defenses(
        axis
    )
    assert labels_of_defenses([["norm_clip", {"name": "fedavg", "per": "layer"}]]) == [
        "norm_clip + fedavg(per=layer)"
    ]
    for per, left in (("model", "krum(per=layer)"), ("layer", "krum")):
        exclude = [{"defense": {"name": "krum", "per": per}}]
        assert labels_of_defenses(axis, exclude=exclude) == [left]


# --- backdoors ----------------------------------------------------------------------------------


def test_an_attack_on_data_and_updates_has_the_parameters_of_both():
    known = entries("attack")
    assert set(known) == {*ATTACKS, *DATA_ATTACKS}
    assert set(TRIGGERS) <= set(known)
    assert list(known["scaling"].parameters) == ["factor", "patch", "target", "share"]
    assert list(known["dba"].parameters) == ["parts", "patch", "target", "share"]
    (cell,) = read(attack={"name": "scaling", "factor": 3, "patch": 3, "share": 1}).cells
    assert cell.experiment.attack.parameters == {
        "factor": 3.0,
        "patch": 3,
        "target": 0,
        "share": 1.0,
    }
    assert cell.attack == "scaling(factor=3.0, patch=3, share=1.0)"


def test_a_trigger_as_large_as_the_image_fits_and_a_larger_one_does_not():
    for name in TRIGGERS:
        assert read(attack={"name": name, "patch": 8, "target": 9}).runs
        for mistake, sentence in (
            ({"patch": 9}, "must fit on a sample"),
            ({"target": 10}, "class"),
        ):
            with pytest.raises(StudyError, match=sentence) as caught:
                read(attack=["none", {"name": name, **mistake}], defense=["krum", "fedavg"])
            assert len(caught.value.problems) == 1


# --- cells that are no run ----------------------------------------------------------------------


def test_an_undefined_cell_is_kept_with_its_reason_and_is_not_run():
    grid = read(defense=["fedavg", "trimmed_mean"], malicious_share=0.5)
    fedavg, trimmed = grid.cells
    assert fedavg.undefined is None
    assert trimmed.undefined == "trimmed_mean needs n > 2 f clients (n = 10, f = 5)"
    assert list(grid.runs) == [fedavg.experiment.run]


def test_an_undefined_attack_is_a_reason_too_and_both_are_named():
    few = "min_max needs two benign clients (n = 10, f = 9)"
    grid = read(attack=["none", "min_max"], defense=["fedavg", "krum"], malicious_share=0.9)
    assert {(c.attack, c.defense): c.undefined for c in grid.cells} == {
        ("none", "fedavg"): None,
        ("none", "krum"): "krum needs n ≥ f + 3 clients (n = 10, f = 9)",
        ("min_max", "fedavg"): few,
        ("min_max", "krum"): f"{few}; krum needs n ≥ f + 3 clients (n = 10, f = 9)",
    }


def test_excluded_cells_are_neither_cells_nor_runs():
    grid = read(defense=["fedavg", "krum"], exclude=[{"defense": "krum"}])
    assert left(grid) == [("min_max", "fedavg")]
    assert len(grid.runs) == 1


def test_equal_cells_are_one_run_with_most_rounds():
    for rounds in ([10, 20], [20, 10]):
        grid = read(rounds=rounds)
        assert len(grid.cells) == 2
        (cell,) = grid.runs.values()
        assert cell.rounds == 20


# --- what a run's name depends on ---------------------------------------------------------------


def test_studies_share_the_runs_of_common_cells():
    one = read(attack=["none", "min_max"], defense=["fedavg", "krum"])
    other = read(
        study="other", attack=["min_max", "fang_trim"], defense=["krum", "oracle"], rounds=20
    )
    common = set(one.runs) & set(other.runs)
    assert common == {run_of(attack="min_max", defense="krum")}


INDEPENDENT = {
    "study": "other",
    "rounds": 20,
    "rounds_per_job": 1,
    "minutes_per_job": 30,
    "most_jobs": 7,
    "keep_updates": [1, 2],
    "final_evaluations": 1,
    "scatter_round": 2,
    "data_folders": ["elsewhere"],
    "scale": "full",
    "small": {"rounds": 12},
    "paired": [["data_seed", "training_seed"]],
    "exclude": [],
}
DETERMINING = {
    "dataset": "fashion_mnist",
    "model": "small_cnn",
    "clients": 11,
    "partition": "iid",
    "samples_per_client": 11,
    "root_size": 21,
    "root_bias": 0.5,
    "root_share": 0.03,
    "malicious_share": 0.4,
    "assumed_malicious": 3,
    "attack": "fang_trim",
    "defense": "oracle",
    "evaluate_every": 2,
    "local_epochs": 2,
    "batch_size": 16,
    "local_lr": 0.2,
    "global_lr": 0.5,
    "gradient_clip": 0.01,
    "loss": "batch_softmax",
    "training_precision": "bfloat16",
    "data_seed": 2,
    "training_seed": 2,
    "device": "cuda:0",
    "threads": 2,
}


def test_every_key_is_known_to_determine_a_run_or_not():
    assert set(INDEPENDENT) | set(DETERMINING) == set(FIELDS)


@pytest.mark.parametrize("key", INDEPENDENT)
def test_a_run_does_not_depend_on(key):
    assert run_of(**{key: INDEPENDENT[key]}) == run_of()


@pytest.mark.parametrize("key", DETERMINING)
def test_a_run_depends_on(key):
    # a share of every natural client needs natural clients
    natural = {"dataset": "har", "partition": "natural", "clients": 30}
    base = natural if key == "root_share" else {}
    assert run_of(**base, **{key: DETERMINING[key]}) != run_of(**base)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attack", {"name": "min_max", "perturbation": "std"}),
        ("attack", {"name": "min_max", "tolerance": 1e-3}),
        ("defense", {"name": "skymask", "threshold": 0.4}),
        ("defense", {"name": "skymask", "clusters": 2}),
        ("partition", {"name": "label_bias", "bias": 0.4}),
        ("partition", {"name": "dirichlet", "alpha": 0.1}),
    ],
)
def test_a_run_depends_on_the_parameter(key, value):
    assert run_of(**{key: value}) != run_of(**{key: value["name"]})


def test_run_names_show_what_they_are():
    name = run_of(data_seed=3, training_seed=4, attack="label_flip", defense="trimmed_mean")
    assert name.startswith("digits-mlp-label_flip-trimmed_mean-3.4-")
    assert len(name.rsplit("-", 1)[1]) == 8


def test_defaults_written_out_are_defaults_left_out():
    defaults = {key: f.default for key, f in FIELDS.items() if not f.is_required()}
    assert study_grid.read({**defaults, **BASE}) == read()
    assert len(defaults) > 15


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("attack", {"name": "min_max", "perturbation": "unit", "tolerance": "1e-5"}),
        ("attack", {"name": "fang_trim", "b": 2, "knowledge": "full"}),
        ("defense", {"name": "fedavg", "weighting": "uniform"}),
        (
            "defense",
            {
                "name": "skymask",
                "clusters": "auto",
                "threshold": 0.5,
                "mask_lr": "1e7",
                "mask_clamp": "1e-7",
                "mask_steps": 20,
            },
        ),
        ("partition", {"name": "label_bias", "bias": 0.5}),
        ("defense", {"name": "krum"}),
    ],
)
def test_a_methods_defaults_written_out_are_defaults_left_out(key, written):
    assert run_of(**{key: written}) == run_of(**{key: written["name"]})


def test_a_choice_is_the_choice_and_nothing_that_only_equals_it():
    try:
        name = run_of(defense={"name": "skymask", "clusters": 2.0})
    except StudyError:
        return
    assert name == run_of(defense={"name": "skymask", "clusters": 2})


def test_the_server_assumes_malicious_clients_only_where_the_defense_uses_them():
    assert experiment_of(defense="fedavg").assumed_malicious is None
    assert experiment_of(defense="fedavg", assumed_malicious=4).assumed_malicious is None
    assert experiment_of(defense="krum").assumed_malicious == 2
    assert experiment_of(defense="krum", assumed_malicious=4).assumed_malicious == 4
    assert experiment_of(defense="krum", assumed_malicious=0).assumed_malicious == 0
    assert run_of(defense="krum", assumed_malicious=2) == run_of(defense="krum")
    assert run_of(defense="fedavg", assumed_malicious=2) == run_of(defense="fedavg")


def test_the_server_assumes_the_share_also_without_an_attack():
    found = experiment_of(attack="none", malicious_share=0.3)
    assert (found.malicious, found.assumed_malicious) == (0, 3)
    found = experiment_of(attack="min_max", malicious_share=0.3)
    assert (found.malicious, found.assumed_malicious) == (3, 3)
    # without an attack the share changes no run of a defense that does not use it
    shares = {run_of(attack="none", defense="fedavg", malicious_share=s) for s in (0, 0.1, 0.3)}
    assert len(shares) == 1


# --- experiments --------------------------------------------------------------------------------


def test_an_experiment_survives_json():
    grid = read(
        attack=[
            "none",
            {"name": "fang_trim", "b": 3, "coordinates": {"layers": ["1.bias", "3.bias"]}},
        ],
        defense=["fedavg", ["nnm", "bucketing", "krum"], {"name": "skymask", "clusters": 2}],
        gradient_clip=[None, 0.01],
        malicious_share=0.1,
    )
    assert len(grid.runs) == 12
    for name, cell in grid.runs.items():
        text = cell.experiment.to_json()
        again = Experiment.from_json(text)
        assert again == cell.experiment
        assert (again.run, again.to_json()) == (name, text)


def test_the_json_of_an_experiment_is_readable_and_sorted():
    text = experiment_of().to_json()
    values = json.loads(text)
    assert list(values) == sorted(values)
    assert values["run"] == run_of()
    assert values["attack"]["parameters"] == {
        "knowledge": "full",
        "perturbation": "unit",
        "tolerance": 1e-5,
    }
    assert text.endswith("}\n")


def changed(**changes):
    values = json.loads(experiment_of().to_json())
    values.update(changes)
    return json.dumps({key: value for key, value in values.items() if value != "drop"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not an experiment"),
        (experiment_of().to_json()[:-20], "not an experiment"),
        ("[]", "not an experiment"),
        ("null", "not an experiment"),
        ("3", "not an experiment"),
        ("{}", "not an experiment"),
        (changed(run="drop"), "not an experiment"),
        (changed(clients="drop"), "not an experiment"),
        (changed(surplus=1), "not an experiment"),
        (changed(attack="none"), "not an experiment"),
        (changed(attack={"name": "none", "surplus": {}}), "not an experiment"),
        (changed(clients=11), "was written for run digits-mlp-min_max-krum-1.1-"),
        (changed(run="digits-mlp"), "was written for run digits-mlp, but reads as digits-mlp-min"),
        (changed(attack={"name": "min_max", "parameters": {}}), "was written for run"),
    ],
)
def test_what_is_no_experiment_of_this_version_is_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        Experiment.from_json(text)
    assert not isinstance(caught.value, json.JSONDecodeError)


def test_a_number_for_a_name_is_refused_as_no_experiment():
    with pytest.raises(ValueError, match="experiment"):
        Experiment.from_json(changed(dataset=3))


def test_every_nth_round_is_evaluated():
    run = experiment_of(evaluate_every=3, rounds=20)
    assert [r for r in range(1, 11) if run.evaluates(r)] == [3, 6, 9]
    assert all(experiment_of(evaluate_every=1).evaluates(r) for r in (1, 2, 10))


def test_runs_that_split_the_data_alike_share_a_partition():
    run = experiment_of()
    for same in (
        {"training_seed": 2},
        {"attack": "none"},
        {"defense": "oracle"},
        {"local_lr": 0.2},
        {"model": "small_cnn"},
        {"malicious_share": 0.3},
    ):
        assert experiment_of(**same).partition_id == run.partition_id
    others = [
        experiment_of(**other).partition_id
        for other in (
            {"data_seed": 2},
            {"clients": 11},
            {"samples_per_client": 9},
            {"root_size": 21},
            {"root_bias": 0.5},
            {"partition": "iid"},
            {"partition": {"name": "label_bias", "bias": 0.4}},
            {"dataset": "fashion_mnist"},
        )
    ]
    assert len({run.partition_id, *others}) == 9
    assert run.partition_id.startswith("digits-label_bias-1-")


def test_a_method_with_other_parameters_is_another_experiment():
    run = experiment_of()
    other = replace(run, attack=Method("min_max", {**run.attack.parameters, "tolerance": 1e-4}))
    assert other.hash != run.hash


# --- the studies that are shipped ---------------------------------------------------------------

SHIPPED = [REPOSITORY / "config/config.yaml", *sorted(REPOSITORY.glob("config/studies/*.yaml"))]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_studies_are_valid(path):
    config = yaml.safe_load(path.read_text("utf-8"))
    found = load.from_config(config, str(path))
    assert found.runs
    reasons = [cell for cell in found.cells if cell.undefined]
    # all cells are defined, except for large shares of malicious clients in their own study
    assert not reasons or path.stem == "malicious_share"
    assert {cell.varied["malicious_share"] for cell in reasons} <= {0.6, 0.8}
    assert all(cell.undefined is None for cell in found.cells if cell.defense == "skymask")
    if path.parent.name == "studies":
        assert found.name == path.stem


def test_shipped_studies_have_names_of_their_own():
    assert len(SHIPPED) >= 3
    names = [yaml.safe_load(path.read_text("utf-8"))["study"] for path in SHIPPED]
    assert len(set(names)) == len(names)


def test_the_default_study_crosses_losses_attacks_and_defenses_over_paired_seeds():
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text("utf-8"))
    found = load.from_config(config)
    axes = ("loss", "attack", "defense", "data_seed")
    assert len(found.runs) == math.prod(len(config[axis]) for axis in axes)


def test_run_names_are_those_of_earlier_versions():
    # a run with another name is computed again, and compared with nothing
    text = (Path(__file__).parent / "run_names.json").read_text(encoding="utf-8")
    expected = json.loads(text)
    for path in SHIPPED:
        config = yaml.safe_load(path.read_text("utf-8"))
        for scale in ("full", "small") if "small" in config else ("full",):
            found = load.from_config({**config, "scale": scale})
            names, known = list(found.runs), expected.pop(found.name)
            assert names[0] == known["first"]
            assert names == known.get("names", names)
            digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
            assert (len(names), digest) == (known["runs"], known["digest"]), found.name
    assert not expected


# --- anything at all ----------------------------------------------------------------------------

NAMES = ["nnm", "bucketing", "scaling"]
NAMES += [
    "none",
    "min_max",
    "krum",
    "skymask",
    "label_bias",
    "iid",
    "digits",
    "mlp",
    "cpu",
    "class",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([*NAMES, "1e7", "nan", "inf", "name", "clients", "attack", "data_seed"]),
    st.binary(max_size=3),
    st.dates(datetime.date(2000, 1, 1)),
    st.datetimes(),
)
PARAMETERS = ["threshold", "clusters", "bias", "alpha", "tolerance", "perturbation", "b", "mask_lr"]
PARAMETERS += ["coordinates", "share", "layers", "pick", "size", "patch", "target"]
KEYS = st.one_of(st.text(max_size=3), st.integers(0, 3), st.none(), st.sampled_from(list(FIELDS)))


def containers(inner):
    method = st.fixed_dictionaries({"name": st.sampled_from(NAMES)})
    parameters = st.dictionaries(st.sampled_from(PARAMETERS), inner, max_size=2)
    merged = st.builds(lambda name, rest: {**rest, **name}, method, parameters)
    return st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3) | merged


JUNK = st.recursive(SCALARS, containers, max_leaves=6)

# values that get through the first checks, so that the later ones meet them too
SENSIBLE = {
    "dataset": ["digits", "fashion_mnist", ["digits", "fashion_mnist"]],
    "model": ["small_cnn", "cnn", ["mlp", "cnn"]],
    "clients": [2, 5, 20, [10, 12], 5000],
    "samples_per_client": [None, 1, 100, [None, 5]],
    "partition": ["iid", {"name": "dirichlet", "alpha": [0.1, "1e0"]}, "label_bias"],
    "root_size": [1, 100, 5000],
    "root_bias": [0, 1, 0.5, None],
    "malicious_share": [0, 0.01, 0.5, 0.95, 0.999, [0, 0.2]],
    "assumed_malicious": [0, 4, 50, [None, 1]],
    "attack": [
        "none",
        ["none", "label_flip"],
        {"name": "fang_trim", "b": [2, "3e0"]},
        {"name": "scaling", "patch": [3, 9], "coordinates": {"share": ["1e-1", 0.2]}},
        {"name": "min_max", "coordinates": [{"layers": ["1.bias"]}, {"share": 0.1}]},
    ],
    "defense": [
        "trimmed_mean",
        ["krum", "oracle"],
        {"name": "skymask", "clusters": ["auto", 2]},
        [["nnm", "median"], [{"name": "bucketing", "size": [2, 30]}, "krum"]],
    ],
    "rounds": [1, 1000, [10, 20]],
    "evaluate_every": [1, 3, 7, [1, 2]],
    "data_seed": [[1, 2, 3], [1, 2]],
    "training_seed": [[1, 2, 3], [4, 5]],
    "keep_updates": [[1], [10], [11], []],
    "final_evaluations": [1, 3, 11],
    "paired": [[["data_seed", "training_seed"]], [["clients", "attack"], ["attack", "rounds"]]],
    "exclude": [
        [{"attack": "none"}],
        [{"attack": {"name": "min_max"}}, {"clients": [10, 5]}],
        [{"defense": [["nnm", "median"]], "attack": {"name": "scaling", "coordinates": None}}],
    ],
}
CHANGES = st.builds(
    lambda sensible, junk: {**sensible, **junk},
    st.dictionaries(st.sampled_from(list(SENSIBLE)), st.integers(0, 4), max_size=4).map(
        lambda chosen: {k: SENSIBLE[k][i % len(SENSIBLE[k])] for k, i in chosen.items()}
    ),
    st.dictionaries(st.sampled_from(list(FIELDS)) | KEYS, JUNK | st.just(...), max_size=2),
)


def study_or_mistakes(config):
    try:
        return study_grid.read(config, "f.yaml")
    except StudyError as error:
        return error


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(CHANGES)
@example({"paired": None})
@example({"paired": 3})
@example({"paired": [3]})
@example({"paired": [[]]})
@example({"paired": [[[1], [2]]]})
@example({"exclude": None})
@example({"exclude": 3})
@example({"malicious_share": float("nan")})
@example({"malicious_share": "nan"})
@example({"clients": 10**400})
@example({"defense": [[]]})
@example({"defense": [[[]]]})
@example({"defense": [["nnm", {}], [{"name": []}, "krum"], [3, None]]})
@example({"defense": [[{"name": ["nnm"]}, {"name": "krum", "coordinates": {}}]]})
@example({"attack": {"name": "min_max", "coordinates": {3: 4}}})
@example({"attack": {"name": "min_max", "coordinates": {"layers": [{}]}}})
@example({"attack": {"name": "min_max", "coordinates": {"layers": [["1.bias"]]}}})
@example({"attack": {"name": "min_max", "coordinates": [[], {}, None]}})
@example({"exclude": [{"attack": {"name": "min_max", "coordinates": 3}, "defense": [[]]}]})
@example({"exclude": [{"attack": [[]], "partition": [["iid"]]}]})
def test_any_configuration_is_a_study_or_a_list_of_mistakes(changes):
    config = {k: v for k, v in {**BASE, **changes}.items() if v is not ...}
    found = study_or_mistakes(config)
    if isinstance(found, StudyError):
        assert found.problems
        assert str(found).startswith("f.yaml: ")
        assert all(problem.strip() for problem in found.problems)
        return
    assert found.runs
    for name, cell in found.runs.items():
        assert cell.experiment.run == name
        assert Experiment.from_json(cell.experiment.to_json()).run == name
