"""What a job asks of a cluster."""

import subprocess
import sys
from dataclasses import replace

import pytest

from skymask.jobs import costs, resources
from skymask.study.experiment import Method
from tests.support.federations import BASE

from .test_costs import SOURCE

PAPER = replace(
    BASE, dataset="fashion_mnist", model="cnn", clients=80, defense=Method("skymask"), root_size=100
)
DIGITS = replace(BASE, dataset="digits", model="small_cnn", clients=20, samples_per_client=None)


@pytest.mark.parametrize(
    ("run", "measured"),
    [
        # the most that Snakemake measured of a job, and what its Snakemakes take next to
        (DIGITS, 637),
        (replace(PAPER, clients=20), 1094),
        (replace(PAPER, clients=40), 1108),
        (PAPER, 1184),
        # beyond 570 MiB 3.2 MiB a client
        (replace(PAPER, clients=1000), 3800),
    ],
)
def test_memory_covers_what_was_measured_and_not_much_more(run, measured):
    needed = measured + resources.NESTED
    assert 1.2 * needed < resources.memory(run) < 2.5 * needed


def test_memory_grows_with_clients_model_data_and_attempts():
    plain = resources.memory(PAPER)
    assert resources.memory(replace(PAPER, clients=200)) > plain
    assert resources.memory(replace(PAPER, model="resnet20")) > plain
    assert resources.memory(replace(PAPER, dataset="cifar10")) > plain
    assert resources.memory(replace(PAPER, device="cuda")) > plain + resources.CUDA
    assert resources.memory(PAPER, attempt=3) == 3 * plain
    assert resources.memory_of_data("cifar10") > resources.memory_of_data("digits") > 265 + 444
    assert resources.memory_of_data("digits", 2) == 2 * resources.memory_of_data("digits")


def test_time_is_that_of_the_rounds_and_of_a_start(monkeypatch):
    monkeypatch.setattr(costs, "seconds_per_round", lambda run: 3.0)
    assert resources.minutes(BASE, 600) == 10 + 30 * 8
    assert resources.minutes(BASE, 1) == 11
    assert resources.minutes(BASE, 600, attempt=2) == 2 * resources.minutes(BASE, 600)
    # 30 and 45 s were measured for jobs that are estimated at 3.6 s
    assert resources.minutes(BASE, 1) * 60 > 10 * 45


def test_asking_does_not_load_torch():
    code = (
        "import sys, skymask.jobs.resources, skymask.jobs.resume; sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, check=False
    )
    assert done.returncode == 0
