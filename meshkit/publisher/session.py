"""One session of a run: from acquiring the slot to the first failure. Steps are those of publisher section 6.1."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

from meshkit.log import get_logger
from meshkit.ports import Chunk, DeadLetter, InnerPosition, Position, Sink
from meshkit.publisher.binding import BoundTable, MissingColumn, bind_table
from meshkit.publisher.chunks import ChunkBuilder
from meshkit.publisher.decoders import pgoutput as p
from meshkit.publisher.envelope import Moment
from meshkit.publisher.errors import MappedColumnMissing, ProtocolError, PublisherStop
from meshkit.publisher.mapping import CompiledMapping
from meshkit.publisher.position import format_lsn
from meshkit.publisher.rows import Draft, RowPath, Transaction, traced
from meshkit.publisher.settings import PublisherSettings
from meshkit.publisher.snapshot import Snapshots
from meshkit.publisher.transactions import Change, Transactions

__all__ = ["Counters", "Session"]

log = get_logger(__name__)

POLL_SECONDS = 10.0
_ROW_MESSAGES = (p.Insert, p.Update, p.Delete, p.Truncate, p.Message)


@dataclass(slots=True)
class Counters:
    """What a run did so far, over its sessions."""

    events: int = 0
    dead_letters: int = 0
    chunks: int = 0
    restarts: int = 0
    suppressed: int = 0
    superseded: int = 0


@dataclass(slots=True)
class Session:
    """The loop over one connection. `positions` are those of the sinks at the start; the lowest is `position`."""

    source: Any
    sinks: Sequence[Sink]
    positions: list[Position]
    position: Position
    mapping: CompiledMapping
    rows: RowPath
    snapshots: Snapshots
    builder: ChunkBuilder
    settings: PublisherSettings
    counters: Counters
    publication: str
    _bound: dict[int, BoundTable | None] = field(default_factory=dict)
    _relations: dict[int, p.Relation] = field(default_factory=dict)
    _transaction: Transaction | None = None
    _delivered: int = 0
    _bytes: int = 0
    _flushed_at: float = 0.0
    _idle_at: float = 0.0
    _polled_at: float = 0.0
    _spool: Transactions = field(init=False)
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._spool = Transactions(spool_dir=self.source.spool_dir, max_spool_bytes=self.source.max_spool_bytes)
        self._pool = ThreadPoolExecutor(1, "meshkit-sink")
        self._flushed_at = self._polled_at = time.monotonic()
        self._idle_at = float("-inf")  # a new slot is advanced at once

    def close(self) -> None:
        """Drop spools and the sink's thread."""
        self._spool.close()
        self._pool.shutdown(wait=True)

    def run(self, stop: threading.Event, target: int | None) -> str:
        """Stream until `stop` is set, or until everything before `target` and all snapshots are published. Raises what stops it."""
        self.source.confirm(min(s.commit_end_lsn for s in self.positions))
        while not stop.is_set():
            try:
                self._step(target)
            except PublisherStop:
                self._flush_before_stop()
                raise
            if self._is_caught_up(target):
                return "caught_up"
        self._flush()
        return "stopped"

    def _flush_before_stop(self) -> None:
        """Everything before what stops the run is published."""
        try:
            self._flush()
        except PublisherStop as second:
            log.warning("chunk.not_flushed", code=second.code)

    # One turn of the loop

    def _step(self, target: int | None) -> None:
        frames = self.source.receive(self._patience(target))
        for lsn, frame in frames:
            if not frame:
                self._delivered = max(self._delivered, lsn)
                continue
            for step in self._spool.feed(lsn, frame):
                self._take(step)
        now = time.monotonic()
        if self._is_dirty and now - self._flushed_at >= self.settings.commit_interval_seconds:
            self._flush()
        if self._transaction is None:
            self.snapshots.work()
            if not frames:
                self._idle(now, target)
        self._poll(now)

    def _patience(self, target: int | None) -> float:
        if self._is_dirty:
            return max(0.0, self._flushed_at + self.settings.commit_interval_seconds - time.monotonic())
        return 0.02 if target is not None or self.snapshots.is_open else 0.2

    def _idle(self, now: float, target: int | None) -> None:
        """Caught up: let the slot follow the WAL of other tables, by a position first. Never inside a cut transaction."""
        if target is not None or now - self._idle_at > self.settings.idle_seconds / 2:
            self.source.feedback(ask=True)
        for sink in self.sinks:  # one that commits by time may be due
            self._wait(self._pool.submit(sink.flush))
        self.confirm()
        if self._is_dirty or self.position.inner is not None or self._delivered <= self.position.commit_end_lsn:
            return
        due = (
            now - self._idle_at >= self.settings.idle_seconds
            or self._delivered - self.position.commit_end_lsn >= self.settings.idle_bytes
        )
        if due or (target is not None and self._delivered >= target > self.position.commit_end_lsn):
            self.position = replace(self.position, commit_end_lsn=self._delivered)
            self._flush(force=True)
            self._idle_at = time.monotonic()

    def _is_caught_up(self, target: int | None) -> bool:
        return (
            target is not None and not self.snapshots.is_open
            and self._transaction is None
            and not self._is_dirty
            and self.position.inner is None and max(self._delivered, self.position.commit_end_lsn) >= target
        )  # fmt: skip

    def _poll(self, now: float) -> None:
        """A table can leave the publication in silence (DROP COLUMN ... CASCADE)."""
        if now - self._polled_at < POLL_SECONDS:
            return
        self._polled_at = now
        state = self.source.publication_state(self.publication)
        missing = [t.name for t in self.mapping.tables if state is None or t.name not in state[1]]
        if missing:
            raise PublisherStop(
                f"{', '.join(missing)} left publication {self.publication}: its changes are no longer sent. "
                "See `meshkit publisher run --plan` for the statement that repairs it", code="publisher.publication_changed",
            )  # fmt: skip

    # Steps of transactions

    def _take(self, step: Any) -> None:
        if isinstance(step, Change):
            self._bytes += step.size
            self._change(step.lsn, step.message)
        elif isinstance(step, p.Begin):
            moment = Moment.of(f"{self.rows.system_id}:{format_lsn(step.final_lsn)}", step.commit_us)
            self._transaction = Transaction(step.final_lsn, step.commit_us, step.xid, moment)
            self.snapshots.pass_transaction(step.xid)  # at its begin: the transaction may be cut
            inner = self.position.inner
            if inner is not None and step.final_lsn > inner.commit_lsn:
                raise PublisherStop(
                    f"the transaction at {format_lsn(inner.commit_lsn)} that was cut did not come again. Check that the slot is the same",
                    code="publisher.position_mismatch",
                )
        else:
            self._commit(step)

    def _commit(self, commit: p.Commit) -> None:
        transaction = self._transaction
        if transaction is None:
            raise ProtocolError(f"a commit at {format_lsn(commit.commit_lsn)} without begin. Report this")
        self._transaction = None
        if commit.end_lsn > self.position.commit_end_lsn:
            time_text = transaction.moment.timestamp
            self.position = replace(self.position, commit_end_lsn=commit.end_lsn, commit_time=time_text, inner=None)
        self._flush_if_full()

    def _change(self, lsn: int, message: Any) -> None:
        transaction = self._transaction
        if isinstance(message, p.Relation):
            self._relation(message)
            return
        if not isinstance(message, _ROW_MESSAGES):
            return
        if isinstance(message, p.Message) and not message.transactional:
            return  # belongs to no commit
        if transaction is None:
            raise ProtocolError(f"a change at {format_lsn(lsn)} outside a transaction. Report this")
        at = (transaction.commit_lsn, lsn, transaction.number(lsn))
        if isinstance(message, p.Message):
            self._message(message, transaction)
        if self.position.covers(*at):
            return
        if isinstance(message, p.Truncate):
            self._truncate(message, at, transaction)
        elif not isinstance(message, p.Message):
            self._row(message, at, transaction)
        self.position = replace(self.position, inner=InnerPosition(*at))
        if self.builder.poison is None:
            self._flush_if_full()

    def _row(self, message: Any, at: tuple[int, int, int], transaction: Transaction) -> None:
        if message.relation not in self._bound:
            raise ProtocolError(f"a change at {format_lsn(at[1])} of a table that was never described. Report this")
        table = self._bound[message.relation]
        if table is None:
            return
        drafts, letters, touched = self.rows.change(table, message, at, transaction)
        self.snapshots.touch(table.plan.name, touched)
        self._add(drafts, letters, at[1])

    def _message(self, message: p.Message, transaction: Transaction) -> None:
        if message.prefix == "mesh.traceparent":
            transaction.moment = traced(transaction.moment, message.content.decode("utf-8", "replace"))
        elif message.prefix == "meshkit.marker":
            drafts, letters = self.snapshots.marker(message.content.decode("utf-8", "replace"), transaction.commit_us)
            self._add(drafts, letters, message.lsn)

    def _add(self, drafts: Sequence[Draft], letters: Sequence[DeadLetter], lsn: int) -> None:
        """Into the chunk. Raises: `PublisherStop` for a poison row under `halt`, or too many dead letters."""
        self.builder.add(drafts, letters)
        poison = self.builder.poison
        if poison is not None:
            raise PublisherStop(
                f"the change at {format_lsn(lsn)} can't be published ({poison.stage}, {poison.code}, field {', '.join(poison.fields) or '-'}); "
                "all before it is published. Repair the mapping or the row", code="publisher.poison_row",
            )  # fmt: skip
        self.builder.check_ratio()

    def _truncate(self, message: p.Truncate, at: tuple[int, int, int], transaction: Transaction) -> None:
        for number, oid in enumerate(message.relations):
            table = self._bound.get(oid)
            if table is None or table.plan.outbox is not None:
                continue
            self.snapshots.truncated(table.plan.name)
            if table.plan.truncate == "halt":
                raise PublisherStop(
                    f"{table.plan.name} was truncated at commit {format_lsn(at[0])}; all before it is published. "
                    "Set `truncate: control_event` if consumers understand it, and start again", code="publisher.truncated",
                )  # fmt: skip
            event_id = f"{self.rows.system_id}:{format_lsn(at[0])}:{format_lsn(at[1])}:{at[2]}" + (
                f":{number}" if number else ""
            )
            self.builder.add(
                [
                    Draft(
                        "truncate", event_id, at, transaction.moment, {}, None, f'{{"$truncate":"{event_id}"}}'.encode()
                    )
                ],
                [],
            )

    def _relation(self, relation: p.Relation) -> None:
        """Bind the table as the WAL knows it. Wider is fine; a mapped column that is gone or changed its type stops the run."""
        plan = self.mapping.table(relation.schema, relation.table)
        self._relations[relation.oid] = relation
        if plan is None:
            self._bound[relation.oid] = None
            return
        columns = {c.name: (i, self.source.pg_type(c.type_oid, c.modifier)) for i, c in enumerate(relation.columns)}
        identity = frozenset(c.name for c in relation.columns if c.is_key)
        try:
            bound, problems = bind_table(self.mapping, plan, columns, identity)
        except MissingColumn as missing:
            raise self._missing(missing, relation) from None
        if bound is None:
            first = problems[0]
            raise PublisherStop(
                f"{plan.name} changed at commit {format_lsn(self._at_commit())}: {first.message}; all before it is published. {first.hint}",
                code="publisher.column_retyped",
            )
        self._bound[relation.oid] = bound

    def _at_commit(self) -> int:
        return self._transaction.commit_lsn if self._transaction else self.position.commit_end_lsn

    def _missing(self, missing: MissingColumn, relation: p.Relation) -> MappedColumnMissing:
        name = missing.names[-1]
        table = f"{relation.schema}.{relation.table}"
        number = next(
            (
                self.position.columns.get(table, {}).get(n)
                for n in missing.names
                if n in self.position.columns.get(table, {})
            ),
            None,
        )
        now = None if number is None else self.source.renamed_to(relation.oid, number)
        field = missing.field.name if missing.field else "where"
        if now is not None and now not in missing.names:
            fate = f'renamed to "{now}"'
            advice = f"Map {field} from [{now}, {', '.join(missing.names)}] and start again."
        elif now is not None:
            fate, advice = (
                "which the WAL of that time does not hold",
                "Add it under its name of that time, and start again.",
            )
        else:
            fate, advice = (
                "dropped",
                f"Map {field} from another column, or remove it in a new major version, and start again.",
            )
        place = missing.field.place if missing.field else self.mapping.source_name
        return MappedColumnMissing(
            field=f"{self.mapping.product}.{field}", place=place, column=f"{table}.{name}", fate=fate,
            lsn=format_lsn(self._at_commit()), advice=advice,
        )  # fmt: skip

    # Chunks

    def _flush_if_full(self) -> None:
        if len(self.builder) >= self.settings.max_chunk_rows or (
            len(self.builder) and self._bytes >= self.settings.max_chunk_bytes
        ):
            self._flush()

    @property
    def _is_dirty(self) -> bool:
        """Whether there is something that a chunk would make durable: events, or the progress of a snapshot."""
        return len(self.builder) > 0 or tuple(self.snapshots.progress) != self.position.snapshots

    def _flush(self, *, force: bool = False) -> None:
        """Cut a chunk at the present position, make it durable in every sink, then confirm to the server."""
        if not self._is_dirty and not force:
            return
        self.position = replace(
            self.position,
            sequence=self.position.sequence + 1,
            snapshots=tuple(self.snapshots.progress),
            unseen_xids=self.snapshots.unseen(),
        )
        chunk = self.builder.cut(self.position)
        for index, sink in enumerate(self.sinks):
            mine = _not_yet(chunk, self.positions[index]) if len(self.sinks) > 1 else chunk
            if mine is not None:
                self._wait(self._pool.submit(_written, sink, mine))
        self.rows.start_chunk()
        self._bytes = 0
        self.counters.chunks += 1
        self.counters.events += len(chunk.events)
        self.counters.dead_letters += len(chunk.dead_letters)
        self.counters.suppressed, self.counters.superseded = self.rows.suppressed, self.rows.superseded
        self.confirm()
        self._flushed_at = time.monotonic()

    def confirm(self) -> None:
        """Feedback: the lowest of what is durable."""
        durable = [s.durable() for s in self.sinks]
        if all(d is not None for d in durable):
            self.source.confirm(min(d.commit_end_lsn for d in durable if d is not None))

    def _wait(self, work: Future[None]) -> None:
        """Wait for a sink; the server hears from us meanwhile."""
        while not wait([work], timeout=5).done:
            self.source.feedback()
        work.result()


def _written(sink: Sink, chunk: Chunk) -> None:
    sink.write(chunk)
    sink.flush()


def _not_yet(chunk: Chunk, position: Position) -> Chunk | None:
    """What a sink that was ahead at the start lacks of a chunk; None if it has all of it.

    Rows of snapshots go to every sink: a chunk that is read again may end at another key, so its number says nothing, and its rows are
    never older than what the stream brought.
    """

    def is_new(item: Any) -> bool:
        return not isinstance(item.at[0], int) or not position.covers(*item.at)

    events, letters = tuple(filter(is_new, chunk.events)), tuple(filter(is_new, chunk.dead_letters))
    if not events and not letters and chunk.position.order <= position.order:
        return None
    return Chunk(events, letters, chunk.position)
