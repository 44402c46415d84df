"""Candidate pairs: rows that agree on all keys of some rule. Exact counts first, caps refined and reported, then integer joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from meshkit.identity.encode import Records
from meshkit.identity.errors import TooManyPairs
from meshkit.identity.rules import BlockingRule

__all__ = ["Blocked", "Candidates", "Capped", "RuleCount", "block", "join_candidates", "refuse_too_many"]

Keys = npt.NDArray[np.int64]
_REFINE_BY = ("initial", "birth_year", "postcode", "house_number")
_SAYS = {"initial": {"initial", "given_name"}, "birth_year": {"birth_year", "birth_date"}}


@dataclass(frozen=True, slots=True)
class Capped:
    """Keys of a rule with more pairs than its cap: refined by further keys, and skipped where that was not enough.

    `pairs`: of these keys before; `pairs_refined`: kept; `pairs_skipped`: of keys still above the cap.
    """

    rule: str
    keys: int
    rows: int
    pairs: int
    pairs_refined: int
    pairs_skipped: int


@dataclass(frozen=True, slots=True)
class RuleCount:
    """What a rule will give: exact pairs after caps, rows without key on either side, its largest block."""

    rule: BlockingRule
    pairs: int
    without_key: tuple[int, int]
    largest: int
    capped: Capped | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """Keys of every rule, ready to join: per rule the key arrays of both sides, the plain one and the refined ones."""

    counts: tuple[RuleCount, ...]
    variants: tuple[tuple[tuple[Keys, Keys], ...], ...]

    @property
    def pairs(self) -> int:
        """Pairs over all rules, counted once for each rule."""
        return sum(c.pairs for c in self.counts)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Unique pairs in (left, right) order of row numbers; bit r of `rules` says that rule r found the pair."""

    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    rules: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.left)


def block(records: Records, rules: Sequence[BlockingRule]) -> Blocked:
    """Count the pairs of each rule exactly; no pair is made."""
    found = [_count_rule(records, rule) for rule in rules]
    return Blocked(tuple(c for c, _ in found), tuple(v for _, v in found))


def refuse_too_many(blocked: Blocked, limit: int) -> None:
    """Raises: `TooManyPairs` if all rules together give more than `limit`."""
    if blocked.pairs <= limit:
        return
    worst = max(blocked.counts, key=lambda c: c.pairs)
    raise TooManyPairs(
        pairs=blocked.pairs, limit=limit, rule=worst.rule.name, rule_pairs=worst.pairs, largest=worst.largest,
        advice="Add a key to that rule, lower its cap, or raise limits.pairs.",
    )  # fmt: skip


