"""PostgreSQL 14 to 18 by logical replication: slot and publication, the stream of frames, and reads beside the stream.

Two connections: one in COPY BOTH mode for the stream, one for catalog and snapshot reads. Only `confirm` moves the slot, and only to
where every sink is durable. Source: publisher sections 6.1 and 8; protocol: PostgreSQL documentation, Streaming Replication Protocol.
"""

from __future__ import annotations

import select
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr

from meshkit.errors import MissingExtra
from meshkit.log import get_logger
from meshkit.publisher.decoders.values import PgType
from meshkit.publisher.errors import NotInThisRelease, PublisherStop, SlotInUse, SourceUnavailable
from meshkit.publisher.position import parse_lsn
from meshkit.publisher.sources.catalog import (
    SlotInfo,
    TableInfo,
    TypeBook,
    publication_table,
    quoted,
    read_publication,
    read_slot,
    read_table,
    renamed_to,
)

__all__ = ["PostgresSource", "Prepared", "ServerInfo", "SourceSpec"]

log = get_logger(__name__)

READ_BYTES = 4 << 20
FEEDBACK_SECONDS = 10.0
_XLOG, _KEEPALIVE, _FEEDBACK = struct.Struct(">cQQq"), struct.Struct(">cQqB"), struct.Struct(">cQQQqB")
_EPOCH_US = 946_684_800_000_000  # 2000-01-01


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Who answered: the cluster's system id, its timeline, its version (`180004`)."""

    system_id: str
    timeline: int
    version: int


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """What a product needs of the source: slot, publication, and per table the columns to publish."""

    slot: str
    publication: str
    tables: Mapping[tuple[str, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Slot and publication as they are before streaming."""

    created_slot: bool
    confirmed_flush_lsn: int
    publication_oid: int


class PostgresSource:
    """One database of a PostgreSQL server (primary). `dsn` is a URL or key-value string of a role with REPLICATION and SELECT.

    `slot` and `publication` default to `<domain>_<product>_v<major>`. `manage="verify"` compares the publication and never changes it.
    """

    def __init__(
        self,
        dsn: str | SecretStr,
        *,
        slot: str | None = None,
        publication: str | None = None,
        manage: Literal["create", "verify"] = "create",
        failover: bool = False,
        standby_dsn: SecretStr | None = None,
        slot_wait_seconds: float = 90,
        spool_dir: Path | None = None,
        max_spool_bytes: int = 10 << 30,
    ) -> None:
        if failover or standby_dsn is not None:
            raise NotInThisRelease("`failover` and `standby_dsn` are not in this release. Leave them out")
        self._dsn = dsn if isinstance(dsn, SecretStr) else SecretStr(dsn)
        self.slot, self.publication, self.manage = slot, publication, manage
        self.slot_wait_seconds, self.spool_dir, self.max_spool_bytes = slot_wait_seconds, spool_dir, max_spool_bytes
        self.streaming = True
        self.wal_end = 0
        self._spec: SourceSpec | None = None
        self._admin: Any = None
        self._stream: Any = None
        self._types: TypeBook | None = None
        self._confirmed = 0
        self._fed_back = 0.0
        self._warning: str | None = None

    # Connections

    def connect(self) -> ServerInfo:
        """Open both connections. Raises: `SourceUnavailable`; `MissingExtra`."""
        psycopg = _psycopg()
        self.close()
        try:
            self._admin = psycopg.connect(self._dsn.get_secret_value(), autocommit=True, connect_timeout=10)
            self._admin.execute("SET TimeZone = 'UTC'")
            self._types = TypeBook(self._admin)
            self._stream = psycopg.connect(
                self._dsn.get_secret_value(), autocommit=True, connect_timeout=10, replication="database",
                options="-c datestyle=ISO -c intervalstyle=iso_8601 -c timezone=UTC -c extra_float_digits=3 -c statement_timeout=0",
            )  # fmt: skip
            found = self._stream.pgconn.exec_(b"IDENTIFY_SYSTEM")
            system_id, timeline = found.get_value(0, 0), found.get_value(0, 1)
            if system_id is None or timeline is None:
                raise SourceUnavailable("the server does not identify itself. Check that the role has REPLICATION")
            return ServerInfo(system_id.decode(), int(timeline), self._admin.info.server_version)
        except psycopg.Error as error:
            raise _unavailable(error) from None

    def close(self) -> None:
        """Close both connections; the slot stays."""
        for connection in (self._stream, self._admin):
            if connection is not None:
                with suppress(_psycopg().Error):
                    connection.close()
        self._stream = self._admin = None

    @property
    def is_connected(self) -> bool:
        """Whether `connect` has been called and `close` has not."""
        return self._admin is not None

    def query(self, run: Callable[[Any], Any]) -> Any:
        """Run catalog reads on the side connection. Raises: `SourceUnavailable`."""
        psycopg = _psycopg()
        try:
            return run(self._admin)
        except psycopg.Error as error:
            raise _unavailable(error) from None

    # Catalog

    def table(self, schema: str, table: str) -> TableInfo | None:
        """A table of the catalog."""
        found: TableInfo | None = self.query(lambda c: read_table(c, schema, table))
        return found

    def pg_type(self, oid: int, modifier: int) -> PgType:
        """A column's type."""
        types = self._types
        assert types is not None
        found: PgType = self.query(lambda _: types.get(oid, modifier))
        return found

    def renamed_to(self, relation: int, number: int) -> str | None:
        """Present name of a column by its number."""
        found: str | None = self.query(lambda c: renamed_to(c, relation, number))
        return found

    def slot_info(self, name: str) -> SlotInfo | None:
        """The slot as it is."""
        found: SlotInfo | None = self.query(lambda c: read_slot(c, name))
        return found

    def flush_lsn(self) -> int:
        """End of the WAL on disk."""
        return parse_lsn(self.query(lambda c: c.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()[0]))

    def publication_state(self, name: str) -> Any:
        """OID, tables and options of a publication; None if absent."""
        return self.query(lambda c: read_publication(c, name))

    # Slot and publication

    def statements(self, spec: SourceSpec) -> list[str]:
        """SQL that `prepare` would run now; empty if slot and publication are as needed."""
        wanted = {f"{s}.{t}": self._column_list(s, t, c) for (s, t), c in spec.tables.items()}
        body = ", ".join(publication_table(s, t, wanted[f"{s}.{t}"]) for s, t in spec.tables)
        statements = []
        state = self.publication_state(spec.publication)
        if state is None:
            statements.append(
                f"CREATE PUBLICATION {quoted(spec.publication)} FOR TABLE {body} WITH (publish_via_partition_root = true)"
            )
        elif {t: (None if c is None else tuple(sorted(c))) for t, c in wanted.items()} != state[1]:
            statements.append(f"ALTER PUBLICATION {quoted(spec.publication)} SET TABLE {body}")
        if self.slot_info(spec.slot) is None:
            statements.append(f"SELECT pg_create_logical_replication_slot('{spec.slot}', 'pgoutput')")
        return statements

    def _column_list(self, schema: str, table: str, columns: Sequence[str]) -> tuple[str, ...] | None:
        info = self.table(schema, table)
        if info is None or info.identity_kind == "f" or self._admin.info.server_version < 150000:
            return None
        needed = set(columns) | info.identity
        return tuple(n for n in info.columns if n in needed)

    def prepare(self, spec: SourceSpec, *, has_position: bool, adopt_slot: bool) -> Prepared:
        """Make or verify publication and slot. Raises: `PublisherStop` (`slot_lost`, `position_missing`, `publication_changed`)."""
        self._spec = spec
        slot = self.slot_info(spec.slot)
        if slot is None and has_position:
            raise PublisherStop(
                f"slot {spec.slot} is gone, but events were published from it: changes since then may be lost. "
                "Start a new major version, or drop the stored position and publish again", code="publisher.slot_lost",
            )  # fmt: skip
        if slot is not None and (slot.plugin != "pgoutput" or slot.wal_status == "lost"):
            raise PublisherStop(
                f"slot {spec.slot} is lost or not of pgoutput. Drop it and publish again", code="publisher.slot_lost"
            )
        if slot is not None and not has_position and not adopt_slot:
            raise PublisherStop(
                f"slot {spec.slot} is there, but no position says what was published from it. "
                "Drop the slot, or run with --adopt-slot to go on from it", code="publisher.position_missing",
            )  # fmt: skip
        statements = self.statements(spec)
        if self.manage == "verify" and [s for s in statements if "PUBLICATION" in s]:
            raise PublisherStop(
                f"publication {spec.publication} differs from the mapping. Run: {statements[0]}",
                code="publisher.publication_changed",
            )
        for statement in statements:
            self._run_statement(statement)
            log.info("source.changed", slot=spec.slot, publication=spec.publication)
        made, state = self.slot_info(spec.slot), self.publication_state(spec.publication)
        assert made is not None
        return Prepared(slot is None, made.confirmed_flush_lsn, state[0])

    def _run_statement(self, statement: str) -> None:
        self.query(lambda c: c.execute(statement))

    # The stream

    def start(self) -> None:
        """START_REPLICATION at what was last confirmed. Raises: `SlotInUse` after `slot_wait_seconds`; `SourceUnavailable`."""
        assert self._spec is not None
        version = self._admin.info.server_version
        protocol = 4 if version >= 160000 else 3 if version >= 150000 else 2
        options = f"proto_version '{protocol}', publication_names '{quoted(self._spec.publication)}', binary 'true', messages 'true'"
        options += ", streaming 'on'" if self.streaming else ""
        statement = f"START_REPLICATION SLOT {quoted(self._spec.slot)} LOGICAL 0/0 ({options})".encode()
        deadline = time.monotonic() + self.slot_wait_seconds
        pgconn = self._stream.pgconn
        pgconn.notice_handler = self._on_notice
        while True:
            result = pgconn.exec_(statement)
            if result.status == _psycopg().pq.ExecStatus.COPY_BOTH:
                break
            if result.error_field(_psycopg().pq.DiagnosticField.SQLSTATE) != b"55006" or time.monotonic() > deadline:
                self._refused(result)
            time.sleep(0.2)
        pgconn.nonblocking = 1
        self._confirmed, self._fed_back, self.wal_end = 0, time.monotonic(), 0

    def _refused(self, result: Any) -> None:
        state = (result.error_field(_psycopg().pq.DiagnosticField.SQLSTATE) or b"").decode()
        assert self._spec is not None
        if state == "55006":
            raise SlotInUse(f"slot {self._spec.slot} is read by another process. Stop it, or wait until it is gone")
        raise SourceUnavailable(
            f"streaming from slot {self._spec.slot} was refused (SQLSTATE {state}). See the server's log"
        )

    def _on_notice(self, result: Any) -> None:
        field = _psycopg().pq.DiagnosticField
        if (result.error_field(field.SEVERITY_NONLOCALIZED) or b"") == b"WARNING":
            self._warning = (result.error_field(field.MESSAGE_PRIMARY) or b"").decode("utf-8", "replace")

    def receive(self, timeout_seconds: float) -> list[tuple[int, bytes]]:
        """Frames `(LSN, pgoutput message)` that are there, waiting up to the timeout for the first. Answers keepalives.

        Raises: `SourceUnavailable` when the connection ends; `PublisherStop` on a warning of the server.
        """
        psycopg = _psycopg()
        pgconn = self._stream.pgconn
        frames: list[tuple[int, bytes]] = []
        try:
            self._collect(pgconn, frames)
            if not frames:
                ready, _, _ = select.select([pgconn.socket], [], [], timeout_seconds)
                if ready:
                    pgconn.consume_input()
                    self._collect(pgconn, frames)
        except psycopg.Error as error:
            raise _unavailable(error) from None
        if self._warning is not None:
            warning, self._warning = self._warning, None
            raise PublisherStop(
                f"the server warns: {warning}. Repair that and start again", code="publisher.server_warning"
            )
        if time.monotonic() - self._fed_back > FEEDBACK_SECONDS:
            self.feedback()
        return frames

    def _collect(self, pgconn: Any, frames: list[tuple[int, bytes]]) -> None:
        size = 0
        while size < READ_BYTES:
            length, data = pgconn.get_copy_data(1)
            if length == 0:
                return
            if length < 0:
                raise SourceUnavailable("the server ended the stream. Its log says why; the run goes on after a pause")
            if data[:1] == b"w":
                _, start, _, _ = _XLOG.unpack_from(data)
                frames.append((start, bytes(data[25:])))
                self.wal_end = max(self.wal_end, start)
                size += length
            else:
                _, end, _, wants_reply = _KEEPALIVE.unpack_from(data)
                self.wal_end = max(self.wal_end, end)
                frames.append((end, b""))  # an empty frame tells: everything up to `end` was delivered
                if wants_reply:
                    self.feedback()

    def confirm(self, lsn: int) -> None:
        """Tell the server that everything below `lsn` is durable. Never goes back."""
        if lsn > self._confirmed:
            self._confirmed = lsn
            self.feedback()

    def feedback(self, *, ask: bool = False) -> None:
        """Send the confirmed LSN; with `ask` the server answers with a keepalive that tells how far it read."""
        now = int(time.time() * 1_000_000) - _EPOCH_US
        message = _FEEDBACK.pack(b"r", self._confirmed, self._confirmed, self._confirmed, now, 1 if ask else 0)
        psycopg = _psycopg()
        try:
            self._stream.pgconn.put_copy_data(message)
            while self._stream.pgconn.flush():
                select.select([], [self._stream.pgconn.socket], [], 1)
        except psycopg.Error as error:
            raise _unavailable(error) from None
        self._fed_back = time.monotonic()

    # Reads beside the stream

    def current_snapshot(self) -> Snapshot:
        """Which transactions other sessions see now."""
        return Snapshot.parse(self.query(lambda c: c.execute("SELECT pg_current_snapshot()::text").fetchone()[0]))

    def largest_key(self, table: str, key: Sequence[str]) -> list[bytes | None] | None:
        """Binary values of the largest key, None for an empty table."""
        names = ", ".join(map(quoted, key))
        order = ", ".join(f"{quoted(k)} DESC" for k in key)
        rows = self._binary(f"SELECT {names} FROM {_table_name(table)} ORDER BY {order} LIMIT 1")
        return rows[0] if rows else None

    def read_chunk(self, table: str, columns: Sequence[str], key: Sequence[tuple[str, str]], *, after: Sequence[str] | None,
                   upto: Sequence[str], limit: int, sees: Callable[[Snapshot], bool]) -> list[list[bytes | None]] | None:  # fmt: skip
        """Rows of a key range under one snapshot, in key order; None if the snapshot does not see what `sees` asks for.

        `key` has names and types; bounds are texts. One REPEATABLE READ, READ ONLY transaction.
        """
        names = ", ".join(map(quoted, columns))
        left = "(" + ", ".join(quoted(k) for k, _ in key) + ")"
        tests = [f"{left} <= {self._row_of(key, upto)}"] + (
            [f"{left} > {self._row_of(key, after)}"] if after is not None else []
        )
        order = ", ".join(quoted(k) for k, _ in key)
        statement = (
            f"SELECT {names} FROM {_table_name(table)} WHERE {' AND '.join(tests)} ORDER BY {order} LIMIT {limit:d}"
        )
        return self._under_snapshot(sees, lambda: self._binary(statement))

    def read_row(self, table: str, columns: Sequence[str], key: Sequence[tuple[str, str]], values: Sequence[str],
                 sees: Callable[[Snapshot], bool]) -> list[list[bytes | None]] | None:  # fmt: skip
        """One row by key, under a snapshot that sees what is asked for; an empty list if it is gone, None if not yet seen."""
        left = "(" + ", ".join(quoted(k) for k, _ in key) + ")"
        names = ", ".join(map(quoted, columns))
        statement = f"SELECT {names} FROM {_table_name(table)} WHERE {left} = {self._row_of(key, values)}"
        return self._under_snapshot(sees, lambda: self._binary(statement))

    def _row_of(self, key: Sequence[tuple[str, str]], values: Sequence[str]) -> str:
        from psycopg import sql

        return (
            "("
            + ", ".join(f"{sql.Literal(v).as_string(self._admin)}::{t}" for (_, t), v in zip(key, values, strict=True))
            + ")"
        )

    def _under_snapshot(
        self, sees: Callable[[Snapshot], bool], read: Callable[[], list[list[bytes | None]]]
    ) -> list[list[bytes | None]] | None:
        def run(connection: Any) -> Any:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            try:
                if not sees(Snapshot.parse(connection.execute("SELECT pg_current_snapshot()::text").fetchone()[0])):
                    return None
                return read()
            finally:
                connection.execute("ROLLBACK")

        found: list[list[bytes | None]] | None = self.query(run)
        return found

    def _binary(self, statement: str) -> list[list[bytes | None]]:
        def run(connection: Any) -> list[list[bytes | None]]:
            result = connection.execute(statement, binary=True).pgresult
            return [[result.get_value(r, c) for c in range(result.nfields)] for r in range(result.ntuples)]

        found: list[list[bytes | None]] = self.query(run)
        return found

    def emit_marker(self, content: str) -> None:
        """A transactional message in the stream that marks the end of a snapshot's window."""

        def run(connection: Any) -> None:
            connection.execute("BEGIN")
            connection.execute("SET LOCAL synchronous_commit = local")
            connection.execute("SELECT pg_logical_emit_message(true, 'meshkit.marker', %s::text)", (content,))
            connection.execute("COMMIT")

        self.query(run)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A `pg_current_snapshot()`: transactions below `xmax` and not in `running` are visible. Ids have 64 bits."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """`xmin:xmax:xip,xip`."""
        low, high, running = text.split(":")
        return cls(int(low), int(high), frozenset(int(x) for x in running.split(",") if x))

    def sees(self, xid: int) -> bool:
        """Whether the commit of a 32-bit transaction id of the stream is visible."""
        wide = (self.xmax & ~0xFFFFFFFF) | xid
        if wide > self.xmax + 0x7FFFFFFF:  # of the epoch before
            wide -= 1 << 32
        return wide < self.xmax and wide not in self.running


def _table_name(table: str) -> str:
    schema, _, name = table.partition(".")
    return f"{quoted(schema)}.{quoted(name)}"


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise MissingExtra("postgres", package="psycopg", purpose="reading changes of PostgreSQL") from None
    return psycopg


def _unavailable(error: Any) -> SourceUnavailable:
    state = f", SQLSTATE {error.sqlstate}" if getattr(error, "sqlstate", None) else ""
    return SourceUnavailable(
        f"the database can't be reached or refused a request ({type(error).__name__}{state}). Check the server, the DSN and the role"
    )
