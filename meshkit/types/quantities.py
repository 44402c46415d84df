"""Durations, ratios, thresholds, versions and version ranges: one parser each, used by every module. Source: manifest section 2."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal as Number
from decimal import InvalidOperation
from functools import total_ordering
from typing import Literal

from meshkit.errors import MeshkitError

__all__ = [
    "Duration",
    "QuantityError",
    "Threshold",
    "Version",
    "VersionRange",
    "parse_duration",
    "parse_range",
    "parse_ratio",
    "parse_threshold",
    "parse_version",
]


class QuantityError(MeshkitError):
    """A duration, ratio, threshold, version or range that can't be read."""

    code = "types.quantity"


# Durations ------------------------------------------------------------------------------------------------------------------------

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_UNIT_MONTHS = {"mo": 1, "y": 12}
_SHORT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(mo|s|m|h|d|w|y)\s*$")
_ISO = re.compile(
    r"P(?=\d|T\d)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$"
)


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of `months` (calendar, from mo and y) and `seconds` (exact, from s to w)."""

    seconds: float
    months: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether no calendar month is involved."""
        return self.months == 0

    def bounds_seconds(self) -> tuple[float, float]:
        """Shortest and longest span this can be: a month has 28 to 31 days, twelve of them 365 or 366."""
        years, rest = divmod(self.months, 12)
        low = self.seconds + years * 365 * 86400 + rest * 28 * 86400
        high = self.seconds + years * 366 * 86400 + rest * 31 * 86400
        return low, high

    def timedelta(self) -> timedelta:
        """As a timedelta; a month counts as 30, a year as 365 days."""
        years, rest = divmod(self.months, 12)
        return timedelta(days=365 * years + 30 * rest, seconds=self.seconds)

    def __str__(self) -> str:
        if self.months and self.seconds:
            return f"P{self.months}MT{_plain(self.seconds)}S"
        if self.months:
            return f"{self.months // 12}y" if self.months % 12 == 0 else f"{self.months}mo"
        for unit in ("w", "d", "h", "m"):
            count, rest = divmod(self.seconds, _UNIT_SECONDS[unit])
            if rest == 0 and count:
                return f"{int(count)}{unit}"
        return f"{_plain(self.seconds)}s"


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def parse_duration(text: str) -> Duration:
    """`90s 15m 1h 2d 1w 6mo 3y` or ISO 8601 (`PT1H30M`, `P90D`). Raises: `QuantityError`."""
    short = _SHORT.match(text)
    if short:
        count, unit = float(short[1]), short[2]
        if unit in _UNIT_MONTHS:
            if count != int(count):
                raise QuantityError(f"duration {text!r} has a broken month. Use whole months, or days")
            return Duration(0, int(count) * _UNIT_MONTHS[unit])
        return Duration(count * _UNIT_SECONDS[unit])
    iso = _ISO.match(text.strip())
    if iso:
        years, months, weeks, days, hours, minutes = (int(part or 0) for part in iso.groups()[:6])
        seconds = float(iso[7] or 0) + 60 * minutes + 3600 * hours + 86400 * (days + 7 * weeks)
        return Duration(seconds, 12 * years + months)
    raise QuantityError(f"{text!r} is no duration. Write for example 90s, 15m, 1h, 2d, 1w, 6mo, 3y or ISO 8601")


# Ratios ---------------------------------------------------------------------------------------------------------------------------


def parse_ratio(text: str | float) -> float:
    """`99.9%` or a number from 0 to 1, as a ratio 0..1. A bare `99.9` is refused: it could mean either. Raises: `QuantityError`."""
    body = str(text).strip()
    percent = body.endswith("%")
    try:
        value = Number(body.rstrip("%").strip())
    except InvalidOperation:
        raise QuantityError(f"{body!r} is no ratio. Write a percentage such as 99.9% or a number from 0 to 1") from None
    if percent:
        value /= 100
    elif value > 1 and value <= 100:
        raise QuantityError(f"{body} is no ratio. Write {body}% or a number from 0 to 1")
    if not (value.is_finite() and 0 <= value <= 1):
        raise QuantityError(f"{body!r} is outside 0 to 1. Write a percentage up to 100% or a number from 0 to 1")
    return float(value)


# Thresholds -----------------------------------------------------------------------------------------------------------------------

