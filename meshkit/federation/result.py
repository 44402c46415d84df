"""`QueryResult`: the rows of a query, lazily, with who masked what. Source: federation-and-masking section 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal, Self

from meshkit.federation.errors import ResultConsumed
from meshkit.federation.plan import QueryPlan

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from meshkit.ports import Decision

__all__ = ["QueryResult", "ResultColumn"]

MAX_ROWS = 65_536
HTML_ROWS = 20


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of the result: `product`, `mask` and `rule` where it shows one contract column; `mask` alone where it depends on masked ones."""

    name: str
    type: str
    product: str | None = None
    mask: str | None = None
    rule: str | None = None


class QueryResult:
    """Rows of one query, as the policies show them. Streams once with `batches`, or is held by `to_arrow`, `to_polars`, `to_pandas`.

    `trust` says who masked: `advisory` (this process), `enforced` (a gateway), `engine` (Trino). Use it with `with`, or call `close`.
    """

    def __init__(
        self,
        *,
        schema: pa.Schema,
        columns: tuple[ResultColumn, ...],
        source: Iterator[pa.RecordBatch],
        plan: Callable[[], QueryPlan],
        decisions: Mapping[str, Decision],
        query_id: str,
        on_close: Callable[[], None],
        trust: Literal["advisory", "enforced", "engine"] = "advisory",
    ) -> None:
        self.schema, self.columns, self.decisions, self.query_id, self.trust = (
            schema,
            columns,
            decisions,
            query_id,
            trust,
        )
        self._source, self._plan, self._on_close = source, plan, on_close
        self._table: pa.Table | None = None
        self._started = False

    def batches(self, max_rows: int = MAX_ROWS) -> Iterator[pa.RecordBatch]:
        """Arrow batches of at most `max_rows`, once. Raises: `ResultConsumed`; `MeshkitError` if the query fails on the way."""
        if self._table is not None:
            return iter(self._table.to_batches(max_chunksize=max_rows))
        if self._started:
            raise ResultConsumed
        self._started = True
        return self._sliced(max_rows)

    def _sliced(self, max_rows: int) -> Iterator[pa.RecordBatch]:
        for batch in self._source:
            for start in range(0, batch.num_rows, max_rows):
                yield batch.slice(start, max_rows)

    def to_arrow(self) -> pa.Table:
        """All rows as an Arrow table; repeatable."""
        import pyarrow as pa

        if self._table is None:
            self._table = pa.Table.from_batches(list(self.batches()), schema=self.schema)
        return self._table

    def to_polars(self) -> pl.DataFrame:
        """All rows as a polars frame; repeatable."""
        import polars as pl

        frame: Any = pl.from_arrow(self.to_arrow())
        return frame  # type: ignore[no-any-return]

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a pandas frame; repeatable."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, self.batches()).__arrow_c_stream__(requested_schema)

    def explain(self) -> QueryPlan:
        """How it ran: sources, what was pushed down, rows and bytes so far. Sizes that would count hidden rows are left out."""
        return self._plan()

    def close(self) -> None:
        """Cancel what still runs and free it. Safe to call twice; rows held by `to_arrow` stay."""
        self._started = True
        self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if "_on_close" in self.__dict__:
            self._on_close()

    def __repr__(self) -> str:
        return f"<QueryResult {self.query_id}: {', '.join(c.name for c in self.columns)} ({self.trust})>"

    def _repr_html_(self) -> str:
        """The first rows as a table, masked columns marked. Holds the rows, so that later calls still have them."""
        table = self.to_arrow()
        head = "".join(
            f"<th>{escape(c.name)}{f' <small>[{escape(c.mask)}]</small>' if c.mask else ''}</th>" for c in self.columns
        )
        rows = zip(*(c.to_pylist() for c in table.slice(0, HTML_ROWS).columns), strict=True)
        body = "".join(
            "<tr>" + "".join(f"<td>{'' if v is None else escape(str(v))}</td>" for v in row) + "</tr>" for row in rows
        )
        more = f"<p>{table.num_rows - HTML_ROWS} more rows</p>" if table.num_rows > HTML_ROWS else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}<p><small>trust: {self.trust}</small></p>"
