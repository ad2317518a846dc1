"""The loaders: what they return, where they look, and how they fail."""

import gzip
import hashlib
import importlib

import numpy as np
import pytest

from skymask.data.datasets import DATASETS, DataError, digits, fashion_mnist

# the package's attribute of this name is the function
MODULE = importlib.import_module("skymask.data.datasets.fashion_mnist")
NAMES = list(MODULE.CONTENT)


def idx(values):
    """An IDX file of unsigned bytes."""
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">i4").tobytes()
    return head + values.tobytes()


@pytest.fixture
def arrays():
    source = np.random.default_rng(0)
    images = [source.integers(0, 256, (count, 28, 28), dtype=np.uint8) for count in (6, 4)]
    labels = [source.integers(0, 10, count, dtype=np.uint8) for count in (6, 4)]
    return dict(zip(NAMES, [images[0], labels[0], images[1], labels[1]], strict=True))


@pytest.fixture
def files(arrays, monkeypatch):
    """Small files that pass for the four, by name."""
    contents = {name: idx(values) for name, values in arrays.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(MODULE, "CONTENT", digests)
    return contents


@pytest.fixture(autouse=True)
def download(monkeypatch):
    """No test reaches for the network: the download fails, and its calls are listed."""
    calls = []

    def fail(root, download):
        calls.append((root, download))
        raise RuntimeError("Error downloading\n train-images")

    monkeypatch.setattr("skymask.data.datasets.vision.FashionMNIST", fail)
    return calls


def put(folder, contents, packed=()):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if name in packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


@pytest.mark.parametrize("packed", [(), NAMES, NAMES[1:3]], ids=["plain", "gz", "mixed"])
@pytest.mark.parametrize("below", [".", "FashionMNIST/raw"])
def test_files_are_read_wherever_they_lie(tmp_path, files, arrays, packed, below, download):
    put(tmp_path / "second" / below, files, packed)
    loaded = fashion_mnist([tmp_path / "first", tmp_path / "second"])
    expected = [arrays[name] for name in NAMES]
    assert (loaded.train_features == expected[0][:, None]).all()
    assert (loaded.train_labels == expected[1]).all()
    assert (loaded.test_features == expected[2][:, None]).all()
    assert (loaded.test_labels == expected[3]).all()
    assert loaded.train_features.shape == (6, 1, 28, 28)
    assert loaded.train_features.dtype == np.uint8
    assert loaded.train_labels.dtype == loaded.test_labels.dtype == np.int64
    assert (loaded.classes, loaded.scale) == (10, 255.0)
    assert not download


def test_the_first_folder_with_all_four_files_is_used(tmp_path, files):
    incomplete = {name: b"damaged" for name in NAMES[:3]}
    put(tmp_path / "first", incomplete)
    put(tmp_path / "second", files)
    put(tmp_path / "third", dict.fromkeys(NAMES, b"damaged"))
    folders = [tmp_path / name for name in ("first", "second", "third")]
    assert len(fashion_mnist(folders).train_labels) == 6


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_archive_is_named(tmp_path, files, name):
    put(tmp_path, files, packed=NAMES)
    path = tmp_path / f"{name}.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"cannot be unpacked .* replace it") as error:
        fashion_mnist([tmp_path])
    assert str(path) in str(error.value)


@pytest.mark.parametrize("place", [10, 300, -6])
def test_an_archive_with_a_damaged_byte_is_named(tmp_path, files, place):
    put(tmp_path, files, packed=NAMES)
    path = tmp_path / f"{NAMES[0]}.gz"
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be unpacked|is not the Fashion") as error:
        fashion_mnist([tmp_path])
    assert str(path) in str(error.value)


def test_what_is_no_archive_is_named(tmp_path, files):
    put(tmp_path, files, packed=NAMES)
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=f"{NAMES[0]}.gz cannot be unpacked"):
        fashion_mnist([tmp_path])


@pytest.mark.parametrize("packed", [(), NAMES], ids=["plain", "gz"])
def test_a_file_with_other_content_is_named_with_both_digests(tmp_path, files, packed):
    put(tmp_path, {**files, NAMES[3]: files[NAMES[3]] + b"x"}, packed)
    with pytest.raises(DataError, match=f"is not the Fashion-MNIST file {NAMES[3]}") as error:
        fashion_mnist([tmp_path])
    assert str(tmp_path / NAMES[3]) in str(error.value)
    assert MODULE.CONTENT[NAMES[3]] in str(error.value)
    assert hashlib.sha256(files[NAMES[3]] + b"x").hexdigest() in str(error.value)


@pytest.mark.parametrize("missing", NAMES)
def test_missing_data_names_the_folders_the_variable_and_the_reason(
    tmp_path, files, missing, download
):
    put(tmp_path / "first", {name: files[name] for name in NAMES if name != missing})
    folders = [tmp_path / "first", tmp_path / "second"]
    with pytest.raises(DataError) as error:
        fashion_mnist(folders)
    message = str(error.value)
    for part in (*map(str, folders), *NAMES, "SKYMASK_DATA", "data_folders"):
        assert part in message
    assert "Error downloading train-images" in message
    assert download == [(str(folders[0]), True)]


def test_a_network_error_is_a_data_error(tmp_path, monkeypatch):
    def fail(root, download):
        raise OSError("no route to host")

    monkeypatch.setattr("skymask.data.datasets.vision.FashionMNIST", fail)
    with pytest.raises(DataError, match="no route to host"):
        fashion_mnist([tmp_path])


def test_downloaded_files_are_read_and_checked(tmp_path, files, monkeypatch):
    def fetch(root, download):
        put(tmp_path / "first" / "FashionMNIST" / "raw", files)

    monkeypatch.setattr("skymask.data.datasets.vision.FashionMNIST", fetch)
    loaded = fashion_mnist([tmp_path / "first", tmp_path / "second"])
    assert len(loaded.test_labels) == 4


def test_a_download_that_leaves_nothing_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("skymask.data.datasets.vision.FashionMNIST", lambda root, download: None)
    with pytest.raises(DataError, match="left no Fashion-MNIST files in"):
        fashion_mnist([tmp_path])


def test_digits_are_what_their_facts_say():
    loaded, facts = digits([]), digits.facts
    assert loaded.train_features.shape == (facts["train"], *facts["shape"])
    assert loaded.test_features.shape == (facts["test"], *facts["shape"])
    assert loaded.train_labels.shape == (facts["train"],)
    assert loaded.test_labels.shape == (facts["test"],)
    assert loaded.classes == facts["classes"] == 10
    assert loaded.train_features.dtype == np.uint8
    assert loaded.train_features.max() == loaded.scale == 16
    assert loaded.train_labels.dtype == loaded.test_labels.dtype == np.int64
    for labels in (loaded.train_labels, loaded.test_labels):
        assert set(labels) == set(range(10))


def test_digits_are_the_same_every_time_and_split_without_overlap():
    first, second = digits([]), digits([])
    assert (first.train_features == second.train_features).all()
    assert (first.test_labels == second.test_labels).all()
    seen = {image.tobytes() for image in first.train_features}
    assert not any(image.tobytes() in seen for image in first.test_features)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_states_its_facts(name):
    assert {"shape", "classes", "train", "test"} <= set(DATASETS[name].facts)
