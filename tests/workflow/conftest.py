"""Studies that have run, shared by all tests."""

import pytest

from .harness import VARIED, Project


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """A project that has not run; never changed."""
    return Project.create(tmp_path_factory.mktemp("bare") / "project")


@pytest.fixture(scope="session")
def finished(bare, tmp_path_factory):
    """The tiny study, run in spans of two rounds; never changed."""
    project = bare.clone(tmp_path_factory.mktemp("finished") / "project")
    project.snakemake()
    return project


@pytest.fixture(scope="session")
def varied(tmp_path_factory):
    """The varied study, run in spans of two rounds; never changed."""
    project = Project.create(tmp_path_factory.mktemp("varied") / "project", **VARIED)
    project.snakemake()
    return project


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project that a test may change."""
    return finished.clone(tmp_path / "project")
