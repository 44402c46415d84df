"""Reasons not to trust a result, found without labels; they stop a publish unless accepted by code (2.8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meshkit.identity.model import Cardinality, Fit
from meshkit.identity.predict import Scored

__all__ = ["DOUBTS", "Doubt", "estimate_blocking_recall", "find_doubts"]

DOUBTS = ("not_converged", "match_not_credible", "too_many_matches", "duplicates_likely")


@dataclass(frozen=True, slots=True)
class Doubt:
    """A doubt with its stable code and the numbers behind it."""

    code: str
    text: str


def find_doubts(
    fit: Fit, scored: Scored, chosen: np.ndarray, cardinality: Cardinality, rows: tuple[int, int]
) -> tuple[Doubt, ...]:
    """All doubts about a fit. `chosen`: positions in `scored` of the best pairs before the threshold, since two equal candidates
    halve each other's confidence and would hide below it.
    """
    found = (
        [Doubt("not_converged", "The estimate still moved after its last iteration.")]
        if "not_converged" in fit.doubts
        else []
    )
    expected = fit.classes[0].weight * fit.pairs
    held = [a.removeprefix("A1:") for a in fit.anchors if a.startswith("A1:")]
    if held or fit.pairs < 100 or expected < 10:
        why = (
            f"true pairs would disagree too often on {', '.join(held)}"
            if held
            else f"{fit.pairs:,} candidates, {expected:,.0f} expected matches"
        )
        found.append(Doubt("match_not_credible", f"There may be nothing to link: {why}."))
    elif "match_not_credible" in fit.doubts:
        why = "pairs that agree on everything are not called matches; the columns are too few to tell"
        found.append(Doubt("match_not_credible", f"The classes can't be told apart: {why}."))
    smaller = min(rows)
    if cardinality == "one-to-one" and expected > 1.05 * smaller:
        found.append(Doubt("too_many_matches", f"{expected:,.0f} matches are expected among at most {smaller:,} rows."))
    share = _second_candidates(scored, chosen) if cardinality == "one-to-one" else 0.0
    if share > 0.05:
        found.append(
            Doubt(
                "duplicates_likely",
                f"{share:.0%} of the linked rows have a second pair with p > 0.9; is a side free of duplicates?",
            )
        )
    return tuple(found)


def _second_candidates(scored: Scored, chosen: np.ndarray) -> float:
    """The larger share of linked rows, left or right, that have another pair with p > 0.9."""
    shares = [0.0]
    sure = scored.probability > 0.9
    for rows in (scored.left, scored.right):
        if len(chosen):
            counts = np.bincount(rows[sure], minlength=int(rows.max()) + 1)
            shares.append(float((counts[rows[chosen]] >= 2).mean()))
    return max(shares)


def estimate_blocking_recall(masks: np.ndarray, probability: np.ndarray, rules: int) -> float | None:
    """Share of true pairs that the rules found, from how often rules find the same pair (Chao's estimator). An estimate."""
    if rules < 2 or not len(masks) or not probability.sum():
        return None
    times = np.bitwise_count(masks)
    once, twice = float(probability[times == 1].sum()), float(probability[times == 2].sum())
    missed = (rules - 1) / rules * (once**2 / (2 * twice) if twice > 0 else once * max(once - 1, 0) / 2)
    found = float(probability.sum())
    return found / (found + missed)
