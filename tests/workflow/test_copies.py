"""Finished studies in other places and at other times: nothing is done again without a reason."""

import os
import random
import shutil
import subprocess

import pytest

from .harness import TINY, Project
from .test_cache import FIGURES, TABLES


def scramble(folder):
    """Give all files below a folder times that say nothing."""
    draw = random.Random(1)
    for path in sorted(folder.rglob("*")):
        time = draw.uniform(1e9, 2e9)
        os.utime(path, (time, time))


def touched(project):
    """A checkout and back writes the same sources at another time."""
    for path in [*project.folder.glob("workflow/**/*"), *project.folder.glob("src/**/*.py")]:
        if path.is_file():
            path.write_bytes(path.read_bytes())


COPIES = {
    "cp": ["cp", "-r", "{old}/results", "{new}/results"],
    "cp -a": ["cp", "-a", "{old}/results", "{new}/results"],
    "rsync without times": ["cp", "-r", "--no-preserve=all", "{old}/results", "{new}/results"],
    "tar": ["sh", "-c", "tar -c -C {old} results | tar -x -m -C {new}"],
    "links": ["cp", "-rs", "{old}/results", "{new}/results"],
}


@pytest.mark.parametrize("copy", COPIES)
def test_copied_results_are_done_in_a_fresh_clone(finished, tmp_path, copy):
    project = Project.create(tmp_path / "clone")
    places = {"old": finished.folder, "new": project.folder}
    subprocess.run([part.format(**places) for part in COPIES[copy]], check=True)
    assert "Nothing to be done" in project.snakemake("-n").stdout


@pytest.mark.parametrize("records", [True, False], ids=["with records", "without records"])
def test_times_and_records_decide_nothing(project, records):
    scramble(project.folder)
    touched(project)
    if not records:
        shutil.rmtree(project.folder / ".snakemake")
    assert "Nothing to be done" in project.snakemake("-n").stdout
    # nor without the profile's trigger
    triggers = ["mtime", "params", "input", "code", "software-env"]
    assert "Nothing to be done" in project.snakemake("-n", "--rerun-triggers", *triggers).stdout


def test_records_of_other_code_do_not_count(project, finished):
    # the records are of the changed code, the results of the code as it is
    project.edit("src/skymask/defenses/krum.py", "assumed_malicious - 2", "assumed_malicious - 1")
    project.snakemake()
    project.edit("src/skymask/defenses/krum.py", "assumed_malicious - 1", "assumed_malicious - 2")
    assert project.planned()["span"] == 2
    shutil.rmtree(project.folder / "results")
    shutil.copytree(finished.folder / "results", project.folder / "results")
    assert project.planned() == {}


def test_comments_in_a_script_rerun_nothing(project):
    script = "workflow/scripts/span.py"
    project.edit(script, '"""Many rounds', "# a comment\n" + '"""All these rounds')
    project.edit(script, "    clock = Clock()", "    # a comment\n\n    clock = Clock()")
    assert project.planned() == {}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("data", {"data": 1, "partition": 1, "span": 4, "collect": 2, **TABLES}),
        ("partition", {"partition": 1, "span": 4, "collect": 2, **TABLES}),
        ("span", {"span": 4, "collect": 2, **TABLES}),
        ("collect", {"collect": 2, **TABLES}),
        ("tables", {**TABLES, "figure": 1}),
        ("figure", FIGURES),
        ("overview", {"overview": 1}),
        # scripts of jobs that this study does not have
        ("train", {}),
        ("evaluate", {}),
        ("collect_updates", {}),
    ],
)
def test_an_edited_script_reruns_what_depends_on_it(project, script, expected):
    path = f"workflow/scripts/{script}.py"
    project.edit(path, "with logged(", "answer = 42\nwith logged(")
    assert project.planned() == expected
    project.edit(path, "answer = 42\n", "")
    assert project.planned() == {}


STAGED = {"defense": "krum", "rounds": 2, "rounds_per_job": 1}


@pytest.fixture(scope="module")
def staged(bare, tmp_path_factory):
    """A study of two rounds whose stages are jobs; never changed."""
    project = bare.clone(tmp_path_factory.mktemp("staged") / "project")
    project.set_study(**STAGED)
    project.snakemake()
    return project


