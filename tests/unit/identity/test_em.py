"""EM against a naive implementation and hand-made mixtures; anchors; labels; u and E_k against brute force."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.identity.compare import Layout
from meshkit.identity.em import ClassSpec, fit_classes
from meshkit.identity.encode import encode
from meshkit.identity.fit import agreement_by_chance, count_patterns, expected_by_chance
from meshkit.identity.roles import ColumnRole


def spec(name, *start, strength=0.0, **more):
    return ClassSpec(name, tuple(np.array(s, float) for s in start), strength, **more)


def naive_em(levels, counts, specs, iterations):
    """The same mathematics in loops."""
    theta = [[list(t) for t in s.start] for s in specs]
    weight = [1 / len(specs)] * len(specs)
    for _ in range(iterations):
        share = np.zeros((len(levels), len(specs)))
        for p, row in enumerate(levels):
            for k in range(len(specs)):
                share[p, k] = weight[k] * np.prod([theta[k][c][v] for c, v in enumerate(row) if v >= 0])
            share[p] /= share[p].sum()
            share[p] *= counts[p]
        for k, s in enumerate(specs):
            for c in range(len(s.start)):
                mass = [
                    s.strength * s.start[c][v] + sum(share[p, k] for p in range(len(levels)) if levels[p][c] == v)
                    for v in range(len(s.start[c]))
                ]
                theta[k][c] = [m / sum(mass) for m in mass]
            weight[k] = share[:, k].sum() / counts.sum()
    return theta, weight


mixtures = st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 1), st.integers(1, 50)), min_size=3, max_size=10)


@settings(deadline=None, max_examples=12)
@given(mixtures)
def test_em_equals_the_naive_implementation(rows):
    levels = np.array([r[:2] for r in rows], np.int8)
    counts = np.array([r[2] for r in rows], float)
    specs = [
        spec("match", [0.1, 0.1, 0.8], [0.2, 0.8], strength=2.0),
        spec("chance", [0.7, 0.2, 0.1], [0.9, 0.1], strength=20.0),
    ]
    found = fit_classes(levels, counts, specs)
    theta, weight = naive_em(levels.tolist(), counts, specs, found.iterations)
    assert np.allclose(found.weights, weight, atol=1e-8)
    for k in range(2):
        for c in range(2):
            assert np.allclose(found.theta[k][c], theta[k][c], atol=1e-8)


@settings(deadline=None, max_examples=12)
@given(mixtures)
def test_without_anchors_the_objective_never_falls(rows):
    levels = np.array([r[:2] for r in rows], np.int8)
    counts = np.array([r[2] for r in rows], float)
    specs = [
        spec("match", [0.1, 0.1, 0.8], [0.2, 0.8], strength=2.0),
        spec("a", [0.7, 0.2, 0.1], [0.9, 0.1], strength=20.0),
        spec("b", [0.2, 0.2, 0.6], [0.5, 0.5], strength=20.0),
    ]
    objective = np.array(fit_classes(levels, counts, specs).objective)
    assert (np.diff(objective) >= -1e-7 * np.abs(objective[:-1])).all()


def test_a_hand_made_mixture_is_found_again():
    """Three binary comparisons, 30 % matches at 0.9, others at 0.1: the exact expected counts have this mixture as optimum."""
    levels = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], np.int8)
    probability = lambda p: np.array([np.prod([p if v else 1 - p for v in row]) for row in levels])  # noqa: E731
    counts = 1e6 * (0.3 * probability(0.9) + 0.7 * probability(0.1))
    specs = [spec("match", *[[0.2, 0.8]] * 3), spec("chance", *[[0.7, 0.3]] * 3)]
    found = fit_classes(levels, counts, specs)
    assert found.converged
    assert found.weights[0] == pytest.approx(0.3, abs=0.01)
    assert found.theta[0][1][1] == pytest.approx(0.9, abs=0.01)


def test_a1_holds_the_match_class_where_it_would_disagree():
    levels = np.array([[0, 1], [0, 0], [1, 0]], np.int8)
    counts = np.array([5000.0, 5000.0, 10.0])
    specs = [
        spec("match", [0.2, 0.8], [0.2, 0.8], strength=2.0, else_capped=(0,)),
        spec("chance", [0.99, 0.01], [0.7, 0.3], strength=20.0),
    ]
    found = fit_classes(levels, counts, specs)
    assert found.theta[0][0][0] <= 0.3 + 1e-9
    free = fit_classes(levels, counts, [spec("match", [0.2, 0.8], [0.2, 0.8], strength=2.0), specs[1]])
    assert free.theta[0][0][0] > 0.3


def test_a2_holds_agreement_of_other_classes_and_a3_their_size():
    levels = np.array([[1, 1], [0, 0], [1, 0]], np.int8)
    counts = np.array([5000.0, 3000.0, 2000.0])
    specs = [
        spec("match", [0.2, 0.8], [0.2, 0.8], strength=2.0),
        spec("rule", [0.5, 0.5], [0.5, 0.5], strength=20.0, top_capped=(0,), max_pairs=50),
    ]
    found = fit_classes(levels, counts, specs)
    assert found.theta[1][0][1] <= 0.2 + 1e-9
    assert found.weights[1] * counts.sum() <= 50 + 1e-6
    assert found.weights.sum() == pytest.approx(1)
    assert "A3:rule" in found.active


def test_labels_enter_with_certainty():
    levels = np.array([[1, 0], [0, 1], [0, 0], [1, 1]], np.int8)
    counts = np.array([100.0, 100.0, 300.0, 100.0])
    specs = [spec("match", [0.2, 0.8], [0.2, 0.8], strength=2.0), spec("chance", [0.8, 0.2], [0.8, 0.2], strength=20.0)]
    said = fit_classes(levels, counts, specs, positive=np.array([500.0, 0, 0, 0]), negative=np.array([0, 500.0, 0, 0]))
    plain = fit_classes(levels, counts, specs)
    assert said.theta[0][1][0] > plain.theta[0][1][0]  # people said that matches disagree on the second comparison


def test_a_missing_level_is_no_evidence():
    """A comparison that is always missing changes nothing."""
    levels = np.array([[1, -1], [0, -1]], np.int8)
    counts = np.array([10.0, 90.0])
    two = [spec("match", [0.2, 0.8], [0.2, 0.8], strength=2.0), spec("chance", [0.9, 0.1], [0.9, 0.1], strength=20.0)]
    one = [spec("match", [0.2, 0.8], strength=2.0), spec("chance", [0.9, 0.1], strength=20.0)]
    assert np.allclose(fit_classes(levels, counts, two).weights, fit_classes(levels[:, :1], counts, one).weights)


@settings(deadline=None, max_examples=12)
@given(
    st.lists(st.sampled_from(["anna", "bert", "carl", None]), min_size=2, max_size=12),
    st.lists(st.sampled_from(["anna", "bert", "dora", None]), min_size=2, max_size=12),
)
def test_chance_agreement_equals_counting_all_pairs(left, right):
    roles = [ColumnRole("n", "family_name", "model")]
    frames = [pl.DataFrame({"n": pl.Series(v, dtype=pl.String)}) for v in (left, right)]
    records = encode(("l", frames[0], roles, False), ("r", frames[1], roles, False), last_year=2026)
    if not records.has("family_name"):
        return
    pairs = [(a, b) for a in left for b in right if a and b]
    assert agreement_by_chance(records.roles["family_name"], duplicates=False) == pytest.approx(
        sum(a == b for a, b in pairs) / len(pairs)
    )
    assert expected_by_chance(records, ["family_name"]) == pytest.approx(sum(a == b for a, b in pairs))
    twice = encode(("l", frames[0], roles, False), None, last_year=2026)
    same = [(a, b) for n, a in enumerate(left) for m, b in enumerate(left) if a and b and n != m]
    if same:
        assert agreement_by_chance(twice.roles["family_name"], duplicates=True) == pytest.approx(
            sum(a == b for a, b in same) / len(same)
        )


@settings(deadline=None, max_examples=12)
@given(st.lists(st.integers(0, 11), max_size=40))
def test_pattern_counts_are_the_same_dense_and_sorted(values):
    patterns = np.array(values, np.int64)
    dense, wide = count_patterns(patterns, Layout((2, 3))), count_patterns(patterns, Layout((2, 3) + (7,) * 9))
    assert dense.patterns.tolist() == wide.patterns.tolist() == sorted(set(values))
    assert dense.counts.tolist() == wide.counts.tolist()
    assert (dense.patterns[dense.of_pair] == patterns).all() and (wide.patterns[wide.of_pair] == patterns).all()
