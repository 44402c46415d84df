"""Weights by table, frequency correction, posteriors under a cardinality, and the choice of links (2.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from meshkit.identity.em import class_log_probabilities
from meshkit.identity.encode import Encoded

if TYPE_CHECKING:
    import pyarrow as pa

    from meshkit.identity.model import Cardinality, Fit, LinkageModel

__all__ = ["PatternTable", "choose", "confidences", "corrections", "others_odds", "pattern_table"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int32]
LN2 = float(np.log(2))
MAX_WEIGHT = 40.0  # nats; e^40 is certainty, and its sums stay exact in float64
CHOICE_ABOVE = 0.2


@dataclass(frozen=True, slots=True)
class PatternTable:
    """ln of w_k P_k by pattern: match; non-match classes where a shared family name is chance; household classes."""

    match: Floats
    chance: Floats
    household: Floats

    @property
    def weight(self) -> Floats:
        """Match against non-match in nats, before frequencies."""
        found: Floats = self.match - np.logaddexp(self.chance, self.household)
        return found

    def corrected(self, of_pair: npt.NDArray[np.int32], given: Floats, family: Floats) -> Floats:
        """Weights of pairs with frequencies: `given` counts in all non-match classes, `family` not in households."""
        other = np.logaddexp(self.chance[of_pair] + given + family, self.household[of_pair] + given)
        found: Floats = self.match[of_pair] - other
        return found


def pattern_table(
    levels: npt.NDArray[np.int8], fit: Fit, comparisons: Sequence[str], sizes: Sequence[int]
) -> PatternTable:
    """The table of a fit for patterns given by their levels."""
    joint = class_joint(levels, fit, comparisons, sizes)
    household = np.array([c.origin == "household" for c in fit.classes])
    chance = ~household
    chance[0] = False
    none = np.full(len(levels), -np.inf)
    return PatternTable(
        joint[:, 0],
        np.logaddexp.reduce(joint[:, chance], axis=1) if chance.any() else none,
        np.logaddexp.reduce(joint[:, household], axis=1) if household.any() else none,
    )


def class_joint(levels: npt.NDArray[np.int8], fit: Fit, comparisons: Sequence[str], sizes: Sequence[int]) -> Floats:
    """Ln w_k P_k(pattern) by pattern and class, in the order of the fit's classes."""
    theta = [[_sized(c.levels[name], size) for name, size in zip(comparisons, sizes, strict=True)] for c in fit.classes]
    weights = np.array([c.weight for c in fit.classes])
    found: Floats = class_log_probabilities(levels, theta) + np.log(np.maximum(weights, 1e-300))
    return found


def _sized(values: Sequence[float], size: int) -> Floats:
    assert len(values) == size  # the linker checks a fit against its data first
    return np.array(values)


def corrections(role: Encoded, *, duplicates: bool) -> Floats:
    """ln(f_v / f') by code, f_v the share of value v on both sides, f' = sum f^3 / sum f^2."""
    size = len(role.vocabulary)
    counts = np.bincount(role.left[role.left >= 0], minlength=size).astype(float)
    if not duplicates:
        counts += np.bincount(role.right[role.right >= 0], minlength=size)
    share = counts / max(counts.sum(), 1)
    typical = (share**3).sum() / max((share**2).sum(), 1e-300)
    found: Floats = np.log(np.maximum(share, 1e-300) / max(typical, 1e-300))
    return found


def others_odds(left: Rows, right: Rows, weight: Floats, cardinality: Cardinality) -> Floats:
    """What competes with each pair: the odds of the other pairs of its rows, as far as the cardinality forbids them."""
    odds = np.exp(np.minimum(weight, MAX_WEIGHT))
    if cardinality == "many-to-many":
        return np.zeros(len(odds))
    found: Floats = _other_sum(right, odds)
    if cardinality == "one-to-one":
        found = found + _other_sum(left, odds)
    return found


