"""The original files of Fashion-MNIST, where they are installed."""

import os
from pathlib import Path

import pytest

from skymask.data.datasets import fashion_mnist
from skymask.data.datasets.fashion_mnist import _find

from .harness import KINDS, Project

FOLDERS = [
    Path(folder)
    for folder in (
        *os.environ.get("SKYMASK_DATA", "").split(os.pathsep),
        "data",
        "/usr/share/datasets/fashion-mnist",
    )
    if folder
]
pytestmark = pytest.mark.skipif(_find(FOLDERS) is None, reason="no files of Fashion-MNIST")


def test_the_files_have_the_published_statistics():
    data = fashion_mnist(FOLDERS)
    assert data.train_features.shape == (60000, 1, 28, 28)
    assert data.test_features.shape == (10000, 1, 28, 28)
    for labels, each in ((data.train_labels, 6000), (data.test_labels, 1000)):
        assert [int((labels == label).sum()) for label in range(10)] == [each] * 10
    # the published mean and standard deviation of the training pixels
    pixels = data.train_features / 255
    assert pixels.mean() == pytest.approx(0.2860, abs=1e-4)
    assert pixels.std() == pytest.approx(0.3530, abs=1e-4)


def test_one_round_with_the_parameters_of_the_paper_runs(tmp_path):
    project = Project.create(
        tmp_path / "project",
        dataset="fashion_mnist",
        model="cnn",
        clients=10,
        samples_per_client=30,
        rounds=1,
        evaluate_every=1,
        gradient_clip=0.01,
        local_lr=0.5,
        global_lr=0.5,
        data_folders=[str(folder) for folder in FOLDERS],
    )
    project.snakemake()
    assert len(project.rows()) == 2 * len(KINDS)
