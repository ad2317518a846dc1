"""Tests of aggregates against the arrays of the released code."""

from pathlib import Path

import numpy as np
import pytest
import torch

from skymask.defenses import fedavg, fltrust, trimmed_mean

DATA = Path(__file__).parents[1] / "reference"


@pytest.fixture(params=["lr_12_clients", "lr_20_clients_40pct"])
def released(request):
    with np.load(DATA / f"{request.param}.npz") as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}


def test_aggregates_are_those_of_the_released_code(released):
    updates, server = released["updates"][:-1], released["updates"][-1]
    results = {
        "agg_fedavg": fedavg(updates),
        "agg_trimmed_mean": trimmed_mean(updates, int(released["num_malicious"])),
        "agg_fltrust": fltrust(updates, server),
    }
    for key, outcome in results.items():
        error = (outcome.update - released[key]).norm() / released[key].norm()
        assert error <= 1e-5, key
