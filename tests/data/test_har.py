"""HAR: UCI's and Kaggle's files give the same arrays, and damaged ones are refused."""

import importlib
import io
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skymask.artifacts.samples import read_groups, write_samples
from skymask.artifacts.tensors import read_samples
from skymask.data.datasets import DataError, digits, har
from skymask.study import grid

# the package's attribute of this name is the function
MODULE = importlib.import_module("skymask.data.datasets.har")
NAMES = dict(enumerate(MODULE.ACTIVITIES, start=1))
COUNTS = {"train": 211, "test": 92}
TESTING = range(2, 31, 4)  # subjects of the archive's test part


def made():
    """Per part: features [N, 561] with the eight digits of the files, labels, subjects from 1."""
    source = np.random.default_rng(0)
    parts = {}
    for part, count in COUNTS.items():
        of_part = [s for s in range(1, 31) if (s in TESTING) == (part == "test")]
        subjects = np.sort(np.resize(of_part, count))
        drawn = source.normal(0.3, 0.4, (count, 561))
        features = np.array([[float(f"{value:.7e}") for value in row] for row in drawn])
        features[:, 7] = 0.1  # constant
        parts[part] = (features, source.integers(1, 7, count), subjects)
    return parts


MADE = made()


def lines(values, form):
    return "".join(f"{form(row)}\n" for row in values)


def uci():
    """The six texts of UCI's archive."""
    files = {}
    for part, (features, labels, subjects) in MADE.items():
        rows = lines(features, lambda row: "".join(f" {value: .7e}" for value in row))
        files[f"{part}/X_{part}.txt"] = rows
        files[f"{part}/y_{part}.txt"] = lines(labels, str)
        files[f"{part}/subject_{part}.txt"] = lines(subjects, str)
    return files


UCI = uci()


def unpacked(folder, files):
    for name, content in files.items():
        path = folder / "UCI HAR Dataset" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def packed(place, files):
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._README.txt", "junk")
        for name, content in files.items():
            archive.writestr(f"UCI HAR Dataset/{name}", content)


def packed_twice(place, files):
    inner = io.BytesIO()
    packed(inner, files)
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("UCI HAR Dataset.names", "names")
        archive.writestr("UCI HAR Dataset.zip", inner.getvalue())


def kaggle():
    """The two tables, by name; one feature's name has a comma, as in the real ones."""
    head = [*(f"tBodyAcc-{i}" for i in range(560)), '"angle(X,gravityMean)"', "subject", "Activity"]
    tables = {}
    for part, (features, labels, subjects) in MADE.items():
        rows = [
            ",".join([*(repr(float(value)) for value in row), str(subject), NAMES[label]])
            for row, label, subject in zip(features, labels, subjects, strict=True)
        ]
        tables[f"{part}.csv"] = "\n".join([",".join(head), *rows, ""])
    return tables


KAGGLE = kaggle()


