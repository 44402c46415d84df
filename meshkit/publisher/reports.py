"""Values that people look at: plan, run report, status, doctor. Each knows its text, JSON and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

from meshkit.ports import Position
from meshkit.publisher.position import format_lsn

__all__ = ["Check", "DoctorReport", "PublisherPlan", "PublisherStatus", "RunReport"]

_STATES = ("caught_up", "stopped")


class _Shown:
    def to_text(self) -> str:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"


@dataclass(frozen=True)
class PublisherPlan(_Shown):
    """What a run would do: SQL, topics, columns. Making one changes nothing."""

    product: str
    topic: str
    slot: str
    publication: str
    statements: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    mapping: str
    warnings: tuple[str, ...] = ()
    exit_code: int = 0

    def to_text(self) -> str:
        lines = [f"{self.product} -> {self.topic}   slot {self.slot}, publication {self.publication}"]
        lines += [f"  {table}: {', '.join(columns)}" for table, columns in self.columns.items()]
        lines += [f"  run: {s}" for s in self.statements] or ["  slot and publication are as needed"]
        return "\n".join([*lines, *(f"  warning: {w}" for w in self.warnings)])

    def to_json(self) -> dict[str, Any]:
        return {
            "format": "meshkit.publisher.plan/1", "product": self.product, "topic": self.topic, "slot": self.slot,
            "publication": self.publication, "statements": list(self.statements), "columns": {t: list(c) for t, c in self.columns.items()},
            "mapping": self.mapping, "warnings": list(self.warnings),
        }  # fmt: skip


@dataclass(frozen=True)
class RunReport(_Shown):
    """What a run did and why it ended. `stop_reason`: stopped, caught_up, or the code of a stop such as `publisher.truncated`."""

    product: str
    stop_reason: str
    message: str = ""
    events: int = 0
    dead_letters: int = 0
    chunks: int = 0
    restarts: int = 0
    suppressed: int = 0
    superseded: int = 0
    first_position: Position | None = None
    last_position: Position | None = None

    @property
    def exit_code(self) -> int:
        """0 for an asked end, 3 for slot in use and spent retries, else 1."""
        if self.stop_reason in _STATES:
            return 0
        return 3 if self.stop_reason in {"publisher.slot_in_use", "publisher.retries_spent"} else 1

    def to_text(self) -> str:
        at = format_lsn(self.last_position.commit_end_lsn) if self.last_position else "-"
        text = (
            f"{self.product}: {self.stop_reason} at {at}, {self.events} events, {self.dead_letters} dead letters, "
            f"{self.chunks} chunks, {self.restarts} restarts"
        )
        return f"{text}\n{self.message}" if self.message else text

    def to_json(self) -> dict[str, Any]:
        return {
            "format": "meshkit.publisher.run/1", "product": self.product, "stop_reason": self.stop_reason, "message": self.message,
            "events": self.events, "dead_letters": self.dead_letters, "chunks": self.chunks, "restarts": self.restarts,
            "suppressed": self.suppressed, "superseded": self.superseded,
            "first_position": _lsn(self.first_position), "last_position": _lsn(self.last_position),
        }  # fmt: skip


def _lsn(position: Position | None) -> str | None:
    return None if position is None else format_lsn(position.commit_end_lsn)


@dataclass(frozen=True)
class PublisherStatus(_Shown):
    """`meshkit.publisher.status/1`: slot and sink positions, from any process; counters only in the one that runs."""

    product: str
    topic: str
    state: str
    lag_bytes: int | None
    lag_seconds: float | None
    slot: Mapping[str, Any] | None
    sinks: Sequence[Mapping[str, Any]] = ()
    snapshots: Sequence[Mapping[str, Any]] = ()
    mapping: str = ""
    dead_letters: int | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    max_lag_seconds: float | None = None

    @property
    def exit_code(self) -> int:
        """1 if stalled, lost, or over the allowed lag."""
        late = self.max_lag_seconds is not None and (
            self.lag_seconds is None or self.lag_seconds > self.max_lag_seconds
        )
        return 1 if late or self.state in {"stalled", "failed"} else 0

    def to_text(self) -> str:
        behind = "unknown" if self.lag_bytes is None else f"{self.lag_bytes} bytes"
        lines = [f"{self.product}: {self.state}, {behind} behind"]
        if self.slot:
            lines.append(
                f"  slot {self.slot['name']}: confirmed {self.slot['confirmed_flush_lsn']}, keeps {self.slot['retained_bytes']} bytes"
            )
        lines += [f"  sink {s['name']}: {s['commit_end_lsn'] or 'nothing yet'}" for s in self.sinks]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": "meshkit.publisher.status/1", "product": self.product, "topic": self.topic, "state": self.state,
            "lag_bytes": self.lag_bytes, "lag_seconds": self.lag_seconds, "slot": None if self.slot is None else dict(self.slot),
            "sinks": [dict(s) for s in self.sinks], "snapshots": [dict(s) for s in self.snapshots], "dead_letters": self.dead_letters,
            "mapping": self.mapping, "counters": dict(self.counters),
        }  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One finding of the doctor."""

    id: str
    result: Literal["ok", "warn", "fail"]
    message: str
    repair_sql: tuple[str, ...] = ()


@dataclass(frozen=True)
class DoctorReport(_Shown):
    """`meshkit.publisher.doctor/1`."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(c.result != "fail" for c in self.checks)

    @property
    def exit_code(self) -> int:
        """1 if a check failed."""
        return 0 if self.ok else 1

    def to_text(self) -> str:
        lines = []
        for check in self.checks:
            lines.append(f"{check.result:5} {check.id}: {check.message}")
            lines += [f"      {s}" for s in check.repair_sql]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": "meshkit.publisher.doctor/1", "ok": self.ok,
            "checks": [{"id": c.id, "result": c.result, "message": c.message, "repair_sql": list(c.repair_sql)} for c in self.checks],
        }  # fmt: skip
