"""Tar and zip archives read within limits of memory."""

import math
import tarfile
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, Protocol, cast

LARGEST_HEADER = 1 << 20
"""Limit on the headers of one file of a tar archive, and on the list of files of a zip, in bytes.

Python reads them as a whole; those of an ordinary file have less than a kilobyte.
"""

LARGEST_TOTAL = 1 << 30
"""Limit on all that is unpacked from a tar archive, in bytes."""

_BLOCK, _PIECE = tarfile.BLOCKSIZE, 1 << 20
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_EXTENDED = (*_PAX, *_LONG, tarfile.XGLTYPE)


class ArchiveError(ValueError):
    """An archive is damaged or exceeds a limit; the message ends a sentence about it."""


class Readable(Protocol):
    """A binary stream, such as a file or the decompressed content of one."""

    def read(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes; none at the end."""
        ...


class Member:
    """A file, folder or link of a tar archive, which can be read until the next one is asked for.

    Attributes:
        name: Its name as stored, which may lead anywhere: check it before writing.
        size: Its size in bytes; 0 unless it is a file.
        is_file: Whether it is a regular file.
        is_folder: Whether it is a folder.
        modified: Time of its last change, in seconds since 1970.
    """

    def __init__(self, info: tarfile.TarInfo, source: "_Source") -> None:
        # as tarfile does, also for a type that it does not know
        has_content = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
        self.name, self.modified = info.name, float(info.mtime)
        self.is_file, self.is_folder = info.isreg(), info.isdir()
        self.size = self._rest = info.size if has_content else 0
        self._source: _Source | None = source

    def pieces(self) -> Iterator[bytes]:
        """Read the rest of the content in pieces of at most a megabyte.

        Raises:
            ArchiveError: The archive ends early, exceeds its limit, or has been read further.
        """
        while self._rest:
            if self._source is None:
                raise ArchiveError(f"{self.name} is read after the next file")
            piece = self._source.exactly(min(self._rest, _PIECE))
            self._rest -= len(piece)
            yield piece

    def read(self) -> bytes:
        """Read the rest of the content; compare ``size`` with a limit first.

        Raises:
            ArchiveError: The archive ends early, exceeds its limit, or has been read further.
        """
        return b"".join(self.pieces())

    def _close(self) -> None:
        """Skip the rest of the content, which cannot be read any more."""
        source, self._source = self._source, None
        rest = self._rest + -self.size % _BLOCK
        while source and rest:
            rest -= len(source.exactly(min(rest, _PIECE)))


def tar_members(
    stream: Readable, largest_header: int = LARGEST_HEADER, largest_total: int = LARGEST_TOTAL
) -> Iterator[Member]:
    """Read a tar archive from front to back, in memory that no header of it can fill.

    ``tarfile`` reads a long name or a pax header of any size at once, follows sparse maps of any
    length, and keeps all headers.

    Args:
        stream: The archive, already decompressed; it is read only, never moved back.
        largest_header: Limit on the headers of one member, in bytes.
        largest_total: Limit on what is read from the stream, in bytes.

    Yields:
        The members in the order of the archive.

    Raises:
        ArchiveError: The archive is damaged or truncated, exceeds a limit, or has a sparse file.
    """
    source = _Source(stream, largest_total)
    while (info := _next(source, largest_header)) is not None:
        member = Member(info, source)
        yield member
        member._close()


def _next(source: "_Source", largest: int) -> tarfile.TarInfo | None:
    """Return the header of the next member with its extensions, or None at the end."""
    changes: dict[str, str] = {}
    used = 0
    while True:
        block = source.exactly(_BLOCK)
        if not any(block) and not used:
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise ArchiveError(f"a header cannot be read: {error}") from error
        if info.size < 0:
            raise ArchiveError(f"a header states {info.size} bytes")
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise ArchiveError(f"{info.name} is a sparse file: pack it without --sparse")
        if info.type not in _EXTENDED:
            return _changed(info, changes)
        used += _BLOCK + info.size
        if used > largest:
            raise ArchiveError(f"a file has headers of {used} bytes, more than {largest}")
        content = source.exactly(info.size)
        source.exactly(-info.size % _BLOCK)
        if info.type in _PAX:
            changes |= _pax(content)
        elif info.type == tarfile.GNUTYPE_LONGNAME:
            changes["path"] = content.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _pax(content: bytes) -> dict[str, str]:
    """Return the records of a pax header that matter here: ``LENGTH KEY=VALUE`` and a newline."""
    found = {}
    start = 0
    while start < len(content) and content[start]:
        digits = content[start : start + 20].partition(b" ")[0]
        end = start + int(digits) if digits.isdigit() else start
        record = content[start + len(digits) + 1 : end]
        key, equals, value = record.partition(b"=")
        if end > len(content) or not equals or not record.endswith(b"\n"):
            raise ArchiveError("a pax header cannot be read")
        if key.startswith(b"GNU.sparse."):
            raise ArchiveError("it has a sparse file: pack it without --sparse")
        if key in (b"path", b"size", b"mtime"):
            found[key.decode()] = value[:-1].decode("utf-8", "surrogateescape")
        start = end
    return found


def _changed(info: tarfile.TarInfo, changes: dict[str, str]) -> tarfile.TarInfo:
    """Return a header with the values of the extended headers before it."""
    if "path" in changes:
        info.name = changes["path"].rstrip("/")
    try:
        info.size = int(changes.get("size", info.size))
        info.mtime = float(changes.get("mtime", info.mtime))
    except ValueError as error:
        raise ArchiveError(f"a pax header of {info.name} has no number: {error}") from error
    if info.size < 0 or not math.isfinite(info.mtime):
        raise ArchiveError(f"a pax header of {info.name} has a size or a time that cannot be")
    return info


class _Source:
    """A stream of which no more than a limit is read."""

    def __init__(self, stream: Readable, largest: int) -> None:
        self._stream, self._largest, self._rest = stream, largest, largest

    def exactly(self, size: int) -> bytes:
        """Read ``size`` bytes."""
        self._rest -= size
        if self._rest < 0:
            raise ArchiveError(f"it has more than {self._largest} bytes unpacked")
        piece = self._stream.read(size)
        if len(piece) == size:
            return piece
        # a raw stream may return less than it has
        pieces, missing = [piece], size - len(piece)
        while missing and (piece := self._stream.read(missing)):
            pieces.append(piece)
            missing -= len(piece)
        if missing:
            raise ArchiveError("it ends early: it is truncated")
        return b"".join(pieces)


def open_zip(file: BinaryIO, largest_directory: int = LARGEST_HEADER) -> zipfile.ZipFile:
    """Open a zip archive for reading, unless its list of files is too large.

    Args:
        file: The archive; it stays open.
        largest_directory: Limit on the size of that list, in bytes.

    Raises:
        ArchiveError: The list is larger.
        BadZipFile: The archive is damaged.
    """
    limited = _Limited(file, largest_directory)
    archive = zipfile.ZipFile(cast(BinaryIO, limited))
    limited.most = None
    return archive


def unzipped(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """Read a file of a zip archive.

    Args:
        archive: The archive.
        name: Name of the file.
        largest: Limit on its unpacked size, in bytes.

    Raises:
        ArchiveError: The file is larger, or of a kind whose size is known only when it is unpacked.
        BadZipFile: The archive is damaged.
        KeyError: There is no such file.
    """
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveError(f"{name} is compressed by a method other than deflate")
    if info.file_size > largest:
        raise ArchiveError(f"{name} has {info.file_size} bytes or more unpacked")
    with archive.open(info) as file:
        # with a size: without one, all that is compressed is unpacked before it is cut to its size
        return file.read(info.file_size)


class _Limited:
    """A file that refuses to read much at once, until ``most`` is None."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self.most: int | None = most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Read at most ``size`` bytes."""
        if self.most is None:
            return self._file.read(size)
        most = self.most + 1
        content = self._file.read(most if size < 0 else min(size, most))
        if len(content) == most:
            raise ArchiveError(f"its list of files has more than {self.most} bytes")
        return content
