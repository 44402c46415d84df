"""Entities: rows connected by links, heaviest first."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from meshkit.identity.table import LinkageTable, LinkReport

__all__ = ["EntityTable", "entities_of_links"]

_ENTITIES = uuid.uuid5(uuid.NAMESPACE_URL, "meshkit.identity.entity/1")


@dataclass(frozen=True, slots=True)
class EntityTable:
    """`[entity_id, product, record_id, confidence_score]`: every row of every side in exactly one entity.

    `confidence_score` of a row is that of its strongest link, 1 for a row that stands alone. Record ids are text, since
    products have ids of different types.
    """

    table: pa.Table = field(repr=False)
    report: LinkReport

    def to_arrow(self) -> pa.Table:
        """As an Arrow table."""
        return self.table

    def to_polars(self) -> pl.DataFrame:
        """As a polars frame."""
        frame = pl.from_arrow(self.table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _repr_html_(self) -> str:
        return self.report._repr_html_()  # the notebook protocol's own name

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


def entities_of_links(
    links: LinkageTable, left: tuple[str, pl.Series], right: tuple[str, pl.Series] | None
) -> EntityTable:
    """Union of linked rows; an entity's id is the UUIDv5 of its smallest (product, record id)."""
    records = pl.DataFrame({"product": [left[0]] * len(left[1]), "record_id": left[1].cast(pl.String)})
    if right is not None:
        more = pl.DataFrame({"product": [right[0]] * len(right[1]), "record_id": right[1].cast(pl.String)})
        records = pl.concat([records, more])
    offset = 0 if right is None else len(left[1])
    pairs = links.to_polars()
    a = _rows(left[1], pairs.to_series(0))
    b = _rows((right or left)[1], pairs.to_series(1)) + offset
    score = pairs["confidence_score"].to_numpy()
    root = _union(records.height, a, b, score)
    best = np.zeros(records.height)
    np.maximum.at(best, a, score)
    np.maximum.at(best, b, score)
    best[best == 0] = 1.0
    keyed = records.with_columns(root=pl.Series(root), confidence_score=pl.Series(best)).sort("product", "record_id")
    first = keyed.unique("root", keep="first", maintain_order=True)
    ids = [str(uuid.uuid5(_ENTITIES, json.dumps([p, r]))) for p, r in first.select("product", "record_id").iter_rows()]
    named = keyed.join(
        first.select("root", entity_id=pl.Series(ids, dtype=pl.String)), on="root", maintain_order="left"
    )
    table = named.select("entity_id", "product", "record_id", "confidence_score").to_arrow(
        compat_level=pl.CompatLevel.oldest()
    )
    return EntityTable(table, links.report)


def _rows(ids: pl.Series, wanted: pl.Series) -> np.ndarray[Any, np.dtype[np.int64]]:
    table = pl.DataFrame({"id": ids}).with_row_index("row")
    return pl.DataFrame({"id": wanted}).join(table, on="id", maintain_order="left")["row"].cast(pl.Int64).to_numpy()


def _union(size: int, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], score: np.ndarray[Any, Any]) -> list[int]:
    parent = list(range(size))

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    order = np.argsort(-score, kind="stable")
    for one, two in zip(a[order].tolist(), b[order].tolist(), strict=True):
        x, y = find(one), find(two)
        if x != y:
            parent[max(x, y)] = min(x, y)
    return [find(n) for n in range(size)]
