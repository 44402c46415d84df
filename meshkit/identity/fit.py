"""What the classes start from: agreement of random pairs (u), starts by rule, anchors; then the estimate (2.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from meshkit.identity.compare import Comparer, Layout, compare_pairs
from meshkit.identity.em import ClassSpec
from meshkit.identity.encode import Encoded, Records
from meshkit.identity.rules import BlockingRule

__all__ = [
    "PatternCounts",
    "agreement_by_chance",
    "build_specs",
    "count_patterns",
    "expected_by_chance",
    "random_agreement",
]

Floats = npt.NDArray[np.float64]
_RANDOM_PAIRS = 500_000
_RULE_SAMPLE = 50_000
_ALLOWED = 0.002  # a level rarer than this among a rule's pairs is noise, not allowed by the rule
_DENSE = 1 << 26


@dataclass(frozen=True, slots=True)
class PatternCounts:
    """Distinct patterns, their levels and counts, and which pattern each pair has."""

    patterns: npt.NDArray[np.int64]
    levels: npt.NDArray[np.int8]
    counts: Floats
    of_pair: npt.NDArray[np.int32]


def count_patterns(patterns: npt.NDArray[np.int64], layout: Layout) -> PatternCounts:
    """Patterns in ascending order with counts; by counting, or sorted where too many are possible."""
    if layout.span <= _DENSE:
        counts = np.bincount(patterns, minlength=0)
        found = np.flatnonzero(counts)
        place = np.zeros(len(counts), np.int32)
        place[found] = np.arange(len(found), dtype=np.int32)
        return PatternCounts(found, layout.decode(found), counts[found].astype(float), place[patterns])
    found, of_pair, counts = np.unique(patterns, return_inverse=True, return_counts=True)
    return PatternCounts(found, layout.decode(found), counts.astype(float), of_pair.astype(np.int32))


def agreement_by_chance(role: Encoded, *, duplicates: bool) -> float:
    """Share of random pairs with both values present that are equal: sum of n_L(v) n_R(v) over n_L n_R."""
    size = len(role.vocabulary)
    left = np.bincount(role.left[role.left >= 0], minlength=size).astype(float)
    if duplicates:
        return float((left * (left - 1)).sum() / max(left.sum() * (left.sum() - 1), 1))
    right = np.bincount(role.right[role.right >= 0], minlength=size).astype(float)
    return float((left * right).sum() / max(left.sum() * right.sum(), 1))


def expected_by_chance(records: Records, keys: Sequence[str]) -> float:
    """E_k of A3: pairs that agree on all keys if keys were independent; shares are of all rows, missing included."""
    expected = float(records.possible_pairs)
    for key in keys:
        role = records.roles[key]
        size = len(role.vocabulary)
        left = np.bincount(role.left[role.left >= 0], minlength=size) / max(records.rows_left, 1)
        right = np.bincount(role.right[role.right >= 0], minlength=size) / max(records.rows_right, 1)
        expected *= float(left @ right)
    return expected


def random_agreement(records: Records, comparers: Sequence[Comparer], layout: Layout, seed: int) -> tuple[Floats, ...]:
    """u: level probabilities of random pairs by comparison; the exact level in closed form where it is one role's equality."""
    if not records.possible_pairs:
        return tuple(np.full(c.size, 1 / c.size) for c in comparers)
    rng = np.random.default_rng(seed)
    left = rng.integers(0, max(records.rows_left, 1), _RANDOM_PAIRS, dtype=np.int32)
    right = rng.integers(0, max(records.rows_right, 1), _RANDOM_PAIRS, dtype=np.int32)
    if records.duplicates:
        other = left != right
        left, right = left[other], right[other]
    levels = layout.decode(compare_pairs(records, comparers, left, right, layout))
    found = []
    for number, comparer in enumerate(comparers):
        seen = levels[:, number]
        u = np.bincount(seen[seen >= 0], minlength=comparer.size) + 0.5
        u = u / u.sum()
        role = comparer.exact_role
        if role is not None:
            exact = agreement_by_chance(records.roles[role], duplicates=records.duplicates)
            exact = min(max(exact, 1e-12), 1 - 1e-6)
            u[:-1] *= (1 - exact) / u[:-1].sum()
            u[-1] = exact
        found.append(u)
    return tuple(found)


def build_specs(
    records: Records,
    comparers: Sequence[Comparer],
    rules: Sequence[BlockingRule],
    u: Sequence[Floats],
    samples: Mapping[int, npt.NDArray[np.int8]],
) -> tuple[ClassSpec, ...]:
    """`match`, `chance` and one class per rule. `samples`: levels of some pairs of each rule."""
    individual = tuple(n for n, c in enumerate(comparers) if c.comparison.individual)
    specs = [
        ClassSpec("match", tuple(_match_start(c.size) for c in comparers), 2.0, else_capped=individual),
        ClassSpec("chance", tuple(u), 20.0, top_capped=individual),
    ]
    for number, rule in enumerate(rules):
        levels = samples[number]
        starts, fixed = [], set()
        for c, comparer in enumerate(comparers):
            start, only = _rule_start(levels[:, c], u[c], comparer.size)
            starts.append(start)
            if only:
                fixed.add(c)
        limit = None
        if len(rule.keys) >= 2 and {"given_name", "birth_date"} & set(rule.keys):
            limit = max(3 * expected_by_chance(records, rule.keys), 2.0)
        top = tuple(n for n in individual if n not in fixed)
        specs.append(ClassSpec(rule.name, tuple(starts), 20.0, top_capped=top, max_pairs=limit))
    return tuple(specs)


def rule_samples(rules: npt.NDArray[np.uint32], number: int, counts: PatternCounts) -> npt.NDArray[np.int8]:
    """Levels of up to 50,000 pairs of a rule, evenly spread over all of them."""
    found = np.flatnonzero(rules & np.uint32(1 << number))
    if len(found) > _RULE_SAMPLE:
        found = found[np.linspace(0, len(found) - 1, _RULE_SAMPLE).astype(np.int64)]
    return counts.levels[counts.of_pair[found]]


def _match_start(size: int) -> Floats:
    start = np.full(size, 0.2 / max(size - 1, 1))
    start[-1] = 0.8
    found: Floats = start / start.sum()
    return found


def _rule_start(seen: npt.NDArray[np.int8], u: Floats, size: int) -> tuple[Floats, bool]:
    """Start of one comparison in a rule's class, and whether the rule fixes its level."""
    counts = np.bincount(seen[seen >= 0], minlength=size)
    if not counts.sum():
        return u.copy(), False
    allowed = counts / counts.sum() >= _ALLOWED
    if allowed.all():
        return u.copy(), False
    if allowed.sum() == 1:
        start = np.full(size, 0.02 / (size - 1))
        start[allowed] = 0.98
        return start, bool(allowed[-1])
    restricted = np.where(allowed, u, 0)
    return 0.98 * restricted / restricted.sum() + 0.02 * u, False
