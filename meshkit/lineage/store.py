"""Lineage in the state store: declared edges with the time they were declared, observed ones from first to last sight.

Tables `lineage_edge` (intervals of one key never overlap), `lineage_observation` (who was seen reading at all, per hour) and
`lineage_query` (queries counted already, so that reading a log twice changes nothing).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from meshkit._sql import Store, from_micros, micros
from meshkit.errors import MeshkitError
from meshkit.lineage.build import OBSERVE_DAYS, declared_evidence, graph_of, product_nodes
from meshkit.lineage.graph import LineageGraph
from meshkit.lineage.models import Evidence
from meshkit.lineage.records import MeshTables, Reading, RecordReader
from meshkit.lineage.sql.models import RUNGS
from meshkit.manifest import Manifest
from meshkit.ports import QueryLogRecord

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

__all__ = ["IngestReport", "LineageStore"]

_BATCH = 2_000
_HOUR = 3_600_000_000
_OPEN = 1 << 62  # valid_to of what is still declared


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of records: `known` were counted before, `skipped` are failed, denied or meshkit's own."""

    records: int = 0
    new: int = 0
    known: int = 0
    skipped: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    rejected: tuple[tuple[str, str], ...] = ()  # query id, code

    @property
    def exit_code(self) -> int:
        """1 if records were rejected; the good ones are in."""
        return 1 if self.rejected else 0

    def to_json(self) -> dict[str, Any]:
        """`meshkit.lineage.ingest/1`."""
        return {
            "format": "meshkit.lineage.ingest/1",
            "records": self.records,
            "new": self.new,
            "known": self.known,
            "skipped": self.skipped,
            "statuses": dict(self.statuses),
            "rejected": [{"query_id": q, "code": c} for q, c in self.rejected],
        }

    def to_text(self) -> str:
        """One line, and one per rejected record."""
        lines = [
            f"{self.records} records: {self.new} new, {self.known} known, {self.skipped} skipped, {len(self.rejected)} rejected"
        ]
        lines += [f"  {query}: {code}" for query, code in self.rejected]
        return "\n".join(lines)


