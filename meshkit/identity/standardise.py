"""Standardisers: one spelling for values that mean the same. Each works on distinct values; null in, null out; empty is null.

They are versioned: a version is part of a model's digest, so that a fit never meets values spelt by other rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

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


@cache
def words(name: str) -> tuple[str, ...]:
    """A list of this package: one word a line, `#` begins a comment."""
    text = files(__package__).joinpath("lists", f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def standardise(role: str, values: pl.Series, options: Options) -> dict[str, pl.Series]:
    """Standardised values of one column by role; `full_name` gives `given_name` and `family_name`, `street` also `house_number`.

    `values` has any scalar type; results are text, aligned with `values`.
    """
    frame = pl.DataFrame({"v": values if values.dtype.is_temporal() else _as_text(values)})
    if frame["v"].dtype.is_temporal() and role != "birth_date":
        frame = frame.with_columns(pl.col("v").cast(pl.String))
    exprs = _BY_ROLE.get(role, _text)(options)
    return {name: frame.select(expr.alias("v"))["v"] for name, expr in exprs.items()}


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


def _fold(value: pl.Expr) -> pl.Expr:
    """NFKD without marks, special letters written out, lower case, blanks collapsed."""
    folded = value.str.to_lowercase().str.normalize("NFKD").str.replace_all(r"\p{M}", "")
    folded = folded.str.replace_many(list(_WRITTEN_OUT), list(_WRITTEN_OUT.values()))
    return folded.str.replace_all(r"\s+", " ").str.strip_chars()


def _known(value: pl.Expr, *, repeated: bool = True) -> pl.Expr:
    """Null for empty values and placeholders; with `repeated` also for one digit over and over."""
    gone = value.is_in(list(words("placeholders"))) | (value.str.len_bytes() == 0)
    if repeated:
        gone = gone | (value.str.contains(r"^\d{3,}$") & (value.str.strip_chars(value.str.slice(0, 1)) == ""))
    return pl.when(gone).then(None).otherwise(value)


def _name_words(value: pl.Expr) -> pl.Expr:
    folded = _known(_fold(value)).str.replace_all(r"['’`´]", "")
    folded = folded.str.replace(r"^([^,]+),\s*(\S.*)$", "$2 $1")
    folded = folded.str.replace_all(r"[^\p{L}\p{N}-]+", " ").str.strip_chars(" -")
    before, after = "|".join(words("titles")), "|".join(words("suffixes"))
    folded = folded.str.replace(rf"^(?:(?:{before}) )+", "").str.replace(rf"(?: (?:{after}))+$", "")
    return _known(folded.str.strip_chars(" -"))


def _name(role: str) -> Callable[[Options], dict[str, pl.Expr]]:
    return lambda _options: {role: _name_words(pl.col("v"))}


def _full_name(_options: Options) -> dict[str, pl.Expr]:
    whole = _name_words(pl.col("v"))
    first, last = whole.str.extract(r"^(\S+) ", 1), whole.str.extract(r"(\S+)$", 1)
    return {"given_name": _known(first), "family_name": _known(last)}


def _email(_options: Options) -> dict[str, pl.Expr]:
    folded = pl.col("v").str.to_lowercase().str.replace_all(r"\s+", "").str.replace(r"^mailto:", "")
    user = folded.str.extract(r"^([^@]+)@[^@]+$", 1)
    bad = user.is_null() | _known(user).is_null()
    return {"email": pl.when(bad).then(None).otherwise(folded)}


def _phone(options: Options) -> dict[str, pl.Expr]:
    """An international number (`+`, `00`) names its calling code; a trunk zero is never part of the subscriber's number."""
    marked = pl.col("v").str.strip_chars().str.replace(r"^\(?(?:\+|00)", "+").str.replace(r"\(0\)", "")
    digits = marked.str.replace_all(r"\D", "")
    national = pl.when(marked.str.starts_with("+")).then(digits.str.replace(_CALLING_CODE, "")).otherwise(digits)
    code = _CODES.get((options.country or "").upper())
    if code is not None:
        # A calling code without `+`: only where the number is too long to be a national one.
        long = (national.str.len_bytes() > 10) & national.str.starts_with(code)
        national = pl.when(long).then(national.str.replace(f"^{code}", "")).otherwise(national)
    national = national.str.strip_chars_start("0").str.tail(10)
    repeated = national.str.strip_chars(national.str.slice(0, 1)) == ""
    return {"phone": pl.when((national.str.len_bytes() < 6) | repeated).then(None).otherwise(national)}