def join_candidates(blocked: Blocked, records: Records) -> Candidates:
    """The pairs of all rules, each once, with the rules that found it."""
    width = np.int64(max(records.rows_right, 1))
    parts: list[Keys] = []
    for number, variants in enumerate(blocked.variants):
        for left, right in variants:
            i, j = _join(left, right)
            if records.duplicates:
                ordered = i < j
                i, j = i[ordered], j[ordered]
            parts.append(((i * width + j) << np.int64(5)) | np.int64(number))
    packed = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    del parts
    packed.sort()
    pairs = packed >> np.int64(5)
    bits = np.uint32(1) << (packed & np.int64(31)).astype(np.uint32)
    del packed
    starts = np.flatnonzero(np.diff(pairs, prepend=np.int64(-1)))
    masks = np.bitwise_or.reduceat(bits, starts) if len(starts) else np.zeros(0, np.uint32)
    unique = pairs[starts]
    return Candidates((unique // width).astype(np.int32), (unique % width).astype(np.int32), masks)


def rule_keys(records: Records, keys: Sequence[str]) -> tuple[Keys, Keys]:
    """Mixed-radix keys of both sides; -1 where a part is missing or its value blocks nothing."""
    left, right = np.zeros(records.rows_left, np.int64), np.zeros(records.rows_right, np.int64)
    radix = 1
    for key in keys:
        role = records.roles[key]
        size = max(len(role.vocabulary), 1)
        if radix * size >= 2**62:
            left, right, radix = _recode(left, right)
        left = _extend(left, role.left, size, role.no_key)
        right = _extend(right, role.right, size, role.no_key)
        radix *= size
    return left, right


def _extend(base: Keys, codes: npt.NDArray[np.int32], size: int, no_key: npt.NDArray[np.bool_] | None) -> Keys:
    missing = (base < 0) | (codes < 0)
    if no_key is not None:
        missing |= np.append(no_key, True)[codes]
    key = base * np.int64(size) + codes
    key[missing] = -1
    return key


def _recode(left: Keys, right: Keys) -> tuple[Keys, Keys, int]:
    """The same grouping with small numbers."""
    both = np.concatenate([left, right])
    values, codes = np.unique(both, return_inverse=True)
    shift = int(len(values) > 0 and values[0] == -1)  # -1 stays -1
    small = codes.astype(np.int64) - shift
    return small[: len(left)], small[len(left) :], max(len(values) - shift, 1)


def _sizes(left: Keys, right: Keys, *, duplicates: bool) -> pl.DataFrame:
    """Keys that both sides have, rows of each, and pairs they give."""
    if duplicates:
        one = (
            pl.Series("k", left)
            .to_frame()
            .filter(pl.col("k") >= 0)
            .group_by("k")
            .agg(pl.len().cast(pl.Int64).alias("l"))
        )
        return one.with_columns(r="l", pairs=pl.col("l") * (pl.col("l") - 1) // 2).filter(pl.col("pairs") > 0)
    sides = [
        pl.Series("k", keys).to_frame().filter(pl.col("k") >= 0).group_by("k").agg(pl.len().cast(pl.Int64).alias(name))
        for keys, name in ((left, "l"), (right, "r"))
    ]
    return sides[0].join(sides[1], on="k").with_columns(pairs=pl.col("l") * pl.col("r"))


def _join(left: Keys, right: Keys) -> tuple[Keys, Keys]:
    one = pl.DataFrame({"k": left, "i": np.arange(len(left), dtype=np.int64)}).filter(pl.col("k") >= 0)
    two = pl.DataFrame({"k": right, "j": np.arange(len(right), dtype=np.int64)}).filter(pl.col("k") >= 0)
    joined = one.join(two, on="k").select("i", "j")
    return joined["i"].to_numpy(), joined["j"].to_numpy()


def _count_rule(records: Records, rule: BlockingRule) -> tuple[RuleCount, tuple[tuple[Keys, Keys], ...]]:
    left, right = rule_keys(records, rule.keys)
    sizes = _sizes(left, right, duplicates=records.duplicates)
    without = (int((left < 0).sum()), int((right < 0).sum()))
    over = sizes.filter(pl.col("pairs") > rule.cap)
    largest = int(sizes["pairs"].max() or 0)  # type: ignore[arg-type]  # the column is int64
    if over.is_empty():
        return RuleCount(rule, int(sizes["pairs"].sum()), without, largest), ((left, right),)
    variants, refined, skipped = _refine(records, rule, left, right, over["k"])
    plain = int(sizes["pairs"].sum()) - int(over["pairs"].sum())
    rows = int(over["l"].sum()) + (0 if records.duplicates else int(over["r"].sum()))
    capped = Capped(rule.name, over.height, rows, int(over["pairs"].sum()), refined, skipped)
    return RuleCount(rule, plain + refined, without, largest, capped), variants


def _refine(
    records: Records, rule: BlockingRule, left: Keys, right: Keys, over: pl.Series
) -> tuple[tuple[tuple[Keys, Keys], ...], int, int]:
    """Split keys above the cap by further roles, one after the other, until they fit; what never fits is skipped."""
    heavy = (_within(left, over), _within(right, over))
    variants = [(np.where(heavy[0], -1, left), np.where(heavy[1], -1, right))]
    left, right = np.where(heavy[0], left, -1), np.where(heavy[1], right, -1)
    refined, skipped = 0, int(_sizes(left, right, duplicates=records.duplicates)["pairs"].sum())
    for role in _REFINE_BY:
        if not records.has(role) or _SAYS.get(role, {role}) & set(rule.keys):
            continue
        left, right, radix = _recode(left, right)
        more = records.roles[role]
        size = max(len(more.vocabulary), 1)
        if radix * size >= 2**62:
            continue
        left, right = _extend(left, more.left, size, None), _extend(right, more.right, size, None)
        sizes = _sizes(left, right, duplicates=records.duplicates)
        above = sizes.filter(pl.col("pairs") > rule.cap)
        refined += int(sizes["pairs"].sum()) - int(above["pairs"].sum())
        skipped = int(above["pairs"].sum())
        again = (_within(left, above["k"]), _within(right, above["k"]))
        variants.append((np.where(again[0], -1, left), np.where(again[1], -1, right)))
        left, right = np.where(again[0], left, -1), np.where(again[1], right, -1)
        if not skipped:
            break
    return tuple(variants), refined, skipped


def _within(keys: Keys, wanted: pl.Series) -> npt.NDArray[np.bool_]:
    if not len(wanted):
        return np.zeros(len(keys), bool)
    found: npt.NDArray[np.bool_] = pl.Series(keys).is_in(wanted.implode()).to_numpy()
    return found
