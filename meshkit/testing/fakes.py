"""Ports kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from meshkit.ports import AuditRecord, Consumer, ConsumerSet, Grant, Principal, QueryLogRecord

__all__ = ["MemoryAudit", "MemoryQueryLog", "StaticConsumers", "StaticGrants"]


class MemoryAudit:
    """`ports.AuditSink`: `records` in order."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []

    def append(self, record: AuditRecord) -> None:
        """Keep one record."""
        self.records.append(record)


class MemoryQueryLog:
    """`ports.QueryLog`: `records` in order, numbered from 1."""

    def __init__(self, records: Iterable[QueryLogRecord] = ()) -> None:
        self.records = list(records)

    def append(self, record: QueryLogRecord) -> None:
        """Keep one record."""
        self.records.append(record)

    def read(self, *, after: int = 0) -> Iterator[tuple[int, QueryLogRecord]]:
        """Records above `after`."""
        yield from ((n, r) for n, r in enumerate(self.records, 1) if n > after)


class StaticConsumers:
    """`ports.ConsumerLookup`: the same consumers for every product; `complete=False` for a lookup that may miss some."""

    def __init__(self, *consumers: Consumer, complete: bool = True) -> None:
        self._set = ConsumerSet(consumers, complete=complete, source="static")

    def consumers(self, product: str) -> ConsumerSet:  # noqa: ARG002  # the port's signature
        """The given consumers."""
        return self._set


class StaticGrants:
    """`ports.Grants`: a fixed list, filtered as the catalog would: product, principal, time."""

    def __init__(self, *grants: Grant) -> None:
        self._grants = grants

    def revision(self) -> int:
        """Never changes."""
        return 1

    def grants_for(self, principal: Principal, product: str, *, at: datetime) -> tuple[Grant, ...]:
        """Those that are live."""
        names = {f"user:{principal.subject}", *(f"role:{r}" for r in principal.roles)}
        return tuple(g for g in self.active(product, at=at) if g.principal in names)

    def active(self, product: str, *, at: datetime) -> tuple[Grant, ...]:
        """Everybody's that are live."""
        found = (g for g in self._grants if g.product == product)
        return tuple(g for g in found if g.valid_from <= at and (g.valid_until is None or at < g.valid_until))
