"""A checksum over every byte of a Parquet file, inside the file.

Parquet's own page checksums leave out page headers and the footer, where a flipped bit changes how
the numbers are read.  So sixteen bytes stand between the last page and the footer, where no reader
looks: pages are found by offsets from the beginning, the footer from the end.  They are a magic
word and the CRC-32 of all other bytes, which finds every damage of up to 32 bits in a row, and
other damage but for one case in 2³².  It takes as long as page checksums: some 7 ms for 25 MB.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"SKYMASK1"
_SIZE = len(_MAGIC) + 8
# length of the footer, and Parquet's magic word
_END = 8
_PARQUET = b"PAR1"
_PIECE = 1 << 20


def seal(path: Path) -> None:
    """Seal the Parquet file at ``path``, which has no seal yet.

    Raises ValueError where it is no Parquet file, OSError where it cannot be written.
    """
    with path.open("r+b") as file:
        start = _footer(file)
        if start is None:
            raise ValueError(f"{path} is no Parquet file")
        file.seek(0)
        checksum = _checksum(_pieces(file), 0)
        file.seek(start)
        footer = file.read()
        file.seek(start)
        file.write(_MAGIC + b"%08x" % checksum + footer)


def flaw(path: Path) -> str | None:
    """What is wrong with the sealed file at ``path``, as the rest of a sentence; None if nothing.

    No byte is interpreted before all are known to be right.  Raises OSError where it cannot be
    read.
    """
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, 2)
        if size == 0:
            return "is empty"
        start = _footer(file)
        if start is None:
            return "is truncated or not Parquet"
        file.seek(max(start - _SIZE, 0))
        found = file.read(min(_SIZE, start))
        if not found.startswith(_MAGIC):
            return "has no seal: an older version or something else wrote it, or it is damaged"
        file.seek(0)
        checksum = _checksum(_pieces(file, start - _SIZE), 0)
        file.seek(start)
        checksum = _checksum(_pieces(file), checksum)
        if found[len(_MAGIC) :] != b"%08x" % checksum:
            return "is damaged: its bytes are not those that were written"
    return None


def _footer(file: BinaryIO) -> int | None:
    """Where the footer begins; None where there is none."""
    size = file.seek(0, 2)
    if size < 2 * _END:
        return None
    file.seek(size - _END)
    end = file.read(_END)
    start = size - _END - int.from_bytes(end[:4], "little")
    return start if end[4:] == _PARQUET and start >= len(_PARQUET) else None


def _pieces(file: BinaryIO, length: int | None = None) -> Iterator[memoryview]:
    """The next ``length`` bytes, or all until the end, in pieces that stay in the cache."""
    held = memoryview(bytearray(_PIECE))
    while length is None or length > 0:
        count = file.readinto(held if length is None else held[:length])  # type: ignore[attr-defined]
        if not count:
            return
        if length is not None:
            length -= count
        yield held[:count]


def _checksum(pieces: Iterator[memoryview], checksum: int) -> int:
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return checksum
