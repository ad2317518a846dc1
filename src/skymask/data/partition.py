"""Assignment of training samples to the root data and the clients.

An assignment is an int32 array [N] with a client's index, ``ROOT`` for root data and ``UNUSED``
for a sample that no party has.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from skymask.contracts import call, requires
from skymask.seeds import numpy_generator

ROOT, UNUSED = -1, -2

Labels = npt.NDArray[np.int64]
Groups = npt.NDArray[np.int32]
Assignment = npt.NDArray[np.int32]
Partition = Callable[..., Assignment]


@requires(lambda clients: clients >= 1, "clients must be at least 1")
@requires(lambda classes: classes >= 1, "classes must be at least 1")
def iid(labels: Labels, clients: int, classes: int, generator: np.random.Generator) -> Assignment:
    """Split uniformly at random, with sizes equal within one."""
    order = generator.permutation(len(labels))
    assignment = np.empty(len(labels), dtype=np.int32)
    assignment[order] = np.arange(len(labels)) % clients
    return assignment


@requires(lambda clients, classes: clients >= classes, "label_bias needs a client for each class")
@requires(lambda classes: classes >= 1, "classes must be at least 1")
@requires(lambda bias: 0 <= bias <= 1, "bias must lie in [0, 1]")
def label_bias(
    labels: Labels,
    clients: int,
    classes: int,
    generator: np.random.Generator,
    *,
    bias: float = 0.5,
) -> Assignment:
    """Split by label: label y goes to group y with probability q, else to another uniformly.

    The clients form C groups, client i in group i mod C; within a group the client is uniform.
    q = 1/C is IID.  Source: Fang et al., USENIX Security 2020.

    Args:
        labels: Labels [N].
        clients: Number of clients.
        classes: Number of classes C.
        generator: Source of randomness.
        bias: Probability q.

    Returns:
        Client of each sample [N].
    """
    home = generator.random(len(labels)) < bias
    other = (labels + generator.integers(1, max(classes, 2), size=len(labels))) % classes
    group = np.where(home, labels, other)
    members = (clients - group - 1) // classes + 1  # clients in each sample's group
    within = np.floor(generator.random(len(labels)) * members).astype(np.int64)
    assignment: Assignment = (group + classes * within).astype(np.int32)
    return assignment


@requires(lambda clients: clients >= 1, "clients must be at least 1")
@requires(lambda classes: classes >= 1, "classes must be at least 1")
@requires(lambda alpha: alpha > 0, "alpha must be positive")
def dirichlet(
    labels: Labels,
    clients: int,
    classes: int,
    generator: np.random.Generator,
    *,
    alpha: float = 0.5,
) -> Assignment:
    """Split each class by shares drawn from Dir(α).  Source: Hsu et al., 2019.

    Args:
        labels: Labels [N].
        clients: Number of clients.
        classes: Number of classes.
        generator: Source of randomness.
        alpha: Concentration α; the smaller, the more the clients differ.

    Returns:
        Client of each sample [N].
    """
    assignment = np.empty(len(labels), dtype=np.int32)
    for label in range(classes):
        mine = generator.permutation(np.flatnonzero(labels == label))
        shares = generator.dirichlet(np.full(clients, alpha))
        cuts = np.round(np.cumsum(shares)[:-1] * len(mine)).astype(np.int64)
        for client, part in enumerate(np.split(mine, cuts)):
            assignment[part] = client
    return assignment


@requires(lambda clients: clients >= 1, "clients must be at least 1")
def natural(groups: Groups, clients: int) -> Assignment:
    """Leave each sample with its natural client: client i is the data set's group i.

    Args:
        groups: Natural client of each sample [N].
        clients: Number of clients.

    Returns:
        Client of each sample [N].

    Raises:
        ValueError: The data set has more natural clients.
    """
    if groups.max(initial=0) >= clients:
        raise ValueError(
            f"the data set has {groups.max() + 1} natural clients, not {clients}: set clients to "
            "their number, or take another partition"
        )
    return groups.astype(np.int32)


PARTITIONS: dict[str, Partition] = {
    "iid": iid,
    "label_bias": label_bias,
    "dirichlet": dirichlet,
    "natural": natural,
}


def root_counts(size: int, classes: int, bias: float | None) -> Labels:
    """Count the root samples of each class: class 1 has the share ``bias``, the rest is even.

    Args:
        size: Number of root samples.
        classes: Number of classes C.
        bias: Share of class 1; ``None`` for 1/C.

    Returns:
        Counts [C].

    >>> root_counts(100, 10, None).tolist()
    [10, 10, 10, 10, 10, 10, 10, 10, 10, 10]
    >>> root_counts(100, 10, 0.46).tolist()
    [6, 46, 6, 6, 6, 6, 6, 6, 6, 6]
    """
    if bias is None:
        return size // classes + (np.arange(classes) < size % classes).astype(np.int64)
    favoured = round(bias * size)
    others = np.arange(classes - 1)
    rest = size - favoured
    counts = rest // (classes - 1) + (others < rest % (classes - 1)).astype(np.int64)
    return np.insert(counts, 1, favoured)


def _balanced_root(labels: Labels, counts: Labels, generator: np.random.Generator) -> Labels:
    """Draw ``counts`` [C] samples of each class uniformly; return their indices."""
    drawn = []
    for label, count in enumerate(counts):
        mine = np.flatnonzero(labels == label)
        if count > len(mine):
            raise ValueError(
                f"the root data needs {count} samples of class {label}, the training data has "
                f"{len(mine)}: lower root_size or root_bias"
            )
        drawn.append(generator.choice(mine, size=count, replace=False))
    return np.concatenate(drawn)


def _root_of_groups(groups: Groups, share: float, generator: np.random.Generator) -> Labels:
    """Draw the rounded ``share`` of each group's samples, at least one; return their indices."""
    drawn = []
    for group in np.unique(groups):
        mine = np.flatnonzero(groups == group)
        count = max(1, round(share * len(mine)))
        if count >= len(mine):
            raise ValueError(
                f"the root data needs {count} of the {len(mine)} samples of client {group}, which "
                "leaves it none: lower root_share"
            )
        drawn.append(generator.choice(mine, size=count, replace=False))
    return np.concatenate(drawn)


