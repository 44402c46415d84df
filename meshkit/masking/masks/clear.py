"""`clear`: the value itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshkit.masking.masks import NO_ARGUMENTS, Arguments, only
from meshkit.types import DataType

if TYPE_CHECKING:
    import polars as pl

    from meshkit.masking.keys import KeyRing

__all__ = ["MASK"]


class Clear:
    """Shows the value; the weakest mask."""

    name, rank, keyed = "clear", 0, False

    def arguments(self, given: Arguments, data_type: DataType | None) -> Arguments:  # noqa: ARG002
        only(self.name, given)
        return NO_ARGUMENTS

    def fits(self, data_type: DataType) -> bool:  # noqa: ARG002
        return True

    def coarser(self, one: Arguments, other: Arguments) -> Arguments | None:  # noqa: ARG002
        return one

    def python(self, value: Any, data_type: DataType, args: Arguments, keys: KeyRing | None) -> Any:  # noqa: ARG002
        return value

    def duckdb(self, column: str, data_type: DataType, args: Arguments) -> str | None:  # noqa: ARG002
        return column

    def polars(self, column: pl.Expr, data_type: DataType, args: Arguments, keys: KeyRing | None) -> pl.Expr:  # noqa: ARG002
        return column


MASK = Clear()
