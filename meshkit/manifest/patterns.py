"""Patterns that mean the same in ECMA-262, RE2, Rust and Python: what lies outside that subset is refused."""

from __future__ import annotations

import re

__all__ = ["pattern_problem"]

_OUTSIDE = (
    (re.compile(r"(?<!\\)(?:\\\\)*\(\?(?![:])"), "has a look-around, flag or named group"),
    (re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]"), "has a back-reference"),
    (re.compile(r"(?<!\\)(?:\\\\)*(?:[*+?]|\{\d+(?:,\d*)?\})\+"), "has a possessive quantifier"),
    (re.compile(r"(?<!\\)(?:\\\\)*\\[AZzGKRXCQEhHvV]"), "has an escape that engines read differently"),
    (re.compile(r"\[\[:|\[[^\]]*(?:&&|--)"), "has a class form that engines read differently"),
)


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with a pattern, or None. Patterns are searched, not anchored."""
    if len(pattern) > 2000:
        return "has more than 2,000 characters"
    for outside, problem in _OUTSIDE:
        if outside.search(pattern):
            return problem
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression ({getattr(error, 'msg', 'too large')})"
    repeats = re.findall(r"\{(\d+)(?:,(\d*))?\}", pattern)
    if any(int(n or 0) > 1000 for pair in repeats for n in pair):
        return "repeats more than 1,000 times"
    return None
