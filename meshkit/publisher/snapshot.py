"""The snapshot primitive: a key range of a table, published beside the stream so that no old row overwrites a newer event.

1. A window opens: keys that commits of the stream touch are collected. 2. Rows are read under a snapshot that sees every transaction
the stream passed before. 3. A marker goes into the WAL. 4. When it comes by in the stream, rows whose key is in the window are dropped,
the others published with the cursor. Source: publisher section 6.3.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from meshkit.ports import DeadLetter, SnapshotProgress
from meshkit.publisher.binding import BoundTable
from meshkit.publisher.decoders.values import PgType, decoder, to_text
from meshkit.publisher.envelope import Envelope, Moment
from meshkit.publisher.errors import RowFailure
from meshkit.publisher.rows import Draft

__all__ = ["Snapshots", "TableReader", "new_id"]

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id() -> str:
    """A ULID: 48 bits of milliseconds, 80 of chance."""
    number = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10))
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


@dataclass(frozen=True, slots=True)
class TableReader:
    """How rows of a table are read: bound columns, and the primary key with types."""

    bound: BoundTable
    key: tuple[tuple[str, PgType], ...]


@dataclass(slots=True)
class _Window:
    progress: SnapshotProgress
    marker: str
    rows: list[list[bytes | None]]
    touched: set[bytes] = field(default_factory=set)
    truncated: bool = False


@dataclass(slots=True)
class Snapshots:
    """All open snapshots of a run; one window at a time."""

    source: Any
    readers: dict[str, TableReader]
    envelope: Envelope
    system_id: str
    rows_per_chunk: int
    progress: list[SnapshotProgress]
    passed: set[int] = field(default_factory=set)  # transactions of the stream not yet seen visible
    _window: _Window | None = None

    @property
    def is_open(self) -> bool:
        """Whether any table is not read to its end."""
        return any(p.phase != "done" for p in self.progress)

    def pass_transaction(self, xid: int) -> None:
        """The stream passes a commit."""
        if self.is_open:
            self.passed.add(xid)

    def touch(self, table: str, keys: Sequence[bytes]) -> None:
        """A change of the stream concerns these keys."""
        if self._window is not None and self._window.progress.table == table:
            self._window.touched.update(keys)

    def truncated(self, table: str) -> None:
        """All rows read so far are gone."""
        if self._window is not None and self._window.progress.table == table:
            self._window.truncated = True

    def unseen(self) -> tuple[int, ...]:
        """Passed transactions that other sessions do not see yet, for the position."""
        if not self.is_open:
            self.passed.clear()
            return ()
        if self.passed:
            snapshot = self.source.current_snapshot()
            self.passed = {x for x in self.passed if not snapshot.sees(x)}
        return tuple(sorted(self.passed))

    def work(self) -> bool:
        """Open the next window if none is open and one is due. True if something was done."""
        if self._window is not None:
            return False
        open_one = next((p for p in self.progress if p.phase != "done"), None)
        if open_one is None:
            return False
        reader = self.readers[open_one.table]
        if open_one.upto is None:
            bounded = self._bounded(open_one, reader)
            self._put(bounded)
            if bounded.phase == "done":
                return True
            open_one = bounded
        return self._open_window(open_one, reader)

    def _bounded(self, progress: SnapshotProgress, reader: TableReader) -> SnapshotProgress:
        last = self.source.largest_key(progress.table, [n for n, _ in reader.key])
        if last is None:
            return replace(progress, phase="done")
        return replace(progress, upto=_texts(last, reader.key))

    def _open_window(self, progress: SnapshotProgress, reader: TableReader) -> bool:
        before = tuple(self.passed)
        key_names = [n for n, _ in reader.key]
        rows = self.source.read_chunk(
            progress.table, [*reader.bound.names, *key_names], [(n, t.name) for n, t in reader.key], after=progress.cursor,
            upto=progress.upto, limit=self.rows_per_chunk, sees=lambda s: all(s.sees(x) for x in before),
        )  # fmt: skip
        if rows is None:  # a commit that the stream passed is not visible yet: try again
            return False
        self.passed.difference_update(before)
        self._window = _Window(progress, f"{progress.id}:{progress.chunks}:{new_id()}", rows)
        self.source.emit_marker(self._window.marker)
        return True

    def marker(self, content: str, commit_us: int) -> tuple[list[Draft], list[DeadLetter]]:
        """The marker came by (those of earlier runs differ by their nonce): drafts of the rows that no change of the window touched. Foreign markers give nothing."""
        window = self._window
        if window is None or window.marker != content:
            return [], []
        self._window = None
        reader, progress = self.readers[window.progress.table], window.progress
        moment = Moment.of(f"{self.system_id}:s{progress.id}:{progress.chunks}", commit_us)
        drafts: list[Draft] = []
        letters: list[DeadLetter] = []
        for number, raw in enumerate(window.rows):
            self._row(reader, window, moment, number, raw, drafts, letters)
        done = len(window.rows) < self.rows_per_chunk
        cursor = _texts(window.rows[-1][len(reader.bound.names) :], reader.key) if window.rows else progress.cursor
        self._put(replace(progress, cursor=cursor, chunks=progress.chunks + 1, phase="done" if done else "rows"))
        return drafts, letters

    def _row(self, reader: TableReader, window: _Window, moment: Moment, number: int, raw: list[bytes | None],
             drafts: list[Draft], letters: list[DeadLetter]) -> None:  # fmt: skip
        bound, progress = reader.bound, window.progress
        at = (progress.id, progress.chunks, number)
        event_id = f"{self.system_id}:s{progress.id}:{progress.chunks}:{number}"
        key_bytes, row = b"{}", list[Any]()
        try:
            row = [None if r is None else d(r) for r, d in zip(raw, bound.decoders, strict=False)]
            key = bound.build_key(row)
            key_bytes = self.envelope.key(key)
            if window.truncated or key_bytes in window.touched or (bound.passes is not None and not bound.passes(row)):
                return
            texts = {n: to_text(v) for n, v in zip(bound.names, row, strict=True)}
            drafts.append(Draft("snapshot", event_id, at, moment, key, bound.build(row), key_bytes, texts))
        except RowFailure as failure:
            texts = {n: to_text(v) for n, v in zip(bound.names, row, strict=False)}
            fields = (failure.field,) if failure.field else ()
            letters.append(
                DeadLetter(
                    event_id,
                    at,
                    key_bytes,
                    "mapping",
                    failure.code,
                    fields,
                    failure.columns,
                    failure.message,
                    moment.timestamp_us,
                    texts,
                )
            )

    def _put(self, progress: SnapshotProgress) -> None:
        self.progress = [progress if p.id == progress.id else p for p in self.progress]


def _texts(raw: Sequence[bytes | None], key: Sequence[tuple[str, PgType]]) -> tuple[str, ...]:
    return tuple(to_text(decoder(t)(r)) or "" for r, (_, t) in zip(raw, key, strict=True) if r is not None)
