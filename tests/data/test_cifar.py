"""CIFAR-10 and CIFAR-100: what is read from archives of their form, and what is refused."""

import hashlib
import io
import pickle
import struct
import tarfile
from http.client import IncompleteRead

import numpy as np
import pytest

from skymask.data.datasets import DataError, cifar10, cifar100
from skymask.data.datasets.vision import CIFAR10, CIFAR100

KINDS = {
    "cifar10": (cifar10, CIFAR10, "labels", 10),
    "cifar100": (cifar100, CIFAR100, "fine_labels", 100),
}


def text(value):
    return b"T" + struct.pack("<i", len(value)) + value


def python_2(images, labels, key):
    """The pickle that Python 2 wrote: protocol 2, text and pixels as strings of bytes."""
    rows, width = images.shape
    shape = b"J" + struct.pack("<i", rows) + b"J" + struct.pack("<i", width) + b"\x86"
    empty = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
    )
    kind = b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR"
    kind += b"(K\x03" + text(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    array = empty + b"(K\x01" + shape + kind + b"\x89" + text(images.tobytes()) + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + text(b"leaf\xe9.png") + b"e"
    pairs = text(b"data") + array + text(key.encode()) + listed + text(b"filenames") + names
    return b"\x80\x02}(" + pairs + text(b"coarse_labels") + b"](K\xffeu."


def batch(source, key, classes, count):
    images = source.integers(0, 256, (count, 3072), dtype=np.uint8)
    labels = source.integers(0, classes, count)
    return images, labels, python_2(images, labels.tolist(), key)


class Copy:
    """A small archive in the form of a data set, its files by name, and what they contain."""

    def __init__(self, load, known, key, classes, monkeypatch):
        self.load, self.known, self.key, self.monkeypatch = load, known, key, monkeypatch
        source = np.random.default_rng(0)
        names = [file for file, _ in (*known.train_list, *known.test_list)]
        made = {name: batch(source, key, classes, 3 + i) for i, name in enumerate(names)}
        self.made, self.files = made, {name: content for name, (_, _, content) in made.items()}
        self.accept()

    def accept(self):
        """Take the checksums of the files for the true ones."""
        for kind in ("train_list", "test_list"):
            listed = [
                [name, hashlib.md5(self.files[name]).hexdigest()]
                for name, _ in getattr(self.known, kind)
            ]
            self.monkeypatch.setattr(self.known, kind, listed)

    def pack(self, place, mode="w:gz", without=()):
        with tarfile.open(place, mode) as archive:
            for name, content in {"readme.html": b"<html>", **self.files}.items():
                if name not in without:
                    member = tarfile.TarInfo(f"{self.known.base_folder}/{name}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        return place

    def unpack(self, folder):
        place = folder / self.known.base_folder
        place.mkdir(parents=True)
        for name, content in self.files.items():
            (place / name).write_bytes(content)
        return place

    def check(self, arrays):
        for part, listed in (("train", self.known.train_list), ("test", self.known.test_list)):
            made = [self.made[name] for name, _ in listed]
            images = np.concatenate([images for images, _, _ in made])
            features = getattr(arrays, f"{part}_features")
            assert features.dtype == np.uint8
            assert features.shape == (len(images), 3, 32, 32)
            # red row by row, then green, then blue
            assert features[0, 2, 1, 3] == images[0, 2 * 1024 + 32 + 3]
            assert (features.reshape(len(images), -1) == images).all()
            labels = getattr(arrays, f"{part}_labels")
            assert labels.dtype == np.int64
            assert labels.tolist() == np.concatenate([own for _, own, _ in made]).tolist()


@pytest.fixture(params=KINDS)
def copy(request, monkeypatch):
    return Copy(*KINDS[request.param], monkeypatch)


@pytest.fixture
def ten(monkeypatch):
    return Copy(*KINDS["cifar10"], monkeypatch)


@pytest.fixture(autouse=True)
def download(monkeypatch):
    """No test reaches for the network: the download fails, and its calls are listed."""
    calls = []

    def fail(url, root, filename, md5):
        calls.append((url, filename, md5))
        raise RuntimeError("File not found\n or corrupted.")

    monkeypatch.setattr("skymask.data.datasets.vision.download_url", fail)
    return calls


def refused(load, *folders):
    with pytest.raises(DataError) as error:
        load(list(folders))
    return str(error.value)


@pytest.mark.parametrize("mode", ["w:gz", "w"], ids=["compressed", "plain"])
def test_an_archive_is_read_wherever_it_lies(copy, tmp_path, mode, download):
    (tmp_path / "second").mkdir()
    copy.pack(tmp_path / "second" / copy.known.filename, mode)
    arrays = copy.load([tmp_path / "first", tmp_path / "second"])
    copy.check(arrays)
    assert (arrays.classes, arrays.scale) == (copy.load.facts["classes"], 255.0)
    assert arrays.train_groups is None
    assert not download


def test_an_unpacked_folder_is_read(copy, tmp_path, download):
    copy.unpack(tmp_path)
    copy.check(copy.load([tmp_path]))
    assert not download


def test_what_python_3_pickles_for_python_2_is_read(copy, tmp_path):
    for name, (images, labels, _) in copy.made.items():
        content = {"data": images, copy.key: labels.tolist()}
        copy.files[name] = pickle.dumps(content, protocol=2)
    copy.accept()
    copy.unpack(tmp_path)
    copy.check(copy.load([tmp_path]))


def test_the_facts_are_those_of_the_published_data_sets():
    both = {"shape": (3, 32, 32), "train": 50_000, "test": 10_000}
    assert cifar10.facts == {**both, "classes": 10}
    assert cifar100.facts == {**both, "classes": 100}


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_archive_is_named(ten, tmp_path, share):
    path = ten.pack(tmp_path / CIFAR10.filename)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message = refused(cifar10, tmp_path)
    assert str(path) in message
    assert "replace it" in message.lower()


@pytest.mark.parametrize("content", [b"", b"<html>404</html>" * 100])
def test_what_is_no_archive_is_named(tmp_path, content):
    path = tmp_path / CIFAR10.filename
    path.write_bytes(content)
    message = refused(cifar10, tmp_path)
    assert str(path) in message
    assert "replace it" in message.lower()


def test_an_archive_that_lacks_a_file_is_named_with_it(ten, tmp_path):
    path = ten.pack(tmp_path / CIFAR10.filename, without=["data_batch_3"])
    message = refused(cifar10, tmp_path)
    assert f"{path} lacks data_batch_3 in cifar-10-batches-py" in message
    assert "Replace it" in message


def test_a_folder_that_lacks_a_file_is_named_with_it(ten, tmp_path):
    place = ten.unpack(tmp_path)
    (place / "test_batch").unlink()
    assert f"{place / 'test_batch'} cannot be read" in refused(cifar10, tmp_path)
    assert "unpack the archive again" in refused(cifar10, tmp_path)


def test_another_content_is_refused_before_it_is_unpickled(ten, tmp_path, monkeypatch):
    wanted = dict(CIFAR10.train_list)["data_batch_2"]
    ten.files["data_batch_2"] += b"x"
    path = ten.pack(tmp_path / CIFAR10.filename)
    read = []
    load = pickle.Unpickler.load
    monkeypatch.setattr(
        "skymask.data.datasets.cifar._ArraysOnly.load",
        lambda self: read.append(1) or load(self),
        raising=False,
    )
    message = refused(cifar10, tmp_path)
    assert f"data_batch_2 in {path} is not the file of CIFAR-10" in message
    assert wanted in message
    assert hashlib.md5(ten.files["data_batch_2"]).hexdigest() in message
    assert read == []


class Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_file_that_calls_something_is_refused_and_calls_nothing(ten, tmp_path):
    made = tmp_path / "made"
    ten.files["data_batch_1"] = pickle.dumps({"data": Command(made)}, protocol=2)
    ten.accept()
    ten.unpack(tmp_path)
    message = refused(cifar10, tmp_path)
    assert "data_batch_1" in message
    assert "open, which is no part of an array" in message
    assert not made.exists()


IMAGES = np.zeros((2, 3072), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"data": IMAGES[:, :3071], "labels": [0, 1]}, "images of 3071 bytes where 3072"),
        ({"data": IMAGES.reshape(-1), "labels": [0, 1]}, "no rows of bytes"),
        ({"data": IMAGES.astype(np.float32), "labels": [0, 1]}, "no rows of bytes"),
        ({"data": "text", "labels": [0, 1]}, "no rows of bytes"),
        ({"data": IMAGES, "labels": [0]}, "no integer under 'labels' for each of its images"),
        ({"data": IMAGES, "labels": [0.0, 1.0]}, "no integer under 'labels'"),
        ({"data": IMAGES, "labels": [0, 10]}, "labels outside 0 … 9"),
        ({"data": IMAGES, "labels": [-1, 0]}, "labels outside 0 … 9"),
        ({"data": IMAGES, "fine_labels": [0, 1]}, "cannot be read ('labels')"),
        ([1, 2], "cannot be read"),
    ],
)
def test_arrays_of_another_form_are_refused(ten, tmp_path, content, reason):
    ten.files["test_batch"] = pickle.dumps(content, protocol=2)
    ten.accept()
    place = ten.unpack(tmp_path)
    message = refused(cifar10, tmp_path)
    assert f"test_batch in {place}" in message
    assert reason in message
    assert "replace it" in message


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x02}("])
def test_what_is_no_pickle_is_refused(ten, tmp_path, content):
    ten.files["test_batch"] = content
    ten.accept()
    ten.unpack(tmp_path)
    assert "test_batch" in refused(cifar10, tmp_path)


def test_missing_data_names_the_folders_the_variable_and_the_reason(copy, tmp_path, download):
    folders = [tmp_path / "first", tmp_path / "second"]
    message = refused(copy.load, *folders)
    names = (copy.known.filename, copy.known.base_folder, copy.known.url)
    for part in (*map(str, folders), *names, "SKYMASK_DATA", "data_folders"):
        assert part in message
    assert "File not found or corrupted." in message
    assert download == [(copy.known.url, copy.known.filename, copy.known.tgz_md5)]


@pytest.mark.parametrize("error", [OSError("no route to host"), IncompleteRead(b"half", 9)])
def test_a_download_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, error):
    def fail(url, root, filename, md5):
        with open(f"{root}/{filename}", "wb") as file:
            file.write(b"half")
        raise error

    monkeypatch.setattr("skymask.data.datasets.vision.download_url", fail)
    assert str(error) in refused(cifar10, tmp_path / "first")
    assert list((tmp_path / "first").iterdir()) == []


def test_a_download_is_read_and_kept(copy, tmp_path, monkeypatch):
    def fetch(url, root, filename, md5):
        copy.pack(f"{root}/{filename}")

    monkeypatch.setattr("skymask.data.datasets.vision.download_url", fetch)
    copy.check(copy.load([tmp_path / "first", tmp_path / "second"]))
    assert [path.name for path in (tmp_path / "first").iterdir()] == [copy.known.filename]
