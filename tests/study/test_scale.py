"""Small scale of a study."""

import pytest
import yaml

from skymask.jobs import costs
from skymask.study import load
from skymask.study.grid import StudyError

from .test_wrong_studies import REPOSITORY

STUDY = {
    "study": "scaled",
    "dataset": "digits",
    "model": "mlp",
    "clients": 50,
    "attack": ["none", "min_max"],
    "defense": ["fedavg", "krum"],
    "rounds": 100,
    "local_lr": 0.1,
    "data_seed": [1, 2],
    "small": {"clients": 20, "rounds": 30, "samples_per_client": 40, "data_seed": 1},
}
STUDIES = sorted((REPOSITORY / "config" / "studies").glob("*.yaml"))
FINE_GRAINED = ("fine_grained", "fine_grained_cross_entropy")


def read(**changes):
    return load.from_config({**STUDY, **changes}, "study.yaml")


def mistakes(**changes):
    with pytest.raises(StudyError) as caught:
        read(**changes)
    return caught.value.problems


def test_the_small_scale_changes_what_it_names_and_nothing_else():
    full, small = read(), read(scale="small")
    assert (full.name, full.scale, full.reduced) == ("scaled", "full", {})
    assert (small.name, small.scale) == ("scaled_small", "small")
    assert small.reduced == {
        "clients": (50, 20),
        "rounds": (100, 30),
        "samples_per_client": (None, 40),
        "data_seed": ([1, 2], 1),
    }
    assert (len(full.cells), len(small.cells)) == (8, 4)
    run = small.cells[0].experiment
    assert (run.clients, run.samples_per_client, small.cells[0].rounds) == (20, 40, 30)
    assert run.local_lr == full.cells[0].experiment.local_lr
    assert run.assumed_malicious == full.cells[0].experiment.assumed_malicious


def test_at_small_scale_a_run_is_that_of_a_study_with_these_values():
    plain = {k: v for k, v in STUDY.items() if k != "small"}
    alone = load.from_config({**plain, **STUDY["small"]})
    assert set(alone.runs) == set(read(scale="small").runs)


def test_a_value_that_does_not_change_is_not_listed():
    small = read(scale="small", small={"clients": 50, "rounds": 30})
    assert small.reduced == {"rounds": (100, 30)}


def test_a_key_that_the_study_does_not_give_has_its_default_at_full_scale():
    assert read(scale="small", small={"batch_size": 16}).reduced == {"batch_size": (32, 16)}


def test_a_study_without_a_small_scale_says_what_to_write():
    assert mistakes(scale="small", small={}) == [
        "scale: 'small' is not defined for this study: write what it changes, as "
        "small: {rounds: 10}, or use scale: full"
    ]


@pytest.mark.parametrize("key", ["study", "scale", "small"])
def test_keys_that_are_the_same_at_every_scale_are_refused(key):
    found = mistakes(scale="small", small={key: "x", "rounds": 30})
    assert found == [f"small: {key!r} is the same at every scale: remove it"]


def test_unknown_keys_and_scales_are_named():
    found = mistakes(scale="small", small={"round": 3, "rounds": 30})
    assert found[0].startswith("small: 'round' is no key; did you mean 'rounds'?")
    assert mistakes(scale="tiny")[0].startswith("scale: 'tiny' must be 'full' or 'small'. ")


def test_a_mistake_at_the_small_scale_is_reported_at_full_scale_too():
    found = mistakes(small={"clients": 1})
    assert len(found) == 1
    assert found[0].startswith("at scale small: clients: 1 ")
    assert mistakes(small=[1])[0].startswith("small: [1] must be a mapping. ")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_of_the_paper_can_be_scaled_down_by_one_switch(path):
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    full = load.from_config(config, path.name)
    assert full.name == path.stem
    # of the digits, which take minutes in full
    if path.stem in ("all_methods_digits", "adaptive_digits", "loss", *FINE_GRAINED):
        return
    small = load.from_config({**config, "scale": "small"}, path.name)
    assert {"rounds"} < set(small.reduced) & {"rounds", "clients", "samples_per_client"} or (
        path.stem == "har"
    )
    assert max(cell.rounds for cell in small.cells) * 20 <= max(c.rounds for c in full.cells)


def test_the_small_scale_of_what_needs_no_download_takes_less_than_an_hour():
    for path in STUDIES:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "small" in config and config["small"].get("dataset", config["dataset"]) == (
            "fashion_mnist"
        ):
            study = load.from_config({**config, "scale": "small"}, path.name)
            seconds = sum(
                cell.rounds * costs.seconds_per_round(cell.experiment)
                for cell in study.runs.values()
            )
            # on two cores
            assert seconds / 2 < 3600, path.stem


@pytest.mark.parametrize("file", ["README.md", "docs/guide/study-file.md"])
def test_the_study_of_the_readme_and_the_guide_can_be_run_at_both_scales(file):
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    block = text.split("```yaml\n")[1].split("```")[0]
    config = yaml.safe_load(block)
    assert load.from_config(config).runs
    assert load.from_config({**config, "scale": "small"}).reduced
