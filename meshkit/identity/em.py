"""Expectation maximisation over pattern counts: one match class and several non-match classes, with anchors (2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["ClassSpec", "EmResult", "class_log_probabilities", "fit_classes"]

Floats = npt.NDArray[np.float64]
ELSE_CAP = 0.3  # A1
TOP_CAP = 0.2  # A2
_MAX_ITERATIONS = 300
_SETTLED = 1e-7  # mean log-likelihood a pair
_MOVED_OVER = 10  # iterations over which a probability may not move by more than 0.01


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """A class before the first iteration. `start` holds probabilities by comparison and level number (0 = else).

    `strength`: pseudo-counts as a multiple of start; `else_capped`, `top_capped`: comparisons under A1, A2; `max_pairs`: A3.
    """

    name: str
    start: tuple[Floats, ...]
    strength: float
    else_capped: tuple[int, ...] = ()
    top_capped: tuple[int, ...] = ()
    max_pairs: float | None = None


@dataclass(frozen=True, slots=True)
class EmResult:
    """Classes after the last iteration. `moved`: the largest change of a probability over the last ten iterations;
    `objective`: log-likelihood plus log-prior at each iteration; `active`: anchors that held something back at the end.
    """

    theta: tuple[tuple[Floats, ...], ...]  # class, comparison, level
    weights: Floats
    log_likelihood: float
    iterations: int
    converged: bool
    moved: float
    objective: tuple[float, ...]
    active: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Indicator:
    """Levels as 0/1 columns, comparison after comparison; a missing level has no 1."""

    matrix: Floats
    edges: tuple[int, ...]

    @classmethod
    def of(cls, levels: npt.NDArray[np.int8], sizes: Sequence[int]) -> _Indicator:
        edges = (0, *(int(e) for e in np.cumsum(sizes)))
        matrix = np.zeros((len(levels), edges[-1]))
        for number, start in enumerate(edges[:-1]):
            has = np.flatnonzero(levels[:, number] >= 0)
            matrix[has, start + levels[has, number]] = 1
        return cls(matrix, edges)


def class_log_probabilities(levels: npt.NDArray[np.int8], theta: Sequence[Sequence[Floats]]) -> Floats:
    """Ln P_k(pattern) by pattern (rows) and class (columns)."""
    indicator = _Indicator.of(levels, [len(t) for t in theta[0]])
    return _log_probabilities(indicator, np.array([np.concatenate(list(t)) for t in theta]))


def _log_probabilities(indicator: _Indicator, theta: Floats) -> Floats:
    found: Floats = indicator.matrix @ np.log(np.maximum(theta, 1e-300)).T
    return found


def fit_classes(
    levels: npt.NDArray[np.int8],
    counts: Floats,
    specs: Sequence[ClassSpec],
    *,
    positive: Floats | None = None,
    negative: Floats | None = None,
) -> EmResult:
    """Fit all classes to `counts` of patterns; class 0 is `match`.

    `positive`, `negative`: labelled pairs by pattern, with responsibility 1 and 0 for match.
    """
    indicator = _Indicator.of(levels, [len(t) for t in specs[0].start])
    start = np.array([np.concatenate(list(s.start)) for s in specs])
    pseudo = start * np.array([[s.strength] for s in specs])
    theta, weights = start.copy(), np.full(len(specs), 1 / len(specs))
    total = counts.sum() + (0 if positive is None else positive.sum()) + (0 if negative is None else negative.sum())
    history: list[Floats] = []
    objective: list[float] = []
    before, likelihood, converged, active = -np.inf, 0.0, False, set[str]()
    iteration = 0
    while iteration < _MAX_ITERATIONS:
        iteration += 1
        joint = _log_probabilities(indicator, theta) + np.log(np.maximum(weights, 1e-300))
        whole = np.logaddexp.reduce(joint, axis=1)
        likelihood = float(counts @ whole)
        objective.append(likelihood + float((pseudo * np.log(np.maximum(theta, 1e-300))).sum()))
        responsible = np.exp(joint - whole[:, None]) * counts[:, None]
        responsible += _labelled(joint, positive, negative)
        theta, weights, active = _maximise(indicator, responsible, pseudo, specs, total)
        history = [*history[-_MOVED_OVER:], np.append(theta.ravel(), weights)]
        mean = likelihood / max(counts.sum(), 1)
        if abs(mean - before) < _SETTLED:
            converged = True
            break
        before = mean
    moved = float(np.abs(history[-1] - history[0]).max()) if len(history) > 1 else 0.0
    edges = indicator.edges
    split = tuple(tuple(row[a:b] for a, b in pairwise(edges)) for row in theta)
    return EmResult(split, weights, likelihood, iteration, converged, moved, tuple(objective), tuple(sorted(active)))


def _labelled(joint: Floats, positive: Floats | None, negative: Floats | None) -> Floats:
    added = np.zeros_like(joint)
    if positive is not None:
        added[:, 0] += positive
    if negative is not None:
        others = joint[:, 1:]
        share = np.exp(others - np.logaddexp.reduce(others, axis=1)[:, None])
        added[:, 1:] += share * negative[:, None]
    return added


def _maximise(
    indicator: _Indicator, responsible: Floats, pseudo: Floats, specs: Sequence[ClassSpec], total: float
) -> tuple[Floats, Floats, set[str]]:
    theta = responsible.T @ indicator.matrix + pseudo
    active: set[str] = set()
    for number, (a, b) in enumerate(zip(indicator.edges[:-1], indicator.edges[1:], strict=True)):
        theta[:, a:b] /= theta[:, a:b].sum(axis=1, keepdims=True)
        for k, spec in enumerate(specs):
            if number in spec.else_capped and _hold(theta[k, a:b], 0, ELSE_CAP):
                active.add(f"A1:{number}")
            if number in spec.top_capped and _hold(theta[k, a:b], b - a - 1, TOP_CAP):
                active.add(f"A2:{spec.name}:{number}")
    weights = responsible.sum(axis=0) / max(total, 1)
    caps = np.array([1.0 if s.max_pairs is None else min(1.0, s.max_pairs / max(total, 1)) for s in specs])
    held = np.zeros(len(specs), bool)
    for _ in specs:  # rescaling the rest may lift another class over its cap
        over = (weights > caps) & ~held
        if not over.any():
            break
        held |= over
        weights[held] = caps[held]
        rest = weights[~held].sum()
        if rest > 0:
            weights[~held] *= (1 - weights[held].sum()) / rest
        active |= {f"A3:{specs[k].name}" for k in np.flatnonzero(over).tolist()}
    return theta, weights, active


def _hold(probabilities: Floats, at: int, cap: float) -> bool:
    """Keep one probability at most at `cap`; the rest is rescaled."""
    value = float(probabilities[at])
    if value <= cap + 1e-12 or len(probabilities) < 2:
        return False
    probabilities *= (1 - cap) / (1 - value) if value < 1 else 0
    if value >= 1:
        probabilities += (1 - cap) / (len(probabilities) - 1)
    probabilities[at] = cap
    return True
