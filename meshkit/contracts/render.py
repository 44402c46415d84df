"""The text of a verdict, to the letter of the design: a group per blocking change, worst first, wrapped at 58 columns."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from meshkit.contracts.models import CLASS_ORDER

if TYPE_CHECKING:
    from meshkit.contracts.decide import Judged, Verdict

__all__ = ["verdict_text"]

WIDTH = 58


def verdict_text(verdict: Verdict) -> str:
    """The failing block, or one line of what passed."""
    if verdict.passed:
        return _passed(verdict)
    lines = [f"{_cross()} Build Failed: Contract Violation in '{verdict.product}'", "-" * 50]
    groups = [list(_group(j)) for j in sorted((j for j in verdict.judged if j.blocks), key=_order)]
    # a finding that a change already explains is not said twice
    explained = (
        {"version.bump_too_small", "version.not_bumped"}
        if any(j.state == "needs_bump" for j in verdict.judged)
        else set()
    )
    groups += [
        _wrapped("Error", f.message) for f in verdict.findings if f.severity == "error" and f.rule not in explained
    ]
    for index, group in enumerate(groups):
        lines += ([""] if index else []) + group
    return "\n".join(lines)


def _cross() -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        "✖".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return "x"
    return "✖"


def _order(judged: Judged) -> tuple[int, object]:
    return CLASS_ORDER.index(judged.change.change_class), judged.change.path


def _group(judged: Judged) -> Iterator[str]:
    impact = judged.impact
    yield from _wrapped("Error", judged.change.message)
    shown = ", ".join(_clean(n) for n in impact.affected) or (
        "unknown" if not impact.complete or impact.unknown else "none"
    )
    yield from _wrapped("Consumers Impacted", f"[{shown}]")
    if impact.unknown:
        yield from _wrapped("Consumers Unknown", f"[{', '.join(_clean(n) for n in impact.unknown)}]")
    yield from _wrapped("Action", judged.action)


def _wrapped(label: str, text: str) -> list[str]:
    indent = " " * (len(label) + 2)
    return textwrap.wrap(
        f"{label}: {_clean(text)}", WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _passed(verdict: Verdict) -> str:
    if verdict.first_publication:
        return f"Contract of {verdict.product} {verdict.new_version} is its first publication: nothing to compare with."
    count = len(verdict.judged)
    against = ", ".join(verdict.baselines)
    changes = (
        "no change"
        if not count
        else f"{count} change{'s' if count != 1 else ''}, all allowed by a {verdict.declared_step} step"
    )
    return f"Contract of {verdict.product} {verdict.new_version} is compatible with {against}: {changes}."