def tables(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The small parts pass for the archive's."""
    monkeypatch.setattr(MODULE, "SAMPLES", COUNTS)


def refused(*folders):
    with pytest.raises(DataError) as error:
        har(list(folders))
    return str(error.value)


FORMS = {
    "folder": lambda folder: unpacked(folder, UCI),
    "archive": lambda folder: packed(folder / "UCI HAR Dataset.zip", UCI),
    "nested": lambda folder: packed_twice(folder / MODULE.ARCHIVES[1], UCI),
    "renamed": lambda folder: packed_twice(folder / MODULE.ARCHIVES[0], UCI),
    "kaggle": lambda folder: tables(folder, KAGGLE),
}


@pytest.fixture
def loaded(tmp_path):
    unpacked(tmp_path / "reference", UCI)
    return har([tmp_path / "reference"])


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_arrays_wherever_it_lies(form, tmp_path, loaded):
    (tmp_path / "second").mkdir()
    FORMS[form](tmp_path / "second")
    other = har([tmp_path / "first", tmp_path / "second"])
    for name in ("train_features", "train_labels", "test_features", "test_labels", "train_groups"):
        one, two = getattr(loaded, name), getattr(other, name)
        assert one.dtype == two.dtype
        assert one.tobytes() == two.tobytes()


def joined(which):
    return np.concatenate([MADE[part][which] for part in ("train", "test")])


def rows_of(arrays):
    """Where each training and each test sample stood in the joined parts.

    A sample is known again by its features after the same affine map of each column.
    """
    features = joined(0)
    train = np.vstack([arrays.train_features, arrays.test_features])[:, 0]
    order, ranks = np.argsort(features[:, 0]), np.argsort(np.argsort(train))
    rows = order[ranks]
    return rows[: len(arrays.train_labels)], rows[len(arrays.train_labels) :]


def test_the_parts_are_joined_and_each_sample_keeps_its_label_and_subject(loaded):
    train, test = rows_of(loaded)
    assert sorted([*train, *test]) == list(range(303))
    assert (loaded.train_labels == joined(1)[train] - 1).all()
    assert (loaded.test_labels == joined(1)[test] - 1).all()
    assert (loaded.train_groups == joined(2)[train] - 1).all()
    assert loaded.train_labels.dtype == loaded.test_labels.dtype == np.int64
    assert loaded.train_groups.dtype == np.int32
    assert (loaded.classes, loaded.scale) == (6, 1.0)


def test_a_fifth_of_each_subjects_samples_is_test_data(loaded):
    assert len(loaded.test_labels) == 303 // 5
    train, test = rows_of(loaded)
    assert (np.diff(train) > 0).all()  # in the order of the archive
    for subject in range(30):
        own = np.flatnonzero(joined(2) - 1 == subject)
        taken = np.isin(own, test).sum()
        assert len(own) // 5 <= taken <= -(-len(own) // 5)
    # shuffled within a subject, not each fifth as they stand
    ordered = np.argsort(joined(2), kind="stable")
    assert len(set(np.flatnonzero(np.isin(ordered, test)) % 5)) == 5


def test_features_are_standardised_by_the_training_samples(loaded):
    train, test = rows_of(loaded)
    features = joined(0)
    mean, deviation = features[train].mean(axis=0), features[train].std(axis=0)
    deviation[7] = 1.0
    expected = ((features - mean) / deviation).astype(np.float32)
    np.testing.assert_allclose(loaded.train_features, expected[train], atol=1e-5)
    np.testing.assert_allclose(loaded.test_features, expected[test], atol=1e-5)
    assert loaded.train_features.dtype == loaded.test_features.dtype == np.float32
    assert (np.abs(loaded.train_features[:, 7]) < 1e-6).all()


@given(st.permutations(range(30)))
def test_the_facts_follow_from_the_totals_whatever_each_subject_has(order):
    # sizes that add up to 10,299
    sizes = np.full(30, 300) + np.array(order) * 2
    sizes[0] += 10_299 - sizes.sum()
    subjects = np.repeat(np.arange(30), sizes)
    train, test = MODULE._split(subjects)
    assert (len(train), len(test)) == (har.facts["train"], har.facts["test"])
    shares = np.bincount(subjects[test], minlength=30) - sizes / 5
    assert (np.abs(shares) < 1).all()
    assert sum({"train": 7352, "test": 2947}.values()) == har.facts["train"] + har.facts["test"]


def test_missing_data_names_the_folders_the_variable_and_the_sources(tmp_path):
    tables(tmp_path / "first", {"train.csv": KAGGLE["train.csv"]})
    folders = [tmp_path / "first", tmp_path / "second"]
    message = refused(*folders)
    sources = ("archive.ics.uci.edu", "www.kaggle.com", *MODULE.ARCHIVES[1:], "UCI HAR Dataset")
    for part in (*map(str, folders), *sources, "train.csv", "SKYMASK_DATA", "data_folders"):
        assert part in message


@pytest.mark.parametrize("name", UCI)
def test_a_missing_file_of_the_folder_or_the_archive_is_named(tmp_path, name):
    files = {key: content for key, content in UCI.items() if key != name}
    (tmp_path / "packed").mkdir()
    unpacked(tmp_path, files)
    packed(tmp_path / "packed" / MODULE.ARCHIVES[0], files)
    message = refused(tmp_path)
    assert f"{tmp_path / 'UCI HAR Dataset' / name} cannot be read" in message
    message = refused(tmp_path / "packed")
    assert name in message
    assert str(tmp_path / "packed" / MODULE.ARCHIVES[0]) in message


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("pack", [packed, packed_twice])
def test_a_truncated_archive_is_named(tmp_path, pack, share):
    path = tmp_path / MODULE.ARCHIVES[1]
    pack(path, UCI)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message = refused(tmp_path)
    assert f"{path} cannot be unpacked" in message
    assert "replace it" in message


def test_a_damaged_byte_in_the_archive_is_found(tmp_path):
    path = tmp_path / MODULE.ARCHIVES[0]
    packed(path, UCI)
    content = bytearray(path.read_bytes())
    content[5000] ^= 0xFF
    path.write_bytes(content)
    assert str(path) in refused(tmp_path)


def without_last_row(text):
    return text[: text.rindex("\n", 0, -1) + 1]


def first_line(change):
    return lambda text: "\n".join([change(text.split("\n", 1)[0]), text.split("\n", 1)[1]])


SHORT = first_line(lambda line: line.rsplit(None, 1)[0])
DAMAGE = [
    ("train/X_train.txt", without_last_row, "has 210 rows of features, 211 labels and 211"),
    ("train/y_train.txt", without_last_row, "has 211 rows of features, 210 labels and 211"),
    ("test/subject_test.txt", without_last_row, "92 labels and 91 subjects where 92 are needed"),
    ("test/X_test.txt", lambda text: text[: len(text) // 2], "rows of features, 92 labels"),
    ("train/X_train.txt", SHORT, "X_train.txt"),
    ("train/X_train.txt", lambda text: text.replace("\n", " 1.0\n"), "has 562 columns where 561"),
    ("train/X_train.txt", lambda text: text.replace("0", "x", 1), "X_train.txt in"),
    ("train/X_train.txt", first_line(lambda line: f"nan {line[17:]}"), "not finite in row 1"),
    ("train/X_train.txt", first_line(lambda line: f"inf {line[17:]}"), "not finite in row 1"),
    ("train/X_train.txt", lambda text: "", "cannot be read"),
    ("train/X_train.txt", lambda text: "<html>\n<p>not found, 404</p>\n", "X_train.txt"),
    ("train/y_train.txt", first_line(lambda line: "7"), "has labels other than 1 … 6"),
    ("train/y_train.txt", first_line(lambda line: "0"), "has labels other than 1 … 6"),
    ("train/y_train.txt", first_line(lambda line: "1.5"), "has labels other than 1 … 6"),
    ("train/subject_train.txt", first_line(lambda line: "31"), "has subjects other than 1 … 30"),
    ("test/subject_test.txt", lambda text: text.replace("30", "26"), "29 of 30 subjects"),
]


@pytest.mark.parametrize(("name", "damage", "reason"), DAMAGE)
def test_damaged_texts_are_named_with_what_is_wrong(tmp_path, name, damage, reason):
    changed = damage(UCI[name])
    assert changed != UCI[name]
    unpacked(tmp_path, {**UCI, name: changed})
    message = refused(tmp_path)
    assert reason in message
    assert str(tmp_path / "UCI HAR Dataset") in message
    assert "Replace it" in message


TABLE_DAMAGE = [
    (without_last_row, "has 210 rows of features"),
    (lambda text: text[: len(text) // 2], "train.csv"),
    (lambda text: text.replace("subject,", "person,", 1), "lacks 561 columns of features"),
    (lambda text: text.replace("tBodyAcc-0,", "", 1), "lacks 561 columns of features"),
    (lambda text: text.replace("LAYING", "LYING", 1), "could not convert string 'LYING'"),
    (lambda text: "id,price\n1,2\n", "lacks 561 columns of features"),
    (lambda text: "", "lacks 561 columns of features"),
    (lambda text: text.split("\n")[0], "cannot be read (it is empty)"),
    (lambda text: text.replace(",1,", ",31,", 1), "subjects other than 1 … 30"),
    (lambda text: text.replace(",0.", ",zero", 1), "could not convert string 'zero"),
    (lambda text: text.replace(",0.", ",nan,0.", 1), "train.csv"),
]


@pytest.mark.parametrize(("damage", "reason"), TABLE_DAMAGE)
def test_damaged_tables_are_named_with_what_is_wrong(tmp_path, damage, reason):
    changed = damage(KAGGLE["train.csv"])
    assert changed != KAGGLE["train.csv"]
    tables(tmp_path, {**KAGGLE, "train.csv": changed})
    message = refused(tmp_path)
    assert reason in message
    assert str(tmp_path / "train.csv") in message
    assert "Replace it" in message


def test_groups_survive_parquet_and_samples_are_read_with_them(tmp_path, loaded):
    path = tmp_path / "train.parquet"
    write_samples(
        path,
        "har",
        loaded.train_features,
        loaded.train_labels,
        classes=6,
        scale=1.0,
        groups=loaded.train_groups,
    )
    assert (read_groups(path, "har") == loaded.train_groups).all()
    features, labels, classes = read_samples(path, "har")
    assert features.equal(torch.from_numpy(loaded.train_features))
    assert labels.equal(torch.from_numpy(loaded.train_labels))
    assert classes == 6


def test_a_data_set_without_natural_clients_has_no_groups(tmp_path):
    arrays, path = digits([]), tmp_path / "train.parquet"
    assert arrays.train_groups is None
    write_samples(path, "digits", arrays.train_features, arrays.train_labels, classes=10, scale=16)
    assert read_groups(path, "digits") is None


def experiment(**changes):
    """The one run of a study of the paper's split of HAR."""
    config = {
        "study": "tiny",
        "dataset": "har",
        "model": "logistic_regression",
        "clients": 30,
        "partition": "natural",
        "attack": "none",
        "defense": "fedavg",
        "rounds": 25,
        "local_lr": 0.1,
    }
    (cell,) = grid.read({**config, **changes}).cells
    return cell.experiment


def test_with_a_root_share_a_run_does_not_depend_on_the_size_and_bias_of_the_root_data():
    run = experiment(root_share=0.03)
    assert (run.root_share, run.root_size, run.root_bias) == (0.03, None, None)
    assert experiment(root_share=0.03, root_size=50, root_bias=0.4) == run
    assert experiment(root_share=0.05).partition_id != run.partition_id
    assert experiment(root_size=50).partition_id != experiment(root_size=51).partition_id
    assert (experiment().root_share, experiment().root_size) == (None, 100)
    assert type(run).from_json(run.to_json()) == run
