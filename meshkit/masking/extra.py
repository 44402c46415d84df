"""Packages of the extra `masking`: imported when used, named when absent."""

from __future__ import annotations

from importlib.util import find_spec

from meshkit.errors import MissingExtra

__all__ = ["require"]


def require(package: str, *, purpose: str) -> None:
    """Raises: `MissingExtra` if `package` is not installed."""
    if find_spec(package) is None:
        raise MissingExtra("masking", package=package, purpose=purpose)
