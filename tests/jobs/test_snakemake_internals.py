"""Every use of a Snakemake internal, with the Snakemake that is installed."""

import inspect
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemake.scheduling import job_scheduler

import skymask
from skymask.jobs import snakemake_internals as internals

SNAKEFILE = """
import json, logging
from pathlib import Path
from skymask.jobs import snakemake_internals as internals

if not internals.has_config_files(workflow):
    configfile: "default.yaml"

seen, planned = [], []
class Listener(logging.Handler):
    def emit(self, record):
        seen.append(internals.event(record))

onstart:
    internals.adopt(workflow, {"run"}, lambda made, timed: made.read_text() == "current")
    logging.getLogger("snakemake.logging").addHandler(Listener())
    planned.extend(internals.planned_jobs(workflow))
onsuccess:
    found = {
        "config_files": internals.config_files(workflow),
        "has_config_files": internals.has_config_files(workflow),
        "config_overrides": internals.config_overrides(workflow),
        "with_prefix": str(internals.with_prefix(workflow, Path("results/runs"))),
        "is_main_process": internals.is_main_process(workflow),
        "runs_jobs_elsewhere": internals.runs_jobs_elsewhere(workflow),
        "planned_jobs": planned,
        "stream_handlers": len(internals.stream_handlers()),
        "event": sorted(set(seen) & {"job_info", "job_finished", "progress"}),
    }
    Path("found.json").write_text(json.dumps(found))

rule all:
    input: "b/1", "old/current", "old/other"
    localrule: True

rule b:
    output: "b/{run}"
    log: "log/{run}"
    shell: "touch {output} {log}"

rule old:
    output: "old/{run}"
    benchmark: "times/{run}"
    shell: "echo -n {wildcards.run} > {output}"
"""


def snakemake(folder, *arguments):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(skymask.__file__).parents[1])}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A workflow that has run; two of its files were there before, without a record."""
    folder = tmp_path_factory.mktemp("workflow")
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "default.yaml").write_text(yaml.safe_dump({"from": "default"}))
    (folder / "study.yaml").write_text(yaml.safe_dump({"from": "study"}))
    (folder / "old").mkdir()
    for name in ("current", "other"):
        (folder / "old" / name).write_text(name)
    snakemake(folder, "--configfile", "study.yaml", "--config", "rounds=3")
    return folder


EXPECTED = {
    "has_config_files": True,
    "config_overrides": {"rounds": 3},
    "with_prefix": "results/runs",
    "is_main_process": True,
    "runs_jobs_elsewhere": False,
    "stream_handlers": 1,
    "event": ["job_finished", "job_info", "progress"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_internal_is_as_this_version_of_snakemake_has_it(folder, name):
    assert json.loads((folder / "found.json").read_text())[name] == EXPECTED[name]


def test_config_files_are_those_of_the_command_line(folder):
    (file,) = json.loads((folder / "found.json").read_text())["config_files"]
    assert Path(file).name == "study.yaml"


def test_planned_jobs_have_a_rule_and_wildcards(folder):
    planned = json.loads((folder / "found.json").read_text())["planned_jobs"]
    assert ["b", {"run": "1"}] in planned
    assert "old" not in [rule for rule, _ in planned]


def test_adopt_records_the_jobs_that_are_current(folder):
    file = folder / "Snakefile"
    file.write_text(SNAKEFILE.replace("echo -n {wildcards", "echo -n changed {wildcards"))
    planned = snakemake(folder, "--configfile", "study.yaml", "-n")
    # only where there is a record does Snakemake see that the code has changed
    assert "output: old/current" in planned
    assert "output: old/other" not in planned


@pytest.mark.parametrize("text", [*internals.CHATTER, internals.TERMINATING])
def test_snakemake_still_words_its_messages_so(text):
    source = inspect.getsource(job_scheduler)
    if text == "RuleException:":
        # the name of the class of an error, as print_exception begins its message
        from snakemake.exceptions import RuleException

        assert RuleException.__name__ == "RuleException"
    else:
        assert f'"{text}' in source


def test_a_record_without_an_event_has_no_name():
    assert internals.event(logging.LogRecord("", 0, "", 0, "", (), None)) == ""
