"""Parquet files with atomic commits: the position stands in the commit, so data and position are durable together.

Of two writers the loser of the put-if-absent stops. Source: publisher section 4 `Parquet`.
"""

from __future__ import annotations

import hashlib
import io
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshkit._storage import Commit, CommitConflict, CommitLog, DataFile
from meshkit.ports import Chunk, DeadLetter, Event, Position, RunContext
from meshkit.publisher.errors import PublisherStop, SinkUnavailable
from meshkit.publisher.position import position_from_json, position_to_json
from meshkit.publisher.sinks.dead_letters import dead_letter_json
from meshkit.types import Map, Struct
from meshkit.types.arrow import to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ParquetSink", "read_changes", "read_current"]


class ParquetSink:
    """Writes below `<url>/<domain>/<product>/v<major>`, or at `table_url` itself.

    A commit is made when `target_file_bytes` or `commit_seconds` are reached; until then the slot keeps the WAL.
    """

    def __init__(
        self,
        url: str = "",
        *,
        storage_options: Mapping[str, Any] | None = None,
        target_file_bytes: int = 128 << 20,
        commit_seconds: float = 60,
        table_url: str | None = None,
        name: str = "parquet",
    ) -> None:
        self.url, self.table_url = url.rstrip("/"), table_url
        self.storage_options, self.target_file_bytes, self.commit_seconds = (
            storage_options,
            target_file_bytes,
            commit_seconds,
        )
        self._name = name
        self._run: RunContext | None = None
        self._log: CommitLog | None = None
        self._durable: Position | None = None
        self._sequence = 0
        self._drop()

    @property
    def name(self) -> str:
        return self._name

    def _drop(self) -> None:
        self._events: list[Event] = []
        self._letters: list[DeadLetter] = []
        self._pending: Position | None = None
        self._bytes, self._since = 0, time.monotonic()

    def location(self, run: RunContext) -> str:
        """Root of the table."""
        return (
            self.table_url or f"{self.url}/{run.domain.replace('.', '/')}/{run.product.rpartition('.')[2]}/v{run.major}"
        )

    def open(self, run: RunContext) -> Position | None:
        self._run, self._log = run, CommitLog(self.location(run), self.storage_options)
        self._drop()
        self._durable, self._sequence = self._last(self._log, run)
        return self._durable

    def peek(self, run: RunContext) -> Position | None:
        return self._last(CommitLog(self.location(run), self.storage_options), run)[0]

    def _last(self, log: CommitLog, run: RunContext) -> tuple[Position | None, int]:
        commit = log.latest()
        if commit is None:
            return None, 0
        if commit.position is None:
            raise PublisherStop(
                f"{log.url} holds commits of a batch publish. Stream into a table of its own",
                code="publisher.table_in_use",
            )
        kept = dict(commit.position)
        found = kept.pop("system_id"), kept.pop("slot"), kept.pop("product")
        if found[1:] != (run.slot, run.product):
            raise PublisherStop(
                f"{log.url} is written by slot {found[1]} of {found[2]}. Use another location",
                code="publisher.table_in_use",
            )
        return position_from_json(kept, system_id=found[0], slot=found[1], product=found[2]), commit.sequence

    def write(self, chunk: Chunk) -> None:
        self._events += chunk.events
        self._letters += chunk.dead_letters
        self._bytes += sum(len(e.value or e.key) for e in chunk.events)
        self._pending = chunk.position

    def flush(self) -> None:
        due = self._bytes >= self.target_file_bytes or time.monotonic() - self._since >= self.commit_seconds
        if self._pending is not None and (due or self._durable is None):
            self._commit()

    def durable(self) -> Position | None:
        return self._durable

    def close(self, *, abort: bool) -> None:
        if not abort and self._pending is not None and self._log is not None:
            self._commit()
        self._drop()

    def keys(self) -> Iterator[pa.RecordBatch]:
        assert self._log is not None
        assert self._run is not None
        yield from read_current(self._log.url, self.storage_options).select(list(self._run.key)).to_batches()

    def _commit(self) -> None:
        log, run, position = self._log, self._run, self._pending
        assert log is not None
        assert run is not None
        assert position is not None
        sequence, token = self._sequence + 1, uuid.uuid4().hex[:8]
        facts: dict[str, Any] = {"key": list(run.key)}
        try:
            files = (self._data_file(log, run, f"data/{sequence}-0-{token}.parquet", sequence),) if self._events else ()
            if self._letters:
                facts |= {
                    "dead_letters": len(self._letters),
                    "dead_letter_file": f"_dead_letters/{sequence}-{token}.ndjson",
                }
                _put(log, facts["dead_letter_file"], b"".join(dead_letter_json(d, run) + b"\n" for d in self._letters))
            key = {"system_id": position.system_id, "slot": position.slot, "product": position.product}
            kept = {**key, **position_to_json(position)}
            log.append(Commit(sequence, run.version, files, "changes", kept, position.commit_time, facts))
        except CommitConflict:
            raise PublisherStop(
                f"another publisher wrote commit {sequence} of {log.url}. Stop one of them", code="publisher.fenced"
            ) from None
        except OSError as error:
            raise SinkUnavailable(
                f"{log.url} can't be written ({type(error).__name__}). Check store and credentials"
            ) from None
        self._sequence, self._durable = sequence, position
        self._drop()

    def _data_file(self, log: CommitLog, run: RunContext, relative: str, sequence: int) -> DataFile:
        import pyarrow.parquet as pq

        table = _table(self._events, run, sequence)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        body = buffer.getvalue()
        _put(log, relative, body)
        return DataFile(relative, table.num_rows, len(body), hashlib.sha256(body).hexdigest())


