"""`redact`: the word REDACTED in text columns, NULL in others; nothing but nullness is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshkit.masking.masks import Arguments, WithoutArguments
from meshkit.masking.masks.null import MASK as NOTHING
from meshkit.types import STRING, DataType

if TYPE_CHECKING:
    import polars as pl

    from meshkit.masking.keys import KeyRing

__all__ = ["MASK"]

_WORD = "REDACTED"


class Redact(WithoutArguments):
    """Text becomes REDACTED, other types NULL (JSON and UUID too: the word is neither)."""

    name, rank, keyed = "redact", 4, False

    def python(self, value: Any, data_type: DataType, args: Arguments, keys: KeyRing | None) -> Any:  # noqa: ARG002
        return None if value is None or data_type != STRING else _WORD

    def duckdb(self, column: str, data_type: DataType, args: Arguments) -> str | None:
        if data_type != STRING:
            return NOTHING.duckdb(column, data_type, args)
        return f"CASE WHEN {column} IS NULL THEN NULL ELSE '{_WORD}' END"

    def polars(self, column: pl.Expr, data_type: DataType, args: Arguments, keys: KeyRing | None) -> pl.Expr:
        import polars as pl

        if data_type != STRING:
            return NOTHING.polars(column, data_type, args, keys)
        return pl.when(column.is_not_null()).then(pl.lit(_WORD))


MASK = Redact()
