"""`clear`: the value itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshkit.masking.masks import Arguments, WithoutArguments
from meshkit.types import DataType

if TYPE_CHECKING:
    import polars as pl

    from meshkit.masking.keys import KeyRing

__all__ = ["MASK"]


class Clear(WithoutArguments):
    """Shows the value; the weakest mask."""

    name, rank, keyed = "clear", 0, False

    def python(self, value: Any, data_type: DataType, args: Arguments, keys: KeyRing | None) -> Any:  # noqa: ARG002
        return value

    def duckdb(self, column: str, data_type: DataType, args: Arguments) -> str | None:  # noqa: ARG002
        return column

    def polars(self, column: pl.Expr, data_type: DataType, args: Arguments, keys: KeyRing | None) -> pl.Expr:  # noqa: ARG002
        return column


MASK = Clear()
