"""Laws of 2.7: posteriors, choice, exact intervals, Shapley values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.identity.doubts import estimate_blocking_recall
from meshkit.identity.evaluate import exact_interval
from meshkit.identity.explain import shapley
from meshkit.identity.score import choose, confidences

pairs = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 7), st.floats(-8, 45)),
    min_size=1,
    max_size=40,
    unique_by=lambda p: p[:2],
)


def arrays(rows):
    rows = sorted(rows)
    return (
        np.array([r[0] for r in rows], np.int32),
        np.array([r[1] for r in rows], np.int32),
        np.array([r[2] for r in rows]),
    )


RANKS = (np.arange(8), np.arange(8))


@settings(deadline=None, max_examples=33)
@given(pairs)
def test_one_to_one_confidences_of_a_row_sum_to_at_most_one(rows):
    left, right, weight = arrays(rows)
    found = confidences(left, right, weight, "one-to-one")
    assert (np.bincount(left, found) <= 1 + 1e-9).all() and (np.bincount(right, found) <= 1 + 1e-9).all()


@settings(deadline=None, max_examples=20)
@given(pairs)
def test_confidences_equal_the_formulas(rows):
    left, right, weight = arrays(rows)
    odds = [float(np.exp(min(w, 40))) for w in weight]
    for n, (i, j) in enumerate(zip(left, right, strict=True)):
        row = sum(o for o, x in zip(odds, left, strict=True) if x == i)
        column = sum(o for o, y in zip(odds, right, strict=True) if y == j)
        assert confidences(left, right, weight, "one-to-one")[n] == pytest.approx(
            odds[n] / (1 + row + column - odds[n]), rel=1e-6
        )
        assert confidences(left, right, weight, "one-to-many")[n] == pytest.approx(odds[n] / (1 + column), rel=1e-6)
        assert confidences(left, right, weight, "many-to-many")[n] == pytest.approx(odds[n] / (1 + odds[n]), rel=1e-6)


@settings(deadline=None, max_examples=20)
@given(pairs)
def test_swapped_sides_transpose(rows):
    left, right, weight = arrays(rows)
    back = arrays([(r[1], r[0], r[2]) for r in rows])
    for cardinality in ("one-to-one", "many-to-many"):
        there = dict(
            zip(
                zip(left.tolist(), right.tolist(), strict=True),
                confidences(left, right, weight, cardinality),
                strict=True,
            )
        )
        again = dict(
            zip(zip(back[1].tolist(), back[0].tolist(), strict=True), confidences(*back, cardinality), strict=True)
        )
        assert all(there[k] == pytest.approx(again[k], abs=1e-9) for k in there)


@settings(deadline=None, max_examples=33)
@given(pairs)
def test_the_choice_is_sorted_greedy_and_one_to_one(rows):
    left, right, weight = arrays(rows)
    confidence = confidences(left, right, weight, "one-to-one")
    found = choose(left, right, weight, confidence, "one-to-one", RANKS)
    taken_left, taken_right, expected = set(), set(), []
    for n in sorted(np.flatnonzero(confidence > 0.2), key=lambda n: (-np.round(weight[n], 9), left[n], right[n])):
        if left[n] not in taken_left and right[n] not in taken_right:
            taken_left.add(left[n])
            taken_right.add(right[n])
            expected.append(n)
    assert found.tolist() == sorted(expected)


@settings(deadline=None, max_examples=20)
@given(pairs)
def test_at_one_half_the_cardinality_holds_by_arithmetic_alone(rows):
    left, right, weight = arrays(rows)
    confidence = confidences(left, right, weight, "one-to-one")
    sure = confidence > 0.5 + 1e-12
    assert len(set(left[sure])) == sure.sum() == len(set(right[sure]))
    chosen = choose(left, right, weight, confidence, "one-to-one", RANKS)
    assert set(np.flatnonzero(sure)) <= set(chosen)


@settings(deadline=None, max_examples=20)
@given(pairs)
def test_one_to_many_keeps_the_best_left_row_of_each_right_row(rows):
    left, right, weight = arrays(rows)
    confidence = confidences(left, right, weight, "one-to-many")
    found = choose(left, right, weight, confidence, "one-to-many", RANKS)
    assert len(set(right[found])) == len(found)
    for n in found:
        rivals = np.flatnonzero((right == right[n]) & (confidence > 0.2))
        assert weight[n] >= weight[rivals].max() - 1e-8


def test_a_small_rival_of_a_certain_pair_keeps_its_own_scale():
    """Nothing is lost by subtracting a large odds from a sum."""
    left, right = np.array([0, 0], np.int32), np.array([0, 1], np.int32)
    found = confidences(left, right, np.array([40.0, -3.0]), "one-to-one")
    assert found[1] == pytest.approx(np.exp(-3) / (1 + np.exp(-3) + np.exp(40)), rel=1e-9)


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 6), st.randoms(use_true_random=False))
def test_shapley_values_add_up_and_equal_the_mean_over_orders(players, random):
    from itertools import permutations

    worth = np.array([random.uniform(-9, 9) for _ in range(1 << players)])
    found = shapley(worth, players)
    assert sum(found) == pytest.approx(worth[-1] - worth[0], abs=1e-9)
    if players <= 4:
        orders = list(permutations(range(players)))
        for player in range(players):
            gains = []
            for order in orders:
                before = sum(1 << p for p in order[: order.index(player)])
                gains.append(worth[before | 1 << player] - worth[before])
            assert found[player] == pytest.approx(np.mean(gains), abs=1e-9)


@pytest.mark.parametrize(
    "hits, total, low, high",
    [
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (5, 10, 0.1871, 0.8129),
        (98, 100, 0.9296, 0.9976),
        (4900, 5000, 0.9757, 0.9837),
    ],
)
def test_exact_intervals_are_clopper_pearson(hits, total, low, high):
    assert exact_interval(hits, total) == pytest.approx((low, high), abs=2e-4)


def test_blocking_recall_is_estimated_from_repeated_captures():
    masks = np.array([1] * 10 + [3] * 40 + [7] * 50, np.uint32)
    assert estimate_blocking_recall(masks, np.ones(100), 3) == pytest.approx(100 / (100 + 2 / 3 * 10**2 / 80))
    assert estimate_blocking_recall(masks[:0], np.ones(0), 3) is None
