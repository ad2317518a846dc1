"""Every use of a Snakemake internal, with the Snakemake that is installed."""

import inspect
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.jobs import Job as SingleJob
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

internals.decide_by(
    workflow, lambda made, wanted, others: made.exists() and made.read_text() == wanted["code"]
)

onstart:
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
    input: "b/1"
    localrule: True

rule b:
    output: "b/{run}"
    log: "log/{run}"
    shell: "touch {output} {log}"

rule first:
    output: "made/{run}", provenance="made/{run}.made"
    wildcard_constraints: run="first"
    params: provenance={"code": "x"}
    shell: "touch {output}"

rule second:
    input: ancient("made/first")
    output: "made/{run}", provenance="made/{run}.made"
    wildcard_constraints: run="second"
    params: provenance={"code": "x"}
    shell: "touch {output}"
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
    """A workflow that has run."""
    folder = tmp_path_factory.mktemp("workflow")
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "default.yaml").write_text(yaml.safe_dump({"from": "default"}))
    (folder / "study.yaml").write_text(yaml.safe_dump({"from": "study"}))
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


def planned(folder, *arguments):
    """The values of the wildcard of the jobs that a dry run lists."""
    shown = snakemake(folder, "--configfile", "study.yaml", "-n", *arguments)
    return re.findall(r"wildcards: run=(\w+)", shown)


def test_files_with_a_provenance_decide_themselves(folder):
    # the second comes from the first
    for name, made in (("first", "x"), ("second", "x")):
        (folder / "made" / name).parent.mkdir(exist_ok=True)
        (folder / "made" / name).write_text(name)
        (folder / "made" / f"{name}.made").write_text(made)
    os.utime(folder / "made" / "second", (0, 0))
    assert planned(folder, "made/second") == []
    # what is not current runs, and what is does not run because of what comes before it
    (folder / "made" / "first.made").write_text("y")
    assert planned(folder, "made/second") == []
    assert planned(folder, "made/first") == ["first"]
    (folder / "made" / "second.made").write_text("y")
    assert planned(folder, "made/second") == ["first", "second"]
    (folder / "made" / "first.made").write_text("x")
    assert planned(folder, "made/second") == ["second"]
    # what is wanted and missing runs
    (folder / "made" / "second.made").write_text("x")
    (folder / "made" / "first").unlink()
    assert planned(folder, "made/second") == []
    (folder / "made" / "second").unlink()
    assert planned(folder, "made/second") == ["first", "second"]


def test_other_rules_are_decided_by_snakemake(folder):
    file = folder / "Snakefile"
    text = file.read_text()
    file.write_text(text.replace("touch {output} {log}", "touch {output} {log} # changed"))
    try:
        assert planned(folder, "b/1") == ["1"]
    finally:
        file.write_text(text)


@pytest.mark.parametrize("text", [*internals.CHATTER, internals.TERMINATING])
def test_snakemake_still_words_its_messages_so(text):
    source = inspect.getsource(job_scheduler)
    if text == "RuleException:":
        # the name of the class of an error, as print_exception begins its message
        from snakemake.exceptions import RuleException

        assert RuleException.__name__ == "RuleException"
    else:
        assert f'"{text}' in source


ERRORS = """
import json, logging
from pathlib import Path
from skymask.jobs import snakemake_internals as internals

class Listener(logging.Handler):
    def emit(self, record):
        error = internals.job_error(record)
        if error or internals.event(record) == "error":
            told = [error and [error.number, error.message], record.thread, record.getMessage()]
            with open("errors", "a") as file:
                print(json.dumps(told), file=file)

onstart: logging.getLogger("snakemake.logging").addHandler(Listener())
rule all:
    input: "killed", "missing", "recorded"
rule killed:
    output: "killed"
    log: "killed.log"
    shell: "kill -9 $$"
rule missing:
    output: "missing"
    shell: "true"
rule recorded:
    output: "recorded"
    benchmark: "recorded.tsv"
    shell: "mkdir {output}.tsv; touch {output}"
"""


def test_failed_jobs_and_the_errors_before_them_are_recognised(tmp_path):
    (tmp_path / "Snakefile").write_text(ERRORS)
    subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "-k", "--latency-wait", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(skymask.__file__).parents[1])},
        capture_output=True,
        check=False,
    )
    last, texts = {}, []
    for line in (tmp_path / "errors").read_text().splitlines():
        error, thread, text = json.loads(line)
        if error:
            texts.append((error[1] or "") + last.pop(thread, ""))
        else:
            last[thread] = text
    assert len(texts) == 3
    for words in ("died with <Signals.SIGKILL: 9>", "[Errno 21]", "some output files are missing"):
        assert len([text for text in texts if words in text]) == 1


def test_the_number_and_the_log_of_a_cluster_job_are_recognised():
    assert internals.job_error(logging.LogRecord("", 0, "", 0, "", (), None)) is None
    info = SingleJob.get_log_error_info(
        SimpleNamespace(
            dag=SimpleNamespace(
                jobid=lambda job: 4,
                workflow=SimpleNamespace(
                    deployment_settings=SimpleNamespace(deployment_method=set())
                ),
            ),
            rule=SimpleNamespace(name="span"),
            input=[],
            output=[],
            log=["own.log"],
            container_img=None,
            shellcmd=None,
        ),
        msg="SLURM-job '12' failed",
        # as the executor plugin of SLURM and its base class pass them
        aux_logs=["slurm/12.log", None],
        external_jobid="12",
    )
    record = logging.makeLogRecord(info)
    expected = internals.JobError(4, "SLURM-job '12' failed", "12", (Path("slurm/12.log"),))
    assert internals.job_error(record) == expected


def test_a_record_without_an_event_has_no_name():
    assert internals.event(logging.LogRecord("", 0, "", 0, "", (), None)) == ""
