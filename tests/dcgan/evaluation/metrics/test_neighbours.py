"""Nearest neighbours against scipy's tree, brute force, and exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from torch.overrides import TorchFunctionMode

from dcgan.errors import EvaluationError
from dcgan.evaluation.metrics import neighbours as distances_module
from dcgan.evaluation.metrics.neighbours import nearest_neighbours, within_radius


def points(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize(
    ("n", "m", "d", "k"),
    [(1, 1, 1, 1), (1, 2, 3, 2), (2, 1, 3, 1), (40, 70, 3, 5), (30, 25, 25, 25), (20, 30, 200, 4)],
)
def test_matches_scipys_tree(n, m, d, k):
    queries, references = points(n, d), points(m, d, seed=1)
    distances, indices = nearest_neighbours(queries, references, k)
    expected_distances, expected_indices = cKDTree(references).query(queries, k=[*range(1, k + 1)])
    assert distances.shape == indices.shape == (n, k)
    assert (distances.dtype, indices.dtype) == (torch.float64, torch.int64)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-13)
    np.testing.assert_array_equal(indices, expected_indices)


@pytest.mark.parametrize(("n", "d", "k"), [(2, 1, 1), (50, 4, 1), (50, 4, 49), (20, 300, 3)])
def test_without_itself(n, d, k):
    rows = points(n, d)
    distances, indices = nearest_neighbours(rows, rows, k, exclude_self=True)
    every = cdist(rows, rows)
    np.fill_diagonal(every, np.inf)
    np.testing.assert_array_equal(indices, every.argsort(axis=1)[:, :k])
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :k], rtol=1e-13)


def test_blocks_change_nothing():
    queries, references = points(2000, 6), points(4100, 6, seed=1)
    assert len(queries) * len(references) > distances_module.BLOCK_NUMBERS
    whole = nearest_neighbours(queries, references, 3)
    alone = [nearest_neighbours(rows, references, 3) for rows in np.split(queries, 4)]
    for one, parts in zip(whole, zip(*alone, strict=True), strict=True):
        assert torch.equal(one, torch.cat(parts))
    radii = nearest_neighbours(references, queries, 3).distances[:, 2].contiguous()
    inside = torch.cat(
        [block for rows in np.split(queries, 4) for block in within_radius(rows, references, radii)]
    )
    parts = list(within_radius(queries, references, radii))
    assert len(parts) > 1
    assert torch.equal(torch.cat(parts), inside)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_equal_rows_are_at_exactly_zero(scale, dtype):
    references = (scale * (points(60, 17) + 5.0)).astype(dtype)
    queries = references[[7, 3, 59, 0]]
    distances, indices = nearest_neighbours(queries, references)
    assert distances.flatten().tolist() == [0.0] * 4
    assert indices.flatten().tolist() == [7, 3, 59, 0]
    # duplicates of a row are its neighbours, the row itself is not
    twice = np.concatenate([references, references])
    distances, indices = nearest_neighbours(twice, twice, exclude_self=True)
    assert (distances == 0.0).all()
    assert indices.flatten().tolist() == [*range(60, 120), *range(60)]


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9])
def test_small_differences_of_large_rows_keep_their_digits(offset):
    # steps of 2^-10 are exact beside the offset; |x|² + |y|² - 2 x·y would lose them all
    steps = np.random.default_rng(2).integers(-8, 9, (40, 6)) / 1024.0
    rows = offset + steps
    distances, indices = nearest_neighbours(rows[:20], rows[20:], 4)
    for query, row, chosen in zip(steps, distances, indices, strict=False):
        exact = [
            sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(query, reference, strict=True))
            for reference in steps[20:]
        ]
        assert [exact[i] for i in chosen] == sorted(exact)[:4]
        np.testing.assert_allclose(row, np.sqrt([float(s) for s in sorted(exact)[:4]]), rtol=1e-15)


def test_equally_near_ones_come_in_order():
    corners = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [3.0, 0.0]]) + 0.1
    result = nearest_neighbours(np.array([[0.1, 0.1]]), corners, 3)
    assert result.indices.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("value", [0.0, 2.0, 1e6])
def test_constant_rows(value):
    rows = np.full((9, 4), value)
    result = nearest_neighbours(rows, rows, 8, exclude_self=True)
    assert (result.distances == 0.0).all()
    for row, indices in enumerate(result.indices.tolist()):
        assert indices == [i for i in range(9) if i != row]


def test_a_collapsed_set_is_not_measured_pair_by_pair(monkeypatch):
    measured, original = [], distances_module._measured

    def watched(queries, references, row, column):
        measured.append(len(row))
        return original(queries, references, row, column)

    monkeypatch.setattr(distances_module, "_measured", watched)
    rows = np.repeat(points(3, 8) + 5.0, 100, axis=0)
    distances, _ = nearest_neighbours(rows, rows, 5, exclude_self=True)
    assert (distances == 0.0).all()
    assert 3 <= sum(measured) <= 9
    # one image far away, all others nearly alike: its rounding error is not theirs
    measured.clear()
    rows = 1e-6 * points(300, 8)
    rows[0] += 1e3
    distances, indices = nearest_neighbours(rows[1:], rows, 2)
    np.testing.assert_array_equal(indices[:, 0], np.arange(1, 300))
    assert (distances[:, 1] > 0.0).all()
    assert sum(measured) < 20 * 299


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales(scale):
    queries, references = points(20, 5), points(30, 5, seed=1)
    expected = nearest_neighbours(queries, references, 3)
    scaled = nearest_neighbours(scale * queries, scale * references, 3)
    assert torch.equal(scaled.indices, expected.indices)
    np.testing.assert_allclose(scaled.distances, scale * expected.distances, rtol=1e-14)


def test_images_as_pixels():
    rng = np.random.default_rng(3)
    references = rng.integers(0, 256, (12, 50_000)).astype(np.float32)
    queries = references[[5, 11, 0]].copy()
    queries[1:, 17] += 3.0
    distances, indices = nearest_neighbours(torch.from_numpy(queries), references)
    assert indices.flatten().tolist() == [5, 11, 0]
    assert distances.flatten().tolist() == [0.0, 3.0, 3.0]


class Largest(TorchFunctionMode):
    """Notes how many numbers the largest tensor has that is made meanwhile."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def test_memory_is_bounded():
    # 5,000 x 5,000 distances at once would be 200 MB
    rows = points(5000, 3)
    with Largest() as largest:
        distances, _ = nearest_neighbours(rows, rows, exclude_self=True)
    assert 2**20 < largest.numbers <= distances_module.BLOCK_NUMBERS
    np.testing.assert_allclose(distances[:, 0], cKDTree(rows).query(rows, k=2)[0][:, 1], rtol=1e-13)


