"""Extension points: implementations found by entry point, built-ins through the same door."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from meshkit.errors import UsageError

__all__ = ["UnknownExtension", "load", "load_all", "names"]


class UnknownExtension(UsageError):
    """No implementation of that name is registered for an extension point."""

    code = "meshkit.unknown_extension"

    def __init__(self, group: str, name: str, known: tuple[str, ...]) -> None:
        self.group, self.name, self.known = group, name, known
        near = get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(known) or 'none'}."
        super().__init__(f"no {group} named {name!r} is installed. {hint}")


@cache
def _points(group: str) -> dict[str, EntryPoint]:
    """Entry points of `meshkit.<group>` by name; the first one found on the path wins, as in `import`."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"meshkit.{group}"):
        points.setdefault(point.name, point)
    return points


def names(group: str) -> tuple[str, ...]:
    """Names registered under `meshkit.<group>`, sorted."""
    return tuple(sorted(_points(group)))


def load(group: str, name: str) -> Any:
    """Import and return the object registered as `name` under `meshkit.<group>`.

    Raises: `UnknownExtension` with the nearest name; `MissingExtra` if the implementation's package is absent.
    """
    point = _points(group).get(name)
    if point is None:
        raise UnknownExtension(group, name, names(group))
    return point.load()


def load_all(group: str) -> dict[str, Any]:
    """Every implementation registered under `meshkit.<group>`, by name."""
    return {name: load(group, name) for name in names(group)}
