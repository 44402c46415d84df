"""Standardisers: one spelling for values that mean the same. Each works on distinct values; null in, null out; empty is null.

They are versioned: a version is part of a model's digest, so that a fit never meets values spelt by other rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TypeAlias

import polars as pl

__all__ = ["VERSIONS", "Options", "standardise"]

VERSIONS: Mapping[str, int] = MappingProxyType(
    {"name": 1, "email": 1, "phone": 1, "street": 1, "code": 1, "date": 1, "text": 1}
)

_WRITTEN_OUT = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
# ITU E.164 country codes are prefix-free: one digit, the listed two, else three.
_CALLING_CODE = r"^(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|\d{3})"
_CODES = {
    "AT": "43", "AU": "61", "BE": "32", "CA": "1", "CH": "41", "CZ": "420", "DE": "49", "DK": "45", "ES": "34", "FI": "358",
    "FR": "33", "GB": "44", "IE": "353", "IN": "91", "IT": "39", "JP": "81", "LU": "352", "NL": "31", "NO": "47", "NZ": "64",
    "PL": "48", "PT": "351", "SE": "46", "US": "1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """What a column says beside its role. `country`: ISO code of phone numbers; `format`: of dates, as strptime;
    `last_year`: years after it are to come and no birth years.
    """

    country: str | None = None
    format: str | None = None
    last_year: int = 9999


Standardiser: TypeAlias = Callable[[pl.Series, Options], dict[str, pl.Series]]


@cache
def words(name: str) -> tuple[str, ...]:
    """A list of this package: one word a line, `#` begins a comment."""
    text = files(__package__).joinpath("lists", f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def standardise(role: str, values: pl.Series, options: Options) -> dict[str, pl.Series]:
    """Standardised values of one column by role; `full_name` gives `given_name` and `family_name`, `street` also `house_number`.

    `values` has any scalar type; results are text, aligned with `values`.
    """
    return _BY_ROLE.get(role, _text)(_as_text(values), options)


def known(country: str) -> bool:
    """Whether phone numbers of this country are known."""
    return country.upper() in _CODES


def _as_text(values: pl.Series) -> pl.Series:
    """Numbers as people write them: a whole float is an integer (`30159.0` of a pandas column with gaps)."""
    if values.dtype == pl.String:
        return values
    if values.dtype.is_float():
        whole = values.cast(pl.Int64, strict=False)
        return whole.cast(pl.String) if (whole.cast(pl.Float64) == values).all() else values.cast(pl.String)
    return values.cast(pl.String, strict=False)


# Steps work on columns, not on lazy expressions: an expression used twice would be computed twice, and steps nest.


def _fold(value: pl.Series) -> pl.Series:
    """NFKD without marks, special letters written out, lower case, blanks collapsed."""
    folded = value.str.to_lowercase().str.normalize("NFKD").str.replace_all(r"\p{M}", "")
    folded = folded.str.replace_many(list(_WRITTEN_OUT), list(_WRITTEN_OUT.values()))
    return folded.str.replace_all(r"\s+", " ").str.strip_chars()


def _null_where(gone: pl.Series, value: pl.Series) -> pl.Series:
    return pl.select(pl.when(gone).then(None).otherwise(value)).to_series()


def _known(value: pl.Series, *, repeated: bool = True) -> pl.Series:
    """Null for empty values and placeholders; with `repeated` also for one digit over and over."""
    gone = value.is_in(list(words("placeholders"))) | (value.str.len_bytes() == 0)
    if repeated:
        gone |= value.str.contains(r"^\d{3,}$") & _one_character(value)
    return _null_where(gone, value)


def _one_character(value: pl.Series) -> pl.Series:
    rest = (
        pl.select(value.str.slice(1).alias("v")).select(pl.col("v").str.strip_chars(value.str.slice(0, 1))).to_series()
    )
    return rest.str.len_bytes() == 0


def _name_words(value: pl.Series) -> pl.Series:
    folded = _known(_fold(value)).str.replace_all(r"['’`´]", "")
    folded = folded.str.replace(r"^([^,]+),\s*(\S.*)$", "$2 $1")
    folded = folded.str.replace_all(r"[^\p{L}\p{N}-]+", " ").str.strip_chars(" -")
    before, after = "|".join(words("titles")), "|".join(words("suffixes"))
    folded = folded.str.replace(rf"^(?:(?:{before}) )+", "").str.replace(rf"(?: (?:{after}))+$", "")
    return _known(folded.str.strip_chars(" -"))


def _name(role: str) -> Standardiser:
    return lambda values, _options: {role: _name_words(values)}


def _full_name(values: pl.Series, _options: Options) -> dict[str, pl.Series]:
    whole = _name_words(values)
    first, last = whole.str.extract(r"^(\S+) ", 1), whole.str.extract(r"(\S+)$", 1)
    return {"given_name": _known(first), "family_name": _known(last)}


def _email(values: pl.Series, _options: Options) -> dict[str, pl.Series]:
    folded = values.str.to_lowercase().str.replace_all(r"\s+", "").str.replace(r"^mailto:", "")
    user = _known(folded.str.extract(r"^([^@]+)@[^@]+$", 1))
    return {"email": _null_where(user.is_null(), folded)}


def _phone(values: pl.Series, options: Options) -> dict[str, pl.Series]:
    """An international number (`+`, `00`) names its calling code; a trunk zero is never part of the subscriber's number."""
    marked = values.str.strip_chars().str.replace(r"^\(?(?:\+|00)", "+").str.replace(r"\(0\)", "")
    digits = marked.str.replace_all(r"\D", "")
    code = _CODES.get((options.country or "").upper())
    national = digits
    if code is not None:  # a calling code without `+`: only where the number is too long to be a national one
        long = digits.str.len_bytes() > 10
        national = pl.select(pl.when(long).then(digits.str.replace(f"^{code}", "")).otherwise(digits)).to_series()
    abroad = digits.str.replace(_CALLING_CODE, "")
    number = pl.select(pl.when(marked.str.starts_with("+")).then(abroad).otherwise(national)).to_series()
    number = number.str.strip_chars_start("0").str.tail(10)
    return {"phone": _null_where((number.str.len_bytes() < 6) | _one_character(number), number)}


