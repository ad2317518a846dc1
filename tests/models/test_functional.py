"""Tests of losses on samples."""

import pytest
import torch
from torch.testing import assert_close

from skymask.masks import learning
from skymask.models import architectures
from skymask.models.flat_parameters import Layout
from skymask.models.functional import root_loss
from skymask.models.samples import Samples
from tests.support.threads import with_threads


@pytest.mark.parametrize("name", ["cross_entropy", "logit_adjusted"])
def test_loss_and_gradient_of_samples_are_those_of_the_whole(name):
    source = torch.Generator().manual_seed(1)
    module = architectures.build("small_cnn", (1, 8, 8), 10, seed=0).double()
    vector = Layout.of(module).flatten(dict(module.named_parameters())).detach()
    for count in (1, 32, 33, 101):
        features = torch.rand(count, 1, 8, 8, generator=source, dtype=torch.float64)
        labels = torch.randint(0, 10, (count,), generator=source)
        loss = root_loss(module, Samples(features, labels), name)
        assert loss.shared_out == (count > 32)
        value, gradient = learning.value_and_gradient(loss, vector)
        whole = learning.value_and_gradient(lambda w, loss=loss: loss(w), vector)
        assert_close(value, whole[0])
        assert_close(gradient, whole[1])


def test_a_loss_over_the_batch_is_not_cut_into_parts():
    source = torch.Generator().manual_seed(1)
    features = torch.rand(80, 1, 8, 8, generator=source)
    labels = torch.randint(0, 10, (80,), generator=source)
    coupled = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.BatchNorm1d(10)
    )
    for module, name in [
        (coupled, "cross_entropy"),
        (architectures.build("mlp", (1, 8, 8), 10, 0), "batch_softmax"),
    ]:
        vector = Layout.of(module).flatten(dict(module.named_parameters())).detach()
        loss = root_loss(module, Samples(features, labels), name)
        value, gradient = learning.value_and_gradient(loss, vector)
        whole = learning.value_and_gradient(lambda w, loss=loss: loss(w), vector)
        assert value == whole[0]
        assert_close(gradient, whole[1])


def test_bits_of_a_gradient_do_not_depend_on_the_number_of_threads():
    source = torch.Generator().manual_seed(1)
    module = architectures.build("small_cnn", (1, 8, 8), 10, seed=0)
    vector = Layout.of(module).flatten(dict(module.named_parameters())).detach()
    features = torch.rand(100, 1, 8, 8, generator=source)
    labels = torch.randint(0, 10, (100,), generator=source)
    loss = root_loss(module, Samples(features, labels))
    found = with_threads(lambda: learning.value_and_gradient(loss, vector))
    assert all(value == found[0][0] and g.equal(found[0][1]) for value, g in found)


def test_an_unknown_loss_is_refused_by_its_name():
    with pytest.raises(ValueError, match="there is no loss 'class': name one of cross_entropy, ba"):
        root_loss(torch.nn.Linear(2, 2), Samples(torch.ones(1, 2), torch.tensor([0])), "class")
