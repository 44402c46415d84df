"""`Plan`: what a deploy would do, as a printable value. Source: provision sections 1 and 3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Any, Literal

from meshkit.provision.resources import Node, ResourceGraph, Severity

__all__ = ["Action", "Change", "Plan", "PlanNode"]

Action = Literal["create", "update", "noop", "conflict", "orphan", "manual", "blocked", "skipped"]
_ACTIONS: tuple[Action, ...] = ("create", "update", "noop", "conflict", "orphan", "manual", "blocked", "skipped")
_SIGNS = {"create": "+", "update": "~", "conflict": "!", "manual": "!", "blocked": "!", "orphan": "?", "skipped": "!"}


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs. `disruptive`: consumers or data notice."""

    path: str
    before: Any
    after: Any
    severity: Severity
    disruptive: bool = False

    def to_json(self) -> dict[str, Any]:
        """As in the plan."""
        return {"path": self.path, "before": self.before, "after": self.after, "severity": self.severity}

    def __str__(self) -> str:
        simple = all(isinstance(v, str | int | bool | None) for v in (self.before, self.after))
        text = f"{_word(self.before)} -> {_word(self.after)}" if simple else "changed"
        return f"{self.path}: {text} ({self.severity})"


def _word(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class PlanNode:
    """What happens with one resource, and why."""

    node: Node
    action: Action
    reason: str | None = None
    changes: tuple[Change, ...] = ()
    fingerprint: str | None = None

    @property
    def disruptive(self) -> bool:
        """Whether it needs `--allow disruptive`."""
        return any(c.disruptive for c in self.changes)

    @property
    def writes(self) -> bool:
        """Whether a deploy would write."""
        return self.action in {"create", "update"}

    def to_json(self) -> dict[str, Any]:
        """As in `meshkit.provision.plan/1`."""
        return {
            "id": self.node.id, "kind": self.node.kind, "owner": self.node.owner, "action": self.action, "reason": self.reason,
            "disruptive": self.disruptive, "fingerprint": self.fingerprint, "needs": list(self.node.needs),
            "changes": [c.to_json() for c in self.changes],
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """All nodes with what would happen to them. `expires_at`: a plan older than that is made again."""

    graph: ResourceGraph
    nodes: tuple[PlanNode, ...]
    expires_at: datetime | None = None
    blocked_products: frozenset[str] = field(default_factory=frozenset)

    @property
    def summary(self) -> Mapping[str, int]:
        """How many nodes per action; `skipped` counts ports too."""
        counts: dict[str, int] = {a: sum(n.action == a for n in self.nodes) for a in _ACTIONS}
        return {**counts, "skipped": counts["skipped"] + len(self.graph.skipped)}

    @property
    def changes(self) -> int:
        """How many resources a deploy would write."""
        return sum(n.writes for n in self.nodes)

    @property
    def exit_code(self) -> int:
        """1 where something is blocked."""
        return 1 if self.blocked_products else 0

    def to_text(self) -> str:
        """What a person decides by: nodes that are as they shall be are left out."""
        lines: list[str] = []
        width = max((len(n.node.kind) for n in self.nodes if n.action != "noop"), default=0)
        for product in self.graph.products:
            lines.append(f"{product.id} {product.version} -> {self.graph.target_text}")
            for item in self.nodes:
                if item.node.product == product.id:
                    lines += _lines(item, width)
            lines += [
                f"  ! port {s.port} not provisioned: {s.reason}" for s in self.graph.skipped if s.product == product.id
            ]
            lines += [f"  ! {note}" for note in product.notes]
        missing = sorted({text for product in self.graph.products for text in product.not_enforced})
        if missing:
            lines.append(f"Not enforced here: {', '.join(missing)}")
        s = self.summary
        lines.append(f"Plan: {s['create']} to create, {s['update']} to update, 0 to delete, {s['conflict']} conflicts.")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.provision.plan/1`."""
        return {
            "format": "meshkit.provision.plan/1",
            "target": self.graph.target,
            "account": self.graph.account,
            "graph": self.graph.hash,
            "expires_at": self.expires_at.isoformat().replace("+00:00", "Z") if self.expires_at else None,
            "summary": dict(self.summary),
            "skipped": [s.to_json() for s in self.graph.skipped],
            "nodes": [n.to_json() for n in self.nodes],
        }

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"


def _lines(item: PlanNode, width: int) -> Iterator[str]:
    if item.action == "noop":
        return
    tail = item.reason or (item.node.summary if item.writes else "")
    word = "" if item.action in {"create", "update"} else f"{item.action}: "
    yield f"  {_SIGNS[item.action]} {item.node.kind:<{width}}  {item.node.name}{f'      {word}{tail}' if tail else ''}"
    for change in item.changes:
        yield f"      {change}{', disruptive' if change.disruptive else ''}"