def _tables() -> tuple[Any, Table, Table, Table]:
    import sqlalchemy as sa

    metadata = sa.MetaData()
    text = sa.String(400)
    edge = sa.Table(
        "lineage_edge",
        metadata,
        sa.Column("src", text, primary_key=True),
        sa.Column("dst", text, primary_key=True),
        sa.Column("level", sa.String(8), primary_key=True),
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("subtype", sa.String(20), primary_key=True),
        sa.Column("source", sa.String(12), primary_key=True),
        sa.Column("valid_from", sa.BigInteger, primary_key=True),
        sa.Column("valid_to", sa.BigInteger, nullable=False),
        sa.Column("last_seen", sa.BigInteger),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("confidence", sa.String(10), nullable=False),
        sa.Column("evidence", text, nullable=False),
        sa.Column("port", text),
        sa.Column("version", text),
        sa.Column("columns", sa.Text),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Index("lineage_edge_dst", "dst", "level"),
    )
    observation = sa.Table(
        "lineage_observation",
        metadata,
        sa.Column("actor", text, primary_key=True),
        sa.Column("fingerprint", sa.String(80), primary_key=True),
        sa.Column("hour", sa.BigInteger, primary_key=True),
        sa.Column("status", sa.String(10), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Index("lineage_observation_hour", "hour"),
    )
    query = sa.Table(
        "lineage_query",
        metadata,
        sa.Column("query_id", sa.String(200), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    return metadata, edge, observation, query


class LineageStore:
    """Lineage of one mesh, kept in its state store. Several processes may write at once."""

    def __init__(self, store: Store, *, observe_days: int = OBSERVE_DAYS) -> None:
        self.store, self.observe_days = store, observe_days
        metadata, self._edge, self._observation, self._query = _tables()
        store.create(metadata)

    # Writing

    def declare(self, manifests: Iterable[Manifest], *, at: datetime, complete: bool = True) -> int:
        """Record what manifests declare at `at`: new edges begin, vanished ones end. Returns how many changed.

        With `complete=False` the manifests are some of the mesh's: edges of products that are not among them stay.
        """
        manifests = tuple(manifests)
        here = {m.urn for m in manifests}
        wanted = {e.key: e for e in declared_evidence(manifests)}
        now = micros(at)
        with self.store.write() as connection:
            rows = connection.execute(
                self._edge.select().where(self._edge.c.source == "manifest", self._edge.c.valid_to == _OPEN)
            ).mappings()
            open_rows = {_row_key(row): row for row in rows if complete or row["dst"] in here}
            ended = [
                key for key, row in open_rows.items() if key not in wanted or _facts(wanted[key]) != _row_facts(row)
            ]
            for key in ended:
                self._end(connection, key, open_rows[key]["valid_from"], now)
            begun = [e for key, e in wanted.items() if key not in open_rows or key in ended]
            self.store.upsert(connection, self._edge, [_declared_row(e, now) for e in begun], key=_KEY)
        return len(begun) + len(ended)

    def _end(self, connection: Connection, key: tuple[str, ...], valid_from: int, now: int) -> None:
        table = self._edge
        where = [table.c[name] == value for name, value in zip(_KEY, (*key, valid_from), strict=True)]
        if valid_from >= now:  # never valid: declared and gone in the same instant
            connection.execute(table.delete().where(*where))
        else:
            connection.execute(table.update().where(*where).values(valid_to=now))

    def ingest_query_log(
        self,
        records: Iterable[QueryLogRecord],
        manifests: Iterable[Manifest] = (),
        *,
        teams: Mapping[str, str] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> IngestReport:
        """Learn from a query log. Any order, doubling or batching of records gives the same graph."""
        reader = RecordReader(MeshTables(manifests), teams or {}, aliases or {})
        totals: Counter[str] = Counter()
        statuses: Counter[str] = Counter()
        rejected: list[tuple[str, str]] = []
        for batch in _batches(records):
            self._ingest(batch, reader, totals, statuses, rejected)
        return IngestReport(
            totals["records"],
            totals["new"],
            totals["known"],
            totals["skipped"],
            dict(sorted(statuses.items())),
            tuple(rejected),
        )

    def _ingest(
        self,
        batch: Sequence[QueryLogRecord],
        reader: RecordReader,
        totals: Counter[str],
        statuses: Counter[str],
        rejected: list[tuple[str, str]],
    ) -> None:
        read: list[tuple[QueryLogRecord, Reading]] = []
        for record in {r.query_id: r for r in batch}.values():
            if record.at.tzinfo is None:
                rejected.append((record.query_id, "time.naive"))
                continue
            try:
                read.append((record, reader.read(record)))
            except MeshkitError as error:
                rejected.append((record.query_id, error.code))
        totals["records"] += len(batch)
        totals["known"] += len(batch) - len({r.query_id for r in batch})
        with self.store.write() as connection:
            known = self._known(connection, [r.query_id for r, _ in read])
            fresh = [(r, what) for r, what in read if r.query_id not in known]
            counted = [(r, what) for r, what in fresh if what.counts]
            self._merge_edges(connection, counted)
            self._merge_observations(connection, counted)
            rows = [{"query_id": r.query_id, "at": micros(r.at)} for r, _ in fresh]
            self.store.upsert(connection, self._query, rows, key=["query_id"])
        totals["known"] += len(read) - len(fresh)
        totals["new"] += len(counted)
        totals["skipped"] += len(fresh) - len(counted)
        statuses.update(what.status for _, what in counted)

    def _known(self, connection: Connection, ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for part in _batches(ids, 500):
            found |= set(connection.execute(self._query.select().where(self._query.c.query_id.in_(part))).scalars())
        return found

    def _merge_edges(self, connection: Connection, counted: Iterable[tuple[QueryLogRecord, Reading]]) -> None:
        """Join each sight with the intervals of its key that it touches; otherwise it begins a new one."""
        sights: dict[tuple[str, ...], list[_Span]] = defaultdict(list)
        for record, what in counted:
            at = micros(record.at)
            for src, dst, level, kind, subtype, confidence in what.edges:
                sights[src, dst, level, kind, subtype, "sql"].append(_Span(at, at, 1, confidence, what.fingerprint))
        window = self.observe_days * 24 * _HOUR
        for key, spans in sights.items():
            table = self._edge
            same = [table.c[name] == value for name, value in zip(_KEY[:-1], key, strict=True)]
            low, high = min(s.first for s in spans) - window, max(s.last for s in spans) + window
            touched = [*same, table.c.valid_from <= high, table.c.last_seen >= low]
            old = [
                _Span(row["valid_from"], row["last_seen"], row["count"], row["confidence"], row["evidence"])
                for row in connection.execute(table.select().where(*touched)).mappings()
            ]
            if old:
                connection.execute(table.delete().where(*touched))
            merged = _merged([*old, *spans], window)
            connection.execute(table.insert(), [_observed_row(key, s, window) for s in merged])

    def _merge_observations(self, connection: Connection, counted: Iterable[tuple[QueryLogRecord, Reading]]) -> None:
        """Add to the counts per hour: one statement for all, since a batch has nearly as many keys as records."""
        counts: Counter[tuple[str, str, int, str]] = Counter()
        for record, what in counted:
            status = "exact" if what.status == "gate" else what.status
            counts[what.reader, what.fingerprint, micros(record.at) // _HOUR * _HOUR, status] += 1
        if not counts:
            return
        if self.store.is_sqlite:
            from sqlalchemy.dialects.sqlite import insert
        else:
            from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
        table = self._observation
        names = ["actor", "fingerprint", "hour", "status"]
        statement = insert(table)
        added = table.c.count + statement.excluded["count"]
        statement = statement.on_conflict_do_update(index_elements=names, set_={"count": added})
        rows: list[dict[str, Any]] = [{**dict(zip(names, key, strict=True)), "count": n} for key, n in counts.items()]
        connection.execute(statement, rows)

    # Reading

    def evidence(self, *, at: datetime) -> tuple[tuple[Evidence, ...], tuple[Evidence, ...]]:
        """What was declared at `at`, and what had been observed until then, each edge's latest interval."""
        now = micros(at)
        table = self._edge
        declared: list[Evidence] = []
        observed: dict[tuple[str, ...], Evidence] = {}
        with self.store.read() as connection:
            rows = connection.execute(
                table.select().where(table.c.valid_from <= now).order_by(table.c.valid_from)
            ).mappings()
            for row in rows:
                if row["source"] == "manifest":
                    if row["valid_to"] > now:
                        declared.append(_as_evidence(row))
                else:
                    observed[_row_key(row)] = _seen_until(_as_evidence(row), at)
        return tuple(declared), tuple(observed.values())

    def seen(self, *, at: datetime) -> tuple[dict[str, datetime], dict[str, int]]:
        """When each consumer's reads were last readable at all, and coverage, over the window before `at`."""
        import sqlalchemy as sa

        table, now = self._observation, micros(at)
        start = now - self.observe_days * 24 * _HOUR
        inside = (table.c.hour > start - _HOUR, table.c.hour <= now)
        with self.store.read() as connection:
            actors = connection.execute(
                sa.select(table.c.actor, sa.func.max(table.c.hour))
                .where(*inside, table.c.status != "unparsed")
                .group_by(table.c.actor)
            ).all()
            counted = connection.execute(
                sa.select(table.c.status, sa.func.sum(table.c.count)).where(*inside).group_by(table.c.status)
            ).all()
        counts: dict[str, int] = {str(status): int(n) for status, n in counted}
        coverage: dict[str, int] = {"statements": sum(counts.values())}
        coverage |= {str(rung): counts.get(rung, 0) for rung in RUNGS}
        last = {actor: min(from_micros(int(hour) + _HOUR - 1), at) for actor, hour in actors}
        return last, coverage

    def graph(
        self, manifests: Iterable[Manifest], *, at: datetime, sources: Collection[str] | None = None
    ) -> LineageGraph:
        """The graph at an instant. `manifests` name and describe products; what they declared then is read from the store.

        `sources` keeps only some of `manifest sql openlineage`.
        """
        declared, observed = self.evidence(at=at)
        if sources is not None:
            declared = tuple(e for e in declared if e.source in sources)
            observed = tuple(e for e in observed if e.source in sources)
        last, coverage = self.seen(at=at)
        nodes = product_nodes(tuple(manifests))
        return graph_of(declared, observed, nodes, at=at, observe_days=self.observe_days, seen=last, coverage=coverage)


_KEY = ["src", "dst", "level", "kind", "subtype", "source", "valid_from"]


@dataclass(frozen=True, slots=True)
class _Span:
    first: int
    last: int
    count: int
    confidence: str
    evidence: str


def _merged(spans: Iterable[_Span], window: int) -> list[_Span]:
    """Spans no further apart than the window are one. The worst confidence stays, with the latest evidence."""
    result: list[_Span] = []
    for span in sorted(spans, key=lambda s: (s.first, s.last, s.evidence)):
        if result and span.first - result[-1].last <= window:
            old = result[-1]
            latest = max(old, span, key=lambda s: (s.last, s.evidence))
            worst = max(old.confidence, span.confidence, key=_RANK.index)
            result[-1] = _Span(old.first, max(old.last, span.last), old.count + span.count, worst, latest.evidence)
        else:
            result.append(span)
    return result


_RANK = ("exact", "ambiguous", "table", "unparsed")


def _batches(items: Iterable[Any], size: int = _BATCH) -> Iterable[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _row_key(row: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in _KEY[:-1])


def _facts(item: Evidence) -> tuple[Any, ...]:
    return (item.port, item.version, None if item.columns is None else "\n".join(item.columns), item.evidence)


def _row_facts(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    return (row["port"], row["version"], row["columns"], row["evidence"])


def _row(key: Sequence[str], first: int, valid_to: int) -> dict[str, Any]:
    named: dict[str, Any] = dict(zip(_KEY, (*key, first), strict=True))
    return {**named, "valid_to": valid_to, "port": None, "version": None, "columns": None, "recorded_at": first}


def _declared_row(item: Evidence, now: int) -> dict[str, Any]:
    port, version, columns, evidence = _facts(item)
    facts = {"port": port, "version": version, "columns": columns, "evidence": evidence}
    return {**_row(item.key, now, _OPEN), **facts, "last_seen": None, "count": 0, "confidence": item.confidence}


def _observed_row(key: Sequence[str], span: _Span, window: int) -> dict[str, Any]:
    facts = {"last_seen": span.last, "count": span.count, "confidence": span.confidence, "evidence": span.evidence}
    return {**_row(key, span.first, span.last + window), **facts}


def _as_evidence(row: Mapping[Any, Any]) -> Evidence:
    columns = row["columns"]
    return Evidence(
        row["src"],
        row["dst"],
        row["level"],
        row["kind"],
        row["subtype"],
        row["source"],
        row["confidence"],
        from_micros(row["valid_from"]),
        None if row["last_seen"] is None else from_micros(row["last_seen"]),
        row["count"],
        row["evidence"],
        row["port"],
        row["version"],
        None if columns is None else tuple(c for c in columns.split("\n") if c),
    )


def _seen_until(item: Evidence, at: datetime) -> Evidence:
    """An interval as it looked at `at`: what was seen later had not been seen yet.

    Sights of one interval are at most a window apart, so at any time within it the last one was recent enough; the count is that
    of the whole interval.
    """
    if item.last_seen is None or item.last_seen <= at:
        return item
    return Evidence(
        item.src,
        item.dst,
        item.level,
        item.kind,
        item.subtype,
        item.source,
        item.confidence,
        item.first_seen,
        at,
        item.count,
        item.evidence,
    )