def assign(
    labels: Labels,
    *,
    classes: int,
    partition: str,
    parameters: dict[str, Any],
    clients: int,
    samples_per_client: int | None,
    root_size: int | None,
    root_bias: float | None,
    data_seed: int,
    root_share: float | None = None,
    groups: Groups | None = None,
) -> Assignment:
    """Draw the root data, then split the remaining samples among the clients.

    Args:
        labels: Labels of the training samples [N].
        classes: Number of classes.
        partition: Name of the partition.
        parameters: Its parameters.
        clients: Number of clients.
        samples_per_client: Mean number k of samples of a client: clients × k of the remaining
            samples are drawn uniformly; ``None`` for all of them.
        root_size: Number of root samples, drawn by ``root_bias``.
        root_bias: Share of class 1 in the root data; ``None`` for 1/C.
        data_seed: Seed of all draws.
        root_share: Share of each natural client's samples that is root data, to the nearest number
            and at least one; replaces ``root_size``.
        groups: Natural client of each sample [N]; ``None`` where the data set has none.

    Returns:
        Assignment [N].

    Raises:
        ValueError: There are too few samples for the root data or the clients, or the data set has
            no natural clients where they are needed.
    """

    def owners() -> Groups:
        if groups is None:
            raise ValueError("the data set has no natural clients: take another partition")
        return groups

    assignment = np.full(len(labels), UNUSED, dtype=np.int32)
    generator = numpy_generator(data_seed, "root data")
    if root_share is not None:
        assignment[_root_of_groups(owners(), root_share, generator)] = ROOT
    elif root_size is not None:
        counts = root_counts(root_size, classes, root_bias)
        assignment[_balanced_root(labels, counts, generator)] = ROOT
    else:
        raise ValueError("the root data has no size: give root_size or root_share")
    rest = np.flatnonzero(assignment == UNUSED)
    if samples_per_client is not None:
        wanted = clients * samples_per_client
        if wanted > len(rest):
            raise ValueError(
                f"{clients} clients × {samples_per_client} samples are {wanted}, but only "
                f"{len(rest)} training samples are left: lower samples_per_client or clients"
            )
        drawn = numpy_generator(data_seed, "samples").permutation(rest)[:wanted]
        rest = np.sort(drawn)
    offers: dict[str, Callable[[], Any]] = {
        "labels": lambda: labels[rest],
        "clients": lambda: clients,
        "classes": lambda: classes,
        "generator": lambda: numpy_generator(data_seed, "partition"),
        "groups": lambda: owners()[rest],
    }
    assignment[rest] = call(PARTITIONS[partition], offers, parameters)
    return assignment


def draw_malicious(clients: int, malicious: int, seed: int) -> npt.NDArray[np.bool_]:
    """Draw which ``malicious`` of the ``clients`` are malicious, bool [n]."""
    chosen = numpy_generator(seed, "malicious clients").permutation(clients)[:malicious]
    flags = np.zeros(clients, dtype=np.bool_)
    flags[chosen] = True
    return flags
