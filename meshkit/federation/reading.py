"""The raw rows of ports as SQL of the privileged engine: files by format, Postgres by a query of our own.

Postgres gets only conditions that mean the same there: exact types, text equality under deterministic collations, text ranges under
`COLLATE "C"`. They only reduce what is fetched; every filter runs again above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshkit.errors import MeshkitError
from meshkit.federation.engines.duckdb import Privileged, literal
from meshkit.federation.errors import SourceUnavailable
from meshkit.federation.fragment_sql import Relation
from meshkit.federation.names import TableInfo, fold
from meshkit.federation.predicates import constant_sql
from meshkit.federation.products import QueryablePort
from meshkit.federation.sources import list_files, login_key, postgres_table
from meshkit.federation.statement import And, Between, Compare, InList, IsNull, Not, Or, Predicate
from meshkit.types import Decimal
from meshkit.types.duckdb import quote
from meshkit.types.duckdb import to_duckdb as type_sql

__all__ = ["PortReader", "PostgresFacts", "to_postgres"]

_FACTS = """SELECT a.attname, t.typname, a.atttypmod, coalesce(co.collisdeterministic, true), cl.reltuples::float8
FROM pg_catalog.pg_class cl JOIN pg_catalog.pg_namespace n ON n.oid = cl.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = cl.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
WHERE n.nspname = {schema} AND cl.relname = {table} ORDER BY a.attnum"""


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    """What the server's catalog says of a table: DuckDB types, columns where text compares by bytes, unbounded numerics, rows estimated."""

    types: Mapping[str, str]
    exact_text: frozenset[str]
    unbounded: frozenset[str]
    rows: float


@dataclass
class PortReader:
    """Makes relations of ports. One per federation; table facts are kept per product revision."""

    engine: Privileged

    def __post_init__(self) -> None:
        self._facts: dict[tuple[str, ...], PostgresFacts] = {}

    def relation(
        self, table: TableInfo, port: QueryablePort, source: tuple[str, Any] | None, roles: tuple[str, ...], *, revision: str = "",
        pushed: Sequence[Predicate] = (), keys: tuple[str, str] | None = None, query_id: str = "",
    ) -> Relation:  # fmt: skip
        """Raises: `SourceUnavailable`, `MeshkitError` for a location that names nothing."""
        import duckdb

        try:
            if port.format == "postgres":
                return self._postgres(table, port, source, roles, revision, pushed, keys, query_id)
            return self._files(table, port, source)
        except duckdb.Error:
            raise SourceUnavailable(
                product=table.product, port=port.name, source=source[0] if source else None
            ) from None

    # Files

    def _files(self, table: TableInfo, port: QueryablePort, source: tuple[str, Any] | None) -> Relation:
        files = list_files(port, product=table.product, object_name=table.object, source=source)
        if source is not None:
            self.engine.attach_s3(source[0], source[1])
        if not files:
            return _empty(table)
        return self.relation_of_files(table, port, files)

    def relation_of_files(self, table: TableInfo, port: QueryablePort, files: Sequence[str]) -> Relation:
        """The rows of these files."""
        names = f"[{', '.join(map(literal, files))}]"
        if port.format == "parquet":
            sql = f"read_parquet({names}{', union_by_name=true' if len(files) > 1 else ''}, hive_partitioning=false)"
            return Relation(lambda _: sql, self.engine.describe(sql))
        if port.format == "csv":
            columns = "" if port.header else f", names=[{', '.join(literal(c.name) for c in table.columns)}]"
            sql = (
                f"read_csv({names}, header={str(port.header).lower()}, delim={literal(port.delimiter)}, quote='\"', escape='\"', all_varchar=true, "
                f"allow_quoted_nulls=false, union_by_name=true, hive_partitioning=false{columns})"
            )
            return Relation(lambda _: sql, self.engine.describe(sql), text="csv")
        columns = ", ".join(f"{literal(c.name)}: 'JSON'" for c in table.columns)
        form = "newline_delimited" if port.lines else "auto"
        sql = f"read_json({names}, columns={{{columns}}}, format='{form}', hive_partitioning=false)"
        return Relation(lambda _: sql, {c.name: "JSON" for c in table.columns}, text="json")

    # Postgres

    def _postgres(
        self, table: TableInfo, port: QueryablePort, source: tuple[str, Any] | None, roles: tuple[str, ...], revision: str,
        pushed: Sequence[Predicate], keys: tuple[str, str] | None, query_id: str,
    ) -> Relation:  # fmt: skip
        if source is None:
            raise MeshkitError(
                f"port {port.name} of {table.product} has no source. Add one to `sources` of mesh.yaml",
                code="mesh.no_source",
            )
        login = login_key(source, roles)
        name = self.engine.attach_postgres(
            source[0], login, source[1].login(roles), product=table.product, port=port.name
        )
        place = postgres_table(port)
        facts = self.facts(name, (source[0], login, place.schema, place.table, revision), table)
        if not facts.types:
            raise SourceUnavailable(
                product=table.product,
                port=port.name,
                source=source[0],
                what="has no such table, or the login may not read it",
            )
        where = [p for p in (to_postgres(p, table, facts) for p in pushed) if p is not None]
        if keys is not None and _key_is_exact(keys[0], table, facts):
            where.append(f"{quote(_source_name(keys[0], facts))} = ANY({keys[1]})")

        def sql(columns: Sequence[str]) -> str:
            items = ", ".join(_column(c, table, facts) for c in columns) or "1 AS one"
            text = f"/* meshkit:{query_id} */ SELECT {items} FROM {quote(place.schema)}.{quote(place.table)}"
            text += f" WHERE {' AND '.join(where)}" if where else ""
            return f"postgres_query({literal(name)}, {literal(text)})"

        types = {c: _bounded(c, table) or t if c in facts.unbounded else t for c, t in facts.types.items()}
        return Relation(sql, types)

    def facts(self, name: str, key: tuple[str, ...], table: TableInfo) -> PostgresFacts:
        """Facts of one table, from the server once per product revision."""
        known = self._facts.get(key)
        if known is None:
            schema, relation = key[2], key[3]
            query = _FACTS.format(schema=literal(schema), table=literal(relation))
            rows = (
                self.engine.cursor()
                .execute(f"SELECT * FROM postgres_query({literal(name)}, {literal(query)})")
                .fetchall()
            )
            types: dict[str, str] = {}
            if rows:
                wanted = {fold(c.name) for c in table.columns}
                items = ", ".join(quote(str(r[0])) for r in rows if fold(str(r[0])) in wanted) or "1 AS one"
                select = f"SELECT {items} FROM {quote(schema)}.{quote(relation)} LIMIT 0"
                types = self.engine.describe(f"postgres_query({literal(name)}, {literal(select)})")
            known = PostgresFacts(
                types=types,
                exact_text=frozenset(str(r[0]) for r in rows if r[1] in {"text", "varchar"} and r[3]),
                unbounded=frozenset(str(r[0]) for r in rows if r[1] == "numeric" and r[2] == -1),
                rows=float(rows[0][4]) if rows else -1.0,
            )
            self._facts[key] = known
        return known

    def forget(self) -> None:
        """Drop what is known of tables, after a source failed."""
        self._facts.clear()


