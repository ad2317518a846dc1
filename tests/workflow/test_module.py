"""The workflow as a module of another workflow."""

import os
import subprocess

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


def test_modules_write_what_the_workflow_itself_writes(finished, tmp_path):
    project = Project(tmp_path)
    project.set_study()
    (tmp_path / "Snakefile").write_text(MODULES.format(folder=finished.folder))
    done = project.snakemake("--scheduler", "greedy")
    # target rules refer to the other rules by their new names
    assert "not present in the Snakefile" not in done.stdout
    tables = sorted(finished.tables().glob("*.csv"))
    assert len(tables) >= 5
    for path in tables:
        assert (project.tables() / path.name).read_bytes() == path.read_bytes()
    assert (project.tables() / "overview.html").exists()
    assert project.rows() == finished.rows()

    elsewhere = Project(tmp_path / "elsewhere")
    assert (elsewhere.folder / "results/tables/part/accuracy.csv").exists()
    assert elsewhere.rows() == {
        name: content for name, content in finished.rows().items() if "-krum-" in name
    }
    assert project.snakemake("-n", "--scheduler", "greedy").stdout.count("Nothing to be done") == 1

    # results below the prefix are continued
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


def test_the_snakefile_for_catalogs_has_the_same_default_target(bare):
    planned = bare.planned("--snakefile", "workflow/Snakefile")
    assert planned.pop("study") == 1
    assert planned == bare.planned()


DEPLOYED = """
configfile: "study.yaml"

module skymask:
    snakefile: github("example/skymask", path="workflow/Snakefile", tag="v1.0.0")
    config: config

use rule * from skymask as skymask_*
"""


def test_a_deployed_workflow_runs_from_its_remote_repository(finished, tmp_path):
    # what snakedeploy writes; Git takes the remote repository from a folder
    source = Project.create(tmp_path / "source")
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "Release"], ["tag", "v1.0.0"]):
        subprocess.run([*git, *command], cwd=source.folder, check=True)
    (tmp_path / "gitconfig").write_text(
        f'[url "file://{source.folder}"]\n\tinsteadOf = https://github.com/example/skymask\n'
    )
    project = Project(tmp_path / "deployed")
    project.folder.mkdir()
    project.set_study()
    (project.folder / "Snakefile").write_text(DEPLOYED)
    path = [str(ROOT / "src"), project.environment["PYTHONPATH"]]  # the package is installed
    project.snakemake(
        "--scheduler",
        "greedy",
        GIT_CONFIG_GLOBAL=str(tmp_path / "gitconfig"),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        PYTHONPATH=os.pathsep.join(path),
    )
    assert project.rows() == finished.rows()
    assert (project.folder / "results/tables/tiny/overview.html").exists()
