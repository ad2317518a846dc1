"""Readers of any file return what was written or raise an error that says what to do.

Every bit that can flip is flipped in ``test_bad_files.py``; here are files with arbitrary contents.
SKYMASK_EXAMPLES=20000 tries more.
"""

import csv
import io
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skymask.artifacts.errors import ArtifactError
from skymask.artifacts.parquet import write_table
from skymask.artifacts.records import read_experiment
from skymask.artifacts.schemas import SCHEMAS
from skymask.jobs import log, progress
from skymask.reporting import published, trace
from skymask.study.experiment import Experiment

from .test_bad_files import EXPERIMENT, KINDS

ARTIFACT = {
    "updates": "updates",
    "state": "state",
    "samples": "samples",
    "partition": "partition",
    "rows": "metrics",
    "table": "accuracy_table",
}
"""What each of the kinds of ``test_bad_files.py`` says it is."""

further = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
nested = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A good file of every kind, as bytes."""
    folder, contents = tmp_path_factory.mktemp("good"), {}
    for kind, (write, _) in KINDS.items():
        write(folder / kind)
        contents[kind] = (folder / kind).read_bytes()
    return contents


@pytest.fixture
def place(tmp_path):
    return tmp_path / "file"


def refusals(kind, path):
    """The errors of all readers of that kind; none where one gives an answer."""
    found = []
    for read in KINDS[kind][1]:
        try:
            read(path)
        except ArtifactError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("kind", KINDS)
@further
@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused(place, kind, content):
    for shown in (
        content,
        b"PAR1" + content + b"PAR1",
        content + len(content).to_bytes(4, "little") + b"PAR1",
    ):
        place.write_bytes(shown)
        found = refusals(kind, place)
        assert len(found) == len(KINDS[kind][1])
        assert all(str(place) in sentence for sentence in found)


@pytest.mark.parametrize("kind", KINDS)
@further
@given(data=st.data())
def test_a_file_with_a_piece_cut_doubled_or_replaced_is_refused(place, good, kind, data):
    content = good[kind]
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 64)) | st.just(len(content)))
    piece = data.draw(st.binary(max_size=64) | st.just(2 * content[start:end]))
    changed = content[:start] + piece + content[end:]
    place.write_bytes(changed)
    found = refusals(kind, place)
    assert len(found) == (0 if changed == content else len(KINDS[kind][1]))


OWN = {name for schema in SCHEMAS.values() for name in schema.names}
columns = st.sampled_from(sorted(OWN | {"weight", "bias", "label", "features", "group", ""}))
arrays = st.sampled_from(
    [
        pa.array([1, 2], pa.int32()),
        pa.array([1, None], pa.int64()),
        pa.array([-1, 10**12], pa.int64()),
        pa.array([1.5, float("nan")]),
        pa.array([None, None], pa.null()),
        pa.array(["float32", None]),
        pa.array(["float32", "object"]),
        pa.array([b"ab", b"cd"], pa.binary(2)),
        pa.array([b"abcd", b"abc"], pa.large_binary()),
        pa.array([[1], [2, 3]], pa.list_(pa.int64())),
        pa.array([[-1], [2, 3]], pa.list_(pa.int64())),
        pa.array([[0.5, 1], None], pa.list_(pa.float32(), 2)),
        pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2)),
        pa.array([True, None]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array(["x", "y"]).dictionary_encode(),
    ]
)
marks = st.dictionaries(
    st.sampled_from(["skymask.shape", "skymask.classes", "skymask.scale"]),
    st.sampled_from(["", "[2, 2]", "[1]", "[0]", "{}", "2", "0", "nan", "-3", "x"]),
)


@pytest.mark.parametrize("kind", KINDS)
@further
@given(chosen=st.dictionaries(columns, arrays, max_size=5), marks=marks)
def test_a_file_with_a_checksum_and_other_columns_is_refused_or_read(place, kind, chosen, marks):
    schema = pa.schema([(n, a.type) for n, a in chosen.items()], metadata=marks)
    table = pa.Table.from_arrays(list(chosen.values()), schema=schema)
    write_table(place, ARTIFACT[kind], "s", table)
    assert all(str(place) in sentence for sentence in refusals(kind, place))


@further
@given(values=st.dictionaries(st.sampled_from(sorted(json.loads(EXPERIMENT.to_json()))), nested))
def test_an_experiment_with_other_values_is_refused(values):
    same = json.loads(EXPERIMENT.to_json())
    text = json.dumps({**same, **values})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / EXPERIMENT.run / "experiment.json"
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
        try:
            found = read_experiment(path).run
        except ArtifactError as error:
            found = str(error)
    assert found == EXPERIMENT.run or str(path) in found


@further
@given(content=st.binary(max_size=80) | st.builds(lambda v: json.dumps(v).encode(), nested))
def test_any_experiment_is_refused(tmp_path, content):
    path = tmp_path / "experiment.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"experiment\.json"):
        read_experiment(path)
    with pytest.raises(ValueError):
        Experiment.from_json(content.decode())


digits = st.sampled_from(["1", "0", "4194304", "9" * 30, str(2**63), "-1", "x"])
lines = st.one_of(
    st.text(max_size=30),
    st.builds("skymask: begun by process {}, start {}, on {}".format, digits, digits, st.text()),
    st.builds("skymask: failed: {}".format, st.text()),
    st.sampled_from(["skymask: done", "skymask: stopped", "| 3/5 [", "| 9/1 [00:00"]),
)


@further
@given(content=st.binary(max_size=100) | st.lists(lines).map(lambda x: "\n".join(x).encode()))
def test_any_log_is_read(tmp_path, content):
    path = tmp_path / "log"
    path.write_bytes(content)
    found = log.read_log(path)
    assert found.state in ("running", "done", "failed", "stopped", "unknown")
    last = progress.last_round(path)
    assert last is None or last >= 0


FIGURES = yaml.safe_load(published.FILE.read_text(encoding="utf-8"))


def with_other_values(node, data):
    """A copy of nested values with one of them, drawn, replaced by anything."""
    if isinstance(node, dict) and node and data.draw(st.integers(0, 3)):
        key = data.draw(st.sampled_from(sorted(node, key=str)))
        return {**node, key: with_other_values(node[key], data)}
    if isinstance(node, list) and node and data.draw(st.integers(0, 3)):
        at = data.draw(st.integers(0, len(node) - 1))
        return [*node[:at], with_other_values(node[at], data), *node[at + 1 :]]
    return data.draw(nested)


@further
@given(data=st.data())
def test_published_figures_with_other_values_are_refused_or_read(tmp_path, data):
    path = tmp_path / "published.yaml"
    published.load.cache_clear()
    path.write_text(yaml.safe_dump(with_other_values(FIGURES, data)), encoding="utf-8")
    claims, refusal = {}, ""
    try:
        claims = published.load(path).claims
    except published.PublishedError as error:
        refusal = str(error)
    assert refusal == "" or str(path) in refusal
    assert all(claim.low <= claim.high for each in claims.values() for claim in each)


@further
@given(content=st.binary(max_size=100))
def test_any_file_of_published_figures_is_refused(tmp_path, content):
    path = tmp_path / "published.yaml"
    published.load.cache_clear()
    path.write_bytes(content)
    with pytest.raises(published.PublishedError, match=r"published\.yaml"):
        published.load(path)


def rows(table):
    text = io.StringIO()
    csv.writer(text).writerows(table)
    return text.getvalue().encode()


heads = st.lists(
    st.sampled_from(["attack", "defense", "setting", "seeds", "accuracy_mean", "accuracy_std", ""])
)
tables = st.builds(
    lambda head, body: rows([head, *body]),
    heads | st.just(["attack", "defense", "setting", "seeds", "accuracy_mean"]),
    st.lists(st.lists(st.sampled_from(["krum", "none", "", "0.5", "x", "nan"]), max_size=7)),
)


@further
@given(content=st.binary(max_size=100) | tables, cell=st.sampled_from(["none,krum", "x", "a,b,c"]))
def test_any_table_is_followed_or_refused(tmp_path, content, cell):
    path = tmp_path / "results" / "tables" / "tiny" / "accuracy.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    # there are no runs: no table can be followed to its end
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        trace.trace(path, cell)
    assert str(error.value)
