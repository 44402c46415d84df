"""Addresses of nodes: products, their columns, datasets outside the mesh, jobs and consumers. Source: catalog-lineage-slo section 1."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from meshkit.errors import UsageError

__all__ = ["At", "NodeRef", "column_urn", "consumer_urn", "dataset_urn", "instant", "label", "node_kind", "parse_ref", "product_id", "product_urn", "split_column"]  # fmt: skip

At = datetime | date | str | None
_PREFIX = "urn:mesh:"
_MAJOR = re.compile(r"v\d+")


@dataclass(frozen=True, slots=True)
class NodeRef:
    """What a user typed: a node, and perhaps a port and a column of it."""

    urn: str
    port: str | None = None
    column: str | None = None


def product_urn(product: str) -> str:
    """`sales.eu.orders` -> `urn:mesh:sales.eu:orders`."""
    domain, _, name = product.rpartition(".")
    return f"{_PREFIX}{domain}:{name}"


def product_id(urn: str) -> str | None:
    """`urn:mesh:sales:orders[:v1][#column]` -> `sales.orders`; None for what is no product."""
    if not urn.startswith(_PREFIX):
        return None
    parts = urn.partition("#")[0][len(_PREFIX) :].split(":")
    if len(parts) < 2:
        return None
    return f"{parts[0]}.{parts[1]}" if parts[0] else parts[1]


def consumer_urn(name: str) -> str:
    """A team, person or dashboard that reads."""
    return f"consumer:{name}"


def dataset_urn(namespace: str, name: str) -> str:
    """A table or system that is no product."""
    return f"dataset:{namespace}|{name}"


def column_urn(urn: str, column: str) -> str:
    """A column of a node."""
    return f"{urn}#{column}"


def split_column(urn: str) -> tuple[str, str | None]:
    """Node and column of an address."""
    node, mark, column = urn.partition("#")
    return node, column if mark else None


def node_kind(urn: str) -> str:
    """`product`, `consumer`, `dataset` or `job`."""
    return "product" if urn.startswith(_PREFIX) else urn.partition(":")[0]


def label(urn: str) -> str:
    """How people name an address: `sales.orders`, `sales.orders#total`, `marketing`, `ads.google`."""
    node, column = split_column(urn)
    product = product_id(node)
    if product is None:
        rest = node.partition(":")[2]
        product = rest.partition("|")[2] or rest
    return product if column is None else f"{product}#{column}"


def parse_ref(text: str) -> NodeRef:
    """`sales.orders`, `sales.orders/lake#total`, a URN, `consumer:x`, `dataset:ns|name`. Raises: `UsageError`."""
    if text.startswith(("consumer:", "dataset:", "job:")):
        node, column = split_column(text)
        return NodeRef(node, None, column)
    body, column = split_column(text)
    body, _, port = body.partition("/")
    if body.startswith(_PREFIX):
        parts = body[len(_PREFIX) :].split(":")
        if len(parts) not in {2, 3} or (len(parts) == 3 and not _MAJOR.fullmatch(parts[2])) or not all(parts):
            raise UsageError(
                f"{text!r} is no address of a product. Write urn:mesh:<domain>:<name>", code="lineage.bad_ref"
            )
        return NodeRef(f"{_PREFIX}{parts[0]}:{parts[1]}", port or None, column)
    if "." not in body or not all(body.split(".")):
        raise UsageError(
            f"{text!r} is no address. Write <domain>.<name>, for example sales.orders", code="lineage.bad_ref"
        )
    return NodeRef(product_urn(body), port or None, column)


def instant(at: At, *, now: datetime) -> datetime:
    """The instant `at` names: a date is the end of that UTC day, nothing is later than `now`. Raises: `UsageError` for naive times."""
    if at is None:
        return now
    if isinstance(at, str):
        try:
            at = date.fromisoformat(at) if len(at) == 10 else datetime.fromisoformat(at)
        except ValueError:
            raise UsageError(
                f"{at!r} is no date or time. Write 2026-11-24 or 2026-11-24T09:00:00Z", code="time.syntax"
            ) from None
    if not isinstance(at, datetime):
        at = datetime.combine(at, time(), UTC) + timedelta(days=1, microseconds=-1)
    if at.tzinfo is None:
        raise UsageError("a time without zone was given. Add Z or an offset", code="time.naive")
    return min(at.astimezone(UTC), now)
