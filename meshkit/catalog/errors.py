"""Errors of the catalog."""

from __future__ import annotations

from meshkit.errors import MeshkitError, UsageError

__all__ = ["AccessRefused", "NotInCatalog", "QuerySyntax"]


class NotInCatalog(MeshkitError):
    """No visible product has that id. A product one may not see reads like one that is not there."""

    code = "catalog.not_found"

    def __init__(self, ref: str, near: str | None = None) -> None:
        self.ref = ref
        super().__init__(
            f"the catalog has no product {ref!r}. {f'Did you mean {near}?' if near else 'Search: meshkit catalog search WORD'}"
        )


class QuerySyntax(UsageError):
    """A search that can't be read: an unknown field, a value of the wrong kind."""

    code = "catalog.query"


class AccessRefused(MeshkitError):
    """An access request or decision that is not allowed; nothing was written."""

    code = "access.refused"
