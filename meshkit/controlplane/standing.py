"""How each product stands, in words: state, root cause, tightest budget; and the order of the trust board. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshkit.controlplane import words

if TYPE_CHECKING:
    from meshkit.manifest import Manifest
    from meshkit.slo import Evaluation
    from meshkit.slo.models import IndicatorState

__all__ = ["PromiseView", "Standing", "bad_since", "in_order", "promise_view", "stand"]

_WHAT = {
    "completeness": "of required values",
    "availability": "of reads",
    "quality": "of rules",
}


@dataclass(frozen=True, slots=True)
class PromiseView:
    """One promise as a page says it."""

    title: str
    promised: str
    now: str
    verdict: str  # kept, broken, not measured
    glyph: str
    kept: str
    left: str
    remaining: float | None
    reason: str
    port: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A product on the board. `cause` is the product upstream that puts it at risk; `depth` 1 stands below its cause."""

    manifest: Manifest
    state: str
    trust: float | None
    grade: str | None
    age_seconds: float | None
    promised_seconds: float | None
    tightest: str | None
    remaining: float | None
    loses: tuple[float, str] | None
    amount: str
    reason: str
    cause: str | None = None
    depth: int = 0

    @property
    def id(self) -> str:
        """`sales.orders`."""
        return self.manifest.id

    @property
    def urn(self) -> str:
        """`urn:mesh:sales:orders`."""
        return self.manifest.urn

    @property
    def glyph(self) -> str:
        """`ok risk bad none`."""
        return words.glyph(self.state)

    @property
    def href(self) -> str:
        """Its page."""
        return f"/products/{self.manifest.domain}/{self.manifest.name}"

    @property
    def age(self) -> str:
        """Age of the newest data, in words."""
        return words.age(self.age_seconds, promised=self.promised_seconds)

    def to_json(self) -> dict[str, Any]:
        """One product in the JSON of pages."""
        return {
            "urn": self.urn, "state": self.state, "reason": self.reason, "cause": self.cause, "trust": self.trust, "grade": self.grade,
            "freshness_seconds": self.age_seconds, "promised_seconds": self.promised_seconds, "budget_remaining_ratio": self.remaining,
            "tightest": self.tightest, "owner": self.manifest.owner.team, "version": self.manifest.version, "status": self.manifest.status,
        }  # fmt: skip


def stand(manifests: Mapping[str, Manifest], evaluations: Mapping[str, Evaluation]) -> dict[str, Standing]:
    """How every product stands, with the root cause among the given products."""
    bad = {name for name, e in evaluations.items() if e.state == "breaching"}
    found = {}
    for name, manifest in manifests.items():
        evaluation = evaluations.get(name)
        if evaluation is not None:
            cause = _cause(name, manifests, bad) if evaluation.state in {"breaching", "at risk"} else None
            found[name] = _standing(manifest, evaluation, cause, evaluations)
    return found


def _cause(name: str, manifests: Mapping[str, Manifest], bad: set[str]) -> str | None:
    """The breaching product farthest upstream on some path; None if nothing upstream is."""
    seen, border, last = {name}, [name], None
    while border:
        sources = [s.product for n in border for s in manifests[n].inputs.values() if s.product in manifests]
        border = sorted({s for s in sources if s is not None and s not in seen})
        seen.update(border)
        last = next((s for s in border if s in bad), last)
    return last


def _standing(
    manifest: Manifest, evaluation: Evaluation, cause: str | None, evaluations: Mapping[str, Evaluation]
) -> Standing:
    fresh = evaluation.indicator("freshness")
    known = [
        i
        for i in evaluation.indicators
        if i.budget.remaining_ratio is not None and i.budget.attainment_ratio is not None
    ]
    tightest = min(known, key=lambda i: i.budget.remaining_ratio or 0.0, default=None)
    trust = evaluation.trust
    worst = max(trust.lines, key=lambda x: x.points, default=None) if trust else None
    amount, reason = _reason(evaluation, cause, tightest, evaluations)
    within = fresh.promise.within if fresh else None
    return Standing(
        manifest, evaluation.state, trust.score if trust else None, trust.grade if trust else None,
        fresh.judged.actual if fresh else None, within.total_seconds() if within else None,
        tightest.promise.sli if tightest else None, tightest.budget.remaining_ratio if tightest else None,
        (worst.points, worst.indicator) if worst else None, amount, reason, cause,
    )  # fmt: skip


