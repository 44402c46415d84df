"""`null`: nothing at all, not even whether there is a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshkit.masking.masks import Arguments, WithoutArguments
from meshkit.types import DataType

if TYPE_CHECKING:
    import polars as pl

    from meshkit.masking.keys import KeyRing

__all__ = ["MASK"]


class Nothing(WithoutArguments):
    """Every value becomes NULL of the column's type; the strictest mask, defined on every type."""

    name, rank, keyed = "null", 5, False

    def python(self, value: Any, data_type: DataType, args: Arguments, keys: KeyRing | None) -> Any:  # noqa: ARG002
        return None

    def duckdb(self, column: str, data_type: DataType, args: Arguments) -> str | None:  # noqa: ARG002
        from meshkit.types.duckdb import to_duckdb

        return f"CAST(NULL AS {to_duckdb(data_type)})"

    def polars(self, column: pl.Expr, data_type: DataType, args: Arguments, keys: KeyRing | None) -> pl.Expr:  # noqa: ARG002
        import polars as pl

        from meshkit.types.polars import to_polars

        return pl.when(column.is_null()).then(None).otherwise(None).cast(to_polars(data_type))


MASK = Nothing()
