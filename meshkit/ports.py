"""The Protocols and small values by which modules meet. `mesh.py` introduces the implementations to each other.

Modules never import one another: what one needs of another it takes as an argument of a type that stands here. Values are frozen and
hold no I/O. One section per meeting place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa

    from meshkit.types import DataType

__all__ = [
    "AuditRecord",
    "AuditSink",
    "BatchGuard",
    "ChangeSource",
    "Chunk",
    "ColumnDecision",
    "Consumer",
    "ConsumerLookup",
    "ConsumerSet",
    "DeadLetter",
    "Decider",
    "Decision",
    "Event",
    "Grant",
    "GrantSource",
    "Grants",
    "GuardResult",
    "InnerPosition",
    "MaskCompiler",
    "Position",
    "Principal",
    "QueryLog",
    "QueryLogRecord",
    "RowFilter",
    "RunContext",
    "Sink",
    "SnapshotProgress",
]


# Who reads ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a person, a service or a product (`product:<domain>.<name>`), with the roles and attributes that policies name.

    `claims_from` says who vouches for it: `dev` (static, local meshes only), `mesh` (a product's own identity) or the token's issuer.
    """

    subject: str
    roles: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    issuer: str = "dev"

    @property
    def is_product(self) -> bool:
        """Whether a product reads its inputs, not a person or dashboard."""
        return self.subject.startswith("product:")


# What a reader may see: policies decide (masking), engines and gateways obey (federation, gateway) ------------------------------------


@dataclass(frozen=True, slots=True)
class ColumnDecision:
    """How one column looks: mask name and arguments, and why. `mask="clear"` shows the value."""

    mask: str
    args: Mapping[str, Any] = field(default_factory=dict)
    tag: str | None = None
    rule: str | None = None
    reason: str = ""
    only_rows: str | None = None  # SQL condition under which `mask` applies; rows outside get `otherwise`
    otherwise: str = "null"


@dataclass(frozen=True, slots=True)
class RowFilter:
    """A condition every visible row meets: SQL (DuckDB dialect) over the product's raw columns, attributes bound as literals."""

    rule: str
    sql: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What one principal may see of one product at one instant. Source: federation-and-masking section 3.

    `columns` names every contract column the decision says something about; a column without entry is clear. `hidden` columns (labels
    as in `columns`) are not granted: to the reader they do not exist. Several `row_filters` are combined with AND. With `allow=False`,
    `code` says why and nothing else counts.
    """

    decision_id: str
    product: str
    product_revision: str
    policy_revision: str
    allow: bool
    code: str | None = None
    row_filters: tuple[RowFilter, ...] = ()
    valid_until: datetime | None = None
    columns: Mapping[str, ColumnDecision] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()


class Decider(Protocol):
    """Decides reads. Fails closed: what it can't decide is a Decision with `allow=False`, never an exception swallowed by a caller."""

    def decide(self, product: str, principal: Principal, *, purpose: str | None, now: datetime) -> Decision:
        """The decision for `product` (`domain.name`)."""

    def revision(self) -> str:
        """Changes whenever a decision could change."""


class MaskCompiler(Protocol):
    """Turns a column decision into an expression of an engine. Implemented by `meshkit.masking`."""

    def duckdb(self, column_sql: str, data_type: DataType, decision: ColumnDecision) -> str | None:
        """SQL expression over `column_sql` (already quoted) of built-in scalar functions, or None: use `arrow` on the fetched column."""

    def arrow(self, column: pa.ChunkedArray, data_type: DataType, decision: ColumnDecision) -> pa.ChunkedArray:
        """The masked column, same length and Arrow type; for masks whose keys must never stand in SQL."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A live right to read a product: from a policy or from an approved access request. `columns=None` means all."""

    id: str
    product: str
    principal: str  # "user:ana", "role:analyst", "group:marketing"
    valid_from: datetime
    valid_until: datetime | None = None
    columns: frozenset[str] | None = None
    purpose: str | None = None  # the word a query must state
    port: str | None = None


class Grants(Protocol):
    """Approved access requests, as the catalog records them; added to the grants of the policies."""

    def revision(self) -> int:
        """Rises whenever a grant is made, narrowed or revoked."""

    def grants_for(self, principal: Principal, product: str, *, at: datetime) -> tuple[Grant, ...]:
        """Grants of `principal` on `product` that are live at `at`."""


