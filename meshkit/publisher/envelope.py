"""Events to the letter: envelope JSON, canonical key, CloudEvents headers. Equal input gives equal bytes. Source: publisher section 3."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from meshkit.ports import Event, RunContext
from meshkit.publisher.natural import json_ready
from meshkit.publisher.position import format_lsn
from meshkit.types import Struct

__all__ = ["Envelope", "Moment", "topic_of"]

PG_EPOCH_US = 946_684_800_000_000


def topic_of(domain: str, name: str, major: int) -> str:
    """`mesh.<domain>.<product>.v<major>`."""
    return f"mesh.{domain}.{name}.v{major}"


@dataclass(frozen=True, slots=True)
class Moment:
    """What all events of one transaction (or snapshot chunk) share: its commit, time and trace."""

    origin: str  # `system_id:commit_lsn`, or `system_id:s<snapshot>:<chunk>`
    timestamp: str
    timestamp_us: int  # since 1970
    trace_id: str
    flags: str = "01"

    @classmethod
    def of(cls, origin: str, pg_us: int, *, trace_id: str | None = None) -> Moment:
        """`pg_us`: microseconds since 2000. The trace is that of the application, else derived from the origin."""
        us = pg_us + PG_EPOCH_US
        instant = datetime.fromtimestamp(us // 1_000_000, UTC).replace(tzinfo=None)
        fraction = f".{us % 1_000_000:06d}" if us % 1_000_000 else ""
        trace = trace_id or hashlib.sha256(origin.encode()).hexdigest()[:32]
        return cls(origin, f"{instant.isoformat()}{fraction}Z", us, trace)


@dataclass(slots=True)
class Envelope:
    """Encodes the events of one product."""

    run: RunContext
    source_urn: str
    _value_ready: Any = field(init=False)
    _key_ready: Any = field(init=False)

    def __post_init__(self) -> None:
        self._value_ready = _members(self.run.row_type)
        keyed = {f.name: f for f in self.run.row_type.fields if f.name in self.run.key}
        self._key_ready = [(n, json_ready(f.type)) for n, f in keyed.items()]  # schema order

    def key(self, values: Mapping[str, Any]) -> bytes:
        """`{"order_id":1}`: the key fields in schema order."""
        import orjson

        shown = {}
        for name, ready in self._key_ready:
            value = values[name]
            shown[name] = value if ready is None or value is None else ready(value)
        return orjson.dumps(shown)

    def encode(self, op: str, event_id: str, at: tuple[Any, int, int], moment: Moment, key: Mapping[str, Any],
               payload: Mapping[str, Any] | None, *, key_bytes: bytes | None = None) -> Event:  # fmt: skip
        """One event; `payload=None` gives a tombstone."""
        key_bytes = self.key(key) if key_bytes is None else key_bytes
        value = None if payload is None else self._value(op, event_id, at, moment, payload)
        return Event(op, event_id, moment.trace_id, moment.timestamp, moment.timestamp_us, at, key_bytes, value,  # type: ignore[arg-type]
                     self._headers(op, event_id, at, moment), key, payload)  # fmt: skip

    def _value(
        self, op: str, event_id: str, at: tuple[Any, int, int], moment: Moment, payload: Mapping[str, Any]
    ) -> bytes:
        import orjson

        if isinstance(at[0], int):
            source: dict[str, Any] = {"commit_lsn": format_lsn(at[0]), "change_lsn": format_lsn(at[1]), "index": at[2]}
        else:
            source = {"snapshot": at[0], "chunk": at[1], "index": at[2]}
        shown = dict(payload)
        for name, ready in self._value_ready:
            value = shown.get(name)
            if value is not None:
                shown[name] = ready(value)
        metadata = {
            "product": self.run.product, "version": self.run.version, "timestamp": moment.timestamp, "trace_id": moment.trace_id,
            "event_id": event_id, "op": op, "source": source,
        }  # fmt: skip
        return orjson.dumps({"metadata": metadata, "payload": shown})

    def _headers(
        self, op: str, event_id: str, at: tuple[Any, int, int], moment: Moment
    ) -> tuple[tuple[str, bytes], ...]:
        span = hashlib.sha256(event_id.encode()).hexdigest()[:16]
        place = (
            f"{format_lsn(at[0])}:{format_lsn(at[1])}:{at[2]}"
            if isinstance(at[0], int)
            else f"s{at[0]}:{at[1]}:{at[2]}"
        )
        return (
            ("content-type", b"application/json"),
            ("ce_specversion", b"1.0"),
            ("ce_id", event_id.encode()),
            ("ce_source", self.source_urn.encode()),
            ("ce_type", f"{self.run.product}.v{self.run.major}.{op}".encode()),
            ("ce_time", moment.timestamp.encode()),
            ("traceparent", f"00-{moment.trace_id}-{span}-{moment.flags}".encode()),
            ("mesh_version", self.run.version.encode()),
            ("mesh_position", place.encode()),
        )


def _members(row: Struct) -> list[tuple[str, Any]]:
    pairs = [(f.name, json_ready(f.type)) for f in row.fields]
    return [(n, r) for n, r in pairs if r is not None]
