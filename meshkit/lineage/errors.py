"""Errors of lineage."""

from __future__ import annotations

from difflib import get_close_matches

from meshkit.errors import MeshkitError, UsageError

__all__ = ["BadSchema", "ManyStatements", "UnknownDialect", "UnknownNode"]


class UnknownDialect(UsageError):
    """The SQL dialect has no grammar here."""

    code = "lineage.unknown_dialect"

    def __init__(self, dialect: str, known: tuple[str, ...]) -> None:
        self.dialect, self.known = dialect, known
        near = get_close_matches(dialect, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known are: ansi, {', '.join(known)}."
        super().__init__(f"no SQL dialect {dialect!r}. {hint}")


class ManyStatements(UsageError):
    """`parse_sql` reads one statement."""

    code = "lineage.many_statements"

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(f"the text holds {count} statements, one is needed. Use parse_script for several")


class BadSchema(UsageError):
    """The schema of tables is not a mapping of table to columns."""

    code = "lineage.bad_schema"


class UnknownNode(MeshkitError):
    """A product, table or consumer is not in the graph."""

    code = "lineage.unknown_node"

    def __init__(self, ref: str, near: tuple[str, ...] = ()) -> None:
        self.ref, self.near = ref, near
        hint = f"Did you mean {near[0]}?" if near else "List nodes with: meshkit lineage show"
        super().__init__(f"{ref} is not in the lineage graph. {hint}")
