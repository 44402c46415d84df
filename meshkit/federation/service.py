"""`Federation`: one SQL over all products, under their policies. Gate, decisions, audit, plan, engines, query log, in this order.

Trust of results is `advisory` in a caller's own process: masking then protects against accidents, not against the caller. In a gateway it is
`enforced`: the caller has no way to the raw rows.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError
from meshkit.federation import listing
from meshkit.federation.engines.duckdb import Privileged, classify, engine_errors
from meshkit.federation.errors import (
    AuditUnavailable,
    MissingPrincipal,
    PolicyUnavailable,
    QueryFailed,
    SourceUnavailable,
)
from meshkit.federation.execute import Execution, Prepared
from meshkit.federation.fragment_sql import Relation
from meshkit.federation.gate import Gate, redacted_text
from meshkit.federation.names import AmbiguousName, TableInfo
from meshkit.federation.plan import FragmentReport, QueryPlan, choose_port, plan_fragment, plan_reductions
from meshkit.federation.products import QueryablePort, catalogue_of, queryable_ports
from meshkit.federation.reading import PortReader
from meshkit.federation.result import QueryResult, ResultColumn
from meshkit.federation.settings import EngineSettings
from meshkit.federation.sources import SourceFinder, located
from meshkit.federation.statement import FragmentRef, GatedQuery
from meshkit.log import get_logger
from meshkit.ports import AuditRecord, AuditSink, Decider, Decision, MaskCompiler, Principal, QueryLog, QueryLogRecord

if TYPE_CHECKING:
    import pyarrow as pa

    from meshkit.manifest import Manifest

__all__ = ["Federation"]

log = get_logger(__name__)
Trust = Literal["advisory", "enforced"]
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_query_id() -> str:
    """`q-` and a ULID: sorts by time, says nothing else."""
    number = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "q-" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


@dataclass(frozen=True, slots=True)
class _Request:
    """What one call asks, and who asks."""

    query: str
    principal: Principal
    purpose: str | None
    parameters: Mapping[str, Any]
    ports: Mapping[str, str]
    timeout_seconds: float
    channel: str
    query_id: str
    at: datetime


@dataclass
class _Run:
    """A query on its way: measured, ended once, then logged."""

    request: _Request
    gated: GatedQuery
    execution: Execution | None
    finish: Callable[[_Run, Literal["ok", "failed"]], None]
    started: float = field(default_factory=time.monotonic)
    rows: int = 0
    ended: bool = False
    seconds: float | None = None
    timed_out: bool = False
    closed: bool = False
    timer: threading.Timer | None = None

    def start_timer(self) -> None:
        """Interrupt the query when its time is over."""
        self.timer = threading.Timer(self.request.timeout_seconds, self._expire)
        self.timer.daemon = True
        self.timer.start()

    def _expire(self) -> None:
        self.timed_out = True
        if self.execution is not None:
            self.execution.interrupt()

    def end(self, status: Literal["ok", "failed"]) -> None:
        """Free everything and log, once."""
        if self.ended:
            return
        self.ended = True
        self.seconds = time.monotonic() - self.started
        if self.timer is not None:
            self.timer.cancel()
        if self.execution is not None:
            self.execution.close()
        self.finish(self, status)


class Federation:
    """SQL over `products` (by id). `sources` says which source serves a location (`MeshConfig` does); None knows local files only."""

    def __init__(
        self,
        products: Mapping[str, Manifest],
        *,
        decider: Decider,
        masks: MaskCompiler,
        sources: SourceFinder | None = None,
        audit: AuditSink | None = None,
        query_log: QueryLog | None = None,
        settings: EngineSettings = EngineSettings(),
        trust: Trust = "advisory",
    ) -> None:
        self.trust: Trust = trust
        self.products = dict(products)
        self.catalogue = catalogue_of(self.products.values())
        self.decider, self.masks, self.sources, self.audit, self.query_log, self.settings = (
            decider,
            masks,
            sources,
            audit,
            query_log,
            settings,
        )
        self.engine = Privileged(settings)
        self.reader = PortReader(self.engine)

    def close(self) -> None:
        """Detach the sources."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Public

    def sql(
        self,
        query: str,
        *,
        principal: Principal | None,
        purpose: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        dialect: Literal["duckdb", "trino"] = "duckdb",
        ports: Mapping[str, str] | None = None,
        timeout_seconds: float = 300,
        channel: str = "sdk",
    ) -> QueryResult:
        """Run a query as `principal`. `ports` picks a port per product. The audit record is durable before the first row.

        Raises: `QueryDenied`, `UnparsableSql`, `QueryFailed`, `SourceUnavailable`, `SchemaDrift`, `ContractBroken`, `AuditUnavailable`,
        `PolicyUnavailable`, `NoQueryablePort`, `MissingPrincipal`.
        """
        request = self._request(query, principal, purpose, parameters, dialect, ports, timeout_seconds, channel)
        gated = self._gated(request)
        run = _Run(request, gated, None, self._finished)
        try:
            if gated.kind != "query":
                self._record(request, gated, "allowed", None)
                return self._listing(run)
            return self._query(run)
        except MeshkitError as error:
            run.end("failed")
            log.info("query.failed", query_id=request.query_id, code=error.code)
            raise

    def plan_sql(
        self,
        query: str,
        *,
        principal: Principal | None,
        purpose: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        dialect: Literal["duckdb", "trino"] = "duckdb",
        ports: Mapping[str, str] | None = None,
        timeout_seconds: float = 300,
        channel: str = "sdk",
    ) -> QueryPlan:
        """How the query would run: metadata only, no row is read. Raises: as `sql`."""
        request = self._request(query, principal, purpose, parameters, dialect, ports, timeout_seconds, channel)
        gated = self._gated(request)
        self._record(request, gated, "allowed", None)
        return self._planned(request, gated)

    # Steps

    def _request(
        self, query: str, principal: Principal | None, purpose: str | None, parameters: Mapping[str, Any] | None, dialect: str,
        ports: Mapping[str, str] | None, timeout_seconds: float, channel: str,
    ) -> _Request:  # fmt: skip
        if principal is None:
            raise MissingPrincipal
        if dialect != "duckdb":
            raise UsageError(
                f"dialect {dialect!r} needs the Trino engine, which this mesh does not have. Use dialect='duckdb'",
                code="federation.not_on_engine",
            )
        unknown = sorted(set(ports or {}) - set(self.products))
        if unknown:
            raise UsageError(
                "ports= names a product that the mesh does not have. Use ids like 'sales.orders'",
                code="federation.unknown_table",
            )
        return _Request(
            query,
            principal,
            purpose,
            dict(parameters or {}),
            dict(ports or {}),
            timeout_seconds,
            channel,
            new_query_id(),
            datetime.now(UTC),
        )

    def _gated(self, request: _Request) -> GatedQuery:
        """The gate's verdict; a refusal is recorded too."""
        gate = Gate(self.catalogue, lambda product: self._decide(request, product), lambda: self._visible(request))
        try:
            return gate.check(request.query, parameters=request.parameters)
        except MeshkitError as error:
            redacted = redacted_text(request.query)
            denied = GatedQuery(kind="query", sql="", redacted=redacted)
            self._record(request, denied, "denied", error.code)
            self._log(QueryLogRecord(request.query_id, request.at, request.principal.subject, statement=redacted, status="denied",
                                     purpose=request.purpose, roles=request.principal.roles))  # fmt: skip
            raise

    def _decide(self, request: _Request, product: str) -> Decision:
        decision = self.decider.decide(product, request.principal, purpose=request.purpose, now=request.at)
        if decision.valid_until is not None and decision.valid_until <= request.at:
            return replace(decision, allow=False, code="masking.expired")
        return decision

    def _visible(self, request: _Request) -> tuple[str, ...]:
        return tuple(p for p in sorted(self.products) if self._decide(request, p).allow is True)

    def _record(
        self, request: _Request, gated: GatedQuery, outcome: Literal["allowed", "denied", "failed"], code: str | None
    ) -> None:
        """The audit record, durable when this returns. Raises: `AuditUnavailable`: then no row leaves."""
        if self.audit is None:
            return
        record = AuditRecord(
            time=request.at, query_id=request.query_id, principal=request.principal, channel=request.channel, trust=self.trust, outcome=outcome,
            sql=gated.redacted, purpose=request.purpose, code=code, policy_revision=self.decider.revision(), products=_audited(gated),
        )  # fmt: skip
        try:
            self.audit.append(record)
        except (MeshkitError, OSError):
            raise AuditUnavailable from None

    def _log(self, record: QueryLogRecord) -> None:
        """After the query: a log that is away is reported, the rows have left."""
        if self.query_log is None:
            return
        try:
            self.query_log.append(record)
        except MeshkitError as error:
            log.warning("query_log.append_failed", query_id=record.query_id, code=error.code)

    def _finished(self, run: _Run, status: Literal["ok", "failed"]) -> None:
        request, gated = run.request, run.gated
        size = sum(r.bytes or 0 for r in run.execution.reports()) if run.execution is not None else 0
        self._log(
            QueryLogRecord(
                query_id=request.query_id,
                at=request.at,
                principal=request.principal.subject,
                statement=gated.redacted,
                relations=_relations(gated),
                column_lineage=_lineage(gated),
                status=status,
                rows=run.rows,
                bytes=size,
                seconds=run.seconds or 0.0,
                purpose=request.purpose,
                roles=request.principal.roles,
            )
        )

    # Planning

    def _source(self, port: QueryablePort) -> tuple[str, Any] | None:
        location = located(port)
        if self.sources is None:
            if "://" in location:
                raise MeshkitError(
                    f"port {port.name} needs a source, and none is configured. Add one to `sources` of mesh.yaml",
                    code="mesh.no_source",
                )
            return None
        return self.sources.source_for(location, port=port.name)

    def _prepared(
        self, ref: FragmentRef, request: _Request, decision: Decision, excluded: set[tuple[str, str]]
    ) -> Prepared:
        manifest = self.products[ref.table.product]
        ports = [p for p in queryable_ports(manifest, ref.table.object) if (manifest.id, p.name) not in excluded]
        keys = manifest.objects[ref.table.object].key
        port = choose_port(ref, ports, wanted=request.ports.get(manifest.id), keys=keys)
        source = self._source(port)
        return Prepared(
            plan_fragment(ref, port, decision, source[0] if source else None), source, decision.product_revision
        )

    def _execution(self, request: _Request, gated: GatedQuery, excluded: set[tuple[str, str]]) -> Execution:
        prepared = {
            r.name: self._prepared(r, request, gated.decisions[r.table.product], excluded)
            for r in gated.fragments
            if r.virtual is None
        }
        reductions = plan_reductions(gated, {name: p.fragment for name, p in prepared.items()})
        return Execution(
            gated=gated,
            prepared=prepared,
            reductions=reductions,
            engine=self.engine,
            reader=self.reader,
            compiler=self.masks,
            policy_reader=lambda domain, table: self._raw(request, domain, table),
            roles=request.principal.roles,
            settings=self.settings,
            query_id=request.query_id,
            virtual={r.name: self._virtual(request, r) for r in gated.fragments if r.virtual is not None},
        )

    def _raw(self, request: _Request, domain: str, table: str) -> tuple[TableInfo, Relation]:
        """Rows of a product that a policy's subquery names: raw, for the privileged engine only."""
        try:
            info = self.catalogue.find(domain, table)
        except AmbiguousName:
            info = None
        if info is None:
            raise PolicyUnavailable
        ports = queryable_ports(self.products[info.product], info.object)
        port = choose_port(FragmentRef("policy", info, ()), ports, wanted=None, keys=())
        return info, self.reader.relation(info, port, self._source(port), request.principal.roles)

    def _virtual(self, request: _Request, ref: FragmentRef) -> pa.Table:
        decisions = {p: self._decide(request, p) for p in self._visible(request)}
        tables = [t for t in self.catalogue.tables if t.product in decisions]
        rows = (
            listing.table_rows(tables, self.products)
            if ref.virtual == "tables"
            else listing.column_rows(tables, decisions)
        )
        wanted = ref.columns or (ref.table.columns[0].name,)
        return listing.listing_table(ref.table, rows).select(list(wanted))

    def _planned(self, request: _Request, gated: GatedQuery) -> QueryPlan:
        if gated.kind not in {"query", "explain"}:
            return QueryPlan(gated.redacted, "advisory")
        execution = self._execution(request, gated, set())
        try:
            execution.prepare()
            return _plan(gated, execution, None)
        finally:
            execution.close()

    # Running

    def _listing(self, run: _Run) -> QueryResult:
        request, gated = run.request, run.gated
        info = listing.listing_info(gated.kind)
        if gated.kind == "show_tables":
            seen = set(self._visible(request))
            rows = listing.show_rows(t for t in self.catalogue.tables if t.product in seen)
        elif gated.kind == "describe" and gated.described is not None:
            rows = listing.describe_rows(gated.described, gated.decisions[gated.described.product])
        else:
            rows = [{"plan": line} for line in self._planned(request, gated).to_text().splitlines()]
        table = listing.listing_table(info, rows)
        run.rows = table.num_rows
        run.end("ok")
        return self._result(run, table.schema, iter(table.to_batches()))

    def _query(self, run: _Run) -> QueryResult:
        request, gated = run.request, run.gated
        self._record(request, gated, "allowed", None)
        execution = self._execution(request, gated, set())
        run.execution = execution
        run.start_timer()
        excluded: set[tuple[str, str]] = set()
        try:
            schema, first, reader = self._start(run)
        except SourceUnavailable as error:
            # before the first row one retry, on another port if there is one
            excluded.add((error.product, error.port))
            self.reader.forget()
            try:
                again = self._execution(request, gated, excluded)
            except MeshkitError:
                raise error from None
            execution.close()
            run.execution = again
            schema, first, reader = self._start(run)
        return self._result(run, schema, self._rows(run, first, reader))

    def _start(self, run: _Run) -> tuple[pa.Schema, pa.RecordBatch | None, pa.RecordBatchReader]:
        """Run up to the first batch. A fragment that was scanned twice is loaded, and the query starts again: no row has left."""
        execution = run.execution
        assert execution is not None
        try:
            with self._translated(run):
                execution.prepare()
                reader = execution.run()
                return reader.schema, next(iter(reader), None), reader
        except MeshkitError:
            if not execution.rescanned or run.timed_out:
                raise
        execution.close()
        again = replace(execution, streams={}, _spools=[], _sandbox=None, _keys={}, _key_reports={}, _loader=None)
        run.execution = again
        with self._translated(run):
            again.prepare()
            reader = again.run(load_all=True)
            return reader.schema, next(iter(reader), None), reader

    @contextlib.contextmanager
    def _translated(self, run: _Run) -> Iterator[None]:
        """Engine errors to ours: the fragment's own failure if there is one, else its class alone. Never the engine's text or cause."""
        try:
            yield
        except engine_errors() as error:
            raise self._failure(run, error) from None
        except MeshkitError as error:
            if run.timed_out or (isinstance(error, QueryFailed) and not error.query_id):
                raise self._failure(run, error) from None
            raise

    def _failure(self, run: _Run, error: BaseException) -> MeshkitError:
        if run.timed_out:
            return QueryFailed("timeout", query_id=run.request.query_id)
        failed = run.execution.failure() if run.execution is not None else None
        if isinstance(failed, QueryFailed) or failed is None:
            kind = (
                failed.kind
                if isinstance(failed, QueryFailed)
                else error.kind
                if isinstance(error, QueryFailed)
                else classify(error)
            )
            return QueryFailed(kind, query_id=run.request.query_id)
        return (
            failed if isinstance(failed, MeshkitError) else EnvironmentProblem("a source failed. Run the query again")
        )

    def _rows(self, run: _Run, first: pa.RecordBatch | None, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        status: Literal["ok", "failed"] = "failed"
        try:
            with self._translated(run):
                batch = first
                while batch is not None:
                    run.rows += batch.num_rows
                    yield batch
                    if run.closed or run.timed_out:
                        raise QueryFailed("timeout" if run.timed_out else "cancelled")
                    batch = next(iter(reader), None)
            status = "ok"
        except GeneratorExit:
            status = "ok"  # the reader had enough
            raise
        finally:
            run.end(status)

    def _result(self, run: _Run, schema: pa.Schema, source: Iterator[pa.RecordBatch]) -> QueryResult:
        gated = run.gated

        def close() -> None:
            run.closed = True
            if not run.ended:
                if run.execution is not None:
                    run.execution.interrupt()
                run.end("ok")

        def plan() -> QueryPlan:
            return (
                _plan(gated, run.execution, run.seconds)
                if run.execution is not None
                else QueryPlan(gated.redacted, "advisory")
            )

        return QueryResult(
            schema=schema,
            columns=_result_columns(gated, schema),
            source=source,
            plan=plan,
            decisions=gated.decisions,
            query_id=run.request.query_id,
            on_close=close,
            trust=self.trust,
        )


def _plan(gated: GatedQuery, execution: Execution, seconds: float | None) -> QueryPlan:
    reports: list[FragmentReport] = []
    masked: list[tuple[str, str, str]] = []
    for name, stream in execution.streams.items():
        fragment = execution.prepared[name].fragment
        reports.append(replace(stream.report, bytes=None) if fragment.hides_bytes else replace(stream.report))
        masked.extend((fragment.ref.table.alias, c.name, c.decision.mask) for c in fragment.columns if not c.is_clear)
    return QueryPlan(gated.redacted, "advisory", tuple(reports), seconds, tuple(masked))


def _result_columns(gated: GatedQuery, schema: pa.Schema) -> tuple[ResultColumn, ...]:
    """Names and types of the engine; product, mask and rule of the contract column that each one shows."""
    from meshkit.errors import MeshkitError as Problem
    from meshkit.types.arrow import from_arrow_field

    outputs = gated.outputs if gated.outputs is not None and len(gated.outputs) == len(schema) else None
    tables = {
        (f.table.product, f.table.column_label(c.name)): (f.table, c)
        for f in gated.fragments
        for c in f.table.columns
        if f.virtual is None
    }
    columns = []
    for index, item in enumerate(schema):
        try:
            kind = str(from_arrow_field(item))
        except Problem:
            kind = str(item.type)
        found = tables.get(outputs[index].direct or ("", "")) if outputs else None
        if found is not None:
            table, column = found
            mask, rule = listing.mask_of(gated.decisions[table.product], table, column)
            columns.append(ResultColumn(item.name, kind, table.product, None if mask == "clear" else mask, rule))
            continue
        derived = {
            listing.mask_of(gated.decisions[tables[o][0].product], *tables[o])[0]
            for o in (outputs[index].origins if outputs else ())
            if o in tables
        }
        hidden = sorted(derived - {"clear"})
        columns.append(ResultColumn(item.name, kind, None, "derived" if hidden else None))
    return tuple(columns)


def _audited(gated: GatedQuery) -> tuple[Mapping[str, Any], ...]:
    found = []
    for product, decision in gated.decisions.items():
        used = [
            (f.table, c)
            for f in gated.fragments
            if f.table.product == product and f.virtual is None
            for c in f.table.columns
            if c.name in f.columns
        ]
        columns = []
        for table, column in dict.fromkeys((t, c.name) for t, c in used):
            label = table.column_label(column)
            entry = decision.columns.get(label) or decision.columns.get(column)
            if entry is not None:
                columns.append(
                    {"column": label, "tag": entry.tag, "rule": entry.rule, "mask": entry.mask, "reason": entry.reason}
                )
        found.append(
            {
                "name": product,
                "decision_id": decision.decision_id,
                "row_filters": [f.rule for f in decision.row_filters],
                "columns": columns,
            }
        )
    return tuple(found)


def _relations(gated: GatedQuery) -> dict[str, tuple[str, ...]]:
    relations: dict[str, tuple[str, ...]] = {}
    for ref in gated.fragments:
        if ref.virtual is None:
            labels = tuple(ref.table.column_label(c) for c in ref.columns)
            relations[ref.table.product] = tuple(dict.fromkeys((*relations.get(ref.table.product, ()), *labels)))
    return relations


def _lineage(gated: GatedQuery) -> dict[str, tuple[tuple[str, str], ...]]:
    outputs = gated.outputs or ()
    virtual = {f.table.product for f in gated.fragments if f.virtual is not None}
    return {
        o.name or f"column_{i}": tuple(sorted(x for x in o.origins if x[0] not in virtual))
        for i, o in enumerate(outputs)
    }
