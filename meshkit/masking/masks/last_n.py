"""`last_n(n=4)`: three stars and the last n characters of values that have at least twice as many."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from meshkit.masking.masks import Arguments, only, whole_number
from meshkit.types import STRING, DataType

if TYPE_CHECKING:
    import polars as pl

    from meshkit.masking.keys import KeyRing

__all__ = ["MASK"]

_INVISIBLE = r"[\p{Cc}\p{Cf}\p{M}]"  # a shown mark would attach to the stars, a format character reorder them


class LastN:
    """`***` and the last `n` characters (code points of the NFC form); `***` alone if more than half would show
    or the text holds U+0000, where DuckDB's `nfc_normalize` ends it.
    """

    name, rank, keyed = "last_n", 2, False

    def arguments(self, given: Arguments, data_type: DataType | None) -> Arguments:  # noqa: ARG002
        only(self.name, given, "n")
        return {"n": whole_number(self.name, "n", given.get("n", 4), 1, 64)}

    def fits(self, data_type: DataType) -> bool:
        return data_type == STRING

    def coarser(self, one: Arguments, other: Arguments) -> Arguments | None:
        return one if one["n"] <= other["n"] else other

    def python(self, value: Any, data_type: DataType, args: Arguments, keys: KeyRing | None) -> Any:  # noqa: ARG002
        if value is None:
            return None
        text, n = unicodedata.normalize("NFC", value), args["n"]
        tail = text[-n:]
        hidden = (
            len(text) < 2 * n
            or "\0" in value
            or any(unicodedata.category(c)[0] == "M" or unicodedata.category(c) in {"Cc", "Cf"} for c in tail)
        )
        return "***" if hidden else "***" + tail

    def duckdb(self, column: str, data_type: DataType, args: Arguments) -> str | None:  # noqa: ARG002
        text, n = f"system.main.nfc_normalize({column})", args["n"]
        tail = f"system.main.right({text}, {n})"
        return (
            f"CASE WHEN {column} IS NULL THEN NULL WHEN system.main.length({text}) >= {2 * n} "
            f"AND NOT system.main.contains({column}, system.main.chr(0)) AND NOT system.main.regexp_matches({tail}, '{_INVISIBLE}') THEN system.main.concat('***', {tail}) ELSE '***' END"
        )

    def polars(self, column: pl.Expr, data_type: DataType, args: Arguments, keys: KeyRing | None) -> pl.Expr:  # noqa: ARG002
        import polars as pl

        n = args["n"]

        def mask(values: pl.Series) -> pl.Series:
            # ASCII text is its own NFC form: normalizing costs ten times as much as the rest
            ascii_only = bool((values.str.len_bytes() == values.str.len_chars()).all())
            text = values if ascii_only else values.str.normalize("NFC")
            long_enough = text.str.len_chars() >= 2 * n
            tail = text.str.tail(n)
            shown = long_enough & ~values.str.contains("\0", literal=True) & ~tail.str.contains(_INVISIBLE)
            return pl.select(
                pl.when(shown).then(pl.concat_str(pl.lit("***"), tail)).when(text.is_not_null()).then(pl.lit("***"))
            ).to_series()

        return column.map_batches(mask, return_dtype=pl.String(), is_elementwise=True)


MASK = LastN()
