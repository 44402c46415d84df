"""Query log to evidence: what the gate resolved wins, the SQL resolver reads the rest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from meshkit.lineage.addresses import column_urn, consumer_urn, dataset_urn, product_urn
from meshkit.lineage.models import Evidence
from meshkit.lineage.sql import StatementLineage, parse_sql
from meshkit.lineage.sql.parse import prepare_schema
from meshkit.manifest import Manifest
from meshkit.ports import QueryLogRecord

__all__ = ["MeshTables", "Reading", "RecordReader"]

_CACHED_STATEMENTS = 20_000
PROBES = frozenset({"meshkit", "meshkit:probe", "meshkit.probe"})


class MeshTables:
    """Tables of a mesh as SQL names them: `domain.product` is the main object, `domain.product__object` another."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self.objects: dict[str, tuple[str, str]] = {}  # table -> (product urn, prefix of its columns)
        self.columns: dict[str, list[str]] = {}
        self.main: dict[str, str] = {}
        for manifest in manifests:
            self.main[manifest.urn] = manifest.main_object
            for name, item in manifest.objects.items():
                is_main = name == manifest.main_object
                table = manifest.id if is_main else f"{manifest.id}__{name}"
                self.objects[table] = (manifest.urn, "" if is_main else f"{name}.")
                self.columns[table] = list(item.fields)
        self._prepared: dict[str, Any] = {}

    def schema(self, dialect: str) -> Any:
        """The schema of all tables, folded for one dialect."""
        if dialect not in self._prepared:
            self._prepared[dialect] = prepare_schema(self.columns, dialect)
        return self._prepared[dialect]

    def column(self, urn: str, column: str) -> str:
        """Columns of the main object go by their name alone."""
        return column.removeprefix(f"{self.main[urn]}.") if urn in self.main else column


@dataclass(frozen=True, slots=True)
class Reading:
    """What one record says. `status` is `exact ambiguous table unparsed`, `gate` where the gate resolved it, or why it does not count."""

    status: str
    reader: str = ""
    edges: tuple[tuple[Any, ...], ...] = ()  # src, dst, level, kind, subtype, confidence
    fingerprint: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is a read of somebody."""
        return self.status not in {"failed", "denied", "probe"}


@dataclass
class RecordReader:
    """Reads records of one mesh. `teams` maps principals to the team (or dashboard) they read for."""

    tables: MeshTables
    teams: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)  # table as written -> product id
    _parsed: dict[tuple[str, str], StatementLineage] = field(default_factory=dict)

    def read(self, record: QueryLogRecord) -> Reading:
        """Evidence of one record. Raises: `UnknownDialect`."""
        if record.status != "ok":
            return Reading(record.status)
        if record.principal in PROBES or record.purpose == "meshkit.probe":
            return Reading("probe")
        reader = self._reader(record)
        if record.relations is not None:
            return self._resolved(record, reader)
        parsed = self._parse(record.statement, record.dialect)
        return self._from_sql(record, parsed, reader)

    def _reader(self, record: QueryLogRecord) -> str:
        if record.target:
            return product_urn(record.target)
        if record.principal.startswith("product:"):
            return product_urn(record.principal.removeprefix("product:"))
        return consumer_urn(self.teams.get(record.principal, record.principal))

    def _resolved(self, record: QueryLogRecord, reader: str) -> Reading:
        edges: dict[tuple[Any, ...], None] = {}
        for product, columns in (record.relations or {}).items():
            src = product_urn(product)
            if src == reader:
                continue
            edges[src, reader, "product", "DIRECT", "", "exact"] = None
            for column in columns or ("*",):  # rows were counted, no column was read: that is known, too
                edges[column_urn(src, self.tables.column(src, column)), reader, "column", "DIRECT", "", "exact"] = None
        if record.target:
            for output, inputs in record.column_lineage.items():
                for product, column in inputs:
                    src = product_urn(product)
                    if src != reader:
                        edge = (column_urn(src, self.tables.column(src, column)), column_urn(reader, output))
                        edges[*edge, "column", "DIRECT", "", "exact"] = None
        return Reading("gate", reader, tuple(edges), _print(record))

    def _parse(self, statement: str, dialect: str) -> StatementLineage:
        key = (dialect, statement)
        parsed = self._parsed.get(key)
        if parsed is None:
            if len(self._parsed) >= _CACHED_STATEMENTS:
                self._parsed.clear()
            parsed = self._parsed[key] = parse_sql(statement, dialect, self.tables.schema(dialect))
        return parsed

    def _from_sql(self, record: QueryLogRecord, parsed: StatementLineage, reader: str) -> Reading:
        """A statement that writes a product's table is a read of that product, whoever ran it."""
        if parsed.status == "unparsed":
            return Reading("unparsed", reader, (), parsed.fingerprint)
        written = [self._node(t, record)[0] for t in parsed.targets]
        if written and written[0].startswith("urn:"):
            reader = written[0]
        to_columns = bool(record.target or written)
        edges: dict[tuple[Any, ...], None] = {}
        for table in parsed.sources:
            src, _ = self._node(table, record)
            if src != reader:
                edges[src, reader, "product", "DIRECT", "", parsed.status] = None
        for output in parsed.outputs:
            for item in output.inputs:
                src, prefix = self._node(item.table, record)
                if item.column == "*" or src == reader:
                    continue
                dst = column_urn(reader, output.name) if to_columns else reader
                edge = (column_urn(src, prefix + item.column), dst, "column", item.kind, item.subtype, item.confidence)
                edges[edge] = None
        for effect in parsed.indirect:
            src, prefix = self._node(effect.table, record)
            if effect.column != "*" and src != reader:
                edges[
                    column_urn(src, prefix + effect.column), reader, "column", "INDIRECT", effect.subtype, "exact"
                ] = None
        read = {edge[0].partition("#")[0] for edge in edges if edge[2] == "column"}
        for src in [edge[0] for edge in edges if edge[2] == "product" and edge[5] == "exact" and edge[0] not in read]:
            edges[column_urn(src, "*"), reader, "column", "DIRECT", "", "exact"] = None
        return Reading(parsed.status, reader, tuple(edges), parsed.fingerprint)

    def _node(self, table: str, record: QueryLogRecord) -> tuple[str, str]:
        known = self.tables.objects.get(table)
        if known is not None:
            return known
        if table in self.aliases:
            return product_urn(self.aliases[table]), ""
        return dataset_urn(record.engine, table), ""


def _print(record: QueryLogRecord) -> str:
    import hashlib

    return "sha256:" + hashlib.sha256(record.statement.encode()).hexdigest() if record.statement else ""


def as_evidence(edge: tuple[Any, ...], first: datetime, last: datetime, count: int, fingerprint: str) -> Evidence:
    """An observed edge over an interval."""
    src, dst, level, kind, subtype, confidence = edge
    return Evidence(src, dst, level, kind, subtype, "sql", confidence, first, last, count, fingerprint)
