"""Values as integers: each role of both sides becomes int32 codes against one shared dictionary (-1 = missing)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from meshkit.identity.roles import ColumnRole
from meshkit.identity.standardise import Options, standardise

__all__ = ["Codes", "Encoded", "Records", "Vocabulary", "encode"]

Codes = npt.NDArray[np.int32]
_FREQUENT_RATIO = 0.005  # an e-mail address shared by more rows of a side than this is no person's own
_FREQUENT_ROLES = ("email", "phone", "national_id")


class Vocabulary:
    """Distinct standardised values with the facts that comparisons need, each computed once."""

    def __init__(self, values: pa.Array) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def series(self) -> pl.Series:
        """The values as polars text."""
        return pl.Series(self.values, dtype=pl.String)

    @cached_property
    def _bytes(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        plain = self.values.cast(pa.large_string())
        plain = pa.concat_arrays([plain]) if plain.offset else plain
        offsets = np.frombuffer(plain.buffers()[1], dtype=np.int64, count=len(plain) + 1)
        data = plain.buffers()[2]
        return offsets, np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, np.uint8)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Bytes of each value."""
        return np.diff(self._bytes[0]).astype(np.int32)

    @cached_property
    def prefixes(self) -> npt.NDArray[np.uint32]:
        """The first four bytes, little endian, zeros after the end."""
        offsets, data = self._bytes
        found = np.zeros(len(self), np.uint32)
        for k in range(4):
            has = self.lengths > k
            found[has] |= data[offsets[:-1][has] + k].astype(np.uint32) << np.uint32(8 * k)
        return found

    @cached_property
    def characters(self) -> npt.NDArray[np.uint64]:
        """Sets of characters: 26 letters, 10 digits, the rest modulo 28."""
        table = np.array([_bit(c) for c in range(256)], dtype=np.uint64)
        return self._reduce(table)

    @cached_property
    def ascii(self) -> npt.NDArray[np.bool_]:
        """Whether a value is ASCII, so that bytes are characters and the bound of 2.5 holds."""
        table = (np.arange(256) >= 128).astype(np.uint64)
        found: npt.NDArray[np.bool_] = self._reduce(table) == 0
        return found

    def _reduce(self, table: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """OR of the table's words over the bytes of each value, in batches."""
        offsets, data = self._bytes
        found = np.zeros(len(self), np.uint64)
        for start in range(0, len(self), 1 << 17):
            stop = min(start + (1 << 17), len(self))
            some = np.flatnonzero(self.lengths[start:stop]) + start
            if len(some):
                words = table[data[offsets[start] : offsets[stop]]]
                found[some] = np.bitwise_or.reduceat(words, offsets[some] - offsets[start])
        return found

    @cached_property
    def digits(self) -> npt.NDArray[np.uint64]:
        """Values of up to 16 digits packed four bits each, first digit highest of the value's own length."""
        numbers = np.zeros(len(self), np.uint64)
        offsets, data = self._bytes
        for k in range(int(self.lengths.max(initial=0))):
            has = self.lengths > k
            numbers[has] = (numbers[has] << np.uint64(4)) | (
                data[offsets[:-1][has] + k].astype(np.uint64) & np.uint64(15)
            )
        return numbers

    @cached_property
    def matrix(self) -> npt.NDArray[np.uint8]:
        """Bytes as rows of equal width, zeros after the end."""
        offsets, data = self._bytes
        width = int(self.lengths.max(initial=1))
        found = np.zeros((len(self), max(width, 1)), np.uint8)
        for k in range(width):
            has = self.lengths > k
            found[has, k] = data[offsets[:-1][has] + k]
        return found


def _bit(code: int) -> int:
    if 97 <= code <= 122:
        return 1 << (code - 97)
    if 48 <= code <= 57:
        return 1 << (26 + code - 48)
    return 1 << (36 + code % 28)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One role: codes of both sides' rows in `vocabulary`; `no_key` marks values that block nothing."""

    vocabulary: Vocabulary
    left: Codes
    right: Codes
    no_key: npt.NDArray[np.bool_] | None = None

    def derived(self, values: pl.Series) -> Encoded:
        """A role computed on the dictionary: `values` is aligned with it."""
        vocabulary, codes = _dictionary(values)
        codes = np.append(codes, np.int32(-1))  # code -1 (missing) reads the last
        no_key = None
        return Encoded(vocabulary, codes[self.left], codes[self.right], no_key)


@dataclass(frozen=True, slots=True)
class Frequent:
    """Values of a column shared by too many rows to be one person's; counts, never values."""

    side: str
    role: str
    values: int
    rows: int


@dataclass(frozen=True, slots=True)
class Records:
    """Both sides as codes by role. With `duplicates` both sides are the same rows and only pairs with i < j count."""

    rows_left: int
    rows_right: int
    roles: Mapping[str, Encoded]
    duplicates: bool = False
    warnings: tuple[str, ...] = ()
    frequent: tuple[Frequent, ...] = ()

    def has(self, role: str) -> bool:
        """Whether both sides have values of the role."""
        return role in self.roles

    @property
    def possible_pairs(self) -> int:
        """Pairs of rows there are."""
        return self.rows_left * (self.rows_left - 1) // 2 if self.duplicates else self.rows_left * self.rows_right


@dataclass(slots=True)
class _SideValues:
    name: str
    rows: int
    roles: dict[str, tuple[pl.Series, Codes]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    derived: set[str] = field(default_factory=set)


def encode(
    left: tuple[str, pl.DataFrame, Sequence[ColumnRole], bool],
    right: tuple[str, pl.DataFrame, Sequence[ColumnRole], bool] | None,
    *,
    last_year: int,
) -> Records:
    """Standardise and encode. A side is (name, frame, roles, standardised); `right` None means duplicates within left."""
    one = _side_values(*left, last_year=last_year)
    two = one if right is None else _side_values(*right, last_year=last_year)
    warnings = list(dict.fromkeys(one.warnings + two.warnings))
    shared = [r for r in one.roles if r in two.roles]
    roles: dict[str, Encoded] = {}
    names = [r for r in ("given_name", "family_name") if r in shared]
    if names:  # one dictionary, so that swapped names are equal codes
        roles |= _unify(names, one, two)
    for role in shared:
        if role not in names:
            roles |= _unify([role], one, two)
    for role in list(roles):
        for side, codes in ((one, roles[role].left), (two, roles[role].right)):
            if role in roles and side.rows and not (codes >= 0).any():
                if role not in one.derived or role not in two.derived:
                    warnings.append(f"{side.name} has no usable {role}; it is not compared")
                del roles[role]
    roles |= _derive(roles)
    roles, frequent = _mark_frequent(roles, one.name, two.name)
    return Records(one.rows, two.rows, roles, right is None, tuple(warnings), frequent)


def _side_values(
    name: str, frame: pl.DataFrame, columns: Sequence[ColumnRole], standardised: bool, *, last_year: int
) -> _SideValues:
    side = _SideValues(name, frame.height)
    own = {c.role for c in columns}
    for column in columns:
        raw = frame[column.column]
        vocabulary, codes = _dictionary(raw)
        distinct = pl.Series(vocabulary.values) if len(vocabulary) else raw.clear()
        if standardised:
            values = distinct.cast(pl.String)
            made = {column.role: values.str.replace_all("-", "") if column.role == "birth_date" else values}
        else:
            made = standardise(column.role, distinct, Options(column.country, column.format, last_year))
        for role, values in made.items():
            if role == "house_number" and column.role != role and role in own:
                continue  # an own column says it better than the street
            side.roles[role] = (values, codes)
            if role == "house_number" and column.role != role:
                side.derived.add(role)
        main = next(iter(made.values())) if column.role != "full_name" else made["family_name"]
        _warn_if_emptied(side, column, main, codes)
    return side


def _warn_if_emptied(side: _SideValues, column: ColumnRole, values: pl.Series, codes: Codes) -> None:
    present = int((codes >= 0).sum())
    kept = np.append(values.is_not_null().to_numpy(), False)[codes].sum() if len(values) else 0
    if present and kept < present / 2:
        side.warnings.append(
            f"{side.name}.{column.column}: {present - int(kept):,} of {present:,} values are no usable {column.role}"
            + (", or ambiguous: give the column a `format`" if column.role == "birth_date" else "")
        )


def _dictionary(values: pl.Series) -> tuple[Vocabulary, Codes]:
    """Distinct values without null, and int32 codes with -1 for null."""
    array = values.to_arrow(compat_level=pl.CompatLevel.oldest())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_null(array.type):
        array = array.cast(pa.large_string())
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    coded = array.dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return Vocabulary(coded.dictionary), codes


def _unify(names: Sequence[str], one: _SideValues, two: _SideValues) -> dict[str, Encoded]:
    parts = [side.roles[n][0].cast(pl.String) for n in names for side in (one, two)]
    vocabulary, codes = _dictionary(pl.concat(parts, rechunk=True))
    found: dict[str, Encoded] = {}
    start = 0
    for name in names:
        sides = []
        for side in (one, two):
            values, raw = side.roles[name]
            mapped = np.append(codes[start : start + len(values)], np.int32(-1))
            sides.append(mapped[raw])
            start += len(values)
        found[name] = Encoded(vocabulary, sides[0], sides[1])
    return found


def _derive(roles: Mapping[str, Encoded]) -> dict[str, Encoded]:
    found: dict[str, Encoded] = {}
    if "given_name" in roles:
        given = roles["given_name"]
        found["initial"] = given.derived(given.vocabulary.series.str.slice(0, 1))
    if "birth_date" in roles:
        born = roles["birth_date"]
        found["birth_year"] = born.derived(born.vocabulary.series.str.slice(0, 4))
    if "email" in roles:
        mail = roles["email"]
        found["mail_user"] = mail.derived(mail.vocabulary.series.str.extract(r"^([^@]*)@", 1))
        found["mail_domain"] = mail.derived(mail.vocabulary.series.str.extract(r"@(.*)$", 1))
    return found


def _mark_frequent(roles: dict[str, Encoded], left: str, right: str) -> tuple[dict[str, Encoded], tuple[Frequent, ...]]:
    marked, found = dict(roles), []
    for role in (*_FREQUENT_ROLES, "birth_date"):
        if role not in roles:
            continue
        one = roles[role]
        no_key = np.zeros(len(one.vocabulary), bool)
        if role == "birth_date":  # what systems write when they know the year only
            no_key |= one.vocabulary.series.str.ends_with("0101").to_numpy()
        for name, codes in ((left, one.left), (right, one.right)):
            counts = np.bincount(codes[codes >= 0], minlength=len(no_key))
            often = no_key & (counts > 0) if role == "birth_date" else counts > max(5, _FREQUENT_RATIO * len(codes))
            no_key |= often
            if often.any():
                found.append(Frequent(name, role, int(often.sum()), int(counts[often].sum())))
        if no_key.any():
            marked[role] = Encoded(one.vocabulary, one.left, one.right, no_key)
    return marked, tuple(dict.fromkeys(found))
