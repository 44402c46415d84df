"""How `meshkit slo check` spells ages, promises and verdicts, to the letter of the design. Pure."""

from __future__ import annotations

import math

from meshkit.slo.models import Judged

__all__ = ["block", "spell_age", "spell_limit"]

_UNITS = (("day", 86400), ("hr", 3600), ("min", 60), ("sec", 1))


def _word(number: str, unit: str) -> str:
    if unit == "hr":
        return f"{number}hr" if number == "1" else f"{number}hrs"
    return f"{number} {unit}" if number == "1" else f"{number} {unit}s"


def _unit_of(seconds: float) -> tuple[str, int]:
    """The largest unit in which the value is at least 1 and has at most one decimal."""
    for unit, size in _UNITS:
        value = seconds / size
        if value >= 1 and abs(value * 10 - round(value * 10)) < 1e-9 and (unit in {"day", "hr"} or value == int(value)):
            return unit, size
    return "sec", 1


def spell_limit(seconds: float) -> str:
    """A promised age: `1hr`, `30 mins`, `26hrs`, `1.5hrs`, `2 days`."""
    unit, size = _unit_of(seconds)
    return _word(f"{seconds / size:.1f}".removesuffix(".0"), unit)


def spell_age(seconds: float, *, limit_seconds: float, passed: bool) -> str:
    """A measured age in the largest unit not above the promise's that gives at least 1; a pass rounds down, a fail up."""
    top = _unit_of(limit_seconds)[1]
    unit, size = next(((u, s) for u, s in _UNITS if s <= top and seconds / s >= 1), ("sec", 1))
    value = seconds / size
    steps = 10 if unit in {"day", "hr"} and value < 10 else 1
    rounded = (math.floor(value * steps + 1e-9) if passed else math.ceil(value * steps - 1e-9)) / steps
    return _word(f"{rounded:.1f}".removesuffix(".0"), unit)


def _percent(ratio: float, *, passed: bool) -> str:
    scaled = ratio * 10000
    rounded = math.floor(scaled + 1e-9) if passed or ratio < 1 else math.ceil(scaled)
    return f"{rounded / 100:.2f}".rstrip("0").rstrip(".") + "%"


_STATUS = {"pass": "[PASS] ✅", "fail": "[FAIL] ❌", "not_measured": "[NOT MEASURED] ⚪"}


def block(judged: Judged) -> str:
    """The four lines of one promise."""
    promise, passed = judged.promise, judged.verdict == "pass"
    title = promise.sli.capitalize()
    if promise.sli == "freshness":
        assert promise.within is not None
        limit = promise.within.total_seconds()
        sla = f"{title} < {spell_limit(limit)}"
        actual = "unknown" if judged.actual is None else spell_age(judged.actual, limit_seconds=limit, passed=passed)
    else:
        sla = f"{title} >= {promise.target_ratio * 100:.10g}%"
        actual = "unknown" if judged.actual is None else _percent(judged.actual, passed=passed)
    return f"PRODUCT: {promise.product}\nSLA: {sla}\nACTUAL: {actual}\nSTATUS: {_STATUS[judged.verdict]}"
