"""Small federations of digits in memory."""

from dataclasses import replace
from functools import cache

import torch

from skymask.data.datasets import digits
from skymask.data.partition import assign
from skymask.federation.federation import Checkpoint, Federation
from skymask.federation.rounds import run_span
from skymask.models.samples import Samples
from skymask.study.experiment import Experiment, Method

# 60 samples per client and 50 root samples are four batches each: as many steps for the server
BASE = Experiment(
    dataset="digits",
    model="logistic_regression",
    partition=Method("iid"),
    clients=6,
    samples_per_client=60,
    root_size=50,
    root_bias=None,
    attack=Method("none"),
    malicious=0,
    defense=Method("fedavg"),
    assumed_malicious=None,
    local_epochs=1,
    batch_size=16,
    local_lr=0.2,
    global_lr=1.0,
    gradient_clip=None,
    loss="cross_entropy",
    training_precision="float32",
    evaluate_every=2,
    data_seed=1,
    training_seed=1,
    device="cpu",
    threads=1,
)
DEFENSES = ["fedavg", "trimmed_mean", "krum", "fltrust", "skymask", "oracle"]


@cache
def data():
    arrays = digits([])
    features = [
        torch.from_numpy(x).float() / 16 for x in (arrays.train_features, arrays.test_features)
    ]
    train_labels, test_labels = map(torch.from_numpy, (arrays.train_labels, arrays.test_labels))
    return Samples(features[0], train_labels), Samples(features[1], test_labels)


def federation(**changes):
    run = replace(BASE, **changes)
    train_data, test_data = data()
    assignment = assign(
        train_data.labels.numpy(),
        classes=10,
        partition=run.partition.name,
        parameters=run.partition.parameters,
        clients=run.clients,
        samples_per_client=run.samples_per_client,
        root_size=run.root_size,
        root_bias=run.root_bias,
        data_seed=run.data_seed,
    )
    return Federation(run, train_data, test_data, assignment, 10)


def carried(parties, rounds, progress=None, **options):
    start = progress or Checkpoint(parties.initial_parameters())
    return run_span(parties, start, rounds, **options)


def same_bits(one, other):
    return one.view(torch.int32).equal(other.view(torch.int32))
