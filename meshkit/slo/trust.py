"""Trust score `trust/v1`: pure. Source: catalog-lineage-slo section 4.

base = 100 x prod(a_i^w_i); score = min(base, 100 x min(a_i) + 20, 100 x sum(w_i c_i)), rounded down to 0.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from meshkit.slo.models import SCORED, IndicatorState, TrustLine, TrustScore

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["WEIGHTS", "score_trust", "trust_of"]

WEIGHTS: Mapping[str, float] = {"freshness": 35, "availability": 25, "completeness": 20, "quality": 20}


def score_trust(
    attainment: Mapping[str, float | None], coverage: Mapping[str, float], *, weights: Mapping[str, float] = WEIGHTS, breaching: bool = False,
    product: str = "", reasons: Mapping[str, str] | None = None,
) -> TrustScore:  # fmt: skip
    """Score of one product from attainments and coverages (0..1) per indicator; only promised indicators are in the mappings.

    An indicator never measured counts as attained with coverage 0, and keeps the grade at most B. The lines add up to 100 - score.
    """
    names = [n for n in weights if n in coverage]
    total = sum(weights[n] for n in names)
    if not names or not total:
        return TrustScore(product, None, None)
    w = {n: weights[n] / total for n in names}
    a = {n: 1.0 if attainment.get(n) is None else float(attainment[n] or 0.0) for n in names}
    c = {n: 0.0 if attainment.get(n) is None else coverage[n] for n in names}
    covered = sum(w[n] * c[n] for n in names)
    if covered < 0.5:
        return TrustScore(product, None, None)
    base = 100 * math.prod(a[n] ** w[n] for n in names)
    caps = {"lowest indicator": 100 * min(a.values()) + 20, "coverage": 100 * covered}
    score = math.floor(min(base, *caps.values()) * 10 + 1e-9) / 10
    lines = _lines(names, w, a, base, caps, score, reasons or {})
    return TrustScore(
        product, score, _grade(score, breaching=breaching, unmeasured=any(not c[n] for n in names)), lines
    )


def _grade(score: float, *, breaching: bool, unmeasured: bool) -> str:
    grade = next((g for g, bar in (("A", 98), ("B", 95), ("C", 90), ("D", 75)) if score >= bar), "E")
    if unmeasured:
        grade = max(grade, "B")
    return max(grade, "C") if breaching else grade


def _lines(
    names: Sequence[str],
    w: Mapping[str, float],
    a: Mapping[str, float],
    base: float,
    caps: Mapping[str, float],
    score: float,
    reasons: Mapping[str, str],
) -> tuple[TrustLine, ...]:
    """Losses per indicator and cap, in tenths by largest remainder, so that they add up."""
    raw: list[tuple[str, float, str]] = [
        (n, x, reasons.get(n, "below 100 %")) for n, x in _shares(names, w, a, 100 - base)
    ]
    left = base
    for name, cap in sorted(caps.items(), key=lambda item: -item[1]):
        if cap < left:
            raw.append((name, left - cap, "the score is capped by it"))
            left = cap
    tenths = round((100 - score) * 10)
    floors = [math.floor(x * 10) for _, x, _ in raw]
    order = sorted(range(len(raw)), key=lambda i: floors[i] - raw[i][1] * 10)
    for i in order[: max(0, tenths - sum(floors))]:
        floors[i] += 1
    return tuple(TrustLine(n, f / 10, reason) for (n, _, reason), f in zip(raw, floors, strict=True) if f)


def _shares(
    names: Sequence[str], w: Mapping[str, float], a: Mapping[str, float], loss: float
) -> Iterable[tuple[str, float]]:
    zeros = [n for n in names if a[n] <= 0]
    if zeros:  # their logarithm is infinite: they share the loss by weight
        whole = sum(w[n] for n in zeros)
        return [(n, loss * w[n] / whole) for n in zeros]
    logs = {n: w[n] * math.log(a[n]) for n in names}
    whole = sum(logs.values())
    return [(n, loss * logs[n] / whole) for n in names if logs[n] < 0]


def trust_of(product: str, indicators: Sequence[IndicatorState]) -> TrustScore:
    """Trust from judged promises; of several of one kind the worst counts."""
    attainment: dict[str, float | None] = {}
    coverage: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for sli in SCORED:
        mine = [i for i in indicators if i.promise.sli == sli]
        if not mine:
            continue
        measured = [i for i in mine if i.budget.attainment_ratio is not None]
        worst = min(measured, key=lambda i: i.budget.attainment_ratio or 0.0) if measured else mine[0]
        attainment[sli] = worst.budget.attainment_ratio
        coverage[sli] = min(i.budget.coverage_ratio for i in mine)
        reasons[sli] = _reason(worst)
    return score_trust(
        attainment,
        coverage,
        product=product,
        breaching=any(i.state == "breaching" for i in indicators),
        reasons=reasons,
    )


def _reason(state: IndicatorState) -> str:
    size = state.promise.slice_seconds
    if state.promise.sli == "freshness":
        late = sum((end - first) * size for first, end, b in state.spans if b)
        return f"late for {_hours(late)} of {_hours(sum((e - f) * size for f, e, _ in state.spans))}"
    if state.budget.attainment_ratio is None:
        return "not measured"
    return f"{math.floor(state.budget.attainment_ratio * 10000) / 100:g} % of {state.promise.target_ratio * 100:.10g} %"


def _hours(seconds: float) -> str:
    return (
        f"{seconds / 86400:.1f} d"
        if seconds >= 2 * 86400
        else f"{seconds / 3600:.1f} h"
        if seconds >= 3600
        else f"{seconds / 60:.0f} min"
    )
