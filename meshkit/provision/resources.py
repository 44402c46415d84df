"""Resources as values: what shall be (`Node`, `ResourceGraph`), what is (`Observed`), whose it is (`Marker`), and their names."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

__all__ = [
    "Marker", "Node", "Observed", "ProductFacts", "ResourceGraph", "Skipped", "Snapshot", "bounded", "digest", "generated_name", "h8",
]  # fmt: skip

Severity = Literal["security", "durability", "contract", "cosmetic"]

# Order of writing: containers, then what lies in them, then who may use it. Nobody writes before the guards stand.
RANK = {
    "s3.bucket": 0, "aws.s3_bucket": 0, "aws.glue_database": 0, "postgres.schema": 0, "kafka.topic": 0,
    "aws.s3_prefix": 1, "aws.glue_table": 1, "postgres.view": 1,
    "s3.identity": 2, "postgres.role": 2, "aws.iam_role": 2,
}  # fmt: skip
HOLDS_DATA = frozenset({"s3.bucket", "aws.s3_bucket", "aws.s3_prefix", "kafka.topic", "postgres.schema"})


def digest(value: Any) -> str:
    """`sha256:<hex>` over the canonical JSON of a value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def h8(*, mesh: str, environment: str, domain: str, name: str, role: str) -> str:
    """Eight hex digits that make a generated name unique: its readable part folds `.` and `_` into `-`."""
    joined = f"{mesh}\x1f{environment}\x1f{domain}\x1f{name}\x1f{role}"
    return hashlib.sha256(joined.encode()).hexdigest()[:8]


def generated_name(*, mesh: str, environment: str, domain: str, name: str, role: str, limit: int = 64) -> str:
    """`<mesh>-<env>-<domain>-<name>-<role>-<h8>`; only the readable part is cut to `limit`."""
    suffix = h8(mesh=mesh, environment=environment, domain=domain, name=name, role=role)
    readable = re.sub(r"[^a-z0-9-]", "-", f"{mesh}-{environment}-{domain}-{name}-{role}".lower())
    return f"{readable[: limit - 9].rstrip('-')}-{suffix}"


def bounded(name: str, limit: int) -> str:
    """`name`, or where it is too long its beginning and a hash of all of it."""
    return name if len(name) <= limit else f"{name[: limit - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Marker:
    """Whose a resource is. It stands on the resource itself, so that no state file has to be right."""

    owner: str
    mesh: str
    environment: str

    def to_json(self) -> dict[str, str]:
        """Tags, parameters or comment content."""
        return {"meshkit:owner": self.owner, "meshkit:mesh": self.mesh, "meshkit:env": self.environment}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Marker | None:
        """Inverse of `to_json`; None unless all three keys are there."""
        found = [value.get(f"meshkit:{key}") for key in ("owner", "mesh", "env")]
        return cls(*map(str, found)) if all(isinstance(v, str) for v in found) else None

    def __str__(self) -> str:
        return f"{self.owner} of {self.mesh}/{self.environment}"


@dataclass(frozen=True, slots=True)
class Node:
    """One resource as it shall be.

    `fields` are all that is managed, with defaults: what a manifest no longer says is reset. `shared`: a container that only has to be there;
    an existing one is used whoever made it, and never changed. `optional`: an unmarked resource of this name is used as it is. `context` is what
    a backend needs beside the fields; it is not compared. `source` is the system in mesh.yaml, or `aws`.
    """

    kind: str
    name: str
    owner: str
    product: str
    source: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    shared: bool = False
    optional: bool = False
    summary: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """`aws.s3_bucket/acme-prod-sales-orders`."""
        return f"{self.kind}/{self.name}"

    @property
    def holds_data(self) -> bool:
        """Whether destroying it would lose data."""
        return self.kind in HOLDS_DATA

    @property
    def rank(self) -> int:
        """Place in the order of writing."""
        return RANK[self.kind]

    def to_json(self) -> dict[str, Any]:
        """What counts for the hash of a graph."""
        return {
            "id": self.id, "owner": self.owner, "source": self.source, "fields": dict(self.fields), "needs": list(self.needs),
            "shared": self.shared, "optional": self.optional,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Observed:
    """One resource as it is. `fixed`: fields that this server can't change after creation. `manual`: why a person has to act first.

    `foreign` says why it is not ours where no marker can: the name is taken in another account, or lies inside somebody's prefix.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    marker: Marker | None = None
    fixed: frozenset[str] = frozenset()
    manual: str | None = None
    foreign: str | None = None

    @property
    def fingerprint(self) -> str:
        """Changes whenever what was observed does."""
        return digest([dict(self.fields), self.marker.to_json() if self.marker else None, self.manual, self.foreign])


Snapshot = Mapping[str, Observed | None]  # node id -> what is there


@dataclass(frozen=True, slots=True)
class Skipped:
    """A port that gets no resource here, and why. Never silent."""

    product: str
    port: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """As in `meshkit.provision.plan/1`."""
        return {"product": self.product, "port": self.port, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """What a deployment tells about one product: version, endpoints by port, roles by name, what is not enforced, remarks."""

    id: str
    version: str
    manifest: str
    endpoints: Mapping[str, str]
    roles: Mapping[str, str]
    not_enforced: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    has_source: bool = False

    @property
    def urn(self) -> str:
        """Owner of what belongs to the product alone."""
        domain, _, name = self.id.rpartition(".")
        return f"urn:mesh:{domain}:{name}"


@dataclass(frozen=True)
class ResourceGraph:
    """All resources of some products on one target, each once; a shared one names the first product that needs it."""

    target: str
    target_text: str
    account: str | None
    mesh: str
    environment: str
    nodes: tuple[Node, ...]
    skipped: tuple[Skipped, ...] = ()
    products: tuple[ProductFacts, ...] = ()

    @cached_property
    def by_id(self) -> Mapping[str, Node]:
        """Nodes by id."""
        return {n.id: n for n in self.nodes}

    @cached_property
    def hash(self) -> str:
        """Equal for graphs that mean the same."""
        return digest(
            [
                self.target,
                self.mesh,
                self.environment,
                sorted(json.dumps(n.to_json(), sort_keys=True, default=str) for n in self.nodes),
            ]
        )

    def marker(self, node: Node) -> Marker:
        """The marker that a resource of this graph carries."""
        return Marker(node.owner, self.mesh, self.environment)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.provision.graph/1`."""
        return {
            "format": "meshkit.provision.graph/1",
            "target": self.target,
            "hash": self.hash,
            "nodes": [n.to_json() for n in self.nodes],
        }
