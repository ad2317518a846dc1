import pytest

from . import cluster as clusters


@pytest.fixture(scope="session")
def cluster():
    """A running cluster with the partitions of profiles/slurm."""
    reason = clusters.missing()
    if reason:
        pytest.skip(reason)
    running = clusters.Cluster()
    try:
        running.start()
        yield running
    finally:
        running.stop()
