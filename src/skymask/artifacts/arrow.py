"""Arrow columns from plain Python values and from NumPy, without pandas.

``pa.array`` looks whether its values are pandas', and loads pandas for that: a sixth of a second or
more in every job.  Columns are put together from their buffers instead.
"""

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_CODES = {pa.int32(): "i", pa.int64(): "q", pa.float64(): "d"}
_OFFSETS = {pa.string(): "i", pa.large_binary(): "q"}


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Plain values, ``None`` for null, as a column of ``kind``.

    ``kind`` is bool, int32, int64, float64, string, large_binary, or a list of one of these.
    Raises TypeError for a value of another kind, OverflowError for one that does not fit.
    """
    known = [value is not None for value in values]
    nulls = len(values) - sum(known)
    validity = _bits(known) if nulls else None
    if pa.types.is_list(kind):
        pieces = [value if value is not None else () for value in values]
        inner = column([item for piece in pieces for item in piece], kind.value_type)
        buffers, children = [validity, _offsets(pieces, "i")], [inner]
    elif kind in _OFFSETS:
        texts = [_bytes(value, kind) for value in values]
        data = pa.py_buffer(b"".join(texts))
        buffers, children = [validity, _offsets(texts, _OFFSETS[kind]), data], []
    elif pa.types.is_boolean(kind):
        buffers, children = [validity, _bits([value or False for value in values])], []
    elif kind in _CODES:
        numbers = array(_CODES[kind], [0 if value is None else value for value in values])
        buffers, children = [validity, pa.py_buffer(numbers)], []
    else:
        raise TypeError(f"columns of {kind} are not made here")
    return pa.Array.from_buffers(kind, len(values), buffers, nulls, children=children)


def table(columns: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Plain values, a sequence per column, under ``schema``."""
    made = [column(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(made, schema=schema)


def _bits(flags: Sequence[bool]) -> pa.Buffer:
    # bytes() refuses what is neither a truth value nor a small number
    return pa.py_buffer(np.packbits(np.frombuffer(bytes(flags), np.uint8), bitorder="little"))


def _offsets(pieces: Sequence[Any], code: str) -> pa.Buffer:
    return pa.py_buffer(array(code, accumulate(map(len, pieces), initial=0)))


def _bytes(value: Any, kind: pa.DataType) -> bytes:
    if value is None:
        return b""
    if pa.types.is_string(kind) != isinstance(value, str):
        raise TypeError(f"{value!r} is no {kind}")
    return value.encode() if isinstance(value, str) else bytes(value)


def from_numpy(values: npt.NDArray[Any]) -> pa.Array:
    """A vector as an Arrow array."""
    values = np.ascontiguousarray(values)
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def to_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """A column without nulls as a vector (a copy)."""
    chunks = [np.from_dlpack(chunk) for chunk in column.chunks]
    return np.concatenate(chunks) if chunks else np.empty(0, column.type.to_pandas_dtype())


def fixed_lists(values: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """A matrix [n, k] as a column of n lists of length k."""
    return pa.FixedSizeListArray.from_arrays(from_numpy(values.reshape(-1)), values.shape[1])


def from_fixed_lists(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """The matrix [n, k] of a column of fixed-size lists (a copy)."""
    flat = pa.chunked_array([c.flatten() for c in column.chunks], column.type.value_type)
    return to_numpy(flat).reshape(len(column), column.type.list_size)


def fixed_bytes(values: npt.NDArray[np.uint8]) -> pa.Array:
    """A matrix [n, k] of bytes as a column of n binary values of length k.

    Parquet has no lists of bytes: it would keep each as a number of its own.
    """
    flat = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.binary(values.shape[1]), len(values), [None, flat])


def from_fixed_bytes(column: pa.ChunkedArray) -> npt.NDArray[np.uint8]:
    """The matrix [n, k] of a column of binary values of one length (a copy)."""
    width = column.type.byte_width
    pieces = [
        np.frombuffer(chunk.buffers()[1], np.uint8, len(chunk) * width, chunk.offset * width)
        for chunk in column.chunks
    ]
    return np.concatenate([np.empty(0, np.uint8), *pieces]).reshape(len(column), width)
