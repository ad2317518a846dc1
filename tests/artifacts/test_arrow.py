"""Columns from plain values: those that Arrow would make, without pandas."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import skymask
from skymask.artifacts.arrow import column, fixed_bytes, from_fixed_bytes, table

VALUES = {
    pa.bool_(): st.booleans(),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False) | st.integers(-9, 9),
    pa.string(): st.text(),
    pa.large_binary(): st.binary(),
    pa.list_(pa.int64()): st.lists(st.integers(-9, 9)),
}


@pytest.mark.parametrize("kind", VALUES, ids=str)
@given(data=st.data())
def test_a_column_is_the_one_that_arrow_makes(kind, data):
    values = data.draw(st.lists(st.none() | VALUES[kind], max_size=20))
    made = column(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))
    assert made.null_count == values.count(None)


@pytest.mark.parametrize(
    ("value", "kind", "error"),
    [
        (1.5, pa.int32(), TypeError),
        ("1", pa.float64(), TypeError),
        (2**31, pa.int32(), OverflowError),
        (1, pa.string(), TypeError),
        ("a", pa.large_binary(), TypeError),
        ("a", pa.bool_(), TypeError),
        (0.5, pa.bool_(), TypeError),
        (1, pa.float32(), TypeError),
    ],
)
def test_a_value_of_another_kind_is_refused(value, kind, error):
    with pytest.raises(error):
        column([None, value], kind)


def test_a_table_has_its_schemas_columns():
    schema = pa.schema([("a", pa.int32()), ("b", pa.string())])
    made = table([[1, None], ["x", "y"]], schema)
    assert made.equals(pa.table({"a": [1, None], "b": ["x", "y"]}, schema=schema))
    with pytest.raises(ValueError, match="zip"):
        table([[1]], schema)


def test_bytes_come_back_from_pieces_that_begin_in_the_middle():
    values = np.arange(60, dtype=np.uint8).reshape(12, 5)
    whole = fixed_bytes(values)
    assert whole[2].as_py() == bytes([10, 11, 12, 13, 14])
    pieces = pa.chunked_array([whole.slice(3, 4), whole.slice(0, 0), whole.slice(11)])
    again = from_fixed_bytes(pieces)
    assert (again == values[[3, 4, 5, 6, 11]]).all()
    assert from_fixed_bytes(pa.chunked_array([], pa.binary(5))).shape == (0, 5)
    again[0] = 0
    assert values[3, 0] == 15


WORK = """
import sys, tempfile
from pathlib import Path
import torch
from skymask.artifacts.records import collect_rows, read_rows, write_rows
from skymask.artifacts.schemas import SCHEMAS
from skymask.models.flat_parameters import Layout
from skymask.federation.timing import Clock
from skymask.artifacts.tensors import (
    read_parameters, read_state, write_parameters, write_state)

folder = Path(tempfile.mkdtemp())
for kind in ("clients", "aggregates", "layers", "metrics", "timings"):
    write_rows(folder / kind, kind, "r", [{"round": 1}, {"round": 2}])
    read_rows(folder / kind, kind, "r").to_pylist()
    collect_rows([folder / kind], folder / "all", kind, "r")
write_rows(folder / "t", "timings", "r", Clock().rows([], 1, "cpu"))
write_state(folder / "s", "r", {"a": torch.ones(2, 3)})
read_state(folder / "s", "r")
layout = Layout.of(torch.nn.Linear(3, 2))
write_parameters(folder / "p", "updates", "r", layout, torch.ones(2, 8), client=[0, 1])
read_parameters(folder / "p", "updates", "r", layout)
sys.exit("pandas was loaded" if "pandas" in sys.modules else 0)
"""


def test_reading_and_writing_what_a_job_has_loads_no_pandas():
    environment = {"PYTHONPATH": str(Path(skymask.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", WORK], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
