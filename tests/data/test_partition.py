"""Assignment of samples: sizes, statistics, disjointness, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skymask.contracts import RequirementError
from skymask.data.partition import (
    PARTITIONS,
    ROOT,
    UNUSED,
    assign,
    dirichlet,
    draw_malicious,
    iid,
    label_bias,
    natural,
    root_counts,
)

CLASSES = 10


def rng(seed=0):
    return np.random.default_rng(seed)


def labels_of(count, classes=CLASSES, seed=0):
    return rng(seed).integers(0, classes, count)


def assigned(labels, **changes):
    settings = {
        "classes": CLASSES,
        "partition": "iid",
        "parameters": {},
        "clients": 10,
        "samples_per_client": None,
        "root_size": 100,
        "root_bias": None,
        "data_seed": 1,
    }
    return assign(labels, **{**settings, **changes})


def shares(labels, assignment):
    """Samples [C, C]: row y counts by group where class y went."""
    groups = assignment % CLASSES
    return np.array([np.bincount(groups[labels == y], minlength=CLASSES) for y in range(CLASSES)])


@given(count=st.integers(0, 300), clients=st.integers(1, 40), seed=st.integers(0, 99))
def test_iid_sizes_are_equal_within_one(count, clients, seed):
    assignment = iid(labels_of(count), clients, CLASSES, rng(seed))
    sizes = np.bincount(assignment, minlength=clients)
    assert sizes.sum() == count
    assert len(sizes) == clients
    assert sizes.max() - sizes.min() <= 1


def test_iid_does_not_follow_the_order_of_the_samples():
    assignment = iid(labels_of(1000), 2, CLASSES, rng())
    assert 180 < (assignment[:500] == 0).sum() < 320


@pytest.mark.parametrize("bias", [0.0, 0.1, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("clients", [10, 20, 23])
def test_label_bias_sends_the_share_q_home_and_the_rest_evenly(bias, clients):
    labels = labels_of(40_000)
    counts = shares(labels, label_bias(labels, clients, CLASSES, rng(), bias=bias))
    counts = counts / counts.sum(axis=1, keepdims=True)
    expected = np.full((CLASSES, CLASSES), (1 - bias) / (CLASSES - 1))
    np.fill_diagonal(expected, bias)
    # five standard deviations of a share among 4,000 samples
    slack = 5 * np.sqrt(expected * (1 - expected) / 3900) + 1e-12
    assert (np.abs(counts - expected) <= slack).all()


def test_label_bias_of_one_over_c_is_iid_in_labels_and_sizes():
    labels = labels_of(40_000)
    assignment = label_bias(labels, 20, CLASSES, rng(), bias=1 / CLASSES)
    sizes = np.bincount(assignment, minlength=20)
    assert (np.abs(sizes - 2000) < 5 * np.sqrt(2000)).all()
    table = np.array([np.bincount(labels[assignment == c], minlength=CLASSES) for c in range(20)])
    assert (np.abs(table - 200) < 6 * np.sqrt(200)).all()


def test_label_bias_of_one_gives_each_client_one_class():
    labels = labels_of(2000)
    assignment = label_bias(labels, 25, CLASSES, rng(), bias=1.0)
    assert (assignment % CLASSES == labels).all()


def test_label_bias_is_uniform_within_a_group_of_any_size():
    labels = np.zeros(9000, dtype=np.int64)
    sizes = np.bincount(label_bias(labels, 23, CLASSES, rng(), bias=1.0), minlength=23)
    assert sizes[[0, 10, 20]].sum() == 9000
    assert (np.abs(sizes[[0, 10, 20]] - 3000) < 5 * np.sqrt(2000)).all()


def test_label_bias_refuses_too_few_clients_and_a_share_out_of_range():
    with pytest.raises(RequirementError, match=r"a client for each class \(clients = 9, classes"):
        label_bias(labels_of(50), 9, CLASSES, rng())
    for bias in (-0.1, 1.1):
        with pytest.raises(RequirementError, match=r"bias must lie in \[0, 1\]"):
            label_bias(labels_of(50), 10, CLASSES, rng(), bias=bias)


def dirichlet_table(alpha, clients=5):
    labels = labels_of(20_000)
    assignment = dirichlet(labels, clients, CLASSES, rng(), alpha=alpha)
    assert ((assignment >= 0) & (assignment < clients)).all()
    table = [np.bincount(assignment[labels == y], minlength=clients) for y in range(CLASSES)]
    return np.array(table) / np.bincount(labels)[:, None]


def test_dirichlet_shares_are_even_for_large_alpha_and_concentrated_for_small():
    assert np.abs(dirichlet_table(1e6) - 0.2).max() < 0.01
    assert (dirichlet_table(1e-3).max(axis=1) > 0.99).mean() >= 0.9
    assert 0.3 < dirichlet_table(0.5).max(axis=1).mean() < 0.9


def test_dirichlet_refuses_an_alpha_that_is_not_positive():
    with pytest.raises(RequirementError, match="alpha must be positive"):
        dirichlet(labels_of(50), 5, CLASSES, rng(), alpha=0.0)


@given(
    size=st.integers(0, 300),
    classes=st.integers(2, 20),
    bias=st.none() | st.floats(0, 1),
)
def test_root_counts_add_up_and_are_even_but_for_class_one(size, classes, bias):
    counts = root_counts(size, classes, bias)
    assert counts.sum() == size
    assert len(counts) == classes
    assert (counts >= 0).all()
    rest = counts if bias is None else np.delete(counts, 1)
    assert rest.max() - rest.min() <= 1
    assert bias is None or counts[1] == round(bias * size)


@pytest.mark.parametrize("bias", [None, 0.46])
def test_root_data_has_the_wanted_classes_and_no_client_holds_it(bias):
    labels = labels_of(3000)
    assignment = assigned(labels, root_bias=bias)
    root = np.bincount(labels[assignment == ROOT], minlength=CLASSES)
    assert (root == root_counts(100, CLASSES, bias)).all()
    sizes = np.bincount(assignment[assignment >= 0], minlength=10)
    assert sizes.tolist() == [290] * 10
    assert assignment.dtype == np.int32


@pytest.mark.parametrize("name", PARTITIONS)
def test_every_partition_deals_every_sample_left_to_a_client(name):
    labels = labels_of(2000)
    groups = np.arange(2000, dtype=np.int32) % 15
    settings = {"partition": name, "clients": 15, "groups": groups}
    assignment = assigned(labels, **settings)
    assert ((assignment == ROOT) | ((assignment >= 0) & (assignment < 15))).all()
    again = assigned(labels, **settings)
    assert (again == assignment).all()
    assert (assigned(labels, **settings, data_seed=2) != assignment).any()


def test_samples_per_client_leaves_the_rest_unused():
    labels = labels_of(2000)
    assignment = assigned(labels, samples_per_client=20)
    assert np.bincount(assignment[assignment >= 0]).tolist() == [20] * 10
    assert (assignment == UNUSED).sum() == 2000 - 100 - 200
    # drawn uniformly, not from the head
    assert (assignment[1000:] >= 0).sum() > 60


def test_root_data_does_not_depend_on_the_clients():
    labels = labels_of(2000)
    first, second = assigned(labels), assigned(labels, clients=20, partition="label_bias")
    assert ((first == ROOT) == (second == ROOT)).all()


def test_too_few_samples_are_refused_with_advice():
    with pytest.raises(ValueError, match=r"root data needs \d+ samples of class 3.* has 0: lower"):
        assigned(np.where(labels_of(500) == 3, 4, labels_of(500)))
    with pytest.raises(ValueError, match=r"10 clients × 50 samples are 500, but only 400"):
        assigned(labels_of(500), samples_per_client=50)


def test_malicious_clients_depend_on_the_seed_alone_and_are_not_the_first():
    flags = draw_malicious(20, 4, seed=3)
    assert flags.dtype == np.bool_
    assert flags.sum() == 4
    assert (draw_malicious(20, 4, seed=3) == flags).all()
    draws = np.array([draw_malicious(20, 4, seed) for seed in range(400)])
    assert (draws.sum(axis=1) == 4).all()
    # each client attacks in a fifth of the draws
    assert (np.abs(draws.mean(axis=0) - 0.2) < 5 * np.sqrt(0.16 / 400)).all()
    assert len(np.unique(draws, axis=0)) > 300


def test_nobody_or_everybody_may_be_malicious():
    assert not draw_malicious(5, 0, seed=1).any()
    assert draw_malicious(5, 5, seed=1).all()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_malicious(5, 2, seed=1)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


SIZES = [100, 51, 50, 17, 10, 2]  # of six natural clients


def natural_clients():
    """Groups [230] in no order."""
    return rng().permutation(np.repeat(np.arange(len(SIZES), dtype=np.int32), SIZES))


def split_naturally(**changes):
    groups = natural_clients()
    settings = {"partition": "natural", "clients": 6, "groups": groups, "root_size": 20}
    return groups, assigned(labels_of(len(groups)), **{**settings, **changes})


def test_natural_clients_keep_their_own_samples():
    groups, assignment = split_naturally()
    owned = assignment != ROOT
    assert (assignment[owned] == groups[owned]).all()
    assert owned.sum() == 230 - 20
    assert assignment.dtype == np.int32


def test_a_root_share_takes_that_share_of_every_client_and_one_sample_at_least():
    groups, assignment = split_naturally(root_size=None, root_share=0.03)
    # 3 %: 3.0, 1.53, 1.5 (to the even number), 0.51, 0.3 and 0.06 samples
    assert np.bincount(groups[assignment == ROOT], minlength=6).tolist() == [3, 2, 2, 1, 1, 1]
    rest = assignment != ROOT
    assert (assignment[rest] == groups[rest]).all()


def test_a_root_share_is_drawn_uniformly_by_the_data_seed():
    draws = [
        split_naturally(root_size=None, root_share=0.5, data_seed=seed)[1] == ROOT
        for seed in range(200)
    ]
    assert (split_naturally(root_size=None, root_share=0.5, data_seed=3)[1] == ROOT).tolist() == (
        draws[3].tolist()
    )
    # of the client with 50 samples each is root data in half of the draws
    mine = np.mean(draws, axis=0)[natural_clients() == 2]
    assert (np.abs(mine - 0.5) < 5 * np.sqrt(0.25 / 200)).all()


def test_a_root_share_does_not_depend_on_the_samples_of_a_client():
    _, whole = split_naturally(root_size=None, root_share=0.1)
    _, fewer = split_naturally(root_size=None, root_share=0.1, samples_per_client=5)
    assert ((whole == ROOT) == (fewer == ROOT)).all()


def test_samples_per_client_keeps_the_natural_clients():
    groups, assignment = split_naturally(root_size=None, root_share=0.1, samples_per_client=10)
    owned = assignment >= 0
    assert owned.sum() == 60
    assert (assignment[owned] == groups[owned]).all()
    assert (assignment == UNUSED).sum() == 230 - 60 - sum([10, 5, 5, 2, 1, 1])
    # the draw does not depend on the owner of a sample
    assert np.bincount(assignment[owned], minlength=6)[0] > 15


def test_natural_clients_that_do_not_fit_are_refused_with_advice():
    with pytest.raises(ValueError, match="6 natural clients, not 5: set clients to their number"):
        natural(natural_clients(), 5)
    with pytest.raises(ValueError, match="has no natural clients: take another partition"):
        split_naturally(groups=None)
    with pytest.raises(ValueError, match="has no natural clients: take another partition"):
        assigned(labels_of(50), root_size=None, root_share=0.1)
    with pytest.raises(ValueError, match=r"2 of the 2 samples of client 5, .* lower root_share"):
        split_naturally(root_size=None, root_share=0.9)
    with pytest.raises(ValueError, match="give root_size or root_share"):
        split_naturally(root_size=None)
