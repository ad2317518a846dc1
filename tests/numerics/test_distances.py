"""Distances, cosines and principal coordinates against scipy and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from torch.testing import assert_close

from skymask.numerics import distances
from skymask.numerics.distances import (
    centred_gram,
    cosine_distances,
    cosine_similarities,
    squared_distances,
)
from skymask.numerics.pca import principal_coordinates
from tests.support.updates import benign, normal

shapes = st.tuples(st.integers(1, 9), st.integers(1, 12))
matrices = hnp.arrays(np.float64, shapes, elements=st.floats(-1e3, 1e3, allow_subnormal=False))


def points(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@given(rows=matrices)
def test_squared_distances_are_those_of_scipy(rows):
    found = squared_distances(torch.from_numpy(rows)).numpy()
    assert_allclose(found, cdist(rows, rows, "sqeuclidean"), rtol=1e-9, atol=1e-7)
    assert (found >= 0).all()
    assert (found == found.T).all()
    assert (found.diagonal() == 0).all()


def test_distances_of_close_rows_far_from_the_origin_keep_their_digits():
    rows = points(6, 50) + 1e6
    found = squared_distances(torch.from_numpy(rows)).numpy()
    assert_allclose(found, cdist(rows, rows, "sqeuclidean"), rtol=1e-9)


def test_float32_rows_keep_their_digits_and_close_ones_use_float64():
    rows = torch.from_numpy(points(5, 20)).float()
    for result in (squared_distances(rows), centred_gram(rows), cosine_similarities(rows, rows[0])):
        assert result.dtype == torch.float64
    expected = cdist(rows.numpy(), rows.numpy(), "sqeuclidean")
    assert_allclose(squared_distances(rows).numpy(), expected, rtol=1e-6)
    # each with a near copy, whose distance is below what float32 knows of the others
    rows = torch.cat([rows, rows * (1 + 1e-5)])
    expected = cdist(rows.numpy(), rows.numpy(), "sqeuclidean")
    found = squared_distances(rows).numpy()
    assert_allclose(found, expected, rtol=1e-4)
    assert 0 < found.diagonal(5).max() < 1e-8


def test_distances_of_rows_of_one_magnitude_are_as_exact():
    # every product is of one size, so that roundings do not average out
    signs = torch.sign(torch.from_numpy(points(1, 60_000))).float()
    rows = torch.tensor([0.0, 0.1, 0.13, 0.117, 0.3])[:, None] * signs
    expected = cdist(rows.numpy(), rows.numpy(), "sqeuclidean")
    assert_allclose(squared_distances(rows).numpy(), expected, rtol=1e-4)


def test_cosines_are_those_of_scipy():
    rows = points(7, 30)
    found = cosine_similarities(torch.from_numpy(rows), torch.from_numpy(rows[3]))
    assert_allclose(found.numpy(), 1 - cdist(rows, rows[3:4], "cosine")[:, 0], atol=1e-12)
    assert_allclose(found[3], 1.0)


def test_cosine_with_a_zero_vector_is_zero():
    rows = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    assert cosine_similarities(rows, torch.ones(2))[0] == 0
    assert cosine_similarities(rows, torch.zeros(2)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_cosine_does_not_depend_on_lengths(scale):
    rows = torch.from_numpy(points(4, 9))
    expected = cosine_similarities(rows, rows[0])
    assert_allclose(cosine_similarities(scale * rows, rows[0]), expected, rtol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(3, 2), (10, 5), (6, 200), (40, 7)])
def test_principal_coordinates_are_those_of_scikit_learn(n, d):
    rows = points(n, d) * np.linspace(1, 3, d)
    coordinates, shares = principal_coordinates(torch.from_numpy(rows))
    pca = PCA(2, svd_solver="full").fit(rows)
    expected = pca.transform(rows)
    signs = np.sign((expected * coordinates.numpy()).sum(axis=0))
    assert_allclose(coordinates.numpy(), expected * signs, atol=1e-9)
    assert_allclose(shares.numpy(), pca.explained_variance_ratio_, rtol=1e-9)


def test_binary_rows_have_the_same_coordinates_in_either_precision():
    rows = torch.from_numpy(points(9, 500) > 0)
    single, double = (principal_coordinates(rows.to(t))[0] for t in (torch.float32, torch.float64))
    assert_allclose(single, double, atol=1e-12)


def test_the_largest_coordinate_of_each_component_is_positive():
    for seed in range(5):
        coordinates, _ = principal_coordinates(torch.from_numpy(points(8, 30, seed)))
        for column in coordinates.T:
            assert column[column.abs().argmax()] > 0


def test_components_that_do_not_exist_are_zero():
    line = torch.outer(torch.tensor([0.0, 1.0, 5.0]), torch.tensor([3.0, 4.0]))
    coordinates, shares = principal_coordinates(line)
    assert coordinates[:, 1].tolist() == [0.0, 0.0, 0.0]
    assert shares.tolist() == [1.0, 0.0]
    assert_allclose(coordinates[:, 0].numpy(), [-10.0, -5.0, 15.0])
    for same in (torch.ones(4, 6), torch.ones(1, 6)):
        coordinates, shares = principal_coordinates(same)
        assert coordinates.shape == (len(same), 2)
        assert coordinates.eq(0).all()
        assert shares.tolist() == [0.0, 0.0]


def test_cosine_distances_of_equal_rows_are_equal_to_the_bit():
    rows = normal(12, 500)
    rows[3], rows[7] = rows[0], 5 * rows[0]
    found = cosine_distances(rows)
    assert found[0, 3] == found[0, 7] == 0
    assert found[0].equal(found[3])
    assert found.equal(found.T)
    assert_close(found, torch.from_numpy(cdist(rows, rows, "cosine")), rtol=0, atol=1e-11)


def test_one_huge_row_does_not_change_the_distances_of_the_others():
    rows, _ = benign(9, 100, seed=0)
    rows[0] = 1e12
    expected = torch.cdist(rows[1:].double(), rows[1:].double()).square()
    assert_close(squared_distances(rows)[1:, 1:], expected, rtol=1e-6, atol=1e-9)


def directly(rows):
    """Squared distances from the differences, in float64."""
    rows = rows.double()
    return torch.stack([(rows - row).square().sum(dim=1) for row in rows])


def near_an_offset(n, d, spread):
    return 1e3 * normal(1, d, seed=8) + spread * normal(n, d, seed=9)


def with_row(rows, value):
    rows[2] = value
    return rows


CLOSE_ROWS = {
    "near a common offset": near_an_offset(8, 300, 1e-2),
    "and a zero row": with_row(near_an_offset(8, 300, 1e-2), 0.0),
    "and a huge row": with_row(near_an_offset(8, 300, 1e-2), 1e9),
    "and both": with_row(near_an_offset(8, 300, 1e-2), 1e9).index_fill(0, torch.tensor(5), 0.0),
    "two offsets": torch.cat([near_an_offset(4, 300, 1e-2), -near_an_offset(5, 300, 1e-2)]),
    "pairs at several offsets": torch.cat(
        [10.0**k * near_an_offset(2, 300, 1e-3) for k in range(-3, 3)]
    ),
    "groups in groups": 1 + torch.cumprod(torch.full((7, 1), 1e-2), 0).double() * normal(7, 300),
    "copies and a zero row": with_row(near_an_offset(1, 300, 1.0).repeat(6, 1), 0.0),
    "a zero row alone": torch.zeros(1, 300, dtype=torch.float64),
    "zero rows": torch.zeros(3, 300, dtype=torch.float64),
}


@pytest.mark.parametrize("rows", CLOSE_ROWS.values(), ids=CLOSE_ROWS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_close_rows_keep_their_digits_wherever_the_others_are(rows, dtype):
    rows = (rows / 1e5).half() if dtype == torch.float16 else rows.to(dtype)
    result = squared_distances(rows)
    exact = 1e-8 if dtype == torch.float64 else 1e-5
    # an atol of 0: equal rows are at distance 0
    assert_close(result, directly(rows), rtol=exact, atol=0)
    assert result.equal(result.T)


def test_distances_do_not_depend_on_the_order_of_close_rows():
    for rows in CLOSE_ROWS.values():
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(3))
        one, other = squared_distances(rows), squared_distances(rows[order])
        assert_close(other, one[order][:, order], rtol=1e-8, atol=0)


def test_distances_of_rows_whose_squares_overflow_are_infinite_unless_the_rows_are_close():
    rows = 1e160 * torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1e-20], [0.0, -2.0]]).double()
    result = squared_distances(rows)
    inf = float("inf")
    assert result[0].tolist() == [0, inf, inf, inf]
    assert result[3].tolist() == [inf, inf, inf, 0]
    assert_close(result[1, 2].item(), 1e280)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_row_that_is_not_finite_changes_no_distance_of_the_others(value, monkeypatch):
    rows = with_row(near_an_offset(8, 300, 1e-2), value)
    calls = []
    computed = distances._distances
    monkeypatch.setattr(distances, "_distances", lambda *a: calls.append(a) or computed(*a))
    result = squared_distances(rows)
    others = [0, 1, 3, 4, 5, 6, 7]
    assert_close(result[others][:, others], directly(rows[others]), rtol=1e-8, atol=0)
    assert result[2, others].isnan().all()
    # such rows are not computed again and again
    assert len(calls) == 1
