"""Settings of all tests: tiers, threads, generated examples, devices."""

import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# tests that run in the background of a shell, and what they start, would ignore these signals
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
settings.register_profile("suite", deadline=None, derandomize=True, database=None, max_examples=25)
# SKYMASK_EXAMPLES=20000 tries more examples, and new ones every time
EXAMPLES = os.environ.get("SKYMASK_EXAMPLES")
if EXAMPLES:
    further = {"derandomize": False, "max_examples": int(EXAMPLES), "print_blob": True}
    settings.register_profile("further", settings.get_profile("suite"), **further)
settings.load_profile("further" if EXAMPLES else "suite")

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Mark the tests below tests/workflow and tests/slurm as such."""
    for item in items:
        for tier in ("workflow", "slurm"):
            if item.path.is_relative_to(TESTS / tier):
                item.add_marker(tier)


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NO_GPU)])
def device(request):
    return request.param
