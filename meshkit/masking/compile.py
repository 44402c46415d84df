"""`Masks`: column decisions as expressions of DuckDB, polars and Arrow. Implements `ports.MaskCompiler`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshkit.masking.errors import PolicyUnavailable
from meshkit.masking.extra import require
from meshkit.masking.masks import Arguments, Mask, load_mask
from meshkit.ports import ColumnDecision
from meshkit.types import STRING, DataType

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from meshkit.masking.keys import KeyRing

__all__ = ["Masks"]


class Masks:
    """Compiles decisions; holds the keys of keyed masks, which no expression of it contains."""

    def __init__(self, keys: KeyRing | None = None) -> None:
        self.keys = keys

    def duckdb(self, column_sql: str, data_type: DataType, decision: ColumnDecision) -> str | None:
        """SQL over a quoted column of built-in scalar functions; None for keyed masks: use `arrow` on the fetched column.

        With `only_rows` the expression names further raw columns of the same relation.
        """
        mask, args = _resolved(decision, data_type)
        shown = mask.duckdb(column_sql, data_type, args)
        if decision.only_rows is None or shown is None:
            return shown
        other, other_args = _otherwise(decision, data_type)
        hidden = other.duckdb(column_sql, data_type, other_args)
        return None if hidden is None else f"CASE WHEN {decision.only_rows} THEN {shown} ELSE {hidden} END"

    def polars(
        self, column: pl.Expr, data_type: DataType, decision: ColumnDecision, *, only_rows: pl.Expr | None = None
    ) -> pl.Expr:
        """Expression over a column that has the natural polars type of `data_type`; `only_rows` is the decision's condition."""
        import polars as pl

        mask, args = _resolved(decision, data_type)
        shown = mask.polars(column, data_type, args, self.keys)
        if decision.only_rows is None:
            return shown
        if only_rows is None:
            raise PolicyUnavailable("a mask under `only_rows` was asked for without its condition. Report this")
        other, other_args = _otherwise(decision, data_type)
        hidden = other.polars(column, data_type, other_args, self.keys)
        return pl.when(only_rows.fill_null(value=False)).then(shown).otherwise(hidden)

    def arrow(self, column: pa.ChunkedArray, data_type: DataType, decision: ColumnDecision) -> pa.ChunkedArray:
        """The masked column: same length and type, in fresh buffers; a dictionary comes back as plain values.

        Raises: `MissingKey`; `PolicyUnavailable` for a decision with `only_rows`, which needs other columns.
        """
        require("polars", purpose="masking Arrow columns")
        import polars as pl
        import pyarrow as pa

        from meshkit.types.polars import to_polars

        if decision.only_rows is not None:
            raise PolicyUnavailable("a mask under `only_rows` can't be computed on one column. Mask it in SQL")
        mask, args = _resolved(decision, data_type)
        target = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if mask.name == "null" or (mask.name == "redact" and data_type != STRING):
            return pa.chunked_array([pa.nulls(len(column), target)], type=target)
        if mask.name == "clear":
            return column if target == column.type else column.cast(target)
        values = pl.Series("value", pl.from_arrow(column)).cast(to_polars(data_type))
        masked = values.to_frame().select(mask.polars(pl.col("value"), data_type, args, self.keys)).to_series()
        return pa.chunked_array([masked.to_arrow()]).cast(target)


def _resolved(decision: ColumnDecision, data_type: DataType) -> tuple[Mask, Arguments]:
    mask = load_mask(decision.mask)
    if not mask.fits(data_type):  # the column changed its type since the decision: nothing of it is shown
        return load_mask("null"), {}
    return mask, mask.arguments(decision.args, data_type)


def _otherwise(decision: ColumnDecision, data_type: DataType) -> tuple[Mask, Arguments]:
    mask = load_mask(decision.otherwise)
    if not mask.fits(data_type) or mask.keyed:
        mask = load_mask("null")
    return mask, mask.arguments({}, data_type)
