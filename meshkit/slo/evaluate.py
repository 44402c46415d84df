"""Promises against evidence: the verdict now, the slices of a window, the state. Pure; the clock is an argument."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from meshkit.errors import UsageError
from meshkit.slo.models import Budget, Evidence, IndicatorState, Judged, Promise, State

__all__ = ["CLOCK_SKEW", "indicator_state", "judge", "slice_spans", "spend_budget"]

CLOCK_SKEW = timedelta(minutes=5)
Spans = tuple[tuple[int, int, float], ...]


def judge(promise: Promise, evidence: Sequence[Evidence], *, now: datetime) -> Judged:
    """Whether the promise holds at `now`. An absent measurement is `not_measured`, never a pass.

    Raises: `UsageError` (`time.naive`) if `now` has no zone.
    """
    if now.tzinfo is None:
        raise UsageError(
            "a time without zone was given. Pass an aware datetime, for example datetime.now(UTC)", code="time.naive"
        )
    seen = [e for e in evidence if e.sli == promise.sli and e.port == promise.port and e.observed_at <= now]
    return _judge_freshness(promise, seen, now) if promise.sli == "freshness" else _judge_ratio(promise, seen)


def _judge_freshness(promise: Promise, seen: Sequence[Evidence], now: datetime) -> Judged:
    # one row dated 2099 must not turn a dead feed green
    latest = (now + CLOCK_SKEW).timestamp()
    usable = [e for e in seen if e.value is not None and e.value <= latest]
    if not usable:
        future = " but future ones" if any(e.value is not None for e in seen) else ""
        return Judged(promise, "not_measured", reason=f"no event time measured{future}")
    newest = max(usable, key=lambda e: e.value or 0.0)
    assert newest.value is not None
    assert promise.within is not None
    age = max(0.0, now.timestamp() - newest.value)
    word = "pass" if age < promise.within.total_seconds() else "fail"
    return Judged(promise, word, age, "", newest.method, newest.n, newest.observed_at)  # type: ignore[arg-type]


def _judge_ratio(promise: Promise, seen: Sequence[Evidence]) -> Judged:
    counted = [e for e in seen if e.ratio is not None]
    if not counted:
        what = {"completeness": "no rows counted", "availability": "no read or probe seen"}.get(
            promise.sli, "nothing counted"
        )
        return Judged(promise, "not_measured", reason=what)
    if promise.sli == "availability":  # every read counts; for data at rest the last measurement is its state
        total = sum(e.n or 0 for e in counted)
        actual = 1 - sum(e.bad or 0 for e in counted) / total
        last = counted[-1]
        return Judged(
            promise,
            "pass" if actual >= promise.target_ratio else "fail",
            actual,
            "",
            last.method,
            total,
            last.observed_at,
        )
    last = max(counted, key=lambda e: e.observed_at)
    actual = last.ratio or 0.0
    return Judged(
        promise, "pass" if actual >= promise.target_ratio else "fail", actual, "", last.method, last.n, last.observed_at
    )


def slice_spans(promise: Promise, evidence: Iterable[Evidence], *, start: datetime, now: datetime) -> Spans:
    """Badness of the slices that end in (start, now], run-length: (first slice, end, badness). Unmeasured slices are in no span.

    A slice is judged at its end: freshness by the newest event time known by then, completeness by the last publish, availability by
    the reads inside it.
    """
    seen = sorted(
        (e for e in evidence if e.sli == promise.sli and e.port == promise.port and e.observed_at <= now),
        key=lambda e: e.observed_at,
    )
    size = promise.slice_seconds
    first, last = math.floor(start.timestamp() / size) + 1, math.floor(now.timestamp() / size)
    if promise.sli == "freshness":
        return _freshness_spans(promise, seen, first, last + 1)
    if promise.sli == "availability":
        return _read_spans(seen, size, first, last + 1)
    return _carried_spans(seen, size, first, last + 1)


def _freshness_spans(promise: Promise, seen: Sequence[Evidence], first: int, end: int) -> Spans:
    assert promise.within is not None
    size, within = promise.slice_seconds, promise.within.total_seconds()
    spans: list[tuple[int, int, float]] = []
    newest: float | None = None
    steps = [
        e for e in seen if e.value is not None and e.value <= e.observed_at.timestamp() + CLOCK_SKEW.total_seconds()
    ]
    for index, step in enumerate(steps):
        newest = max(newest or 0.0, step.value or 0.0)
        known = math.ceil(step.observed_at.timestamp() / size)
        until = math.ceil(steps[index + 1].observed_at.timestamp() / size) if index + 1 < len(steps) else end
        stale = min(max(math.ceil((newest + within) / size), known), until)  # first slice whose end sees too old data
        _add(spans, max(known, first), min(stale, end), 0.0)
        _add(spans, max(stale, first), min(until, end), 1.0)
    return tuple(spans)


def _carried_spans(seen: Sequence[Evidence], size: int, first: int, end: int) -> Spans:
    """Data at rest keeps its ratio until the next publish."""
    spans: list[tuple[int, int, float]] = []
    steps = [e for e in seen if e.ratio is not None]
    for index, step in enumerate(steps):
        known = math.ceil(step.observed_at.timestamp() / size)
        until = math.ceil(steps[index + 1].observed_at.timestamp() / size) if index + 1 < len(steps) else end
        _add(spans, max(known, first), min(until, end), 1 - (step.ratio or 0.0))
    return tuple(spans)


def _read_spans(seen: Sequence[Evidence], size: int, first: int, end: int) -> Spans:
    counts: dict[int, tuple[int, int]] = {}
    for e in seen:
        if e.n:
            key = math.ceil(e.observed_at.timestamp() / size)
            n, bad = counts.get(key, (0, 0))
            counts[key] = (n + e.n, bad + (e.bad or 0))
    spans: list[tuple[int, int, float]] = []
    for key in sorted(k for k in counts if first <= k < end):
        n, bad = counts[key]
        _add(spans, key, key + 1, bad / n)
    return tuple(spans)


def _add(spans: list[tuple[int, int, float]], start: int, end: int, badness: float) -> None:
    if start >= end:
        return
    if spans and spans[-1][1] == start and spans[-1][2] == badness:
        spans[-1] = (spans[-1][0], end, badness)
    else:
        spans.append((start, end, badness))


def spend_budget(
    badness: Iterable[tuple[int, int, float]], *, target_ratio: float, expected: int, window_slices: int
) -> Budget:
    """Attainment, coverage and error budget of slices. `expected`: slices since the promise's first evidence; `window_slices`: of the
    full window, which the budget is made for. Source: section 4 `Budget`.
    """
    spans = list(badness)
    measured = sum(end - start for start, end, _ in spans)
    used = sum((end - start) * b for start, end, b in spans)
    allowed = (1 - target_ratio) * window_slices
    attainment = 1 - used / measured if measured else None
    remaining = None if target_ratio >= 1 else 1 - used / allowed
    return Budget(attainment, min(1.0, measured / expected) if expected else 0.0, allowed, used, remaining)


def indicator_state(
    promise: Promise, evidence: Sequence[Evidence], *, now: datetime, window: timedelta, upstream_bad: bool = False
) -> IndicatorState:
    """Verdict now, budget and state of one promise."""
    judged = judge(promise, evidence, now=now)
    relevant = [e for e in evidence if e.sli == promise.sli and e.port == promise.port and e.observed_at <= now]
    size = promise.slice_seconds
    begin = min((e.observed_at for e in relevant), default=now)
    start = max(now - window, begin - timedelta(seconds=1))
    spans = slice_spans(promise, relevant, start=start, now=now)
    expected = max(0, math.floor(now.timestamp() / size) - math.floor(start.timestamp() / size)) if relevant else 0
    if relevant and not spans and judged.verdict != "not_measured":
        # younger than one slice: the verdict now is all there is
        key = math.floor(now.timestamp() / size)
        bad = 1 - (judged.actual or 0.0) if promise.sli != "freshness" else float(judged.verdict == "fail")
        spans, expected = ((key, key + 1, bad),), 1
    if promise.sli == "availability" and spans:
        expected = sum(
            end - first for first, end, _ in spans
        )  # reads come when readers come: slices without reads prove nothing
    budget = spend_budget(
        spans, target_ratio=promise.target_ratio, expected=expected, window_slices=int(window.total_seconds() // size)
    )
    return IndicatorState(judged, budget, _state(judged, budget, upstream_bad), spans)


def _state(judged: Judged, budget: Budget, upstream_bad: bool) -> State:
    if judged.verdict == "not_measured" or budget.coverage_ratio < 0.5:
        return "not measured"
    if judged.verdict == "fail" or (budget.remaining_ratio is not None and budget.remaining_ratio < 0):
        return "breaching"
    if upstream_bad or (budget.remaining_ratio is not None and budget.remaining_ratio < 0.25):
        return "at risk"
    return "healthy"
