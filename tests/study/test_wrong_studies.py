"""Study files with mistakes: all of them are listed at once, each with what to do.

Each file of ``wrong_studies`` begins with parts of the expected message (``# expect: PART``) and
the number of mistakes (``# mistakes: N``).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from skymask.study import load
from skymask.study.grid import StudyError

REPOSITORY = Path(__file__).parents[2]
FILES = sorted((REPOSITORY / "tests" / "study" / "wrong_studies").glob("*.yaml"))


def marks(path, name):
    return re.findall(rf"^# {name}: (.*\S)\s*$", path.read_text(encoding="utf-8"), re.MULTILINE)


def message(path):
    """The mistakes of a file, as a command and as the Snakefile report them."""
    text = path.read_text(encoding="utf-8")
    try:
        config = yaml.safe_load(text)
    except ValueError:
        config = None  # Snakemake does not get as far as the Snakefile
    with pytest.raises(StudyError) as caught:
        load.from_files([path], config=config)
    if config is not None and "study" in config:
        with pytest.raises(StudyError) as again:
            load.from_files([path])
        assert again.value.problems == caught.value.problems
    return caught.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_study_with_mistakes_is_refused_with_all_of_them(path):
    error = message(path)
    text = str(error)
    for fragment in marks(path, "expect"):
        assert fragment in text
    assert text.startswith(f"{path}: ")
    assert text.splitlines()[1:] == [f"  - {problem}" for problem in error.problems]
    assert [str(len(error.problems))] == marks(path, "mistakes")


def test_every_wrong_study_has_its_expectations():
    assert len(FILES) >= 25
    assert all(marks(path, "expect") and len(marks(path, "mistakes")) == 1 for path in FILES)


def test_the_base_of_the_wrong_studies_is_valid():
    # the others are refused for their change, not for something that all share
    path = REPOSITORY / "tests" / "study" / "wrong_studies" / "unknown_key.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    del config["lokal_lr"]
    assert len(load.from_config(config).runs) == 4


def test_mistakes_are_counted():
    one = message(REPOSITORY / "tests" / "study" / "wrong_studies" / "unknown_key.yaml")
    many = message(REPOSITORY / "tests" / "study" / "wrong_studies" / "many_mistakes.yaml")
    assert (
        str(one)
        .split("/wrong_studies/")[-1]
        .startswith("unknown_key.yaml: a mistake, nothing was started\n")
    )
    assert (
        str(many)
        .split("/wrong_studies/")[-1]
        .startswith("many_mistakes.yaml: 9 mistakes, nothing was started\n")
    )
    assert len(many.problems) == len(set(many.problems)) == 9


def test_a_mistake_of_many_cells_is_reported_once():
    error = message(
        REPOSITORY / "tests" / "study" / "wrong_studies" / "many_cells_one_mistake.yaml"
    )
    assert len(error.problems) == 1


def snakemake_dry_run(path, folder):
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "1"]
    command += ["-s", str(REPOSITORY / "Snakefile"), "--directory", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    return subprocess.run(
        [*command, "--configfile", str(path)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_snakemake_refuses_a_study_with_mistakes_before_any_job(tmp_path):
    path = REPOSITORY / "tests" / "study" / "wrong_studies" / "many_mistakes.yaml"
    done = snakemake_dry_run(path, tmp_path)
    shown = done.stdout + done.stderr
    assert done.returncode != 0
    # the path as seen from where the study runs, so that it can be opened
    assert f"{os.path.relpath(path, tmp_path)}: 9 mistakes, nothing was started\n" in shown
    for problem in message(path).problems:
        assert f"  - {problem}\n" in shown
    assert "Traceback" not in shown
    assert "Error in file" not in shown  # Snakemake's own way to show a Python error
    assert ", line " not in shown
    assert not (tmp_path / "results").exists()


def test_snakemake_refuses_what_its_own_reading_of_yaml_accepts(tmp_path):
    path = REPOSITORY / "tests" / "study" / "wrong_studies" / "sexagesimal_number.yaml"
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["rounds"] == 90
    done = snakemake_dry_run(path, tmp_path)
    shown = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in shown
    for problem in message(path).problems:
        assert f"  - {problem}\n" in shown


@pytest.mark.parametrize("content", ["study: x\n__use_yte__: true\n", "study: x\nrounds: [1\n"])
def test_snakemake_shows_no_traceback_for_a_file_that_is_no_study(tmp_path, content):
    path = tmp_path / "odd.yaml"
    path.write_text(content)
    done = snakemake_dry_run(path, tmp_path)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr


def test_snakemake_refuses_too_many_jobs_before_it_plans_them(tmp_path):
    path = tmp_path / "many.yaml"
    valid = yaml.safe_load(
        (REPOSITORY / "tests" / "study" / "wrong_studies" / "unknown_key.yaml").read_text("utf-8")
    )
    del valid["lokal_lr"]
    valid |= {"rounds": 1_000_000, "rounds_per_job": 1}
    path.write_text(yaml.safe_dump(valid))
    done = snakemake_dry_run(path, tmp_path)
    shown = done.stdout + done.stderr
    assert done.returncode != 0
    assert "many.yaml: a mistake, nothing was started\n" in shown
    assert "  - most_jobs: the study has about 16,000,008 jobs, and 100,000 are allowed" in shown
    assert "allow them by most_jobs: 16000008\n" in shown
    assert "Traceback" not in shown