def _reason(
    evaluation: Evaluation, cause: str | None, tightest: IndicatorState | None, evaluations: Mapping[str, Evaluation]
) -> tuple[str, str]:
    """(`115 min late`, `late: its newest row is 145 min old, promised is 30 min`); empty for a healthy product."""
    failing = [i for i in evaluation.indicators if i.judged.verdict == "fail"]
    if evaluation.state == "breaching" and failing:
        return _failure(failing[0])
    if evaluation.state in {"breaching", "at risk"} and cause is not None and not failing:
        return "", f"its source {cause} is {_failure_of(evaluations[cause])}"
    if (
        tightest is not None
        and evaluation.state in {"breaching", "at risk"}
        and (tightest.budget.remaining_ratio or 0) < 0.25
    ):
        left = words.budget(tightest.budget.remaining_ratio)
        left = left if left.startswith("overspent") else f"{left} left"
        return f"over its {tightest.promise.sli} budget", f"error budget of {tightest.promise.sli}: {left}"
    if evaluation.state == "at risk":
        return "", "a source is late"
    if evaluation.state == "not measured":
        missing = [i for i in evaluation.indicators if i.state == "not measured"]
        if not missing:
            return "", "no promise that can be measured"
        first = missing[0]
        said = first.judged.reason if first.judged.verdict == "not_measured" else "too little of the window is measured"
        return "", f"{first.promise.sli}: {said or 'no evidence yet'}"
    return "", ""


def _failure_of(evaluation: Evaluation) -> str:
    failing = [i for i in evaluation.indicators if i.judged.verdict == "fail"]
    return _failure(failing[0])[0] if failing else "over its error budget"


def _failure(state: IndicatorState) -> tuple[str, str]:
    promise, actual = state.promise, state.judged.actual
    if promise.sli == "freshness" and promise.within is not None and actual is not None:
        limit = promise.within.total_seconds()
        late = words.age(actual - limit, promised=limit)
        return (
            f"{late} late",
            f"late: its newest row is {words.age(actual, promised=limit)} old, promised is {words.length(limit)}",
        )
    said = f"{promise.sli} {words.percent(actual)} of {words.percent(promise.target_ratio)}"
    return f"below its promise, {said}", said


def promise_view(state: IndicatorState) -> PromiseView:
    """A promise in words. Unknown stays a word."""
    promise, judged, budget = state.promise, state.judged, state.budget
    if promise.sli == "freshness" and promise.within is not None:
        limit = promise.within.total_seconds()
        promised = f"within {words.length(limit)}, {words.percent(promise.target_ratio)} of the time"
        now = words.age(judged.actual, promised=limit)
    else:
        promised = f"{words.percent(promise.target_ratio)} {_WHAT.get(promise.sli, '')}".strip()
        now = words.percent(judged.actual)
    measured = budget.attainment_ratio is not None
    verdict = {"pass": "kept", "fail": "broken", "not_measured": "not measured"}[judged.verdict]
    left = (
        "no budget at 100\u00a0%"
        if measured and budget.remaining_ratio is None
        else words.budget(budget.remaining_ratio if measured else None)
    )
    return PromiseView(
        promise.name.capitalize().replace("_", " "), promised, now, verdict, {"kept": "ok", "broken": "bad"}.get(verdict, "none"),
        words.percent(budget.attainment_ratio), left, budget.remaining_ratio if measured else None, judged.reason, promise.port,
    )  # fmt: skip


def bad_since(state: IndicatorState) -> datetime | None:
    """Since when a promise is broken without a break; None if it is kept or unknown."""
    start = None
    for first, end, badness in reversed(state.spans):
        if badness <= (0 if state.promise.sli == "freshness" else 1 - state.promise.target_ratio):
            break
        if start is not None and end != start:
            break
        start = first
    return None if start is None else datetime.fromtimestamp(start * state.promise.slice_seconds, UTC)


def in_order(standings: Mapping[str, Standing]) -> tuple[Standing, ...]:
    """Worst first: each root cause with what it hurts below it, then at risk, not measured, healthy; low trust first in each."""
    return tuple(_ordered(standings))


def _ordered(standings: Mapping[str, Standing]) -> Iterator[Standing]:
    from dataclasses import replace

    def rank(s: Standing) -> tuple[float, str]:
        return (s.trust if s.trust is not None else 101.0, s.id)

    rows = sorted(standings.values(), key=rank)
    done: set[str] = set()
    roots = [s for s in rows if s.state == "breaching" and s.cause is None]
    for root in [*roots, *(s for s in rows if s.state == "breaching" and s not in roots)]:
        if root.id in done:
            continue
        done.add(root.id)
        yield root
        for child in sorted(rows, key=lambda s: (s.state != "breaching", rank(s))):
            if child.cause == root.id and child.id not in done:
                done.add(child.id)
                yield replace(child, depth=1)
    for state in ("breaching", "at risk", "not measured", "healthy"):
        yield from (s for s in rows if s.state == state and s.id not in done)