Operator = Literal["=", "!=", ">", ">=", "<", "<=", "between", "not between"]
_COMPARISON = re.compile(r"\s*(>=|<=|!=|=|>|<)\s*(-?\d+(?:\.\d+)?)\s*(%?)\s*$")
_BETWEEN = re.compile(
    r"\s*(not\s+)?between\s+(-?\d+(?:\.\d+)?)\s*(%?)\s+and\s+(-?\d+(?:\.\d+)?)\s*(%?)\s*$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a measured number must be: `< 1 %`, `= 0`, `between 5 and 10` (both ends excluded, as in ODCS)."""

    operator: Operator
    value: Number
    high: Number | None = None
    is_percent: bool = False

    def holds(self, measured: float) -> bool:
        """Whether `measured` (a count, or percent 0..100 if `is_percent`) keeps the promise."""
        actual = Number(str(measured))
        if self.high is not None:
            inside = self.value < actual < self.high
            return inside if self.operator == "between" else not inside
        return {
            "=": actual == self.value,
            "!=": actual != self.value,
            ">": actual > self.value,
            ">=": actual >= self.value,
            "<": actual < self.value,
            "<=": actual <= self.value,
        }[self.operator]

    def __str__(self) -> str:
        unit = " %" if self.is_percent else ""
        if self.high is not None:
            return f"{self.operator} {self.value}{unit} and {self.high}{unit}"
        return f"{self.operator} {self.value}{unit}"


def parse_threshold(text: str) -> Threshold:
    """`= != > >= < <=` with a number, or `between A and B`; `%` = of rows. Raises: `QuantityError`."""
    found = _COMPARISON.match(text)
    if found:
        return Threshold(found[1], Number(found[2]), is_percent=bool(found[3]))  # type: ignore[arg-type]
    found = _BETWEEN.match(text)
    if found:
        low, high = Number(found[2]), Number(found[4])
        if low >= high:
            raise QuantityError(f"threshold {text!r} holds for no value: the first number must be smaller")
        return Threshold("not between" if found[1] else "between", low, high, is_percent=bool(found[3] or found[5]))
    raise QuantityError(f'{text!r} is no threshold. Write for example "= 0", "< 1 %" or "between 5 and 10"')


# Versions -------------------------------------------------------------------------------------------------------------------------

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$"
)


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """Semantic version 2.0.0; build metadata does not count in comparisons."""

    major: int
    minor: int
    patch: int
    pre: str = ""

    def _key(self) -> tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]:
        parts = (
            tuple((not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in self.pre.split(".")) if self.pre else ()
        )
        return self.major, self.minor, self.patch, not self.pre, parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key() == other._key()

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}" + (f"-{self.pre}" if self.pre else "")


def parse_version(text: str) -> Version:
    """Semantic version `1.2.0` or `1.2.0-rc.1`. Raises: `QuantityError`."""
    found = _SEMVER.match(text)
    if not found or len(text) > 128:
        raise QuantityError(f"{text!r} is no semantic version. Write major.minor.patch, for example 1.0.0")
    return Version(int(found[1]), int(found[2]), int(found[3]), found[4] or "")


_CLAUSE = re.compile(r"\s*(>=|<=|>|<|=)\s*(\d+(?:\.\d+){0,2})\s*$")
_BARE = re.compile(r"\s*(\d+)(?:\.(\d+))?(?:\.(\d+))?\s*$")


@dataclass(frozen=True, slots=True)
class VersionRange:
    """Versions a consumer accepts: clauses that all hold. `1` = that major, `1.2` = from there within the major."""

    clauses: tuple[tuple[str, Version], ...]
    text: str

    def contains(self, version: Version | str) -> bool:
        """Whether `version` satisfies all clauses; a pre-release counts as below its release."""
        actual = parse_version(version) if isinstance(version, str) else version
        tests = {">=": actual.__ge__, "<=": actual.__le__, ">": actual.__gt__, "<": actual.__lt__, "=": actual.__eq__}
        return all(bool(tests[operator](bound)) for operator, bound in self.clauses)

    def __str__(self) -> str:
        return self.text


def parse_range(text: str) -> VersionRange:
    """`1`, `1.2`, `>=1.2,<2`. Raises: `QuantityError`."""
    bare = _BARE.match(text)
    if bare:
        low = Version(int(bare[1]), int(bare[2] or 0), int(bare[3] or 0))
        return VersionRange(((">=", low), ("<", Version(low.major + 1, 0, 0, "0"))), text.strip())
    clauses = []
    for part in text.split(","):
        found = _CLAUSE.match(part)
        if not found:
            raise QuantityError(f"{text!r} is no version range. Write for example 1, 1.2 or >=1.2,<2")
        numbers = [int(n) for n in found[2].split(".")] + [0, 0]
        # an upper bound `<2` shuts out 2.0.0-rc.1 too
        clauses.append((found[1], Version(numbers[0], numbers[1], numbers[2], "0" if found[1] == "<" else "")))
    return VersionRange(tuple(clauses), text.strip())