# round 1 up to the stage, and all of round 2
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("initialise", {"initialise": 1, "train": 2, "attack": 2, "aggregate": 2, "evaluate": 1}),
        ("train", {"train": 2, "attack": 2, "aggregate": 2, "evaluate": 1}),
        # round 1 is trained again, since its updates were temporary
        ("aggregate", {"train": 2, "attack": 2, "aggregate": 2, "evaluate": 1}),
        ("evaluate", {"evaluate": 1}),
        ("span", {}),
    ],
)
def test_an_edited_script_of_a_stage_reruns_what_depends_on_it(staged, tmp_path, script, expected):
    project = staged.clone(tmp_path / "project")
    project.edit(f"workflow/scripts/{script}.py", "with logged(", "answer = 42\nwith logged(")
    shown = {"collect": 1, "study_tables": 1, "figure": 1, "overview": 1} if expected else {}
    assert project.planned() == expected | shown


def test_new_runs_do_not_repeat_finished_ones_whose_data_are_gone(project):
    for folder in ("data", "partitions"):
        shutil.rmtree(project.folder / "results" / folder)
    for spans in project.folder.glob("results/runs/*/spans"):
        shutil.rmtree(spans)
    assert project.planned() == {}
    project.set_study(defense=[*TINY["defense"], "median"])
    # data, partition and spans of the new run alone
    new = {"data": 1, "partition": 1, "experiments": 1, "span": 2, "collect": 1}
    assert project.planned() == {**new, **TABLES}


def test_outdated_files_that_nothing_needs_are_left(project):
    # old samples next to results that were made elsewhere
    project.edit("workflow/scripts/data.py", "with logged(", "answer = 42\nwith logged(")
    (project.folder / "results/partitions").rename(project.folder / "results/elsewhere")
    project.edit("workflow/scripts/data.py", "answer = 42\n", "")
    made = project.folder / "results/data/digits/provenance/data.json"
    made.write_text(made.read_text().replace('"code"', '"older"'))
    assert project.planned() == {}


def test_a_wanted_file_needs_only_what_it_is_made_from(project):
    run = project.run("krum").relative_to(project.folder)
    metrics, model = f"{run}/metrics.parquet", f"{run}/spans/1-2/model.parquet"
    made = project.folder / run / "spans/1-2/provenance/span.json"
    made.write_text(made.read_text().replace('"code"', '"older"'))
    assert project.planned(metrics) == {}
    assert project.planned(model) == {"span": 1}
    (project.folder / metrics).unlink()
    # rounds 3 to 4 are current, whatever came before them
    assert project.planned(metrics) == {"span": 1, "collect": 1}


@pytest.mark.parametrize(
    "file",
    ["tables/tiny/accuracy.csv", "figures/tiny/mask_scatter.png", "tables/tiny/overview.html"],
)
def test_a_changed_result_is_written_again(project, file):
    path = project.folder / "results" / file
    before = path.read_bytes()
    path.write_bytes(before.replace(b"1", b"2"))
    assert project.planned() != {}
    project.snakemake()
    if path.suffix == ".csv":
        assert path.read_bytes() == before
    assert project.planned() == {}


def test_a_file_of_another_run_is_not_taken(project):
    krum, skymask = project.run("krum"), project.run("skymask")
    shutil.rmtree(project.folder / "results" / "tables")
    shutil.copy(krum / "metrics.parquet", skymask / "metrics.parquet")
    assert project.planned() == {"collect": 1, "study_tables": 1, "overview": 1}
    shutil.copytree(krum / "provenance", skymask / "provenance", dirs_exist_ok=True)
    assert project.planned() == {"collect": 1, "study_tables": 1, "overview": 1}


def test_forced_jobs_rerun_all_that_depends_on_them(project):
    assert project.planned("--forcerun", "span") == {"span": 4, "collect": 2, **TABLES}


def test_kept_updates_are_added_by_the_span_that_has_them(project):
    project.set_study(keep_updates=[3])
    planned = project.planned()
    assert planned == {"span": 2, "collect_updates": 2}