@pytest.mark.parametrize("d", [1, 3, 40, 40_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_radius_includes_the_neighbour_that_set_it(d, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = points(12, d)
        distances, indices = nearest_neighbours(rows, rows, exclude_self=True)
        radii = distances[:, 0]
        for centre in range(12):
            # one pair alone is summed as it was among others
            pair = rows[indices[centre].numpy()], rows[[centre]], radii[[centre]]
            [inside] = within_radius(*pair)
            assert inside.item()
            [inside] = within_radius(*pair[:2], pair[2] * (1.0 - 1e-15))
            assert not inside.item()
    finally:
        torch.set_num_threads(before)


def test_within_radius_matches_brute_force():
    queries, references = points(50, 4), points(40, 4, seed=1)
    radii = np.random.default_rng(5).uniform(0.0, 3.0, 40)
    inside = torch.cat(list(within_radius(queries, references, torch.from_numpy(radii))))
    expected = cdist(queries, references) <= radii
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_array_equal(inside, expected)


GOOD = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    ("queries", "references", "options", "message"),
    [
        (GOOD, GOOD, {"k": 5}, "k must be from 1 to 4, .* but got 5"),
        (GOOD, GOOD, {"k": 0}, "k must be from 1 to 4, .* but got 0"),
        (GOOD, GOOD, {"k": 4, "exclude_self": True}, "k must be from 1 to 3, .* but got 4"),
        (GOOD[:1], GOOD[:1], {"exclude_self": True}, "k must be from 1 to 0"),
        (GOOD[:3], GOOD, {"exclude_self": True}, "but there are 3 and 4 of them"),
        (GOOD[:, :2], GOOD, {}, "query features have 2 dimensions but reference ones 3"),
        (GOOD[0], GOOD, {}, r"query features must have the shape .* but got \(3,\)"),
        (GOOD[:0], GOOD, {}, "at least 1 query images but got 0"),
        (GOOD, GOOD[:, :0], {}, r"reference features must have the shape .* but got \(4, 0\)"),
        (
            GOOD,
            np.where(GOOD == 7, np.nan, GOOD),
            {},
            "reference features of 1 of 4 images are not finite",
        ),
        (
            np.where(GOOD == 7, np.inf, GOOD),
            GOOD,
            {},
            "query features of 1 of 4 images are not finite",
        ),
        (GOOD * 1e200, GOOD, {}, "too large for distances"),
        (GOOD, GOOD * 1e300, {}, "too large for distances"),
    ],
)
def test_refuses(queries, references, options, message):
    with pytest.raises(EvaluationError, match=message):
        nearest_neighbours(queries, references, **options)