def _empty(table: TableInfo) -> Relation:
    items = ", ".join(f"CAST(NULL AS {type_sql(c.type)}) AS {quote(c.name)}" for c in table.columns)
    return Relation(lambda _: f"(SELECT {items} WHERE FALSE)", {c.name: type_sql(c.type) for c in table.columns})


def _bounded(column: str, table: TableInfo) -> str | None:
    found = next((c.type for c in table.columns if fold(c.name) == fold(column)), None)
    return type_sql(found) if isinstance(found, Decimal) else None


def _column(column: str, table: TableInfo, facts: PostgresFacts) -> str:
    """Unbounded numeric in the contract's DECIMAL: DuckDB reads it as DOUBLE and sums drift. Out of range is NULL, not an error."""
    wanted = next((c.type for c in table.columns if fold(c.name) == fold(column)), None)
    name = quote(column)
    if column in facts.unbounded and isinstance(wanted, Decimal):
        limit = 10 ** (wanted.precision - wanted.scale)
        guarded = f"CASE WHEN abs(round({name}, {wanted.scale})) < {limit} THEN {name} END"
        return f"({guarded})::numeric({wanted.precision},{wanted.scale}) AS {name}"
    return name


def _source_name(column: str, facts: PostgresFacts) -> str:
    return next((n for n in facts.types if fold(n) == fold(column)), column)


def _key_is_exact(column: str, table: TableInfo, facts: PostgresFacts) -> bool:
    name = _source_name(column, facts)
    wanted = next(c.type for c in table.columns if c.name == column)
    return facts.types.get(name) == type_sql(wanted) and (str(wanted) != "string" or name in facts.exact_text)


def to_postgres(predicate: Predicate, table: TableInfo, facts: PostgresFacts) -> str | None:
    """The condition in Postgres' words if it means the same there, else None."""
    if isinstance(predicate, Not):
        part = to_postgres(predicate.part, table, facts)
        return None if part is None else f"(NOT {part})"
    if isinstance(predicate, And | Or):
        parts = [to_postgres(p, table, facts) for p in predicate.parts]
        if any(p is None for p in parts):
            return None
        return "(" + (" AND " if isinstance(predicate, And) else " OR ").join(p for p in parts if p) + ")"
    name = _source_name(predicate.column, facts)
    wanted = next(c.type for c in table.columns if c.name == predicate.column)
    if isinstance(predicate, IsNull):
        return f"({quote(name)} IS NULL)" if name in facts.types and name not in facts.unbounded else None
    if name in facts.unbounded or not _key_is_exact(predicate.column, table, facts):
        return None
    return _leaf(predicate, quote(name), is_text=str(wanted) == "string")


def _leaf(predicate: Compare | Between | InList, column: str, *, is_text: bool) -> str:
    if isinstance(predicate, InList):
        return f"({column} IN ({', '.join(map(constant_sql, predicate.values))}))"
    ordered = f'{column} COLLATE "C"' if is_text else column
    if isinstance(predicate, Between):
        return f"({ordered} BETWEEN {constant_sql(predicate.low)} AND {constant_sql(predicate.high)})"
    side = column if predicate.op in {"=", "<>"} else ordered
    return f"({side} {predicate.op} {constant_sql(predicate.value)})"


def key_array(values: Sequence[Any], element: str) -> str:
    """A Postgres array literal of keys, to stand after `= ANY`."""
    if element == "text":
        body = ",".join('"' + str(v).replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values)
    else:
        body = ",".join(str(v) for v in values)
    return f"{literal('{' + body + '}')}::{element}[]"
