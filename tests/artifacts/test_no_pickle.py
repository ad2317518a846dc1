"""Nothing that is read can run code: no pickle, no torch.load, no YAML with objects.

The one exception is CIFAR, whose files are pickles: each is read after its checksum, by an
unpickler that knows arrays alone (``test_cifar.py``).
"""

import ast
import importlib
import io
import pickle
import re
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skymask.artifacts import checksum
from skymask.artifacts.errors import ArtifactError
from skymask.artifacts.parquet import read_table
from skymask.artifacts.records import read_rows, write_rows
from skymask.artifacts.schemas import SCHEMAS

ROOT = Path(__file__).parents[2]
CIFAR = importlib.import_module("skymask.data.datasets.cifar")
FILES = sorted(
    path
    for folder in ("src", "workflow", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]

MODULES = {
    *("pickle", "_pickle", "cPickle", "pickletools", "cloudpickle", "dill", "joblib"),
    *("shelve", "marshal", "copyreg"),
}
CALLS = {
    *("torch.load", "torch.jit.load", "np.load", "numpy.load", "pd.read_pickle"),
    *("pandas.read_pickle", "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"),
}
KNOWN = {
    "src/skymask/data/datasets/cifar.py": ["pickle"],
}


def unpicklers(text):
    """What a module imports or calls that reads objects, in order."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{name.name}" for name in node.names)]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        else:
            continue
        found += [n for n in names if n in CALLS or n.partition(".")[0] in MODULES]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_reads_objects(path):
    allowed = KNOWN.get(str(path.relative_to(ROOT)), [])
    found = unpicklers(path.read_text(encoding="utf-8"))
    assert sorted({name for name in found if not name.startswith("pickle.")}) == allowed


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_no_rule_reads_objects(path):
    words = "|".join(map(re.escape, sorted(MODULES | CALLS)))
    assert re.findall(rf"(?<![\w.])({words})(?!\w)", path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import os, joblib",
        "from pickle import loads",
        "from torch import load",
        "import torch\nx = torch.load('x')",
        "import torch\nread = torch.load",
        "import pandas as pd\npd.read_pickle('x')",
        "import yaml\nyaml.load('x', yaml.Loader)",
        "def f():\n    import marshal",
    ],
)
def test_what_reads_objects_is_seen(text):
    assert unpicklers(text)


def test_the_scan_sees_the_whole_project():
    names = {path.name for path in FILES}
    assert {"parquet.py", "cifar.py", "tables.py", "span.py"} <= names
    assert len(FILES) > 100
    assert {"Snakefile", "common.smk"} <= {path.name for path in RULES}


class Trap:
    """Unpickled, it raises what no reader catches: the proof that it was."""

    def __reduce__(self):
        return sprung, ()


def sprung():
    raise KeyboardInterrupt("a pickle was read")


@pytest.fixture
def unpickled(monkeypatch):
    """The names that an unpickler was asked for: every pickle with code asks for one."""
    found = []
    watching = [True]

    def watch(event, arguments):
        if watching and event == "pickle.find_class":
            found.append(arguments[1])

    # a hook stays for good; it sleeps once the test is over
    sys.addaudithook(watch)
    yield found
    watching.clear()


def foreign(field, name):
    """A field of an extension type described by a pickle, as old versions of Arrow wrote it."""
    description = pickle.dumps(Trap())
    marks = {"ARROW:extension:name": name, "ARROW:extension:metadata": description}
    return field.with_metadata(marks)


# pandas registers its types when this is imported; other tests may have
importlib.import_module("pandas.core.arrays.arrow.extension_types")
KNOWN_TYPES = {"pandas.period", "arrow.opaque"}
EXTENSIONS = ["arrow.py_extension_type", "skymask.unknown", "pandas.period", "arrow.opaque"]


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_column_of_a_pickled_extension_type_is_not_unpickled(tmp_path, unpickled, name):
    good, path = tmp_path / "good.parquet", tmp_path / "metrics.parquet"
    row = dict.fromkeys(SCHEMAS["metrics"].names, None) | {"round": 1, "accuracy": 0.5}
    write_rows(good, "metrics", "run", [row])
    table = pq.read_table(good)
    fields = [foreign(field, name) for field in table.schema]
    schema = pa.schema(fields, metadata=table.schema.metadata)
    pq.write_table(table.cast(schema, safe=False), path)
    checksum.add(path)
    assert b"ARROW:schema" in path.read_bytes()  # where Arrow finds the description
    for read in (read_table, read_rows):
        try:
            found = read(path, "metrics", "run")
        except ArtifactError:
            # what is known by that name is asked to read the description, and finds none
            assert name in KNOWN_TYPES
        else:
            assert name not in KNOWN_TYPES
            assert found["accuracy"].to_pylist() == [0.5]
            assert found["round"].to_pylist() == [1]
    assert unpickled == []


def test_the_watch_on_pickles_works(unpickled):
    with pytest.raises(KeyboardInterrupt, match="a pickle was read"):
        pickle.loads(pickle.dumps(Trap()))
    assert unpickled == ["sprung"]


def test_the_unpickler_of_cifar_calls_nothing_but_arrays():
    unpickler = CIFAR._ArraysOnly(io.BytesIO(pickle.dumps(Trap())), encoding="latin1")
    with pytest.raises(pickle.UnpicklingError, match="is no part of an array"):
        unpickler.load()
