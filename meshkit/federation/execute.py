"""Runs a gated query: fragments in the privileged engine, loaded first where that must be, the rest in the sandbox.

One snapshot per source: files are listed once; two relations of one Postgres database, and those that a WITH query may read twice, are
loaded inside one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshkit.federation.engines.duckdb import FragmentStream, Privileged, Sandbox, engine_errors
from meshkit.federation.errors import ContractBroken
from meshkit.federation.fragment_sql import Conditions, FragmentSql, build, conditions_of
from meshkit.federation.plan import MAX_KEY_RATIO, MAX_KEYS, SPOOL_ROWS, Fragment, FragmentReport, KeyReduction
from meshkit.federation.predicates import columns_of
from meshkit.federation.reading import PortReader, key_array
from meshkit.federation.settings import EngineSettings
from meshkit.federation.statement import GatedQuery, Predicate
from meshkit.types.duckdb import quote

if TYPE_CHECKING:
    import pyarrow as pa

    from meshkit.federation.fragment_sql import Reader, Relation
    from meshkit.ports import MaskCompiler

__all__ = ["Execution", "Prepared"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A fragment with its source and the reader's login, ready to be read."""

    fragment: Fragment
    source: tuple[str, Any] | None
    revision: str


@dataclass
class Execution:
    """One query while it runs; `close` stops and frees everything. Not shared between threads, but `interrupt` may come from any."""

    gated: GatedQuery
    prepared: Mapping[str, Prepared]
    reductions: Sequence[KeyReduction]
    engine: Privileged
    reader: PortReader
    compiler: MaskCompiler
    policy_reader: Reader
    roles: tuple[str, ...]
    settings: EngineSettings
    query_id: str = ""
    virtual: Mapping[str, pa.Table] = field(default_factory=dict)
    streams: dict[str, FragmentStream] = field(default_factory=dict)
    _spools: list[str] = field(default_factory=list)
    _sandbox: Sandbox | None = None
    _keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    _key_reports: dict[str, str] = field(default_factory=dict)
    _loader: Any = None

    # Building

    def reports(self) -> tuple[FragmentReport, ...]:
        """What each fragment reads, in the query's order."""
        return tuple(s.report for s in self.streams.values())

    def prepare(self) -> None:
        """Build every fragment's statement. Raises: `SourceUnavailable`, `SchemaDrift`, `PolicyUnavailable`. Reads metadata only."""
        for name in self.prepared:
            self.streams[name] = self._stream(name)

    def _stream(self, name: str) -> FragmentStream:
        prepared = self.prepared[name]
        fragment = prepared.fragment
        conditions = conditions_of(fragment, self.policy_reader)
        pushed = (*fragment.pushed, *(p for f in conditions.filters for p in f.predicates))
        relation = self._relation(prepared, pushed, self._keys.get(name))
        statement = build(fragment, relation, conditions, self.compiler)
        report = _report(fragment, statement, self._key_reports.get(name))
        diagnose = (lambda: self._diagnose(prepared, conditions)) if relation.text else None
        once = fragment.port.format == "postgres"
        return FragmentStream(
            fragment,
            statement,
            self.engine,
            self.compiler,
            report,
            once=once,
            diagnose=diagnose,
        )

    def _relation(self, prepared: Prepared, pushed: Sequence[Predicate], keys: tuple[str, str] | None) -> Relation:
        fragment = prepared.fragment
        return self.reader.relation(
            fragment.ref.table,
            fragment.port,
            prepared.source,
            self.roles,
            revision=prepared.revision,
            pushed=pushed,
            keys=keys,
            query_id=self.query_id,
        )

    # Running

    def run(self, *, load_all: bool = False) -> pa.RecordBatchReader:
        """Start the query. Raises: `MeshkitError` of a fragment, or the engine's error for the service to classify."""
        for reduction in self.reductions:
            self._reduce(reduction)
        self._load(load_all=load_all)
        for stream in self.streams.values():
            stream.prepare()
        self._sandbox = Sandbox(self.settings)
        return self._sandbox.run(self.gated.sql, {**self.streams, **self.virtual}, self.gated.parameters)

    def _load(self, *, load_all: bool) -> None:
        """Put into tables of the privileged engine what could be read twice or must be one snapshot."""
        postgres: dict[tuple[str, ...], list[str]] = {}
        chosen: list[str] = []
        for name, stream in self.streams.items():
            if stream.loaded is not None:
                continue
            prepared = self.prepared[name]
            ref = prepared.fragment.ref
            if prepared.fragment.port.format == "postgres":
                postgres.setdefault((prepared.source[0] if prepared.source else "",), []).append(name)
            if ref.rescanned or (load_all and stream.once):
                chosen.append(name)
        for names in postgres.values():
            several = len(names) > 1 or any(self.prepared[n].fragment.ref.shared for n in names)
            chosen.extend(n for n in names if several and n not in chosen)
        if not chosen:
            return
        cursor = self._loader = self.engine.cursor()
        try:
            cursor.execute("BEGIN TRANSACTION")
            for name in chosen:
                self._spool(cursor, name)
            cursor.execute("COMMIT")
        finally:
            self._loader = None
            cursor.close()

    def _spool(self, cursor: Any, name: str) -> None:
        stream = self.streams[name]
        table = self.engine.new_name("spool")
        self._spools.append(table)
        try:
            cursor.execute(f"CREATE TABLE {quote(table)} AS {stream.statement.sql}")
        except engine_errors() as error:
            raise stream._failed(error) from None  # noqa: SLF001  # its own stream
        stream.statement = FragmentSql(
            f"SELECT * FROM {quote(table)}", stream.statement.arrow, stream.statement.helpers
        )
        stream.once = False

    def _reduce(self, reduction: KeyReduction) -> None:
        """Read the small side; if it ends within bounds, its keys restrict what Postgres sends. The rows read are not read again."""
        import pyarrow as pa
        import pyarrow.compute as pc

        join = reduction.join
        target = self.prepared[join.target]
        rows = self._estimate(target)
        if rows <= 0:
            self._key_reports[join.target] = "keys: no statistics, run ANALYZE"
            self.streams[join.target] = self._stream(join.target)
            return
        source = self.streams[join.source]
        if source.loaded is None:
            loaded = _take(source, SPOOL_ROWS)
            if loaded is None:
                return
            source.loaded = loaded
        keys = pc.drop_null(pc.unique(source.loaded.column(join.source_column)))
        if isinstance(keys, pa.ChunkedArray):
            keys = keys.combine_chunks()
        if len(keys) > MAX_KEYS or len(keys) > max(1.0, rows * MAX_KEY_RATIO):
            self._key_reports[join.target] = f"keys: {len(keys)} are too many to be worth it"
            self.streams[join.target] = self._stream(join.target)
            return
        values = [v for v in keys.to_pylist() if not (isinstance(v, str) and "\x00" in v)]
        self._keys[join.target] = (join.target_column, key_array(values, reduction.type_name))
        self._key_reports[join.target] = (
            f"keys of {source.fragment.ref.table.alias} as {join.target_column} = ANY({len(values)} keys)"
        )
        self.streams[join.target] = self._stream(join.target)

    def _estimate(self, target: Prepared) -> float:
        from meshkit.federation.sources import login_key, postgres_table

        if target.source is None:
            return -1.0
        table = target.fragment.ref.table
        login = login_key(target.source, self.roles)
        name = self.engine.attach_postgres(
            target.source[0],
            login,
            target.source[1].login(self.roles),
            product=table.product,
            port=target.fragment.port.name,
        )
        place = postgres_table(target.fragment.port)
        return self.reader.facts(
            name, (target.source[0], login, place.schema, place.table, target.revision), table
        ).rows

    def failure(self) -> Exception | None:
        """The failure of a fragment, when one made the sandbox fail."""
        return next((s.failure for s in self.streams.values() if s.failure is not None), None)

    @property
    def rescanned(self) -> bool:
        """Whether a fragment was asked for a second scan that would have seen another snapshot."""
        return any(s.rescanned for s in self.streams.values())

    def interrupt(self) -> None:
        """Stop whatever runs."""
        if self._loader is not None:
            self._loader.interrupt()
        for stream in tuple(self.streams.values()):
            stream.interrupt()
        if self._sandbox is not None:
            self._sandbox.interrupt()
        if any(p.fragment.port.format == "postgres" for p in self.prepared.values()):
            self.engine.cancel_on_servers(self.query_id)

    def close(self) -> None:
        """Free the sandbox, the scans and what was loaded."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None
        for stream in self.streams.values():
            stream.close()
        if self._spools:
            cursor = self.engine.cursor()
            for table in self._spools:
                cursor.execute(f"DROP TABLE IF EXISTS {quote(table)}")
            cursor.close()
            self._spools.clear()

    # Text formats

    def _diagnose(self, prepared: Prepared, conditions: Conditions) -> ContractBroken:
        """Which file, row and column of a CSV or JSON port breaks the contract: looked at in visible rows only, without the value.

        Row numbers are left out under a row filter: they count hidden rows.
        """
        from meshkit.federation.fragment_sql import text_value
        from meshkit.federation.sources import list_files

        fragment = prepared.fragment
        table, port = fragment.ref.table, fragment.port
        found = ContractBroken(product=table.product, port=port.name)
        if fragment.row_filters or not conditions.needed:
            return found
        cursor = self.engine.cursor()
        for file in list_files(port, product=table.product, object_name=table.object, source=prepared.source):
            rows = self.reader.relation_of_files(table, port, [file])
            for column in table.columns:
                if column.name not in conditions.needed:
                    continue
                wrong = text_value(fragment, column.name, column.type)
                sql = f"SELECT n FROM (SELECT *, row_number() OVER () AS n FROM {rows.sql(list(rows.types))}) WHERE {wrong} LIMIT 1"
                try:
                    hit = cursor.execute(sql).fetchone()
                except engine_errors():
                    return ContractBroken(product=table.product, port=port.name, file=file.rpartition("/")[2])
                if hit is not None:
                    name = file.rpartition("/")[2]
                    return ContractBroken(
                        product=table.product, port=port.name, column=column.name, file=name, row=int(hit[0])
                    )
        return found


def _take(stream: FragmentStream, limit: int) -> pa.Table | None:
    """All rows of a fragment if they are at most `limit`; else None, and a later scan reads it from the start."""
    import pyarrow as pa

    stream.prepare()
    reader = stream.take_first()
    batches, rows = [], 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        if rows > limit:
            stream.restart()
            return None
    return pa.Table.from_batches(batches, schema=stream.schema)


def _report(fragment: Fragment, statement: FragmentSql, keys: str | None) -> FragmentReport:
    """One fragment's line of the plan: names and shapes, no literal, no location."""
    table = fragment.ref.table
    columns = ", ".join(c.name if c.is_clear else f"{c.decision.mask}({c.name})" for c in fragment.columns) or "1"
    where = [f"[{f.rule}]" for f in fragment.row_filters]
    where += [f"{', '.join(sorted(columns_of(p)))} ?" for p in fragment.pushed]
    sql = f"SELECT {columns} FROM {table.alias}" + (f" WHERE {' AND '.join(where)}" if where else "")
    pushed = tuple(f"a condition on {', '.join(sorted(columns_of(p)))}" for p in fragment.pushed)
    good = keys is not None and " = ANY(" in keys
    del statement
    return FragmentReport(
        table=table.alias,
        port=fragment.port.name,
        source=fragment.source,
        sql=sql,
        pushed=(*pushed, keys) if good and keys else pushed,
        not_pushed=fragment.kept if good or keys is None else (*fragment.kept, keys),
    )
