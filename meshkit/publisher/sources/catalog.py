"""What the publisher asks a PostgreSQL catalog: tables, types, publications, slots. Plain queries on an open connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshkit.publisher.decoders.values import KINDS, PgType

__all__ = ["SlotInfo", "TableInfo", "TypeBook", "quoted", "read_publication", "read_slot", "read_table", "renamed_to"]


def quoted(name: str) -> str:
    """An identifier for SQL text."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table as the catalog has it now: columns by name with attribute number, type and modifier; what identifies its rows."""

    oid: int
    columns: Mapping[str, tuple[int, int, int]]
    primary_key: tuple[str, ...]
    identity: frozenset[str]
    identity_kind: str  # d, n, f, i


@dataclass(frozen=True, slots=True)
class SlotInfo:
    """A replication slot; LSNs are numbers."""

    name: str
    plugin: str
    database: str
    active: bool
    wal_status: str | None
    confirmed_flush_lsn: int
    retained_bytes: int
    safe_wal_bytes: int | None
    failover: bool
    temporary: bool

    def to_json(self, lsn: str) -> dict[str, Any]:
        """As in `meshkit.publisher.status/1`."""
        return {
            "name": self.name, "active": self.active, "wal_status": self.wal_status, "retained_bytes": self.retained_bytes,
            "safe_wal_bytes": self.safe_wal_bytes, "failover": self.failover, "confirmed_flush_lsn": lsn,
        }  # fmt: skip


def read_table(connection: Any, schema: str, table: str) -> TableInfo | None:
    """A table or partitioned table; None if it is not there."""
    found = connection.execute(
        "SELECT c.oid::int8, c.relreplident FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')", (schema, table),
    ).fetchone()  # fmt: skip
    if found is None:
        return None
    oid, kind = found
    kind = kind if isinstance(kind, str) else kind.decode()
    columns = connection.execute(
        "SELECT attname, attnum, atttypid::int8, atttypmod FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped "
        "AND attgenerated IN ('', 's') ORDER BY attnum", (oid,),
    ).fetchall()  # fmt: skip
    keys = connection.execute(
        "SELECT a.attname, i.indisprimary, i.indisreplident FROM pg_index i "
        "JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, place) ON k.place <= i.indnkeyatts "
        "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum "
        "WHERE i.indrelid = %s AND (i.indisprimary OR i.indisreplident) ORDER BY i.indexrelid, k.place", (oid,),
    ).fetchall()  # fmt: skip
    primary = tuple(name for name, is_primary, _ in keys if is_primary)
    everything = {name: (number, type_oid, modifier) for name, number, type_oid, modifier in columns}
    identity = {
        "d": frozenset(primary), "f": frozenset(everything), "i": frozenset(n for n, _, chosen in keys if chosen),
    }.get(kind, frozenset[str]())  # fmt: skip
    return TableInfo(oid, everything, primary, identity, kind)


def renamed_to(connection: Any, relation: int, number: int) -> str | None:
    """The present name of a column by its attribute number; None if it was dropped."""
    found = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum = %s AND NOT attisdropped", (relation, number)
    ).fetchone()
    return None if found is None else str(found[0])


class TypeBook:
    """Types of columns by OID; domains are followed to their base, enums and citext are texts."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._known: dict[tuple[int, int], PgType] = {}

    def get(self, oid: int, modifier: int) -> PgType:
        """The type; kind `unknown` for composites, ranges and what has no public form."""
        if (oid, modifier) not in self._known:
            self._known[oid, modifier] = self._read(oid, modifier)
        return self._known[oid, modifier]

    def _read(self, oid: int, modifier: int) -> PgType:
        row = self.connection.execute(
            "SELECT format_type(oid, %s), typtype::text, typname, typbasetype::int8, typtypmod, typelem::int8, typcategory::text "
            "FROM pg_type WHERE oid = %s", (modifier, oid),
        ).fetchone()  # fmt: skip
        if row is None:
            return PgType("unknown", f"type {oid}", oid=oid)
        name, form, plain, base, base_modifier, element, category = row
        if form == "d":
            return self.get(base, base_modifier if base_modifier >= 0 else modifier)
        if form == "e" or plain == "citext":
            return PgType("text", name, oid=oid)
        if category == "A" and element:
            item = self.get(element, modifier)
            return PgType("list" if item.kind not in {"unknown", "list"} else "unknown", name, item=item, oid=oid)
        if oid == 1700 and modifier >= 4:
            precision, scale = (modifier - 4) >> 16 & 0xFFFF, (modifier - 4) & 0x7FF
            return PgType("numeric", name, precision, (scale ^ 1024) - 1024, oid=oid)
        return PgType(KINDS.get(oid, "unknown"), name, oid=oid)


def read_publication(connection: Any, name: str) -> tuple[int, dict[str, tuple[str, ...] | None], bool] | None:
    """OID, tables with their column lists (None: all columns), and whether it publishes by the partition root; None if absent."""
    found = connection.execute(
        "SELECT oid::int8, pubviaroot, puballtables FROM pg_publication WHERE pubname = %s", (name,)
    ).fetchone()
    if found is None:
        return None
    version = connection.info.server_version
    attributes = "attnames" if version >= 150000 else "NULL::name[]"
    listed = "" if version < 150000 else (
        ", (SELECT r.prattrs IS NOT NULL FROM pg_publication_rel r WHERE r.prpubid = %(oid)s AND r.prrelid = (quote_ident(t.schemaname)"
        " || '.' || quote_ident(t.tablename))::regclass)"
    )  # fmt: skip
    rows = connection.execute(
        f"SELECT schemaname, tablename, {attributes}{listed or ', false'} FROM pg_publication_tables t WHERE pubname = %(name)s",
        {"name": name, "oid": found[0]},
    ).fetchall()
    tables = {f"{s}.{t}": tuple(sorted(columns)) if has_list else None for s, t, columns, has_list in rows}
    return found[0], tables, found[1]


def read_slot(connection: Any, name: str) -> SlotInfo | None:
    """A slot; None if it is not there."""
    failover = "failover" if connection.info.server_version >= 170000 else "false"
    row = connection.execute(
        "SELECT slot_name, coalesce(plugin, ''), coalesce(database, ''), active, wal_status, (confirmed_flush_lsn - '0/0'::pg_lsn)::int8, "
        f"coalesce((pg_current_wal_lsn() - restart_lsn)::int8, 0), safe_wal_size, {failover}, temporary "
        "FROM pg_replication_slots WHERE slot_name = %s", (name,),
    ).fetchone()  # fmt: skip
    if row is None:
        return None
    name, plugin, database, active, status, confirmed, retained, safe, failover_on, temporary = row
    return SlotInfo(name, plugin, database, active, status, confirmed or 0, retained, safe, failover_on, temporary)


def publication_table(schema: str, table: str, columns: Sequence[str] | None) -> str:
    """`"public"."orders" ("id", "amount")` of CREATE and ALTER PUBLICATION."""
    listed = f" ({', '.join(map(quoted, columns))})" if columns is not None else ""
    return f"{quoted(schema)}.{quoted(table)}{listed}"
