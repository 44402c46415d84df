"""Values of the contract gate: changes, diffs, findings, verdicts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from meshkit._yaml import Span

__all__ = ["CLASS_ORDER", "Change", "ChangeClass", "ContractDiff", "Effect", "Finding", "Path", "show_path"]

Effect = Literal["loosens", "tightens", "both", "undecidable", "documents", "governance"]
ChangeClass = Literal["major", "minor", "patch", "review", "policy"]
CLASS_ORDER: tuple[ChangeClass, ...] = ("major", "policy", "review", "minor", "patch")
Path = tuple[tuple[str, str], ...]


def show_path(path: Path) -> str:
    """`orders.lines[].sku` for people; steps stay typed everywhere else."""
    text = ""
    for kind, name in path:
        if kind in {"items", "values"}:
            text += "[]" if kind == "items" else "{}"
        elif name:
            text += f".{name}" if text else name
    return text


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two versions, as a reader of the data sees it.

    `rule` is its name in the rule table, `change_class` the version step it needs for the perspective, `columns` the top-level columns it
    touches (`object.field`), empty when the whole object or product is touched.
    """

    rule: str
    change_class: ChangeClass
    effect: Effect
    path: Path
    before: Any = None
    after: Any = None
    message: str = ""
    producer_risk: bool = False
    ports: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    location: tuple[str, Span] | None = field(default=None, compare=False)
    removed_name: str | None = None
    fingerprint: str = ""

    def marked(self, product: str, major: int) -> str:
        """12 hex digits that stay the same while the change does: for waivers."""
        facts = [product, major, self.rule, [list(step) for step in self.path], self.before, self.after]
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """One entry of `changes`."""
        place = None
        if self.location is not None:
            file, span = self.location
            place = {"file": file, "line": span.line, "column": span.column}
        return {
            "rule": self.rule, "class": self.change_class, "effect": self.effect, "path": [list(s) for s in self.path], "before": self.before,
            "after": self.after, "message": self.message, "producer_risk": self.producer_risk, "ports": list(self.ports),
            "fingerprint": self.fingerprint, "location": place,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ContractDiff:
    """All changes from one version to another, worst class first, then by path."""

    product: str
    old_version: str
    new_version: str
    changes: tuple[Change, ...] = ()
    perspective: str = "consumer"
    fail_on: ChangeClass | None = None
    deprecated: Mapping[str, Any] = field(default_factory=dict)  # path text -> Deprecation of the old version

    @property
    def step(self) -> ChangeClass | None:
        """The worst class, or None without changes."""
        found = {c.change_class for c in self.changes}
        return next((k for k in CLASS_ORDER if k in found), None)

    @property
    def exit_code(self) -> int:
        """1 only if a class at or above `fail_on` was asked for and is there."""
        if self.fail_on is None:
            return 0
        bar = CLASS_ORDER.index(self.fail_on)
        return int(any(CLASS_ORDER.index(c.change_class) <= bar for c in self.changes))

    def to_text(self) -> str:
        """A line per change."""
        head = f"{self.product} {self.old_version} -> {self.new_version}: {len(self.changes)} change{'s' if len(self.changes) != 1 else ''}"
        lines = [f"  {c.change_class:<6}  {c.rule:<24}  {c.message}" for c in self.changes]
        return "\n".join([head, *lines])

    def to_json(self) -> dict[str, Any]:
        """`meshkit.contracts.diff/1`."""
        return {
            "format": "meshkit.contracts.diff/1", "product": self.product, "old_version": self.old_version, "new_version": self.new_version,
            "perspective": self.perspective, "step": self.step, "changes": [c.to_json() for c in self.changes],
        }  # fmt: skip

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><td>{c.change_class}</td><td><code>{c.rule}</code></td><td>{escape(c.message)}</td></tr>"
            for c in self.changes
        )
        head = "<thead><tr><th>class</th><th>rule</th><th></th></tr></thead>"
        return f"<div><strong>{escape(self.product)}</strong> {escape(self.old_version)} → {escape(self.new_version)}<table>{head}<tbody>{rows}</tbody></table></div>"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of the version, a waiver or a policy, not of one change."""

    rule: str
    severity: Literal["error", "warning", "info"]
    message: str

    def to_json(self) -> dict[str, Any]:
        """One entry of `findings`."""
        return {"rule": self.rule, "severity": self.severity, "message": self.message}
