"""The workflow as a module of another workflow."""

import pytest
import yaml

from .harness import ROOT, TINY, Project

MODULES = """
module skymask:
    snakefile: "{folder}/Snakefile"
    config: config

use rule * from skymask as skymask_*

module elsewhere:
    snakefile: "{folder}/workflow/Snakefile"
    config: {{**config, "study": "part", "defense": "krum", "rounds_per_job": config["rounds"]}}
    prefix: "elsewhere"

use rule * from elsewhere as elsewhere_*

rule all:
    default_target: True
    localrule: True
    input: rules.skymask_tables.input, rules.elsewhere_tables.input
"""


@pytest.mark.slow
def test_modules_write_what_the_workflow_itself_writes(finished, tmp_path):
    project = Project(tmp_path)
    project.set_study()
    (tmp_path / "Snakefile").write_text(MODULES.format(folder=finished.folder))
    done = project.snakemake("--scheduler", "greedy")
    # no rule is named that does not exist under its new name
    assert "not present in the Snakefile" not in done.stdout
    tables = {
        path.name: path.read_bytes()
        for path in (finished.folder / "results/tables/tiny").glob("*.csv")
    }
    assert len(tables) >= 5
    for name, content in tables.items():
        assert (tmp_path / "results/tables/tiny" / name).read_bytes() == content
    assert (tmp_path / "results/tables/tiny/overview.html").exists()
    assert project.rows() == finished.rows()

    elsewhere = Project(tmp_path / "elsewhere")
    assert (elsewhere.folder / "results/tables/part/accuracy.csv").exists()
    assert elsewhere.rows() == {
        name: content for name, content in finished.rows().items() if "-krum-" in name
    }
    assert project.snakemake("-n", "--scheduler", "greedy").stdout.count("Nothing to be done") == 1

    # what is done below the prefix is seen, and continued
    project.set_study(rounds=6)
    planned = project.snakemake("-n", "--scheduler", "greedy").stdout
    (run,) = elsewhere.runs()
    assert f"elsewhere/results/runs/{run.name}/spans/5-6/model.parquet" in planned


def test_a_module_takes_its_study_from_a_part_of_the_configuration(tmp_path):
    project = Project(tmp_path)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"skymask": TINY}))
    snakefile = MODULES.partition("module elsewhere")[0].format(folder=ROOT)
    (tmp_path / "Snakefile").write_text(
        snakefile.replace("config: config", 'config: config["skymask"]')
    )
    assert project.planned("--config", "other=1")["skymask_span"] == 4


def test_the_snakefile_for_catalogs_has_the_same_default_target(tmp_path):
    project = Project.create(tmp_path / "project")
    planned = project.planned("--snakefile", "workflow/Snakefile")
    assert planned.pop("study") == 1
    assert planned == project.planned()
