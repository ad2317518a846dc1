"""A SLURM cluster for the tests of this folder."""

import pytest

from . import cluster as clusters


@pytest.fixture(scope="session")
def cluster():
    """A running cluster with the partitions of profiles/slurm."""
    reason = clusters.why_not()
    if reason:
        pytest.skip(reason)
    running = clusters.Cluster()
    try:
        running.start()
        yield running
    finally:
        running.stop()
