"""Tar and zip archives are read as ``tarfile`` and ``zipfile`` read them, within limits."""

import gzip
import io
import tarfile
import tracemalloc
import zipfile

import pytest

from skymask import archives
from skymask.archives import ArchiveError, tar_members

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
MEBI = 1 << 20


def packed(files, form=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1.5 if form == tarfile.PAX_FORMAT else 1
            archive.addfile(member, io.BytesIO(content))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "a"
        archive.addfile(link)
    return buffer.getvalue()


def header(kind, size=0, name="a"):
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def padded(content):
    return content + bytes(-len(content) % 512)


class Endless(io.RawIOBase):
    """A stream that goes on with the same piece for ever, a little at a time."""

    def __init__(self, first, piece):
        self.rest, self.piece, self.given = first, piece, 0

    def read(self, size=-1):
        while not self.rest:
            self.rest = self.piece
        part, self.rest = self.rest[:size], self.rest[size:]
        self.given += len(part)
        return part


FILES = {
    "a": b"1",
    "b/" + 40 * "long/" + "name": bytes(range(256)) * 9,
    "empty": b"",
    "c/" + "ä" * 30: bytes(512),
}


@pytest.mark.parametrize("form", FORMATS)
def test_members_are_those_that_tarfile_reads(form):
    content = packed(FILES, form)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        wanted = [
            (
                m.name,
                m.size,
                m.isreg(),
                m.isdir(),
                m.mtime,
                f.read() if (f := _file(archive, m)) else b"",
            )
            for m in archive
        ]
    found = [
        (m.name, m.size, m.is_file, m.is_folder, m.modified, m.read())
        for m in tar_members(io.BytesIO(content))
    ]
    assert found == wanted
    assert len(found) == len(FILES) + 2
    # a consumer may leave out what it likes, and a stream may return less than it is asked for
    assert [m.name for m in tar_members(Endless(content, b"\0"))] == [row[0] for row in wanted]


def _file(archive, member):
    return archive.extractfile(member) if member.isreg() else None


def test_a_member_can_be_read_in_pieces_until_the_next():
    content = packed({"a": bytes(3 * MEBI), "b": b"2"})
    members = tar_members(gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(content, 1))))
    first = next(members)
    pieces = first.pieces()
    assert len(next(pieces)) == MEBI
    assert next(members).read() == b"2"
    with pytest.raises(ArchiveError, match="a is read after the next file"):
        first.read()


BOMBS = {
    "a long pax header": Endless(header(b"x", 300 * MEBI), b"9 a=bcde\n"),
    "a long global header": Endless(header(b"g", 300 * MEBI), b"9 a=bcde\n"),
    "a long name": Endless(header(b"L", 300 * MEBI), b"abcd"),
    "a long name of a link": Endless(header(b"K", 300 * MEBI), b"abcd"),
    "headers before no file": Endless(b"", header(b"x", 9) + padded(b"9 a=bcde\n")),
    "global headers before no file": Endless(b"", header(b"g", 9) + padded(b"9 a=bcde\n")),
}


@pytest.mark.parametrize("name", BOMBS)
def test_headers_are_limited(name):
    stream = BOMBS[name]
    tracemalloc.start()
    try:
        with pytest.raises(
            ArchiveError, match=r"a file has headers of \d+ bytes, more than 1048576"
        ):
            [*tar_members(stream)]
        assert tracemalloc.get_traced_memory()[1] < 4 * MEBI
    finally:
        tracemalloc.stop()
    assert stream.given < 2 * MEBI


@pytest.mark.parametrize(
    "content",
    [
        header(b"S", 10),
        header(b"x", 22) + padded(b"22 GNU.sparse.major=1\n"),
        header(b"x", 26) + padded(b"26 GNU.sparse.map=0,1,2,3\n"),
    ],
)
def test_sparse_files_are_refused(content):
    # their map is as long as it likes, and they unpack to any size
    with pytest.raises(ArchiveError, match="a sparse file: pack it without --sparse"):
        [*tar_members(Endless(content, b"1\n"))]


def test_all_that_is_unpacked_is_limited():
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match="it has more than 10485760 bytes unpacked"):
            for _ in tar_members(Endless(b"", header(b"0", 0)), largest_total=10 * MEBI):
                pass
        # no header is kept
        assert tracemalloc.get_traced_memory()[1] < MEBI
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (packed(FILES)[:1000], "it ends early"),
        (packed(FILES).rstrip(b"\0"), "it ends early"),
        (b"x" * 512, "a header cannot be read"),
        (header(b"x", 9) + padded(b"9 a:bcde\n") + header(b"0"), "a pax header cannot be read"),
        (header(b"x", 9) + padded(b"99 a=bcd\n") + header(b"0"), "a pax header cannot be read"),
        (header(b"x", 9) + padded(b"9 size=a\n") + header(b"0"), "has no number"),
        (header(b"x", 10) + padded(b"10 size=-1") + header(b"0"), "cannot be read"),
        (header(b"x", 11) + padded(b"11 size=-1\n") + header(b"0"), "that cannot be"),
        (header(b"x", 13) + padded(b"13 mtime=nan\n") + header(b"0"), "that cannot be"),
    ],
)
def test_a_damaged_archive_is_an_error(content, reason):
    with pytest.raises(ArchiveError, match=reason):
        [member.read() for member in tar_members(io.BytesIO(content))]


def test_a_zip_is_read_as_zipfile_does(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(range(256)) * 5000)
        archive.writestr("b", b"")
        archive.comment = b"a comment"
    with path.open("rb") as file, archives.open_zip(file) as archive:
        assert archive.namelist() == ["a", "b"]
        assert archives.unzipped(archive, "a", 256 * 5000) == bytes(range(256)) * 5000
        assert archives.unzipped(archive, "b", 0) == b""
        with pytest.raises(ArchiveError, match="a has 1280000 bytes or more unpacked"):
            archives.unzipped(archive, "a", 1000)
        with pytest.raises(KeyError):
            archives.unzipped(archive, "c", 1000)
    with path.open("rb") as file, pytest.raises(ArchiveError, match="list of files has more than"):
        archives.open_zip(file, 60)