class GrantSource(Protocol):
    """Everybody who holds a right to a product, for those who make it real on infrastructure (provision)."""

    def active(self, product: str, *, at: datetime) -> Iterable[Grant]:
        """Grants on `product` (`domain.name`) that are live at `at`."""


# Who is hurt by a change: lineage and catalog know, the contract gate and destroy ask -------------------------------------------------


@dataclass(frozen=True, slots=True)
class Consumer:
    """One reader of a product, as far as it is known. `columns=None`: which columns it reads is unknown."""

    name: str  # title as people know it: Marketing-Analytics
    product: str | None = None  # its own product id, when it is one
    columns: frozenset[str] | None = None  # `object.field` or `field`
    ports: frozenset[str] | None = None
    version: str | None = None  # range of the producer's version it declared
    reads: int = 0
    contact: str | None = None
    source: str = "manifest"


@dataclass(frozen=True, slots=True)
class ConsumerSet:
    """Consumers of a product; `complete=False` says that there may be more, and then an answer of nobody means unknown."""

    consumers: tuple[Consumer, ...] = ()
    complete: bool = True
    as_of: datetime | None = None
    source: str = "manifests"


class ConsumerLookup(Protocol):
    """Who reads a product."""

    def consumers(self, product: str) -> ConsumerSet:
        """All known consumers of `product` (`domain.name`). Raises: `EnvironmentProblem` if the source can't be read."""


# What was read: federation writes, lineage and catalog learn ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueryLogRecord:
    """One query as the gate resolved it; literals of `statement` are `?`. Source: catalog-lineage-slo section 3.

    `relations` are product ids with the columns read, None where the gate did not resolve them (then the SQL resolver reads
    `statement`). `column_lineage` maps each output column to its input columns (`product`, `column`).
    """

    query_id: str
    at: datetime
    principal: str
    engine: str = "duckdb"
    dialect: str = "duckdb"
    statement: str = ""
    relations: Mapping[str, tuple[str, ...]] | None = None
    column_lineage: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    target: str | None = None  # product written, when the query feeds a publish
    status: Literal["ok", "failed", "denied"] = "ok"
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    purpose: str | None = None
    session_id: str | None = None
    roles: tuple[str, ...] = ()


@runtime_checkable
class QueryLog(Protocol):
    """Where queries are recorded after they ended, and read from by lineage."""

    def append(self, record: QueryLogRecord) -> None:
        """Record one query."""

    def read(self, *, after: int = 0) -> Iterator[tuple[int, QueryLogRecord]]:
        """Records with rising sequence numbers above `after`."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One entry of the audit chain before it is chained; `facts` is JSON-like and holds no data value and no literal."""

    time: datetime
    query_id: str
    principal: Principal
    channel: str  # sdk | cli | http
    trust: str  # advisory | enforced | engine
    outcome: Literal["allowed", "denied", "failed"]
    sql: str
    purpose: str | None = None
    code: str | None = None
    policy_revision: str = ""
    products: tuple[Mapping[str, Any], ...] = ()


class AuditSink(Protocol):
    """The audit chain. `append` returns when the record is durable: only then may the first row leave."""

    def append(self, record: AuditRecord) -> None:
        """Chain and store one record. Raises: `MeshkitError`; the query is then denied."""


# Streams of changes: the publisher reads a source and writes sinks --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class InnerPosition:
    """Last published change of a transaction that was cut: its commit, the change, and the number among changes of that LSN."""

    commit_lsn: int
    change_lsn: int
    index: int


