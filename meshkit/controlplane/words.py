"""How pages spell ages, spans, percents and times. Pure. Source: UI notes section 5.

The command line spells differently (`meshkit.slo.spell`): there the texts are fixed to the letter, here they stand in sentences.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

__all__ = [
    "age",
    "ago",
    "ago_or_never",
    "budget",
    "day",
    "glyph",
    "length",
    "percent",
    "points",
    "score",
    "since",
    "span",
    "when",
]

_NBSP = "\u00a0"
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_GLYPHS = {"healthy": "ok", "at risk": "risk", "breaching": "bad", "not measured": "none"}


def glyph(state: str) -> str:
    """Class and symbol of a state: `ok risk bad none`."""
    return _GLYPHS.get(state, "none")


def _unit(seconds: float) -> tuple[str, int]:
    """The largest unit that says a length as a whole number; days from two on."""
    for name, size in _UNITS:
        if seconds >= size * (2 if name == "d" else 1) and abs(seconds / size - round(seconds / size)) < 1e-9:
            return name, size
    return _UNITS[-1]


def age(seconds: float | None, *, promised: float | None = None) -> str:
    """An age, in the unit of its promise or a smaller one: `145 min`, `12 min`, `5 h`; `unknown` if not measured."""
    if seconds is None:
        return "unknown"
    top = _unit(promised)[1] if promised else (86400 if seconds >= 2 * 86400 else 3600 if seconds >= 2 * 3600 else 60)
    for name, size in _UNITS:
        if size <= top and seconds >= size:
            return f"{math.floor(seconds / size)}{_NBSP}{name}"
    return f"{math.floor(max(0.0, seconds))}{_NBSP}s"


def length(seconds: float) -> str:
    """A promised length: `30 min`, `1 h`, `24 h`, `7 d`."""
    name, size = _unit(seconds)
    return f"{seconds / size:.10g}{_NBSP}{name}"


def span(seconds: float) -> str:
    """A span in two units: `1 h 55 min`."""
    left = int(seconds)
    parts: list[str] = []
    for name, size in _UNITS:
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size}{_NBSP}{name}")
            left %= size
        elif parts:
            break
    return " ".join(parts) or f"0{_NBSP}s"


def percent(ratio: float | None) -> str:
    """A ratio with up to two decimals, rounded down: a broken promise never reads as kept."""
    if ratio is None:
        return "unknown"
    return f"{math.floor(ratio * 10000 + 1e-6) / 100:.10g}{_NBSP}%".replace("-", "−")


def budget(remaining: float | None) -> str:
    """Error budget: whole percent rounded down, `overspent by 40 %`, `unknown`."""
    if remaining is None:
        return "unknown"
    if remaining < 0:
        return f"overspent by {math.ceil(-remaining * 100)}{_NBSP}%"
    return f"{math.floor(remaining * 100 + 1e-9)}{_NBSP}%"


def score(value: float | None) -> str:
    """A trust score with one decimal, or `none`."""
    return "none" if value is None else f"{value:.1f}"


def points(value: float) -> str:
    """A loss: `−2.5`."""
    return f"−{value:.1f}" if value else "0.0"


def day(moment: datetime, now: datetime) -> str:
    """`24 Nov`, with the year where it differs."""
    return f"{moment.day}{_NBSP}{moment:%b}" + ("" if moment.year == now.year else f"{_NBSP}{moment.year}")


def when(moment: datetime, now: datetime) -> str:
    """`Today 08:00`, `Mon 10:35`, `21 Nov 01:55`, UTC."""
    at = moment.astimezone(UTC)
    if at.date() == now.date():
        return f"Today {at:%H:%M}"
    if timedelta(0) <= now - at < timedelta(days=6):
        return f"{at:%a %H:%M}"
    return f"{day(at, now)} {at:%H:%M}"


def since(moment: datetime, now: datetime) -> str:
    """As `when`, in the middle of a sentence: `07:05` today."""
    return when(moment, now).removeprefix("Today ")


def ago(moment: datetime, now: datetime) -> str:
    """`11 min ago`. Below a minute it says no seconds, so that a page that did not change stays the same."""
    seconds = (now - moment).total_seconds()
    return f"{age(seconds)} ago" if seconds >= 60 else f"under 1{_NBSP}min ago"


def ago_or_never(moment: datetime | None, now: datetime) -> str:
    """`11 min ago` or `never`."""
    return "never" if moment is None else ago(moment, now)
