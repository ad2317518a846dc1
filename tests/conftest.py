"""What all tests share: one thread, the same examples every time, the devices to test on."""

import os

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("suite", deadline=None, derandomize=True, database=None, max_examples=25)
# SKYMASK_EXAMPLES=20000 looks further, at other examples every time
EXAMPLES = os.environ.get("SKYMASK_EXAMPLES")
if EXAMPLES:
    further = {"derandomize": False, "max_examples": int(EXAMPLES), "print_blob": True}
    settings.register_profile("further", settings.get_profile("suite"), **further)
settings.load_profile("further" if EXAMPLES else "suite")

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NO_GPU)])
def device(request):
    return request.param
