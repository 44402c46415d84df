"""What has to happen: desired resources against observed ones. Pure. Source: provision section 3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from meshkit.provision.plan import Change, Plan, PlanNode
from meshkit.provision.policies import canonical_policy
from meshkit.provision.resources import Node, Observed, ResourceGraph, Severity, Snapshot

__all__ = ["DiffOptions", "diff_graph", "diff_node"]

_POLICY_FIELDS = frozenset({"policy", "trust"})
_SETS = frozenset({"other_policies", "grants", "attributes", "member_of", "attached"})
_SECURITY = frozenset(
    {
        "policy",
        "trust",
        "other_policies",
        "grants",
        "attributes",
        "member_of",
        "attached",
        "boundary",
        "credential",
        "public_access",
        "ownership",
    }
)
_DURABILITY = frozenset(
    {
        "versioning",
        "encryption",
        "lifecycle",
        "replication",
        "retention.ms",
        "cleanup.policy",
        "min.insync.replicas",
        "partitions",
    }
)
_CONTRACT = frozenset({"columns", "partition_keys", "location", "format", "definition"})


@dataclass(frozen=True, slots=True)
class DiffOptions:
    """What may happen without asking again. `allow_disruptive`: changes that consumers or data notice."""

    allow_disruptive: bool = False
    expires_at: datetime | None = None


def diff_graph(
    graph: ResourceGraph,
    snapshot: Snapshot,
    options: DiffOptions = DiffOptions(),
    *,
    owned: Iterable[tuple[Node, Observed]] = (),
) -> Plan:
    """The plan that makes `snapshot` into `graph`. `owned`: resources of these products that are there, for orphans.

    A node that a person has to look at first (conflict, manual, disruptive without leave) blocks every write of its product.
    """
    marker = graph.marker
    items = [diff_node(n, snapshot.get(n.id), marker_text=str(marker(n)), options=options) for n in graph.nodes]
    blocked = {i.node.product: i for i in items if i.action in {"conflict", "manual", "blocked"}}
    users = _users(graph)
    items = [_held(i, blocked, users.get(i.node.id, frozenset())) for i in items]
    known = graph.by_id
    orphans = [
        PlanNode(n, "orphan", "no manifest asks for it any more", (), o.fingerprint)
        for n, o in owned
        if n.id not in known
    ]
    return Plan(graph, (*items, *sorted(orphans, key=lambda o: o.node.id)), options.expires_at, frozenset(blocked))


def _users(graph: ResourceGraph) -> dict[str, frozenset[str]]:
    """Products that need a node, by its id."""
    found: dict[str, set[str]] = {}
    for node in graph.nodes:
        for need in node.needs:
            found.setdefault(need, set()).add(node.product)
    return {k: frozenset(v) for k, v in found.items()}


def _held(item: PlanNode, blocked: Mapping[str, PlanNode], users: frozenset[str]) -> PlanNode:
    """A node of a blocked product waits; a shared one only where no other product needs it."""
    cause = blocked.get(item.node.product)
    if cause is None or not item.writes or (item.node.shared and users - set(blocked)):
        return item
    return replace(item, action="blocked", reason=f"waits for {cause.node.id} ({cause.action})")


def diff_node(node: Node, seen: Observed | None, *, marker_text: str, options: DiffOptions = DiffOptions()) -> PlanNode:
    """What has to happen with one node."""
    if seen is None:
        return PlanNode(node, "create")
    if node.shared:
        return PlanNode(node, "noop", None, (), seen.fingerprint)
    if seen.foreign is not None:
        return PlanNode(node, "conflict", seen.foreign, (), seen.fingerprint)
    if seen.marker is None and node.optional:
        return PlanNode(node, "skipped", "it exists without a marker and is used as it is", (), seen.fingerprint)
    if seen.marker is None or str(seen.marker) != marker_text:
        whose = f"belongs to {seen.marker}" if seen.marker else "exists without an owner's marker"
        return PlanNode(node, "conflict", whose, (), seen.fingerprint)
    if seen.manual is not None:
        return PlanNode(node, "manual", seen.manual, (), seen.fingerprint)
    changes = tuple(_changes(node, seen))
    stuck = [c.path for c in changes if c.path in seen.fixed or _is_immutable(c)]
    if stuck:
        return PlanNode(
            node,
            "manual",
            f"{', '.join(stuck)} can't be changed in place; make a new one and move",
            changes,
            seen.fingerprint,
        )
    item = PlanNode(node, "update" if changes else "noop", None, changes, seen.fingerprint)
    if item.disruptive and not options.allow_disruptive:
        return replace(item, action="blocked", reason="disruptive: needs --allow disruptive")
    return item


def _changes(node: Node, seen: Observed) -> Iterable[Change]:
    for path, after in sorted(node.fields.items()):
        before = seen.fields.get(path)
        if not _same(path, before, after):
            yield Change(path, before, after, severity_of(path), _is_disruptive(path, before, after))


def _same(path: str, before: Any, after: Any) -> bool:
    if path in _POLICY_FIELDS and before is not None and after is not None:
        return canonical_policy(before) == canonical_policy(after)
    if path in _SETS and isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return sorted(map(str, before)) == sorted(map(str, after))
    return bool(before == after)


def severity_of(path: str) -> Severity:
    """How bad a difference of a field is."""
    if path in _SECURITY:
        return "security"
    if path in _DURABILITY:
        return "durability"
    return "contract" if path in _CONTRACT else "cosmetic"


def _is_immutable(change: Change) -> bool:
    if change.path in {"region", "replication"}:
        return True
    return change.path == "partitions" and isinstance(change.before, int) and change.before > change.after


def _is_disruptive(path: str, before: Any, after: Any) -> bool:
    """More partitions move keys, less retention loses data, so does compact -> delete."""
    if path == "partitions":
        return True
    if path == "retention.ms":
        kept, wanted = (float("inf") if str(v) == "-1" else float(v or 0) for v in (before, after))
        return wanted < kept
    return (path == "cleanup.policy" and before == "compact") or (path == "encryption" and before is not None)