def _other_sum(rows: Rows, odds: Floats) -> Floats:
    """Sum of the odds of the other pairs of a row; the largest is summed apart, so that nothing is lost by subtracting it."""
    if not len(rows):
        return np.zeros(0)
    size = int(rows.max()) + 1
    top = np.zeros(size)
    np.maximum.at(top, rows, odds)
    is_top = odds == top[rows]
    tops = np.bincount(rows[is_top], minlength=size)
    rest = np.bincount(rows, weights=np.where(is_top, 0.0, odds), minlength=size)
    found: Floats = np.where(
        is_top, rest[rows] + (tops[rows] - 1) * odds, np.maximum(rest[rows] - odds, 0.0) + tops[rows] * top[rows]
    )
    return found


def confidences(left: Rows, right: Rows, weight: Floats, cardinality: Cardinality) -> Floats:
    """Probability of each link given all candidates and the cardinality."""
    odds = np.exp(np.minimum(weight, MAX_WEIGHT))
    found: Floats = odds / (1 + odds + others_odds(left, right, weight, cardinality))
    return found


def choose(
    left: Rows,
    right: Rows,
    weight: Floats,
    confidence: Floats,
    cardinality: Cardinality,
    ranks: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> npt.NDArray[np.int64]:
    """Positions of the chosen pairs, ascending. `ranks`: order of the ids of both sides, which decides ties."""
    able = np.flatnonzero(confidence > CHOICE_ABOVE)
    if cardinality == "many-to-many":
        return able
    tie_left, tie_right = ranks[0][left[able]], ranks[1][right[able]]
    # Weights are told apart down to 1e-9 only: what is equal must not be decided by the order of sums.
    order = np.lexsort((tie_right, tie_left, -np.round(weight[able], 9)))
    alive = able[order]
    if cardinality == "one-to-many":
        return np.sort(alive[_first(right[alive])])
    chosen: list[npt.NDArray[np.int64]] = []
    while len(alive):
        best = np.zeros(len(alive), np.int8)
        best[_first(left[alive])] += 1
        best[_first(right[alive])] += 1
        mutual = alive[best == 2]
        chosen.append(mutual)
        taken_left, taken_right = _flags(left[mutual], left), _flags(right[mutual], right)
        alive = alive[~(taken_left[left[alive]] | taken_right[right[alive]])]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def _first(rows: Rows) -> npt.NDArray[np.int64]:
    """Positions where each row number stands first."""
    place = np.full(int(rows.max(initial=-1)) + 1, -1, np.int64)
    place[rows[::-1]] = np.arange(len(rows) - 1, -1, -1)
    return place[place >= 0]


def _flags(some: Rows, of: Rows) -> npt.NDArray[np.bool_]:
    flags = np.zeros(int(of.max(initial=-1)) + 1, bool)
    flags[some] = True
    return flags


def pattern_listing(model: LinkageModel) -> pa.Table:
    """Columns: one per comparison (level name or null for missing), `weight_bits`; strongest first."""
    import pyarrow as pa

    from meshkit.identity.compare import Layout
    from meshkit.identity.errors import LinkageUsage
    from meshkit.identity.model import Fit

    if not isinstance(model.fit, Fit):
        raise LinkageUsage("the model has no fit, so its patterns have no weight. Estimate first.")
    names = list(model.fit.classes[0].levels)
    sizes = [len(model.fit.classes[0].levels[n]) for n in names]
    layout = Layout(tuple(sizes))
    if layout.span > 200_000:
        raise LinkageUsage(
            f"the model has {layout.span:,} possible patterns, too many to list. Read its classes instead."
        )
    levels = layout.decode(np.arange(layout.span, dtype=np.int64))
    weight = pattern_table(levels, model.fit, names, sizes).weight / LN2
    order = np.argsort(-weight, kind="stable")
    by_name = {c.name: c for c in model.comparisons}
    columns: dict[str, pa.Array] = {}
    for number, name in enumerate(names):
        full = by_name[name].level_names
        labels = full if len(full) == sizes[number] else tuple(str(n) for n in range(sizes[number]))
        columns[name] = pa.array([labels[v] if v >= 0 else None for v in levels[order, number]], pa.string())
    return pa.table({**columns, "weight_bits": pa.array(weight[order])})