def _street(values: pl.Series, _options: Options) -> dict[str, pl.Series]:
    folded = _known(_fold(values))
    folded = folded.str.replace_all(r"\b(?:unit|apt|apartment|flat|suite|wohnung|whg|app|#)\.? ?(\w+)", " u$1")
    folded = folded.str.replace_all(r"[^\p{L}\p{N}/]+", " ").str.strip_chars()
    kinds = "|".join(w.removeprefix("-") for w in words("streets"))
    ends = "|".join(w.removeprefix("-") for w in words("streets") if w.startswith("-"))
    short = folded.str.replace_all(rf"\b(?:{kinds})\b", " ").str.replace_all(rf"(\p{{L}}{{3,}})(?:{ends})\b", "$1")
    short = short.str.replace_all(r"\s+", " ").str.strip_chars()
    bare = short.str.replace_all(r"[^\p{L}]", "").str.len_bytes() == 0
    number = folded.str.extract(r"(?:^| )(\d+ ?[a-d]?)(?: |$)", 1).str.replace(" ", "")
    kept = pl.select(pl.when(bare).then(folded).otherwise(short)).to_series()
    return {"street": _known(kept), "house_number": number}


def _codes(role: str) -> Standardiser:
    def build(values: pl.Series, _options: Options) -> dict[str, pl.Series]:
        kept = _known(_fold(values)).str.replace_all(r"[^\p{L}\p{N}]", "")
        kept = _null_where(
            kept.str.contains(r"^0+$"), kept
        )  # a real postcode may repeat another digit, never only zeros
        return {role: _known(kept, repeated=role == "national_id")}

    return build


def _text(values: pl.Series, _options: Options) -> dict[str, pl.Series]:
    return {"text": _known(_fold(values).str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars())}


def _plain(role: str) -> Standardiser:
    return lambda values, options: {role: _text(values, options)["text"]}


def _date(values: pl.Series, options: Options) -> dict[str, pl.Series]:
    """Eight digits yyyymmdd. A day that no calendar has (a typing error) is kept: it still agrees in seven digits."""
    if options.format is not None:
        digits = values.str.to_date(options.format, strict=False).dt.strftime("%Y%m%d")
    else:
        digits = _unambiguous(values.str.strip_chars())
    year = digits.str.slice(0, 4).cast(pl.Int32, strict=False)
    return {"birth_date": _null_where((year < 1900) | (year > options.last_year), digits)}


def _unambiguous(text: pl.Series) -> pl.Series:
    iso = text.str.extract_groups(r"^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?$").struct.unnest()
    other = text.str.extract_groups(r"^(\d{1,2})([./-])(\d{1,2})[./-](\d{4})$").struct.unnest()
    one, mark, two, year = (other.to_series(n) for n in range(4))
    first, second = one.cast(pl.Int32), two.cast(pl.Int32)
    day_first = (mark == ".") | (first > 12) | (first == second)  # dots are written day first everywhere
    parts = [iso.to_series(n) for n in range(3)]
    return pl.select(
        pl.coalesce(
            pl.concat_str(parts[0], parts[1].str.zfill(2), parts[2].str.zfill(2)),
            pl.when(day_first)
            .then(pl.concat_str(year, two.str.zfill(2), one.str.zfill(2)))
            .when(second > 12)
            .then(pl.concat_str(year, one.str.zfill(2), two.str.zfill(2))),
            text.str.extract(r"^(\d{8})$", 1),
        )
    ).to_series()


_BY_ROLE: Mapping[str, Standardiser] = {
    "given_name": _name("given_name"),
    "family_name": _name("family_name"),
    "full_name": _full_name,
    "email": _email,
    "phone": _phone,
    "street": _street,
    "address": _street,
    "house_number": _codes("house_number"),
    "city": _plain("city"),
    "country": _plain("country"),
    "organisation": _plain("organisation"),
    "postcode": _codes("postcode"),
    "national_id": _codes("national_id"),
    "birth_date": _date,
}
