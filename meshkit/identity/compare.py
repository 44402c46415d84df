"""Pairs to patterns: each comparison gives a level (0 = else, -1 = missing), all levels together one integer a pair."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from meshkit.identity.encode import Encoded, Records
from meshkit.identity.rules import Comparison, Level
from meshkit.identity.similar import EPSILON, jaro_winkler, one_byte_differs, one_digit_differs

__all__ = ["Comparer", "Layout", "compare_pairs", "compile_comparisons"]

Levels = npt.NDArray[np.int8]
Rows = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
_CHUNK = 1 << 19


@dataclass(frozen=True, slots=True)
class Layout:
    """How levels of all comparisons are one integer: mixed radix of `level + 1`, the first comparison least."""

    sizes: tuple[int, ...]  # levels of each comparison, `else` included

    @property
    def span(self) -> int:
        """How many patterns there could be."""
        return int(np.prod([s + 1 for s in self.sizes], dtype=object))

    def encode(self, levels: Sequence[Levels]) -> npt.NDArray[np.int64]:
        """Patterns of levels given by comparison."""
        pattern = np.zeros(len(levels[0]), np.int64)
        for size, level in zip(reversed(self.sizes), reversed(levels), strict=True):
            pattern = pattern * (size + 1) + (level + 1)
        return pattern

    def decode(self, patterns: npt.NDArray[np.int64]) -> Levels:
        """Levels by pattern (rows) and comparison (columns)."""
        levels = np.empty((len(patterns), len(self.sizes)), np.int8)
        rest = patterns.copy()
        for number, size in enumerate(self.sizes):
            levels[:, number] = rest % (size + 1) - 1
            rest //= size + 1
        return levels


@dataclass(slots=True)
class Pairs:
    """A chunk of pairs by row numbers, with what several levels ask for computed once."""

    records: Records
    left: Rows
    right: Rows
    _codes: dict[str, tuple[Rows, Rows]] = field(default_factory=dict)
    _similar: dict[tuple[str, float], npt.NDArray[np.float64]] = field(default_factory=dict)

    def codes(self, role: str) -> tuple[Rows, Rows]:
        """Codes of a role on both sides."""
        if role not in self._codes:
            one = self.records.roles[role]
            self._codes[role] = one.left[self.left], one.right[self.right]
        return self._codes[role]

    def equal(self, role: str) -> Mask:
        """Both present and equal."""
        a, b = self.codes(role)
        found: Mask = (a == b) & (a >= 0)
        return found

    def missing(self, role: str) -> Mask:
        """Missing on either side."""
        a, b = self.codes(role)
        found: Mask = (a < 0) | (b < 0)
        return found

    def similar(self, role: str, at: float, cutoff: float, where: Mask | None = None) -> Mask:
        """Jaro-Winkler of `at` and more; scored once for the lowest threshold `cutoff`, and only `where` it counts."""
        key = (role, cutoff)
        if key not in self._similar:
            a, b = self.codes(role)
            if where is not None:
                a = np.where(where, a, np.int32(-1))
            self._similar[key] = jaro_winkler(self.records.roles[role].vocabulary, a, b, cutoff)
        found: Mask = self._similar[key] >= at - EPSILON
        return found


Test = Callable[["Comparer", Pairs, Level], Mask]


@dataclass(frozen=True, slots=True)
class Comparer:
    """A comparison on given data: levels that the data can reach, and how each is decided."""

    comparison: Comparison
    levels: tuple[Level, ...]  # top first
    roles: tuple[str, ...]  # compared roles that the data has
    words: Encoded | None = None  # organisation, text: the set of words

    @property
    def name(self) -> str:
        """Name of the comparison."""
        return self.comparison.name

    @property
    def size(self) -> int:
        """Levels, `else` included."""
        return len(self.levels) + 1

    @property
    def level_names(self) -> tuple[str, ...]:
        """Names by level number."""
        return ("else", *(level.name for level in reversed(self.levels)))

    @property
    def exact_role(self) -> str | None:
        """The role whose equality is the top level, where that is all the top level asks."""
        if self.levels[0].test == "exact" or (len(self.roles) == 1 and self.levels[0].test == self.roles[0]):
            return self.roles[0]
        return None

    def cutoff(self, test: str) -> float:
        """The lowest similarity that a test of this comparison asks for."""
        return min(level.at for level in self.levels if level.test == test and level.at is not None)

    def compare(self, pairs: Pairs) -> Levels:
        """Level of each pair."""
        found = np.zeros(len(pairs.left), np.int8)
        for number, level in enumerate(reversed(self.levels), start=1):
            found[_TESTS[self.comparison.kind, level.test](self, pairs, level)] = number
        gone = pairs.missing(self.roles[0])
        for role in self.roles[1:]:
            gone &= pairs.missing(role)
        found[gone] = -1
        return found


def compile_comparisons(records: Records, comparisons: Sequence[Comparison]) -> tuple[Comparer, ...]:
    """Comparers for the comparisons whose roles the data has, without levels that it can't reach."""
    found = []
    for comparison in comparisons:
        roles = tuple(r for r in comparison.columns if records.has(r))
        if not roles:
            continue
        levels = tuple(lv for lv in comparison.levels if _reachable(records, roles, comparison.kind, lv))
        words = None
        if comparison.kind in {"organisation", "text"}:
            one = records.roles[roles[0]]
            words = one.derived(one.vocabulary.series.str.split(" ").list.unique().list.sort().list.join(" "))
        found.append(Comparer(comparison, levels, roles, words))
    return tuple(found)