def _put(log: CommitLog, relative: str, body: bytes) -> None:
    target = log.path(relative)
    log.filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
    log.filesystem.pipe_file(target, body)


def _table(events: list[Event], run: RunContext, sequence: int) -> pa.Table:
    """Payload fields and the columns `_op _event_id _timestamp _trace_id _order`; a delete has only its key."""
    import pyarrow as pa

    row_type: Struct = run.row_type
    rows = [e.payload if e.payload is not None else e.key_values for e in events]
    columns: dict[str, Any] = {}
    for member in row_type.fields:
        values = [r.get(member.name) for r in rows]
        if isinstance(member.type, Map):
            values = [None if v is None else list(v.items()) for v in values]
        columns[member.name] = pa.array(values, to_arrow(member.type))
    columns["_op"] = pa.array([e.op for e in events], pa.string())
    columns["_event_id"] = pa.array([e.event_id for e in events], pa.string())
    columns["_timestamp"] = pa.array([e.timestamp_us for e in events], pa.timestamp("us", tz="UTC"))
    columns["_trace_id"] = pa.array([e.trace_id for e in events], pa.string())
    columns["_order"] = pa.array(range(sequence << 32, (sequence << 32) + len(events)), pa.int64())
    return pa.table(columns)


def read_changes(url: str, *, after: int = 0, storage_options: Mapping[str, Any] | None = None) -> pa.RecordBatchReader:
    """Committed changes in commit order, those of commits above `after`. Raises: `MeshkitError` where nothing was committed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    log = CommitLog(url, storage_options)
    files = [f.path for commit in log.since(after) for f in commit.files]
    if not files:
        return pa.RecordBatchReader.from_batches(pa.schema([]), [])
    schema = pq.read_schema(io.BytesIO(log.filesystem.cat_file(log.path(files[0]))))

    def batches() -> Iterator[pa.RecordBatch]:
        for path in files:
            yield from (
                pq.read_table(io.BytesIO(log.filesystem.cat_file(log.path(path))))
                .select(schema.names)
                .cast(schema)
                .to_batches()
            )

    return pa.RecordBatchReader.from_batches(schema, batches())


def read_current(url: str, storage_options: Mapping[str, Any] | None = None) -> pa.Table:
    """The table as it is now: the last row of each key, without deleted ones."""
    import polars as pl

    log = CommitLog(url, storage_options)
    latest = log.latest()
    table = read_changes(url, storage_options=storage_options).read_all()
    if latest is None or not table.num_rows:
        return table
    frame = pl.DataFrame(table)
    key = list(latest.facts["key"])
    last = frame.sort("_order").unique(subset=key, keep="last", maintain_order=True)
    return last.filter(pl.col("_op") != "delete").to_arrow().cast(table.schema)
