"""Archives that were damaged or changed: nothing of them is placed."""

import hashlib
import io
import json
import tarfile

import pyarrow as pa
import pytest

from skymask.artifacts.parquet import write_table
from skymask.reporting.export import CONTENTS
from skymask.reporting.import_archive import place


def parquet(tmp_path):
    path = tmp_path / "rows.parquet"
    write_table(path, "metrics", "run", pa.table({"x": [1.0]}))
    return path.read_bytes()


@pytest.fixture
def files(tmp_path):
    """The files of an archive, by name."""
    return {
        "runs/a/metrics.parquet": parquet(tmp_path),
        "runs/a/provenance/collect.json": b'{"made": {}, "files": {}}\n',
        "studies/s.yaml": b"study: s\n",
    }


def listing(present, **changes):
    listed = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in present.items()
    }
    return {"format": 1, "study": "s", "commit": "abc", "files": listed, **changes}


def packed(path, contents, files, add=lambda tar: None):
    """Write an archive, whether or not it is as it should be."""
    members = {CONTENTS: contents if isinstance(contents, bytes) else json.dumps(contents).encode()}
    members |= {f"results/{name}": content for name, content in files.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        add(tar)
    path.write_bytes(pa.compress(buffer.getvalue(), "zstd", asbytes=True))
    return path


def refused(archive, results, *texts):
    with pytest.raises(ValueError) as caught:
        place(archive, results)
    message = str(caught.value)
    assert message.startswith(f"{archive} cannot be imported: ")
    assert message.endswith("; nothing was placed")
    for text in texts:
        assert text in message
    assert list(results.rglob("*")) == []


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


def test_what_is_right_is_placed(files, tmp_path, results):
    placed = place(packed(tmp_path / "a.tar.zst", listing(files), files), results)
    assert (placed.study, placed.commit, placed.files, placed.new) == ("s", "abc", 3, 3)
    assert placed.file == results / "studies" / "s.yaml"
    for name, content in files.items():
        assert (results / name).read_bytes() == content
    assert sum(path.is_file() for path in results.rglob("*")) == 3
    again = place(packed(tmp_path / "a.tar.zst", listing(files), files), results)
    assert again.new == 0


@pytest.mark.parametrize("name", ["runs/a/metrics.parquet", "studies/s.yaml"])
def test_a_changed_file_is_refused(files, tmp_path, results, name):
    changed = files | {name: files[name][:-1] + bytes([files[name][-1] ^ 1])}
    archive = packed(tmp_path / "a.tar.zst", listing(files), changed)
    refused(archive, results, f"{name} is not the file that its checksum is of")


def test_a_file_whose_own_checksum_is_wrong_is_refused(files, tmp_path, results):
    content = bytearray(files["runs/a/metrics.parquet"])
    content[10] ^= 1
    files["runs/a/metrics.parquet"] = bytes(content)
    archive = packed(tmp_path / "a.tar.zst", listing(files), files)
    refused(archive, results, "metrics.parquet of a: it is damaged, its checksum differs")


def test_a_provenance_file_that_is_none_is_refused(files, tmp_path, results):
    files["runs/a/provenance/collect.json"] = b"[]"
    archive = packed(tmp_path / "a.tar.zst", listing(files), files)
    refused(archive, results, "it is no provenance file")


def test_an_experiment_of_another_run_is_refused(files, tmp_path, results):
    files["runs/a/experiment.json"] = b'{"run": "b"}'
    archive = packed(tmp_path / "a.tar.zst", listing(files), files)
    refused(archive, results, "this is not an experiment")


def test_a_missing_file_is_refused(files, tmp_path, results):
    fewer = dict(list(files.items())[:-1])
    refused(packed(tmp_path / "a.tar.zst", listing(files), fewer), results, "it lacks studies/s")


def test_a_file_that_is_not_listed_is_refused(files, tmp_path, results):
    fewer = dict(list(files.items())[:-1])
    archive = packed(tmp_path / "a.tar.zst", listing(fewer), files)
    refused(archive, results, "it has results/studies/s.yaml, which its list of files has not")


def test_a_file_that_comes_twice_is_refused(files, tmp_path, results):
    def again(tar):
        tar.addfile(tarfile.TarInfo("results/studies/s.yaml"), io.BytesIO())

    archive = packed(tmp_path / "a.tar.zst", listing(files), files, again)
    refused(archive, results, "which its list of files has not")


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "runs/../../evil.json",
        "/etc/evil.json",
        "runs//evil.json",
        "runs/./evil.json",
        "runs/.hidden.json",
        "evil.json",
        "src/evil.json",
        "runs/evil.py",
        "runs/evil\n.json",
        "",
    ],
)
def test_paths_that_lead_elsewhere_are_refused(files, tmp_path, results, name):
    files[name] = b"{}"
    archive = packed(tmp_path / "a.tar.zst", listing(files), files)
    refused(archive, results, repr(name))
    assert not (tmp_path / "evil.json").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_links_and_folders_are_refused(files, tmp_path, results, kind):
    def link(tar):
        member = tarfile.TarInfo("results/runs/a/link.json")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)

    contents = listing(files | {"runs/a/link.json": b""})
    refused(packed(tmp_path / "a.tar.zst", contents, files, link), results, "link.json")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format": 2}, "it has format 2, and this version reads 1"),
        ({"files": {"runs/a.json": {"size": -1, "sha256": ""}}}, "is no path of results"),
        ({"files": {"runs/a.json": {"size": 1 << 60, "sha256": ""}}}, "it needs 1,152,921,"),
        ({"files": {"runs/a.json": 3}}, "its list of files is damaged"),
        ({"files": 3}, "its list of files is damaged"),
    ],
)
def test_a_wrong_list_of_files_is_refused(tmp_path, results, changes, text):
    refused(packed(tmp_path / "a.tar.zst", listing({}, **changes), {}), results, text)


@pytest.mark.parametrize("contents", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_list_of_files_that_is_not_one_is_refused(tmp_path, results, contents):
    refused(packed(tmp_path / "a.tar.zst", contents, {}), results, "its list of files is damaged")


def test_another_archive_is_refused(files, tmp_path, results):
    path = tmp_path / "a.tar.zst"
    path.write_bytes(b"no archive at all")
    refused(path, results)
    path.write_bytes(b"")
    refused(path, results)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("README.md"), io.BytesIO())
    path.write_bytes(pa.compress(buffer.getvalue(), "zstd", asbytes=True))
    refused(path, results, f"it does not begin with {CONTENTS}")


def test_an_archive_cut_anywhere_is_refused(files, tmp_path, results):
    path = packed(tmp_path / "a.tar.zst", listing(files), files)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:length])
        refused(path, results)


def test_an_archive_with_a_flipped_bit_is_refused_or_harmless(files, tmp_path, results):
    path = packed(tmp_path / "a.tar.zst", listing(files), files)
    whole = path.read_bytes()
    for position in range(0, len(whole), 61):
        damaged = bytearray(whole)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        target = results / str(position)
        try:
            place(path, target)
        except ValueError:
            assert list(target.rglob("*")) == []
        else:
            assert {name: (target / name).read_bytes() for name in files} == files


def test_a_missing_archive_is_named(tmp_path, results):
    with pytest.raises(FileNotFoundError):
        place(tmp_path / "none.tar.zst", results)
