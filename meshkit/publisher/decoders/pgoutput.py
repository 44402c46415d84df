"""Messages of the pgoutput plugin, protocol versions 2 to 4, from one frame each. A frame that doesn't add up is an error, never skipped.

Column values stay bytes: only mapped columns are ever decoded. Source: PostgreSQL documentation, Logical Replication Message Formats.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from meshkit.publisher.errors import ProtocolError
from meshkit.publisher.position import format_lsn

__all__ = [
    "NOT_SENT", "UNCHANGED", "Begin", "Commit", "Delete", "Insert", "Message", "Origin", "Relation", "RelationColumn", "StreamAbort",
    "StreamCommit", "StreamStart", "StreamStop", "Truncate", "TypeName", "Update", "parse",
]  # fmt: skip


class _Mark:
    """A column that has no value in a tuple, and why."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


UNCHANGED = _Mark("UNCHANGED")  # stored apart and not touched by the update
NOT_SENT = _Mark("NOT_SENT")  # outside the replica identity: unknown, never null

# A tuple is a list with one entry per column: bytes (binary), str (text form), None (null) or UNCHANGED.
Tuple = list[Any]


@dataclass(frozen=True, slots=True)
class Begin:
    """Start of a committed transaction; `final_lsn` is that of its commit."""

    final_lsn: int
    commit_us: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """End of a transaction."""

    commit_lsn: int
    end_lsn: int
    commit_us: int


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """One column as the WAL knows it."""

    name: str
    type_oid: int
    modifier: int
    is_key: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it was when the following changes were written."""

    oid: int
    schema: str
    table: str
    identity: str  # d default, n nothing, f full, i index
    columns: tuple[RelationColumn, ...]
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class TypeName:
    """Name of a type that is not built in."""

    oid: int
    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class Insert:
    """A new row."""

    relation: int
    new: Tuple
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """A changed row; `old` holds its identity (`old_kind` K) or all of it (O) when that was sent."""

    relation: int
    new: Tuple
    old: Tuple | None = None
    old_kind: str | None = None
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """A row that is gone."""

    relation: int
    old: Tuple
    old_kind: str
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Truncate:
    """Tables that were emptied."""

    relations: tuple[int, ...]
    options: int
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A logical message (`pg_logical_emit_message`)."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a transaction came from."""

    name: str


@dataclass(frozen=True, slots=True)
class StreamStart:
    """Changes of a transaction in progress follow."""

    xid: int
    first: bool


@dataclass(frozen=True, slots=True)
class StreamStop:
    """End of a part of a transaction in progress."""


@dataclass(frozen=True, slots=True)
class StreamCommit:
    """A streamed transaction is committed."""

    xid: int
    commit_lsn: int
    end_lsn: int
    commit_us: int


@dataclass(frozen=True, slots=True)
class StreamAbort:
    """A streamed transaction or one of its subtransactions is rolled back."""

    xid: int
    subxid: int


_U32, _U16 = struct.Struct(">I"), struct.Struct(">H")
_BEGIN, _COMMIT = struct.Struct(">QqI"), struct.Struct(">BQQq")


class _Reader:
    """A cursor over one frame."""

    __slots__ = ("at", "data", "lsn")

    def __init__(self, data: bytes, lsn: int) -> None:
        self.data, self.at, self.lsn = data, 1, lsn

    def take(self, form: struct.Struct) -> Any:
        values = form.unpack_from(self.data, self.at)
        self.at += form.size
        return values[0] if len(values) == 1 else values

    def text(self) -> str:
        end = self.data.index(0, self.at)
        value = str(self.data[self.at : end], "utf-8")
        self.at = end + 1
        return value

    def byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def tuple(self) -> Tuple:
        data, at = self.data, self.at
        (count,) = _U16.unpack_from(data, at)
        at += 2
        values: Tuple = []
        for _ in range(count):
            kind = data[at]
            at += 1
            if kind == 0x6E:  # n
                values.append(None)
                continue
            if kind == 0x75:  # u
                values.append(UNCHANGED)
                continue
            (size,) = _U32.unpack_from(data, at)
            at += 4
            raw = data[at : at + size]
            if len(raw) != size:
                raise IndexError
            at += size
            if kind == 0x62:  # b
                values.append(raw)
            elif kind == 0x74:  # t
                values.append(str(raw, "utf-8"))
            else:
                raise ValueError
        self.at = at
        return values


