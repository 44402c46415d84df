"""How a column looks, and which of two looks is stricter: the lattice of section 3. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from meshkit.masking.condition import Condition
from meshkit.masking.errors import MaskMisfit
from meshkit.masking.masks import load_mask
from meshkit.types import DataType

__all__ = ["Look", "strictest", "weakest"]


@dataclass(frozen=True, slots=True)
class Look:
    """Mask, arguments and where they come from. With `only_rows`, `mask` counts in its rows and `otherwise` (no arguments) elsewhere."""

    mask: str
    args: Mapping[str, Any] = field(default_factory=dict)
    rule: str | None = None
    tag: str | None = None
    reason: str = ""
    only_rows: Condition | None = None
    otherwise: str = "null"

    @property
    def rank(self) -> int:
        """Strictness of the mask."""
        return load_mask(self.mask).rank


def strictest(looks: Iterable[Look], data_type: DataType) -> Look:
    """The look that shows no more than any of them. Order does not matter."""
    return reduce(lambda a, b: _join(a, b, data_type, weak=False), _ordered(looks))


def weakest(looks: Iterable[Look], data_type: DataType) -> Look:
    """The look of the weakest of them; where none is weaker, one that shows no more than both."""
    return reduce(lambda a, b: _join(a, b, data_type, weak=True), _ordered(looks))


def _ordered(looks: Iterable[Look]) -> list[Look]:
    """A fixed order, so that merged names and reasons do not depend on that of roles or files."""
    return sorted(looks, key=lambda look: (look.rank, str(look.rule), str(look.tag)))


def _join(one: Look, other: Look, data_type: DataType, *, weak: bool) -> Look:
    if one.only_rows is None and other.only_rows is None:
        return _plain(one, other, weak=weak)
    if one.only_rows is not None and other.only_rows is not None and one.only_rows != other.only_rows:
        # four kinds of rows, and a decision can tell two apart: none shows more than the strictest of all
        parts = [p for look in (one, other) for p in (_inside(look), _outside(look))]
        return strictest(parts, data_type)
    condition = one.only_rows or other.only_rows
    inside = _plain(_inside(one), _inside(other), weak=weak)
    outside = _plain(_outside(one), _outside(other), weak=weak)
    if outside.mask == inside.mask and dict(outside.args) == dict(inside.args):
        return inside
    if not _without_arguments(outside) or load_mask(inside.mask).keyed:
        return _plain(inside, outside, weak=False)
    return replace(
        inside, only_rows=condition, otherwise=outside.mask, rule=_names(one, other), reason=one.reason or other.reason
    )


def _without_arguments(look: Look) -> bool:
    """Whether a decision can name the look by its mask alone, as `otherwise`."""
    mask = load_mask(look.mask)
    try:
        return not mask.keyed and dict(look.args) == dict(mask.arguments({}, None))
    except MaskMisfit:
        return False


def _inside(look: Look) -> Look:
    return replace(look, only_rows=None, otherwise="null")


def _outside(look: Look) -> Look:
    if look.only_rows is None:
        return look
    mask = load_mask(look.otherwise)
    return replace(look, mask=mask.name, args=mask.arguments({}, None), only_rows=None, otherwise="null")


def _plain(one: Look, other: Look, *, weak: bool) -> Look:
    if one.rank != other.rank:
        by_rank = sorted((one, other), key=lambda look: look.rank)
        return by_rank[0] if weak else by_rank[1]
    mask = load_mask(one.mask)
    if one.mask == other.mask:
        coarse = mask.coarser(one.args, other.args)
        if coarse is not None:
            if dict(coarse) == dict(one.args) == dict(other.args):
                return one
            if weak:  # the finer one, where one of them is
                return (
                    other
                    if dict(coarse) == dict(one.args)
                    else one
                    if dict(coarse) == dict(other.args)
                    else replace(one, args=coarse)
                )
            same = next((look for look in (one, other) if dict(look.args) == dict(coarse)), None)
            return same if same is not None else replace(one, args=coarse, rule=_names(one, other))
    return Look("redact", {}, _names(one, other), one.tag or other.tag, f"{one.mask} and {other.mask} of one rank")


def _names(one: Look, other: Look) -> str | None:
    names = sorted({n for look in (one, other) for n in (look.rule or "").split("+") if n})
    return "+".join(names) or None
