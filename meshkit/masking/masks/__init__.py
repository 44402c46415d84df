"""Masks: one file each, found by the entry-point group `meshkit.masks`. Source: federation-and-masking section 3, `Masks`.

A mask says what it does four times: in Python (the reference, slow and obvious), as a DuckDB expression, as a polars expression and,
through polars without copying, on Arrow. Property tests hold the four bit-equal and check the laws L1 to L10.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from meshkit import _registry
from meshkit.masking.errors import MaskMisfit
from meshkit.types import DataType

if TYPE_CHECKING:
    import polars as pl

    from meshkit.masking.keys import KeyRing

__all__ = ["NOT_IN_THIS_RELEASE", "NO_ARGUMENTS", "Arguments", "Mask", "WithoutArguments", "load_mask", "sql_text"]

Arguments = Mapping[str, Any]
NO_ARGUMENTS: Arguments = MappingProxyType({})
NOT_IN_THIS_RELEASE = ("date.shift", "hmac.bucket", "ip.prefix", "postcode.prefix", "shape", "sql")


class Mask(Protocol):
    """One way to hide a value. `rank`: higher is stricter. `keyed`: needs the key ring, so no SQL form."""

    name: str
    rank: int
    keyed: bool

    def arguments(self, given: Arguments, data_type: DataType | None) -> Arguments:
        """`given` checked and completed by defaults; against the column's type where it is known. Raises: `MaskMisfit`."""

    def fits(self, data_type: DataType) -> bool:
        """Whether the mask is defined on columns of this type."""

    def coarser(self, one: Arguments, other: Arguments) -> Arguments | None:
        """Arguments that show no more than either; None if there are none."""

    def python(self, value: Any, data_type: DataType, args: Arguments, keys: KeyRing | None) -> Any:
        """The reference: one value, None stays None."""

    def duckdb(self, column: str, data_type: DataType, args: Arguments) -> str | None:
        """Expression of built-in scalars over a quoted column; None for keyed masks."""

    def polars(self, column: pl.Expr, data_type: DataType, args: Arguments, keys: KeyRing | None) -> pl.Expr:
        """Elementwise expression."""


@cache
def load_mask(name: str) -> Mask:
    """The mask of that name. Raises: `MaskMisfit` with the nearest name, or that this release does not have it."""
    known = _registry.names("masks")
    if name in known:
        mask: Mask = _registry.load("masks", name)
        return mask
    if name in NOT_IN_THIS_RELEASE:
        raise MaskMisfit(
            f"mask `{name}` is not in this release (like {', '.join(n for n in NOT_IN_THIS_RELEASE if n != name)}). "
            f"Use one of {', '.join(known)}",
            code="masking.unknown_mask",
        )
    near = get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(known)}"
    raise MaskMisfit(f"unknown mask {name!r}. {hint}", code="masking.unknown_mask")


def only(mask: str, given: Arguments, *allowed: str) -> None:
    """Refuse arguments that a mask does not have. Raises: `MaskMisfit`."""
    extra = sorted(set(given) - set(allowed))
    if extra:
        known = f"It has {', '.join(allowed)}" if allowed else "It has none"
        raise MaskMisfit(f"mask `{mask}` has no argument `{extra[0]}`. {known}")


def whole_number(mask: str, name: str, value: Any, low: int, high: int) -> int:
    """An integer argument within bounds. Raises: `MaskMisfit`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise MaskMisfit(f"`{name}` of mask `{mask}` is a whole number from {low} to {high}")
    return value


def sql_text(text: str) -> str:
    """A DuckDB string literal."""
    return "'" + text.replace("'", "''") + "'"


class WithoutArguments:
    """The part that masks have in common which take no arguments and work on every type."""

    name: str

    def arguments(self, given: Arguments, data_type: DataType | None) -> Arguments:  # noqa: ARG002
        only(self.name, given)
        return NO_ARGUMENTS

    def fits(self, data_type: DataType) -> bool:  # noqa: ARG002
        return True

    def coarser(self, one: Arguments, other: Arguments) -> Arguments | None:  # noqa: ARG002
        return one