def parse(frame: bytes, lsn: int, *, in_stream: bool = False) -> Any:
    """The message of one frame. `in_stream`: between stream start and stop, where messages carry a transaction id.

    Raises: `ProtocolError` naming the LSN if the frame is inconsistent or of an unknown type.
    """
    reader = _Reader(frame, lsn)
    try:
        read = _READERS[frame[0]]
        message = read(reader, in_stream)
    except (IndexError, ValueError, KeyError, struct.error):
        kind = chr(frame[0]) if frame else "none"
        raise ProtocolError(
            f"a frame of type {kind!r} at {format_lsn(lsn)} is not understood. Report this with the server's version"
        ) from None
    if reader.at != len(frame):
        raise ProtocolError(
            f"a frame of type {chr(frame[0])!r} at {format_lsn(lsn)} has {len(frame) - reader.at} bytes too many. Report this"
        )
    return message


def _xid(reader: _Reader, in_stream: bool) -> int | None:
    return int(reader.take(_U32)) if in_stream else None


def _begin(reader: _Reader, _: bool) -> Begin:
    return Begin(*reader.take(_BEGIN))


def _commit(reader: _Reader, _: bool) -> Commit:
    _, commit_lsn, end_lsn, us = reader.take(_COMMIT)
    return Commit(commit_lsn, end_lsn, us)


def _relation(reader: _Reader, in_stream: bool) -> Relation:
    xid = _xid(reader, in_stream)
    oid, schema, table = reader.take(_U32), reader.text(), reader.text()
    identity, count = chr(reader.byte()), reader.take(_U16)
    columns = []
    for _ in range(count):
        flags, name = reader.byte(), reader.text()
        type_oid, modifier = reader.take(struct.Struct(">Ii"))
        columns.append(RelationColumn(name, type_oid, modifier, bool(flags & 1)))
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns), xid)


def _type(reader: _Reader, in_stream: bool) -> TypeName:
    _xid(reader, in_stream)
    return TypeName(reader.take(_U32), reader.text() or "pg_catalog", reader.text())


def _insert(reader: _Reader, in_stream: bool) -> Insert:
    xid, relation = _xid(reader, in_stream), reader.take(_U32)
    _expect(reader, "N")
    return Insert(relation, reader.tuple(), xid)


def _update(reader: _Reader, in_stream: bool) -> Update:
    xid, relation = _xid(reader, in_stream), reader.take(_U32)
    kind = chr(reader.byte())
    if kind == "N":
        return Update(relation, reader.tuple(), xid=xid)
    if kind not in "KO":
        raise ValueError
    old = reader.tuple()
    _expect(reader, "N")
    return Update(relation, reader.tuple(), old, kind, xid)


def _delete(reader: _Reader, in_stream: bool) -> Delete:
    xid, relation = _xid(reader, in_stream), reader.take(_U32)
    kind = chr(reader.byte())
    if kind not in "KO":
        raise ValueError
    return Delete(relation, reader.tuple(), kind, xid)


def _truncate(reader: _Reader, in_stream: bool) -> Truncate:
    xid, count, options = _xid(reader, in_stream), reader.take(_U32), reader.byte()
    return Truncate(tuple(reader.take(_U32) for _ in range(count)), options, xid)


def _message(reader: _Reader, in_stream: bool) -> Message:
    xid, flags = _xid(reader, in_stream), reader.byte()
    lsn, prefix, size = reader.take(struct.Struct(">Q")), reader.text(), reader.take(_U32)
    content = reader.data[reader.at : reader.at + size]
    if len(content) != size:
        raise ValueError
    reader.at += size
    return Message(bool(flags & 1), lsn, prefix, content, xid)


def _origin(reader: _Reader, _: bool) -> Origin:
    reader.take(struct.Struct(">Q"))
    return Origin(reader.text())


def _stream_start(reader: _Reader, _: bool) -> StreamStart:
    return StreamStart(reader.take(_U32), reader.byte() == 1)


def _stream_stop(_: _Reader, __: bool) -> StreamStop:
    return StreamStop()


def _stream_commit(reader: _Reader, _: bool) -> StreamCommit:
    xid = reader.take(_U32)
    _, commit_lsn, end_lsn, us = reader.take(_COMMIT)
    return StreamCommit(xid, commit_lsn, end_lsn, us)


def _stream_abort(reader: _Reader, _: bool) -> StreamAbort:
    return StreamAbort(reader.take(_U32), reader.take(_U32))


def _expect(reader: _Reader, kind: str) -> None:
    if chr(reader.byte()) != kind:
        raise ValueError


_READERS = {
    ord("B"): _begin, ord("C"): _commit, ord("R"): _relation, ord("Y"): _type, ord("I"): _insert, ord("U"): _update, ord("D"): _delete,
    ord("T"): _truncate, ord("M"): _message, ord("O"): _origin, ord("S"): _stream_start, ord("E"): _stream_stop,
    ord("c"): _stream_commit, ord("A"): _stream_abort,
}  # fmt: skip
