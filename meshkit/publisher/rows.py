"""The row path: one change of the stream to drafts of events. Resolves unchanged values, judges `where`, makes tombstones.

Source: publisher sections 2 and 6.4.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal as Number
from typing import Any, Literal, Protocol

from meshkit.ports import DeadLetter
from meshkit.publisher.binding import BoundTable
from meshkit.publisher.decoders import pgoutput as p
from meshkit.publisher.decoders.values import to_text
from meshkit.publisher.envelope import Envelope, Moment
from meshkit.publisher.errors import PublisherStop, RowFailure, SourceUnavailable
from meshkit.publisher.natural import from_written
from meshkit.publisher.position import format_lsn

__all__ = ["Draft", "RowPath", "Rows", "Transaction"]

TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})$")
VISIBLE_SECONDS = 60.0


@dataclass(slots=True)
class Transaction:
    """The transaction whose changes are passing."""

    commit_lsn: int
    commit_us: int
    xid: int
    moment: Moment
    last_lsn: int = -1
    index: int = -1

    def number(self, lsn: int) -> int:
        """Index of the next change among those of its LSN."""
        self.index = self.index + 1 if lsn == self.last_lsn else 0
        self.last_lsn = lsn
        return self.index


@dataclass(slots=True)
class Draft:
    """An event before guards and encoding. `row` are the natural values of the columns that were read, for a dead letter."""

    op: str
    event_id: str
    at: tuple[Any, int, int]
    moment: Moment
    key: Mapping[str, Any]
    payload: dict[str, Any] | None
    key_bytes: bytes
    row: Mapping[str, str | None] = field(default_factory=dict)


class Rows(Protocol):
    """Reads single rows beside the stream, under a snapshot that sees a transaction."""

    def read_row(
        self, table: str, columns: Any, key: Any, values: Any, sees: Callable[[Any], bool]
    ) -> list[list[bytes | None]] | None:
        """Binary values; empty if the row is gone, None if the snapshot is too old."""


@dataclass(slots=True)
class RowPath:
    """Turns changes into drafts and dead letters. One per run; `start_chunk` forgets the values kept for unchanged columns."""

    envelope: Envelope
    source: Rows
    system_id: str
    state_changes: bool = False
    suppressed: int = 0
    superseded: int = 0
    _last: dict[tuple[int, Any], list[Any] | None] = field(default_factory=dict)

    def start_chunk(self) -> None:
        """A new chunk begins: values of the last one are not kept."""
        self._last.clear()

    def change(self, table: BoundTable, message: Any, at: tuple[int, int, int], transaction: Transaction
               ) -> tuple[list[Draft], list[DeadLetter], list[bytes]]:  # fmt: skip
        """Drafts, dead letters, and the keys touched, old and new."""
        event_id = f"{self.system_id}:{format_lsn(at[0])}:{format_lsn(at[1])}:{at[2]}"
        row: list[Any] | None = None
        touched: list[bytes] = []
        try:
            if table.plan.outbox is not None:
                return (self._outbox(table, message, event_id, at, transaction), [], [])
            if isinstance(message, p.Delete):
                return self._delete(table, message, event_id, at, transaction)
            row = self._resolved(table, message, transaction)
            if row is None:
                self.superseded += 1
                return [], [], []
            return self._upsert(table, message, row, event_id, at, transaction, touched), [], touched
        except RowFailure as failure:
            letter = self._letter(table, message, row, failure, event_id, at, transaction)
            return [], [letter], [*touched, letter.key]

    # Kinds of changes

    def _delete(
        self, table: BoundTable, message: p.Delete, event_id: str, at: Any, transaction: Transaction
    ) -> tuple[list[Draft], list[DeadLetter], list[bytes]]:
        old = table.decode(message.old, p.NOT_SENT)
        key = self._key(table, old)
        if table.may_be_unchanged:
            self._last[message.relation, self._identity(table, old)] = None
        key_bytes = self.envelope.key(key)
        if table.plan.deletes == "ignore":
            return [], [], [key_bytes]
        return [Draft("delete", event_id, at, transaction.moment, key, None, key_bytes)], [], [key_bytes]

    def _upsert(self, table: BoundTable, message: Any, row: list[Any], event_id: str, at: Any, transaction: Transaction,
                touched: list[bytes]) -> list[Draft]:  # fmt: skip
        key = self._key(table, row)
        key_bytes = self.envelope.key(key)
        touched.append(key_bytes)
        drafts: list[Draft] = []
        old = (
            table.decode(message.old, p.NOT_SENT) if isinstance(message, p.Update) and message.old is not None else None
        )
        if old is not None:
            old_key = self._key(table, old)
            old_bytes = self.envelope.key(old_key)
            if old_bytes != key_bytes:
                touched.append(old_bytes)
                drafts.append(Draft("delete", f"{event_id}:k", at, transaction.moment, old_key, None, old_bytes))
        if table.passes is not None and not table.passes(row):
            if isinstance(message, p.Update) and not drafts:
                drafts.append(Draft("delete", event_id, at, transaction.moment, key, None, key_bytes))
            return drafts
        payload = table.build(row)
        if (
            self.state_changes
            and old is not None
            and message.old_kind == "O"
            and not drafts
            and self._same(table, old, payload)
        ):
            self.suppressed += 1
            return drafts
        op = "insert" if isinstance(message, p.Insert) else "update"
        texts = self._texts(table, row)
        drafts.append(Draft(op, event_id, at, transaction.moment, key, payload, key_bytes, texts))
        return drafts

    def _same(self, table: BoundTable, old: list[Any], payload: dict[str, Any]) -> bool:
        if p.UNCHANGED in old or p.NOT_SENT in old or (table.passes is not None and not table.passes(old)):
            return False
        try:
            return table.build(old) == payload
        except RowFailure:
            return False

    def _outbox(self, table: BoundTable, message: Any, event_id: str, at: Any, transaction: Transaction) -> list[Draft]:
        if not isinstance(message, p.Insert):
            return []  # the application may delete what it inserted
        outbox = table.plan.outbox
        assert outbox is not None
        row = dict(zip(table.names, table.decode(message.new, p.NOT_SENT), strict=True))
        names = outbox.columns
        if outbox.types and names.type and row[names.type] not in outbox.types:
            return []
        key, body = _json_object(row[names.key], "key"), _json_object(row[names.payload], "payload")
        payload: dict[str, Any] = {}
        for plan in table.plan.fields:
            assert plan.source.column is not None
            payload[plan.name] = _member(body, plan.source.column[0], plan)
        keyed = {plan.name: plan for plan in table.plan.fields if plan.name in self.envelope.run.key}
        key_values = {name: _member(key, name, plan) for name, plan in keyed.items()}
        moment = transaction.moment
        trace = row.get(names.traceparent) if names.traceparent else None
        if trace is not None:
            moment = traced(moment, str(trace))
        return [
            Draft(
                "event",
                event_id,
                at,
                moment,
                key_values,
                payload,
                self.envelope.key(key_values),
                self._texts(table, list(row.values())),
            )
        ]

    # Unchanged values

    def _resolved(self, table: BoundTable, message: Any, transaction: Transaction) -> list[Any] | None:
        row = table.decode(message.new, p.NOT_SENT)
        if not table.may_be_unchanged:
            return row
        old = (
            table.decode(message.old, p.NOT_SENT) if isinstance(message, p.Update) and message.old is not None else None
        )
        if old is not None:
            row = [o if v is p.UNCHANGED and o is not p.NOT_SENT else v for v, o in zip(row, old, strict=True)]
        now = (message.relation, self._identity(table, row))
        before = now if old is None else (message.relation, self._identity(table, old))
        if p.UNCHANGED in row:
            kept = self._last.get(before)
            if kept is not None:
                row = [k if v is p.UNCHANGED else v for v, k in zip(row, kept, strict=True)]
        if p.UNCHANGED in row:
            found = self._reselected(table, row, transaction)
            if found is None:
                self._last[now] = None
                return None
            row = [f if v is p.UNCHANGED else v for v, f in zip(row, found, strict=True)]
        if before != now:
            self._last[before] = None
        self._last[now] = row
        return row

    def _reselected(self, table: BoundTable, row: list[Any], transaction: Transaction) -> list[Any] | None:
        """The row as it is in the table, under a snapshot that sees this transaction; None if it is gone: a later change follows."""
        key = [(table.names[i], table.types[i].name) for i in table.key_indexes]
        values = [to_text(row[i]) or "" for i in table.key_indexes]
        deadline = time.monotonic() + VISIBLE_SECONDS
        while True:
            found = self.source.read_row(
                table.plan.name, table.names, key, values, lambda s: bool(s.sees(transaction.xid))
            )
            if found is not None:
                break
            if time.monotonic() > deadline:
                raise SourceUnavailable(
                    "a committed transaction stays invisible to reads. Check synchronous replication"
                )
            time.sleep(0.01)
        if not found:
            return None
        return [None if raw is None else decode(raw) for raw, decode in zip(found[0], table.decoders, strict=True)]

    # Parts

    def _key(self, table: BoundTable, row: list[Any]) -> dict[str, Any]:
        if any(row[i] is p.NOT_SENT or row[i] is p.UNCHANGED for i in table.key_indexes):
            raise PublisherStop(
                f"{table.plan.name} sends changes without its key columns. Check REPLICA IDENTITY and the publication",
                code="publisher.identity_missing",
            )
        return table.build_key(row)

    def _identity(self, table: BoundTable, row: list[Any]) -> tuple[Any, ...]:
        return tuple(row[i] for i in table.key_indexes)

    def _texts(self, table: BoundTable, row: list[Any]) -> Mapping[str, str | None]:
        return _LazyTexts(table.names, row)

    def _letter(self, table: BoundTable, message: Any, row: list[Any] | None, failure: RowFailure, event_id: str, at: Any,
                transaction: Transaction) -> DeadLetter:  # fmt: skip
        stage: Literal["decode", "mapping"] = "decode" if row is None and table.plan.outbox is None else "mapping"
        key = b"{}"
        try:
            values = row if row is not None else table.decode(message.new, p.NOT_SENT)
            key = self.envelope.key(self._key(table, values)) if table.plan.outbox is None else key
        except (RowFailure, PublisherStop):
            values = []
        texts = dict(_LazyTexts(table.names, values).items())
        field_names = (failure.field,) if failure.field else ()
        columns = failure.columns or tuple(
            n
            for plan in table.plan.fields
            if plan.name == failure.field
            for names in plan.columns()
            for n in names
            if n in table.names
        )
        return DeadLetter(
            event_id,
            at,
            key,
            stage,
            failure.code,
            field_names,
            columns,
            failure.message,
            transaction.moment.timestamp_us,
            texts,
        )


class _LazyTexts(Mapping[str, "str | None"]):
    """Text forms of a row, made only if a dead letter needs them."""

    __slots__ = ("names", "row")

    def __init__(self, names: tuple[str, ...], row: list[Any]) -> None:
        self.names, self.row = names, row

    def __getitem__(self, name: str) -> str | None:
        value = self.row[self.names.index(name)]
        return None if isinstance(value, p._Mark) else to_text(value)  # noqa: SLF001  # marks have no public form

    def __iter__(self) -> Any:
        return iter(self.names[: len(self.row)])

    def __len__(self) -> int:
        return min(len(self.names), len(self.row))


def traced(moment: Moment, traceparent: str) -> Moment:
    """The moment under the application's trace; a malformed one is ignored."""
    found = TRACEPARENT.match(traceparent.strip())
    if found is None:
        return moment
    return Moment(moment.origin, moment.timestamp, moment.timestamp_us, found[1], found[2])


def _json_object(text: Any, column: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_float=Number)
    except (TypeError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise RowFailure("bad_message", f"outbox column {column} holds no JSON object", columns=(column,))
    return value


def _member(body: dict[str, Any], name: str, plan: Any) -> Any:
    try:
        value = from_written(body.get(name), plan.data_type)
    except RowFailure as failure:
        failure.field = plan.name
        raise
    if value is None and plan.required:
        raise RowFailure("required_null", f"required field {plan.name} is null", field=plan.name)
    return value
