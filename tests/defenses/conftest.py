"""byzfl, an independent implementation of many defenses."""

import pytest

from skymask.data.datasets import vision  # noqa: F401  declares what torchvision lacks with byzfl


@pytest.fixture(scope="session")
def byzfl():
    return pytest.importorskip("byzfl")