def _reachable(records: Records, roles: Sequence[str], kind: str, level: Level) -> bool:
    if level.test == "swapped":
        return records.has("given_name") and records.has("family_name")
    if kind == "address":
        if level.test == "street_and_area":
            return "street" in roles and bool({"postcode", "city"} & set(roles))
        return level.test in roles
    return True


def compare_pairs(
    records: Records, comparers: Sequence[Comparer], left: Rows, right: Rows, layout: Layout
) -> npt.NDArray[np.int64]:
    """Patterns of the pairs, in chunks on a thread pool."""
    result = np.empty(len(left), np.int64)

    def one(start: int, stop: int) -> None:
        pairs = Pairs(records, left[start:stop], right[start:stop])
        result[start:stop] = layout.encode([c.compare(pairs) for c in comparers])

    edges = [*range(0, len(left), _CHUNK), len(left)]
    spans = list(pairwise(edges))
    if len(spans) <= 1:
        for span in spans:
            one(*span)
        return result
    _warm(records, comparers)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for done in [pool.submit(one, *span) for span in spans]:
            done.result()
    return result


def _warm(records: Records, comparers: Sequence[Comparer]) -> None:
    """Dictionary facts are computed before threads would do it twice."""
    none = np.zeros(0, np.int32)
    for comparer in comparers:
        comparer.compare(Pairs(records, none, none))
        for role in comparer.roles:
            vocabulary = records.roles[role].vocabulary
            if any(level.at is not None for level in comparer.levels):
                _ = vocabulary.characters, vocabulary.prefixes, vocabulary.ascii


# Tests: one function a level ---------------------------------------------------------------------------------------------


def _exact(comparer: Comparer, pairs: Pairs, _level: Level) -> Mask:
    return pairs.equal(comparer.roles[0])


def _swapped(_comparer: Comparer, pairs: Pairs, _level: Level) -> Mask:
    given_left, given_right = pairs.codes("given_name")
    family_left, family_right = pairs.codes("family_name")
    found: Mask = (given_left == family_right) & (family_left == given_right) & (given_left >= 0) & (family_left >= 0)
    return found


def _jaro_winkler(comparer: Comparer, pairs: Pairs, level: Level) -> Mask:
    assert level.at is not None
    return pairs.similar(comparer.roles[0], level.at, comparer.cutoff(level.test))


def _initial(comparer: Comparer, pairs: Pairs, _level: Level) -> Mask:
    a, b = pairs.codes(comparer.roles[0])
    words = pairs.records.roles[comparer.roles[0]].vocabulary
    if not len(words):
        return np.zeros(len(a), bool)
    first = (words.prefixes[a] & 255) == (words.prefixes[b] & 255)
    found: Mask = first & (np.minimum(words.lengths[a], words.lengths[b]) <= 2) & (a >= 0) & (b >= 0)
    return found


def _same_words(comparer: Comparer, pairs: Pairs, _level: Level) -> Mask:
    assert comparer.words is not None
    a, b = comparer.words.left[pairs.left], comparer.words.right[pairs.right]
    found: Mask = (a == b) & (a >= 0)
    return found


