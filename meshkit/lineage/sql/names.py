"""How engines name outputs that have no alias."""

from __future__ import annotations

from typing import Any

from meshkit.lineage.sql.adapter import Grammar, exp

__all__ = ["output_name"]


def output_name(grammar: Grammar, node: Any, position: int) -> list[tuple[str, str]]:
    """Key and shown name of an output; several for `AS (a, b)`. Without alias: as the engine names it, else `_col_<n>`."""
    if isinstance(node, exp.Alias):
        alias = node.args["alias"]
        return [(grammar.key(alias), grammar.shown(alias))]
    if isinstance(node, exp.Aliases):
        return [(grammar.key(i), grammar.shown(i)) for i in node.args["expressions"] if isinstance(i, exp.Identifier)]
    inner = node
    while isinstance(inner, exp.Paren) or (isinstance(inner, exp.Cast) and grammar.name in {"postgres", "redshift"}):
        inner = inner.this
    identifier = None
    if isinstance(inner, exp.Column) and isinstance(inner.this, exp.Identifier):
        identifier = inner.this
    elif isinstance(inner, exp.Dot) and isinstance(inner.expression, exp.Identifier):
        identifier = inner.expression
    if identifier is not None:
        return [(grammar.key(identifier), grammar.shown(identifier))]
    name = _engine_name(grammar, inner) or f"_col_{position}"
    return [(grammar.fold(name, quoted=True), name)]


def _engine_name(grammar: Grammar, node: Any) -> str | None:
    """DuckDB prints the call, Postgres the function's name."""
    if grammar.name == "duckdb":
        if isinstance(node, exp.Count) and isinstance(node.this, exp.Star):
            return "count_star()"
        if (
            isinstance(node, exp.AggFunc)
            and isinstance(node.this, exp.Column)
            and len(node.args) <= 2
            and not node.this.args.get("table")
        ):
            return f"{node.sql_name().lower()}({node.this.name})"
    if (
        grammar.name == "postgres"
        and isinstance(node, exp.Func)
        and not isinstance(node, exp.Anonymous | exp.Case | exp.And | exp.Or)
    ):
        return str(node.sql_name().lower())
    return None
