"""What each runtime enforces, accepts without effect, or lacks: one table for status, provision, publishers and the demo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from meshkit.local.errors import UnknownService
from meshkit.local.layout import RuntimeName

__all__ = ["Capability", "capabilities", "not_enforced"]

Strength = Literal["enforced", "accepted", "absent"]


@dataclass(frozen=True, slots=True)
class Capability:
    """`enforced`: works as in production. `accepted`: kept, without effect. `absent`: not there; `note` says what happens instead."""

    state: Strength
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Form in `meshkit.local.status/1`."""
        return {"state": self.state, "note": self.note}


_YES, _KEPT = Capability("enforced"), Capability("accepted", "topics keep the setting, nothing is compacted")


def _no(note: str | None = None) -> Capability:
    return Capability("absent", note)


_AT_LEAST_ONCE = "publishers run at_least_once"
_TABLE: dict[str, tuple[Capability, Capability, Capability]] = {  # embedded, jvm, docker
    "postgres.logical_replication": (_YES, _YES, _YES),
    "postgres.roles": (_YES, _YES, _YES),
    "s3.identity_policies": (_YES, _YES, _YES),
    "s3.bucket_policy": (_YES, _YES, _YES),
    "s3.conditional_put": (_YES, _YES, _YES),
    "s3.versioning": (_YES, _YES, _YES),
    "sql.duckdb": (_YES, _YES, _YES),
    "policy.rego": (_YES, _YES, _YES),
    "kafka.acls": (_no("every client may read and write every topic"), _YES, _YES),
    "kafka.authentication": (_no("clients connect without login"), _YES, _YES),
    "kafka.transactions": (_no(_AT_LEAST_ONCE), _YES, _YES),
    "kafka.idempotence": (_no(_AT_LEAST_ONCE), _YES, _YES),
    "kafka.add_partitions": (_no("choose the number of partitions when the topic is made"), _YES, _YES),
    "kafka.compaction": (_KEPT, _YES, _YES),
    "kafka.topics": (_YES, _YES, _YES),
    "kafka.groups": (_YES, _YES, _YES),
    "kafka.durable": (_YES, _YES, _YES),
    "s3.roles": (_no("products use access keys instead of AssumeRole"), _no(), _no()),
    "s3.public_access_block": (_no(), _no(), _no()),
    "s3.kms": (_no(), _no(), _no()),
    "tls": (
        _no("servers listen on 127.0.0.1 only"),
        _no("servers listen on 127.0.0.1 only"),
        _no("ports are published on 127.0.0.1 only"),
    ),
    "glue": (_no("the local catalog is used"), _no("the local catalog is used"), _no("the local catalog is used")),
    "sql.trino": (_no(), _YES, _YES),
    "policy.opa_server": (_no("policies are evaluated in process"), _no("policies are evaluated in process"), _YES),
    "metrics.prometheus": (_no("scrape /metrics"), _no("scrape /metrics"), _YES),
    "metrics.grafana": (_no(), _no(), _YES),
}
_COLUMNS: tuple[RuntimeName, ...] = ("embedded", "jvm", "docker")
# What a product may rely on for safety; their absence is said aloud at every start, in this order.
_SAID_AT_START = ("kafka.acls", "kafka.transactions", "kafka.idempotence", "s3.roles", "s3.public_access_block", "tls")


def capabilities(runtime: str) -> Mapping[str, Capability]:
    """The capabilities of a runtime by name. Raises: `UnknownService` for a runtime that does not exist."""
    if runtime not in _COLUMNS:
        raise UnknownService(runtime, _COLUMNS)
    column = _COLUMNS.index(runtime)
    return MappingProxyType({name: row[column] for name, row in _TABLE.items()})


def not_enforced(runtime: str, services: tuple[str, ...] = ("postgres", "s3", "broker")) -> tuple[str, ...]:
    """Names that `meshkit up` lists as not enforced, for the services that run."""
    table = capabilities(runtime)
    family = {"kafka": "broker", "s3": "s3"}
    return tuple(
        name
        for name in _SAID_AT_START
        if table[name].state != "enforced"
        and family.get(name.partition(".")[0], services[0] if services else "") in services
    )