def _same_user(_comparer: Comparer, pairs: Pairs, _level: Level) -> Mask:
    return pairs.equal("mail_user")


def _user(comparer: Comparer, pairs: Pairs, level: Level) -> Mask:
    assert level.at is not None
    scored = [lv.at for lv in comparer.levels if lv.at is not None]
    return pairs.similar("mail_user", level.at, min(scored))


def _user_and_domain(comparer: Comparer, pairs: Pairs, level: Level) -> Mask:
    return _user(comparer, pairs, level) & pairs.equal("mail_domain")


def _one_digit(comparer: Comparer, pairs: Pairs, _level: Level) -> Mask:
    return one_digit_differs(pairs.records.roles[comparer.roles[0]].vocabulary, *pairs.codes(comparer.roles[0]))


def _one_character(comparer: Comparer, pairs: Pairs, _level: Level) -> Mask:
    return one_byte_differs(pairs.records.roles[comparer.roles[0]].vocabulary, *pairs.codes(comparer.roles[0]))


def _area(comparer: Comparer, pairs: Pairs) -> Mask:
    found = np.zeros(len(pairs.left), bool)
    for role in ("postcode", "city"):
        if role in comparer.roles:
            found |= pairs.equal(role)
    return found


def _street_and_area(comparer: Comparer, pairs: Pairs, level: Level) -> Mask:
    area = _area(comparer, pairs)
    if level.at is None:
        return pairs.equal("street") & area
    return pairs.similar("street", level.at, comparer.cutoff(level.test), where=area) & area


def _part_of_address(_comparer: Comparer, pairs: Pairs, level: Level) -> Mask:
    return pairs.equal(level.test)


def _digits(comparer: Comparer, pairs: Pairs) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], Mask]:
    a, b = pairs.codes(comparer.roles[0])
    digits = pairs.records.roles[comparer.roles[0]].vocabulary.digits
    return digits[a], digits[b], (a >= 0) & (b >= 0)


def _one_digit_or_swapped(comparer: Comparer, pairs: Pairs, level: Level) -> Mask:
    a, b, both = _digits(comparer, pairs)
    byte, eight = np.uint64(255), np.uint64(8)
    turned = (a >> np.uint64(16) << np.uint64(16)) | ((a & byte) << eight) | ((a >> eight) & byte)
    found: Mask = ((turned == b) & both) | _one_digit(comparer, pairs, level)
    return found


def _two_parts(comparer: Comparer, pairs: Pairs, _level: Level) -> Mask:
    a, b, both = _digits(comparer, pairs)
    differ = a ^ b
    same = ((differ >> np.uint64(16)) == 0).astype(np.int8)
    same += ((differ >> np.uint64(8)) & np.uint64(255)) == 0
    same += (differ & np.uint64(255)) == 0
    found: Mask = (same >= 2) & both
    return found


def _year(comparer: Comparer, pairs: Pairs, _level: Level) -> Mask:
    a, b, both = _digits(comparer, pairs)
    found: Mask = ((a >> np.uint64(16)) == (b >> np.uint64(16))) & both
    return found


_NAME: Mapping[str, Test] = {"exact": _exact, "swapped": _swapped, "jaro_winkler": _jaro_winkler, "initial": _initial}
_TEXT: Mapping[str, Test] = {"exact": _exact, "same_words": _same_words, "jaro_winkler": _jaro_winkler}
_BY_KIND: Mapping[str, Mapping[str, Test]] = {
    "given_name": _NAME,
    "family_name": _NAME,
    "email": {"exact": _exact, "same_user": _same_user, "user_and_domain": _user_and_domain, "user": _user},
    "phone": {"exact": _exact, "one_digit": _one_digit},
    "address": {
        "street_and_area": _street_and_area, "street": _part_of_address, "postcode": _part_of_address, "city": _part_of_address,
    },
    "date": {"exact": _exact, "one_digit_or_swapped": _one_digit_or_swapped, "two_parts": _two_parts, "year": _year},
    "id": {"exact": _exact, "one_character": _one_character},
    "organisation": _TEXT,
    "text": _TEXT,
}  # fmt: skip
_TESTS: Mapping[tuple[str, str], Test] = {
    (kind, test): function for kind, tests in _BY_KIND.items() for test, function in tests.items()
}