def _street(_options: Options) -> dict[str, pl.Expr]:
    folded = _known(_fold(pl.col("v")))
    folded = folded.str.replace_all(r"\b(?:unit|apt|apartment|flat|suite|wohnung|whg|app|#)\.? ?(\w+)", " u$1")
    folded = folded.str.replace_all(r"[^\p{L}\p{N}/]+", " ").str.strip_chars()
    kinds = "|".join(w.removeprefix("-") for w in words("streets"))
    ends = "|".join(w.removeprefix("-") for w in words("streets") if w.startswith("-"))
    short = folded.str.replace_all(rf"\b(?:{kinds})\b", " ").str.replace_all(rf"(\p{{L}}{{3,}})(?:{ends})\b", "$1")
    short = short.str.replace_all(r"\s+", " ").str.strip_chars()
    bare = short.str.replace_all(r"[^\p{L}]", "").str.len_bytes() == 0
    number = folded.str.extract(r"(?:^| )(\d+ ?[a-d]?)(?: |$)", 1).str.replace(" ", "")
    return {"street": _known(pl.when(bare).then(folded).otherwise(short)), "house_number": number}


def _codes(role: str) -> Callable[[Options], dict[str, pl.Expr]]:
    def build(_options: Options) -> dict[str, pl.Expr]:
        kept = _known(_fold(pl.col("v"))).str.replace_all(r"[^\p{L}\p{N}]", "")
        zeros = kept.str.contains(r"^0+$")  # a real postcode may repeat another digit, never only zeros
        kept = pl.when(zeros).then(None).otherwise(kept)
        return {role: _known(kept, repeated=role == "national_id")}

    return build


def _text(_options: Options) -> dict[str, pl.Expr]:
    return {"text": _known(_fold(pl.col("v")).str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars())}


def _plain(role: str) -> Callable[[Options], dict[str, pl.Expr]]:
    return lambda options: {role: _text(options)["text"]}


def _date(options: Options) -> dict[str, pl.Expr]:
    """Eight digits yyyymmdd. A day that no calendar has (a typing error) is kept: it still agrees in seven digits."""
    if options.format is not None:
        digits = pl.col("v").cast(pl.String).str.to_date(options.format, strict=False).dt.strftime("%Y%m%d")
    else:
        digits = _unambiguous(pl.col("v").cast(pl.String).str.strip_chars())
    year = digits.str.slice(0, 4).cast(pl.Int32, strict=False)
    return {"birth_date": pl.when((year < 1900) | (year > options.last_year)).then(None).otherwise(digits)}


def _unambiguous(text: pl.Expr) -> pl.Expr:
    iso = text.str.extract_groups(r"^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?$")
    parts = [iso.struct.field(n) for n in ("1", "2", "3")]
    from_iso = pl.concat_str(parts[0], parts[1].str.zfill(2), parts[2].str.zfill(2))
    other = text.str.extract_groups(r"^(\d{1,2})([./-])(\d{1,2})[./-](\d{4})$")
    a, mark, b, year = (other.struct.field(n) for n in ("1", "2", "3", "4"))
    first, second = a.cast(pl.Int32), b.cast(pl.Int32)
    day_first = (mark == ".") | (first > 12) | (first == second)  # dots are written day first everywhere
    swapped = pl.concat_str(year, b.str.zfill(2), a.str.zfill(2))
    american = pl.concat_str(year, a.str.zfill(2), b.str.zfill(2))
    from_other = pl.when(day_first).then(swapped).when(second > 12).then(american)
    return pl.coalesce(from_iso, from_other, text.str.extract(r"^(\d{8})$", 1))


_BY_ROLE: dict[str, Callable[[Options], dict[str, pl.Expr]]] = {
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
