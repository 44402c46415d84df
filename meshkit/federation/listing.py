"""Metadata answers from contracts and grants: SHOW TABLES, DESCRIBE, information_schema. No engine is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshkit.federation.names import TableColumn, TableInfo
from meshkit.types import BOOL, STRING
from meshkit.types.duckdb import to_duckdb

if TYPE_CHECKING:
    import pyarrow as pa

    from meshkit.manifest import Manifest
    from meshkit.ports import Decision

__all__ = ["column_rows", "describe_rows", "listing_info", "listing_table", "mask_of", "table_rows"]

_SHOW = ("table_name", "product", "object")
_DESCRIBE = ("column_name", "column_type", "null", "mask", "rule")


def mask_of(decision: Decision, table: TableInfo, column: TableColumn) -> tuple[str, str | None]:
    """Mask and rule of a column as a reader sees it."""
    found = decision.columns.get(table.column_label(column.name)) or decision.columns.get(column.name)
    if found is not None:
        return found.mask, found.rule
    return ("null", None) if column.sensitive else ("clear", None)


def table_rows(tables: Iterable[TableInfo], manifests: Mapping[str, Manifest]) -> list[dict[str, Any]]:
    """`information_schema.tables`, and SHOW TABLES by its own columns."""
    return [
        {
            "table_catalog": "mesh",
            "table_schema": t.domain,
            "table_name": t.table,
            "table_type": "VIEW",
            "product": t.product,
            "description": manifests[t.product].description.purpose,
        }
        for t in tables
    ]


def show_rows(tables: Iterable[TableInfo]) -> list[dict[str, Any]]:
    """SHOW TABLES: names as a query writes them."""
    return [{"table_name": t.alias, "product": t.product, "object": t.object} for t in tables]


def column_rows(tables: Iterable[TableInfo], decisions: Mapping[str, Decision]) -> list[dict[str, Any]]:
    """`information_schema.columns`."""
    return [
        {
            "table_catalog": "mesh",
            "table_schema": t.domain,
            "table_name": t.table,
            "column_name": c.name,
            "ordinal_position": n,
            "is_nullable": "NO" if c.required else "YES",
            "data_type": to_duckdb(c.type),
            "mask": mask_of(decisions[t.product], t, c)[0],
            "sensitive": c.sensitive,
        }
        for t in tables
        for n, c in enumerate(replace(t, hidden=decisions[t.product].hidden).visible, 1)
    ]


def describe_rows(table: TableInfo, decision: Decision) -> list[dict[str, Any]]:
    """DESCRIBE of one table, with what the reader gets."""
    rows = []
    for column in table.visible:
        mask, rule = mask_of(decision, table, column)
        rows.append(
            {
                "column_name": column.name,
                "column_type": to_duckdb(column.type),
                "null": "NO" if column.required else "YES",
                "mask": mask,
                "rule": rule,
            }
        )
    return rows


def listing_info(kind: str) -> TableInfo:
    """Columns of a listing."""
    names = {"show_tables": _SHOW, "describe": _DESCRIBE, "explain": ("plan",)}[kind]
    return TableInfo("mesh.listing", kind, True, tuple(TableColumn(n, STRING) for n in names))


def listing_table(info: TableInfo, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows with the types of `info`."""
    import pyarrow as pa

    from meshkit.types.arrow import to_arrow

    schema = pa.schema([(c.name, pa.bool_() if c.type == BOOL else to_arrow(c.type)) for c in info.columns])
    return pa.Table.from_pylist([dict(r) for r in rows], schema=schema)
