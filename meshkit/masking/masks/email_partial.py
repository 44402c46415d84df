"""`email.partial`: `john.doe@gmail.com` shows as `j***@gmail.com`."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from meshkit.masking.masks import NO_ARGUMENTS, Arguments, only
from meshkit.types import STRING, DataType

if TYPE_CHECKING:
    import polars as pl

    from meshkit.masking.keys import KeyRing

__all__ = ["MASK"]

_DOMAIN = r"[\p{L}\p{N}.-]+"
_FIRST = r"[\p{L}\p{N}\p{S}]"
_MAX_DOMAIN = 253  # octets of a domain name, RFC 1035 section 3.1
_ASCII = r"^[0-9A-Za-z][!-?A-~]+@[0-9A-Za-z.-]+$"  # mails as most are: one linear pass decides, no normalizing


class EmailPartial:
    """First character of the local part, three stars, the domain.

    Split at the last @ of the NFC form. Anything that is no mail address (or holds U+0000) becomes `***`; a local part of one character, or one that
    starts with neither letter, number nor symbol, shows nothing of itself.
    """

    name, rank, keyed = "email.partial", 2, False

    def arguments(self, given: Arguments, data_type: DataType | None) -> Arguments:  # noqa: ARG002
        only(self.name, given)
        return NO_ARGUMENTS

    def fits(self, data_type: DataType) -> bool:
        return data_type == STRING

    def coarser(self, one: Arguments, other: Arguments) -> Arguments | None:  # noqa: ARG002
        return one

    def python(self, value: Any, data_type: DataType, args: Arguments, keys: KeyRing | None) -> Any:  # noqa: ARG002
        if value is None:
            return None
        local, _, domain = unicodedata.normalize("NFC", value).rpartition("@")
        valid = "\0" not in value and all(unicodedata.category(c)[0] in "LN" or c in ".-" for c in domain)
        if not local or not valid or not 1 <= len(domain) <= _MAX_DOMAIN:
            return "***"
        first = local[0] if len(local) >= 2 and unicodedata.category(local[0])[0] in "LNS" else ""
        return f"{first}***@{domain}"

    def duckdb(self, column: str, data_type: DataType, args: Arguments) -> str | None:  # noqa: ARG002
        text = f"system.main.nfc_normalize({column})"
        domain = f"system.main.regexp_extract({text}, '{_DOMAIN}$')"
        first = f"system.main.left({text}, 1)"
        local_length = f"system.main.subtract(system.main.length({text}), system.main.length({domain}))"  # with the @
        return (
            f"CASE WHEN {column} IS NULL THEN NULL "
            f"WHEN system.main.contains({column}, system.main.chr(0)) "  # nfc_normalize ends text there
            f"OR NOT system.main.regexp_full_match({text}, '(?s).+@{_DOMAIN}') OR system.main.length({domain}) > {_MAX_DOMAIN} THEN '***' "
            f"WHEN {local_length} >= 3 AND system.main.regexp_full_match({first}, '{_FIRST}') "
            f"THEN system.main.concat({first}, '***@', {domain}) ELSE system.main.concat('***@', {domain}) END"
        )

    def polars(self, column: pl.Expr, data_type: DataType, args: Arguments, keys: KeyRing | None) -> pl.Expr:  # noqa: ARG002
        import polars as pl

        return column.map_batches(_mask, return_dtype=pl.String(), is_elementwise=True)


def _mask(values: pl.Series) -> pl.Series:
    """Test every row by one cheap pattern and mask it the short way, both at once; the full rule runs on the failing rows alone."""
    import polars as pl

    text = pl.col(values.name)
    frame = values.to_frame().select(
        plain=text.str.contains(_ASCII) & (text.str.len_bytes() <= _MAX_DOMAIN),
        masked=pl.concat_str(text.str.head(1), pl.lit("***"), text.str.slice(text.str.find("@", literal=True))),
    )
    plain = frame["plain"]
    if plain.all():  # nulls count as true and are null in both
        return frame["masked"].rename(values.name)
    odd = (~plain).fill_null(value=False)
    places = odd.arg_true()
    return frame["masked"].scatter(places, _full(values.gather(places))).rename(values.name)


def _full(values: pl.Series) -> pl.Series:
    import polars as pl

    text = values.str.normalize("NFC")
    domain = text.str.extract(f"({_DOMAIN})$")
    local_length = text.str.len_chars() - domain.str.len_chars()  # with the @
    first = text.str.head(1)
    valid = (
        ~text.str.contains("\0", literal=True)
        & text.str.contains(f"(?s)^.+@{_DOMAIN}$")
        & (domain.str.len_chars() <= _MAX_DOMAIN)
    )
    shows = (local_length >= 3) & first.str.contains(f"^{_FIRST}$")
    return pl.select(
        pl.when(valid.fill_null(value=False))
        .then(pl.concat_str(pl.when(shows).then(first).otherwise(pl.lit("")), pl.lit("***@"), domain))
        .when(text.is_not_null())
        .then(pl.lit("***"))
    ).to_series()


MASK = EmailPartial()
