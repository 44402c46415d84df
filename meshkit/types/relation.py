"""How a new type relates to an old one: equal, widened, narrowed or changed. Pure. Source: manifest-and-contracts section 3."""

from __future__ import annotations

from typing import Literal

from meshkit.types import model as m

__all__ = ["Relation", "relation"]

Relation = Literal["equal", "widened", "narrowed", "changed"]

_INTEGERS = ("int8", "int16", "int32", "int64")
_UNITS = ("ms", "us", "ns")


def relation(old: m.DataType, new: m.DataType) -> Relation:
    """Compare by the values the types can hold.

    *widened*: int8 < ... < int64, float32 < float64, ms < us, decimal with more precision at equal scale or more scale with no fewer
    integer digits. *narrowed*: the reverse. *changed*: all else; ns is unrelated to other units. Items and values recurse; struct members
    are fields and compared there.
    """
    if _erased(old) == _erased(new):
        return "equal"
    if _widens(old, new):
        return "widened"
    if _widens(new, old):
        return "narrowed"
    if isinstance(old, m.Decimal) and isinstance(new, m.Decimal):
        return "narrowed"  # more of one kind of digit, less of the other: some digit is lost
    return _parts(old, new)


def _erased(data_type: m.DataType) -> str:
    """Text without nullability of parts, which is compared as `required`."""
    return str(data_type).replace(" required", "")


def _widens(old: m.DataType, new: m.DataType) -> bool:
    if isinstance(old, m.Primitive) and isinstance(new, m.Primitive):
        if old.is_integer and new.is_integer:
            return _INTEGERS.index(old.name) < _INTEGERS.index(new.name)
        return (old.name, new.name) == ("float32", "float64")
    if isinstance(old, m.Decimal) and isinstance(new, m.Decimal):
        more_digits = new.precision - new.scale >= old.precision - old.scale
        return more_digits and new.scale >= old.scale and new != old
    if isinstance(old, m.Temporal) and isinstance(new, m.Temporal) and old.name == new.name:
        return (old.unit, new.unit) == ("ms", "us")
    return False


def _parts(old: m.DataType, new: m.DataType) -> Relation:
    """Containers of one kind relate as their parts do; parts that disagree are a change."""
    if isinstance(old, m.List) and isinstance(new, m.List):
        return relation(old.item, new.item)
    if isinstance(old, m.Map) and isinstance(new, m.Map):
        if _erased(old.key) != _erased(new.key):
            return "changed"
        return relation(old.value, new.value)
    if isinstance(old, m.Struct) and isinstance(new, m.Struct):
        return "equal"
    return "changed"
