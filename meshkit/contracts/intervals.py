"""Sets of numbers that a bound or threshold permits, so that loosening and tightening are set inclusion. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from meshkit.types.quantities import Threshold

__all__ = ["Interval", "SetRelation", "compare", "of_bounds", "of_threshold"]

SetRelation = Literal["equal", "loosened", "tightened", "both"]


@dataclass(frozen=True, slots=True)
class Interval:
    """Values between two ends; an end of None is unbounded."""

    low: Any = None
    high: Any = None
    low_open: bool = False
    high_open: bool = False

    def contains(self, other: Interval) -> bool:
        """Whether every value of `other` lies in this one."""
        return _starts_before(self, other) and _ends_after(self, other)

    @property
    def is_empty(self) -> bool:
        """No value fits."""
        if self.low is None or self.high is None:
            return False
        return bool(self.low > self.high or (self.low == self.high and (self.low_open or self.high_open)))


def _starts_before(a: Interval, b: Interval) -> bool:
    if a.low is None:
        return True
    if b.low is None:
        return False
    return bool(a.low < b.low or (a.low == b.low and (not a.low_open or b.low_open)))


def _ends_after(a: Interval, b: Interval) -> bool:
    if a.high is None:
        return True
    if b.high is None:
        return False
    return bool(a.high > b.high or (a.high == b.high and (not a.high_open or b.high_open)))


def of_bounds(low: Any, high: Any, low_exclusive: Any, high_exclusive: Any, *, integer: bool = False) -> Interval:
    """What `min max exclusive_min exclusive_max` permit together; for integers `> 4` is `>= 5`."""
    if integer:
        low_exclusive, low = None, _max(low, None if low_exclusive is None else low_exclusive + 1)
        high_exclusive, high = None, _min(high, None if high_exclusive is None else high_exclusive - 1)
    low_open = low_exclusive is not None and (low is None or low_exclusive >= low)
    high_open = high_exclusive is not None and (high is None or high_exclusive <= high)
    return Interval(low_exclusive if low_open else low, high_exclusive if high_open else high, low_open, high_open)


def _max(a: Any, b: Any) -> Any:
    return a if b is None else b if a is None else max(a, b)


def _min(a: Any, b: Any) -> Any:
    return a if b is None else b if a is None else min(a, b)


def of_threshold(threshold: Threshold) -> tuple[Interval, ...]:
    """The measured numbers that keep a promise, over its domain: 0..100 for percent, whole numbers from 0 for counts."""
    value, high = threshold.value, threshold.high
    domain = Interval(0, 100 if threshold.is_percent else None)
    raw: dict[str, list[Interval]] = {
        "=": [Interval(value, value)],
        "!=": [Interval(None, value, high_open=True), Interval(value, None, low_open=True)],
        ">": [Interval(value, None, low_open=True)],
        ">=": [Interval(value, None)],
        "<": [Interval(None, value, high_open=True)],
        "<=": [Interval(None, value)],
        "between": [Interval(value, high, low_open=True, high_open=True)],
        "not between": [Interval(None, value), Interval(high, None)],
    }
    return normal([_within(i, domain, whole=not threshold.is_percent) for i in raw[threshold.operator]])


def _within(interval: Interval, domain: Interval, *, whole: bool) -> Interval:
    low, low_open = (
        (interval.low, interval.low_open) if _starts_before(domain, interval) else (domain.low, domain.low_open)
    )
    high, high_open = (
        (interval.high, interval.high_open) if _ends_after(domain, interval) else (domain.high, domain.high_open)
    )
    if whole:  # counts: `> 4` is `>= 5`
        low, low_open = (
            (None, False) if low is None else (int(low) + 1 if low_open or low != int(low) else int(low), False)
        )
        if high is not None:
            below = int(high) - 1 if high_open and high == int(high) else int(high)
            high, high_open = below, False
    return Interval(low, high, low_open, high_open)


def normal(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """Non-empty parts, joined where they touch, in order."""
    parts = sorted(
        (i for i in intervals if not i.is_empty),
        key=lambda i: (i.low is not None, i.low if i.low is not None else 0, i.low_open),
    )
    joined: list[Interval] = []
    for part in parts:
        if joined and _touch(joined[-1], part):
            last = joined[-1]
            keep = last if _ends_after(last, part) else part
            joined[-1] = Interval(last.low, keep.high, last.low_open, keep.high_open)
        else:
            joined.append(part)
    return tuple(joined)


def _touch(left: Interval, right: Interval) -> bool:
    if left.high is None or right.low is None:
        return True
    return bool(right.low < left.high or (right.low == left.high and not (left.high_open and right.low_open)))


def compare(old: Sequence[Interval], new: Sequence[Interval]) -> SetRelation:
    """How the new set relates to the old: a superset is loosened, a subset tightened."""
    wider = all(any(n.contains(o) for n in new) for o in old)
    narrower = all(any(o.contains(n) for o in old) for n in new)
    if wider and narrower:
        return "equal"
    return "loosened" if wider else "tightened" if narrower else "both"
