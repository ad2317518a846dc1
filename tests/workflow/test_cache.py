"""Reruns after a change: what it affects, and nothing else."""

import re
import shutil

from .harness import Project

# accuracy_curves, mask_scatter, mask_geometry, mask_layers
FIGURES = {"figure": 4, "overview": 1}
TABLES = {"study_tables": 1, **FIGURES}


def test_a_finished_study_has_nothing_to_do(project):
    assert "Nothing to be done" in project.snakemake().stdout


def test_changes_of_documentation_and_comments_rerun_nothing(project):
    with (project.folder / "README.md").open("a") as readme:
        readme.write("\nOne more sentence.\n")
    krum = "src/skymask/defenses/krum.py"
    project.edit(krum, '"""Krum."""', '"""Krum, explained."""')
    project.edit(krum, "scores =", "# a comment\n    scores =")
    with (project.folder / "environment.yml").open("a") as environment:
        environment.write("# a comment\n")
    assert project.planned() == {}


def test_editing_a_figure_draws_figures_alone(project):
    project.edit("src/skymask/reporting/figures/style.py", '"font.size": 8', '"font.size": 9')
    assert project.planned() == FIGURES
    project.edit("src/skymask/reporting/figures/style.py", '"font.size": 9', '"font.size": 8')
    project.edit("src/skymask/reporting/figures/mask_scatter.py", '"not run"', '"missing"')
    assert project.planned() == {**FIGURES, "figure": 1}


def test_editing_a_defense_reruns_the_runs_of_that_defense_alone(project):
    project.edit("src/skymask/defenses/krum.py", "assumed_malicious - 2", "assumed_malicious - 1")
    planned = project.planned()
    # the krum run with all tables; of the figures, those that show only SkyMask's runs stay
    assert planned == {"span": 2, "collect": 1, **TABLES, "figure": 2}
    output = project.snakemake("-n").stdout
    assert not re.search(r"output: .*skymask.*spans", output)


def test_editing_an_attack_reruns_the_runs_of_that_attack(project):
    project.edit("src/skymask/attacks/fang_trim.py", "b: float = 2.0", "b: float = 2.0 + 0.0")
    project.edit("src/skymask/attacks/fang_trim.py", "2.0 + 0.0", "2.0")
    assert project.planned() == {}
    project.edit("src/skymask/attacks/min_max.py", "1 - tolerance", "1 - 2 * tolerance")
    assert project.planned() == {}
    project.edit("src/skymask/attacks/fang_trim.py", "4 * deviation", "5 * deviation")
    assert project.planned() == {"span": 4, "collect": 2, **TABLES}


def test_editing_masks_reruns_skymask_alone(project):
    project.edit("src/skymask/masks/steps.py", "BLOCK = 4096", "BLOCK = 2048")
    assert project.planned() == {"span": 2, "collect": 1, **TABLES}


def test_more_rounds_compute_only_the_new_ones_and_equal_a_fresh_run(project, tmp_path):
    project.set_study(rounds=7)
    output = project.snakemake().stdout
    spans = set(re.findall(r"spans/(\d+-\d+)", output))
    jobs = dict(re.findall(r"^(span|collect) +(\d+)$", output, re.MULTILINE))
    assert jobs == {"span": "4", "collect": "2"}  # 5-6 and 7-7 of two runs
    assert not {"1-2", "3-4"} & spans
    fresh = Project.create(tmp_path / "fresh", rounds=7, rounds_per_job=7)
    fresh.snakemake()
    assert fresh.rows() == project.rows()


def test_two_studies_share_runs(project):
    project.set_study(study="wider", attack=["none", "fang_trim"], defense=["fedavg", "krum"])
    # of the four runs, that of fang_trim × krum exists
    assert project.planned()["collect"] == 3


def test_tables_of_a_finished_study_train_nothing(project):
    before = project.rows()
    old = (project.tables() / "accuracy.md").read_text()
    shutil.rmtree(project.folder / "results" / "tables")
    assert project.planned("tables") == {"study_tables": 1, "overview": 1}
    project.snakemake("tables")
    assert (project.tables() / "accuracy.md").read_text() == old
    assert project.rows() == before


def test_another_number_of_final_evaluations_writes_tables_alone(project):
    project.set_study(final_evaluations=2)
    assert project.planned() == TABLES


def test_a_truncated_file_is_made_again_where_it_is_needed(project):
    before = project.rows()
    file = project.run("krum") / "spans" / "3-4" / "metrics.parquet"
    file.write_bytes(file.read_bytes()[:-40])
    assert project.planned() == {}
    (project.run("krum") / "metrics.parquet").unlink()
    (project.tables() / "accuracy.md").unlink()
    assert project.planned()["span"] == 1
    project.snakemake()
    assert project.rows() == before