@dataclass(frozen=True, slots=True)
class SnapshotProgress:
    """How far a snapshot of one table is: `cursor` holds the last key read in PostgreSQL text form; `upto` bounds the keys."""

    id: str
    table: str
    kind: Literal["initial"] = "initial"
    phase: Literal["rows", "done"] = "rows"
    cursor: tuple[str, ...] | None = None
    upto: tuple[str, ...] | None = None
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """Up to where everything is published. Source: publisher section 4 (`meshkit.publisher.position/1`).

    `commit_end_lsn` is the end of the last transaction of which everything is published, `inner` the last published change of the one
    cut after it. Positions order by `order`; an LSN is a number here and text (`0/1A2B3C8`) in JSON.
    """

    system_id: str
    slot: str
    product: str
    sequence: int
    timeline: int
    commit_end_lsn: int
    commit_time: str
    inner: InnerPosition | None = None
    unseen_xids: tuple[int, ...] = ()
    topic_partitions: int | None = None
    mapping: str = ""
    publication: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    signals: tuple[str, ...] = ()
    snapshots: tuple[SnapshotProgress, ...] = ()

    @property
    def order(self) -> tuple[int, int, int]:
        """Rises with every published change."""
        inner = self.inner
        return (self.commit_end_lsn, inner.change_lsn, inner.index) if inner else (self.commit_end_lsn, 0, -1)

    def covers(self, commit_lsn: int, change_lsn: int, index: int) -> bool:
        """Whether that change is published already."""
        if commit_lsn < self.commit_end_lsn:
            return True
        inner = self.inner
        return (
            inner is not None
            and commit_lsn == inner.commit_lsn
            and (change_lsn, index) <= (inner.change_lsn, inner.index)
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One public record, encoded: `value` is None for a tombstone. `payload` and `key_values` hold natural Python values.

    `at` is `(commit_lsn, change_lsn, index)` for a change of the stream, `(snapshot id, chunk, row)` for a row of a snapshot.
    """

    op: Literal["insert", "update", "delete", "snapshot", "event", "truncate"]
    event_id: str
    trace_id: str
    timestamp: str
    timestamp_us: int
    at: tuple[Any, int, int]
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    key_values: Mapping[str, Any]
    payload: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row that could not be published. `row` has the mapped columns in PostgreSQL text form and is private to the domain."""

    id: str
    at: tuple[Any, int, int]
    key: bytes
    stage: Literal["decode", "mapping", "guard", "encode", "size"]
    code: str
    fields: tuple[str, ...]
    columns: tuple[str, ...]
    message: str
    timestamp_us: int
    row: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What becomes durable together: events, dead letters and the position after them."""

    events: tuple[Event, ...]
    dead_letters: tuple[DeadLetter, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a sink knows of the run that writes to it."""

    domain: str
    product: str  # domain.name
    version: str
    major: int
    topic: str
    slot: str
    system_id: str
    key: tuple[str, ...]
    row_type: Any  # meshkit.types.Struct of the public record
    mapping: str = ""


class Sink(Protocol):
    """Where events go. Entry-point group `meshkit.sinks`. Errors: `EnvironmentProblem` is retried, any other stops the run."""

    @property
    def name(self) -> str:
        """For messages and status."""

    def open(self, run: RunContext) -> Position | None:
        """Fence other writers, resolve in-doubt work, return the last durable position."""

    def peek(self, run: RunContext) -> Position | None:
        """The last durable position, without fencing anyone: for `status` from any process."""

    def write(self, chunk: Chunk) -> None:
        """Take a chunk; everything of it becomes durable together or not at all. May buffer."""

    def flush(self) -> None:
        """Make durable what is due."""

    def durable(self) -> Position | None:
        """Monotone: what survives a crash right now."""

    def keys(self) -> Iterator[pa.RecordBatch]:
        """Live public keys."""

    def close(self, *, abort: bool) -> None:
        """Make everything durable and let go; with `abort`, drop what is not durable yet."""


class ChangeSource(Protocol):
    """A database whose committed changes can be followed. Entry-point group `meshkit.sources`.

    The runner calls, in this order: `connect`, `prepare`, `start`, then `receive` and `confirm`, at last `close`.
    """

    def connect(self) -> Any:
        """Identity of the server: system id, timeline, version. Raises: `EnvironmentProblem`."""

    def prepare(self, spec: Any, *, has_position: bool, adopt_slot: bool) -> Any:
        """Make or verify slot and publication. Raises: errors that stop the run."""

    def start(self) -> None:
        """Begin to stream at what was last confirmed."""

    def receive(self, timeout_seconds: float) -> list[tuple[int, bytes]]:
        """Frames with their LSN that came in, at most a few MiB; empty after the timeout."""

    def confirm(self, lsn: int) -> None:
        """Everything below `lsn` is durable in every sink."""

    def close(self) -> None:
        """Let go of the server."""


@dataclass(frozen=True, slots=True)
class GuardResult:
    """Rows of the same schema and length, and the numbers (from 0) of rejected rows with a reason code each."""

    rows: pa.RecordBatch
    rejected: Mapping[int, str] = field(default_factory=dict)


class BatchGuard(Protocol):
    """Contract checks and publish-time masks, as the mesh introduces them; `covers` names the fields it protects."""

    @property
    def covers(self) -> frozenset[str]:
        """Fields whose personal data this guard masks."""

    def apply(self, rows: pa.RecordBatch) -> GuardResult:
        """Check and mask rows."""


# Iterables used in several signatures
Consumers = Iterable[Consumer] | Sequence[Consumer]
