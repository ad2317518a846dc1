"""Tests of the README and the documentation site."""

import importlib.util
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import skymask
from skymask.artifacts.samples import write_samples
from skymask.artifacts.schemas import SCHEMAS
from skymask.artifacts.tensors import parameters_schema
from skymask.attacks import ATTACKS, DATA_ATTACKS
from skymask.cli import _parser
from skymask.data.datasets import DATASETS
from skymask.data.partition import PARTITIONS
from skymask.defenses import DEFENSES, PRE_AGGREGATORS
from skymask.models.architectures import MODELS
from skymask.models.flat_parameters import Layout
from skymask.study.experiment import Experiment
from skymask.study.grid import StudyError
from skymask.study.load import from_config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
METHODS = {
    "attacks": {*ATTACKS, *DATA_ATTACKS},
    "defenses": set(DEFENSES),
    "pre-aggregators": set(PRE_AGGREGATORS),
    "partitions": set(PARTITIONS),
    "data sets": set(DATASETS),
    "models": set(MODELS),
}


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reference():
    """The module of the site that writes the generated pages."""
    path = DOCS / "extensions" / "reference.py"
    spec = importlib.util.spec_from_file_location("site_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150


def test_the_tables_of_the_readme_and_the_guide_are_the_published_ones():
    results = DOCS / "results" / "digits"
    guide = page("guide/first-study.md")
    for text, table in ((README, "accuracy"), (guide, "detection")):
        shown = re.search(r"<!-- results of .*? -->\n(.*?)<!-- end -->", text, re.DOTALL)[1]
        assert shown.strip() == (results / f"{table}.md").read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=str)
def test_every_relative_link_leads_to_a_file(path):
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert [t for t in targets if not (path.parent / t).exists()] == []


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_is_on_the_methods_page(reference, kind):
    text = reference.methods(kind)
    assert set(re.findall(r"^(\w+)\n~+$", text, re.MULTILINE)) == METHODS[kind]
    functions = re.findall(r"autofunction:: (\S+)::(\w+)$", text, re.MULTILINE)
    assert len(functions) >= len(METHODS[kind])
    assert f".. generated-methods:: {kind}\n" in page("reference/methods.rst")


def test_the_methods_page_has_parameters_defaults_choices_and_requirements(reference):
    attacks, defenses = reference.methods("attacks"), reference.methods("defenses")
    assert '* ``perturbation``: unit, std, sign; default ``"unit"``' in attacks
    assert "* ``mask_steps``: int; default ``20``" in defenses
    assert "krum needs n ≥ f + 3" in defenses


def test_every_study_key_is_on_the_study_page(reference):
    keys = set(re.findall(r"^\.\. confval:: (\w+)$", reference.study_keys(), re.MULTILINE))
    assert keys == set(reference.study_schema()["properties"])
    assert {*Experiment.__dataclass_fields__} - {"malicious"} <= keys
    assert ".. generated-study-keys::" in page("reference/study-keys.rst")


def test_the_guide_shows_the_message_for_a_study_with_mistakes():
    guide = page("guide/study-file.md")
    study = re.search(r"```yaml\n(.*?)```", guide, re.DOTALL)[1]
    wrong = study.replace("rounds: 50", "rounds: ten").replace("[fedavg, krum,", "[fedavg, crum,")
    with pytest.raises(StudyError) as caught:
        from_config(yaml.safe_load(wrong), "my_study.yaml")
    assert f"```text\n{caught.value}\n```" in guide


def test_every_column_of_every_artifact_is_on_the_artifacts_page(reference):
    text = reference.artifacts()
    for kind, schema in SCHEMAS.items():
        section = text.split(f"\n{kind}\n~")[1].split("\n~")[0]
        for field in schema:
            assert f"``{field.name}``" in section
            assert field.metadata[b"description"].decode() in section
    assert ".. generated-artifacts::" in page("reference/artifacts.rst")


def test_the_columns_of_samples_and_parameters_are_on_the_artifacts_page(tmp_path):
    text = page("reference/artifacts.rst")
    features, labels = np.zeros((2, 1, 2, 2), np.uint8), np.zeros(2, np.int64)
    path = tmp_path / "samples.parquet"
    write_samples(path, "digits", features, labels, classes=2, scale=1.0, groups=labels)
    samples = pq.read_schema(path)
    layout = Layout(("1.weight",), ((2, 2),))
    parameters = parameters_schema(layout, ("round", "client", "malicious"))
    for field in (*samples, *parameters):
        kind = str(field.type).split("[")[0].split("<")[0]
        assert re.search(rf"``{re.escape(field.name)}``\n +- {kind}\b", text), field
    for key in (*samples.metadata, *(parameters.metadata or {})):
        assert f"``{key.decode()}``" in text


def test_every_module_is_on_an_api_page_or_is_a_method(reference):
    written = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("reference/api/*.rst"))
    for name in re.findall(r"\.\. generated-package:: (\S+)", written):
        written += reference.package(name)
    written += "".join(reference.methods(kind) for kind in METHODS)
    modules = {m.name for m in pkgutil.walk_packages(skymask.__path__, "skymask.")}
    shown = set(re.findall(r"auto\w+:: ([\w.]+)", written))
    assert modules - shown == {"skymask.cli"}


def test_every_public_name_is_on_the_api_page(reference):
    text = reference.public_names()
    assert [name for name in skymask.__all__ if f"``{name}``" not in text] == []
    assert ".. generated-public-names::" in page("reference/api/index.rst")


def test_every_command_is_on_the_commands_page():
    [commands] = [a.choices for a in _parser()._actions if a.dest == "command"]
    text = page("reference/commands.md")
    assert [name for name in commands if f"`skymask {name}" not in text] == []
    targets = re.findall(r"^# make ([\w-]+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert targets
    assert [name for name in targets if f"`make {name}`" not in text] == []


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_loads_nothing_from_a_network(tmp_path):
    pytest.importorskip("sphinx", reason="the site is built by make docs")
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", DOCS, tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    for built in pages:
        html = built.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)\b[^>]*?\bsrc=\"(.*?)\"", html)
        loaded += re.findall(r"<link\b[^>]*?\bhref=\"(.*?)\"", html)
        assert [url for url in loaded if re.match(r"(https?:)?//", url)] == [], built
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import", sheet.read_text(encoding="utf-8"))
    assert "<math" in (tmp_path / "reference" / "methods.html").read_text(encoding="utf-8")
