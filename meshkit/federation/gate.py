"""The gate: from a user's text to a query over fragments, or a refusal before any source is touched. Pure.

Order: token limits; one parsed query; closed allowlists of classes and functions; names by scope; one decision per product; relations
replaced by fragments; DuckDB's own parser reads the regenerated text and must agree. Source: federation-and-masking section 4.1.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from meshkit.errors import UsageError
from meshkit.federation.allowlist import AST_CLASSES, functions
from meshkit.federation.errors import PolicyUnavailable, Position, QueryDenied, UnparsableSql
from meshkit.federation.limits import at_offset, check_shape, redact, tokenize
from meshkit.federation.names import AmbiguousName, Catalogue, TableColumn, TableInfo, fold
from meshkit.federation.recheck import check_regenerated
from meshkit.federation.resolve import Resolver, position_of
from meshkit.federation.statement import GatedQuery
from meshkit.ports import Decision
from meshkit.types import BOOL, INT32, STRING

__all__ = ["INFORMATION_SCHEMA", "Gate", "redacted_text"]

MAX_DEPTH = 600  # of the tree; the token limits keep honest queries far below
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXPLAIN = re.compile(r"\s*explain\b", re.IGNORECASE)
_FIRST = {"SELECT", "FROM", "WITH", "VALUES", "(", "DESCRIBE", "DESC", "SHOW"}

INFORMATION_SCHEMA: Mapping[str, TableInfo] = {
    "tables": TableInfo(
        "information_schema.tables", "tables", True,
        tuple(TableColumn(n, STRING) for n in ("table_catalog", "table_schema", "table_name", "table_type", "product", "description")),
    ),
    "columns": TableInfo(
        "information_schema.columns", "columns", True,
        (
            *(TableColumn(n, STRING) for n in ("table_catalog", "table_schema", "table_name", "column_name")),
            TableColumn("ordinal_position", INT32), TableColumn("is_nullable", STRING), TableColumn("data_type", STRING),
            TableColumn("mask", STRING), TableColumn("sensitive", BOOL),
        ),
    ),
}  # fmt: skip


def redacted_text(text: str) -> str:
    """The statement for logs: literals as `?`, also where it does not parse."""
    try:
        return redact(text, tokenize(text))
    except (QueryDenied, UnparsableSql):
        return "?"


@dataclass
class Gate:
    """Checks one statement. `decide` gives the decision for a product id; `visible` lists the products the principal may read."""

    catalogue: Catalogue
    decide: Callable[[str], Decision | None]
    visible: Callable[[], Iterable[str]]
    decisions: dict[str, Decision] = field(default_factory=dict)

    def check(self, text: str, *, parameters: Mapping[str, Any] | None = None) -> GatedQuery:
        """Raises: `QueryDenied`, `UnparsableSql`, `PolicyUnavailable`, `UsageError` for parameters that are missing."""
        explain = _EXPLAIN.match(text)
        if explain:
            text = " " * explain.end() + text[explain.end() :]  # positions stay those of the user's text
        tokens = tokenize(text)
        while tokens and tokens[-1].text == ";":
            tokens.pop()
        if not tokens:
            raise UnparsableSql(None)
        check_shape(text, tokens)
        word = tokens[0].text.upper()
        if any(t.text == ";" and t.token_type.name == "SEMICOLON" for t in tokens):
            raise QueryDenied(
                "there are several statements", reason="several_statements", hint="Send one query at a time"
            )
        if word not in _FIRST or tokens[0].token_type.name in {"STRING", "IDENTIFIER"}:
            raise QueryDenied(
                "this is not a query",
                reason="not_a_query",
                hint="Start with SELECT, FROM, WITH, VALUES, EXPLAIN, DESCRIBE or SHOW TABLES",
                position=at_offset(text, tokens[0].start),
            )
        redacted = redact(text, tokens)
        if word == "SHOW" and not explain:
            return self._show(text, tokens, redacted)
        if word in {"DESCRIBE", "DESC"} and not explain:
            return self._describe(text, tokens, redacted)
        if explain and word not in {"SELECT", "FROM", "WITH", "VALUES", "("}:
            raise QueryDenied(
                "EXPLAIN takes a plain query",
                reason="not_allowed",
                hint="Write EXPLAIN SELECT ...",
                position=at_offset(text, tokens[0].start),
            )
        kind = "explain" if explain else "query"
        redacted = f"EXPLAIN {redacted}" if explain else redacted
        return self._query(kind, text, redacted, dict(parameters or {}))

    # Statements

    def _query(self, kind: str, text: str, redacted: str, parameters: dict[str, Any]) -> GatedQuery:
        from sqlglot import ErrorLevel

        tree = _parse(text)
        _check_tree(text, tree)
        used = _check_parameters(text, tree, parameters)
        prefix = "f_"
        while prefix in fold(text):
            prefix = f"f{prefix}"
        resolver = Resolver(
            text, prefix=prefix, find_table=lambda d, t, node: self._find(text, d, t, node), parameters=used
        )
        try:
            resolution = resolver.run(tree)
            sql = tree.sql(dialect="duckdb", unsupported_level=ErrorLevel.IGNORE, comments=False)
        except RecursionError:
            raise QueryDenied(
                "the statement is nested too deeply", reason="too_complex", hint="Split it into several queries"
            ) from None
        check_regenerated(sql, [f.name for f in resolution.fragments])
        return GatedQuery(
            kind=kind,  # type: ignore[arg-type]
            sql=sql,
            redacted=redacted,
            fragments=resolution.fragments,
            join_keys=resolution.join_keys,
            outputs=resolution.outputs,
            parameters=used,
            decisions=dict(self.decisions),
        )

    def _show(self, text: str, tokens: list[Any], redacted: str) -> GatedQuery:
        if [t.text.upper() for t in tokens] not in (["SHOW", "TABLES"], ["SHOW", "ALL", "TABLES"]):
            raise QueryDenied(
                "only SHOW TABLES is supported",
                reason="not_allowed",
                hint="Or query information_schema.tables",
                position=at_offset(text, tokens[0].start),
            )
        return GatedQuery(kind="show_tables", sql="", redacted=redacted)

    def _describe(self, text: str, tokens: list[Any], redacted: str) -> GatedQuery:
        names = tokens[1:]
        shaped = len(names) == 3 and names[1].text == "." and all(t.token_type.name != "STRING" for t in names)
        if not shaped:
            raise QueryDenied(
                "DESCRIBE takes a table",
                reason="not_allowed",
                hint="Write DESCRIBE domain.product",
                position=at_offset(text, tokens[0].start),
            )
        table, virtual = self._find_at(at_offset(text, names[0].start), names[0].text, names[2].text)
        if virtual:
            raise QueryDenied(
                "DESCRIBE takes a product",
                reason="not_allowed",
                hint="Write DESCRIBE domain.product",
                position=at_offset(text, tokens[0].start),
            )
        return GatedQuery(kind="describe", sql="", redacted=redacted, described=table, decisions=dict(self.decisions))

    # Tables

    def _find(self, text: str, domain: str, table: str, node: Any) -> tuple[TableInfo, str | None]:
        return self._find_at(position_of(text, node), domain, table)

    def _find_at(self, position: Position | None, domain: str, table: str) -> tuple[TableInfo, str | None]:
        if fold(domain) == "information_schema":
            known = INFORMATION_SCHEMA.get(fold(table))
            if known is None:
                raise self._unknown(position, domain, table)
            return known, fold(table)
        try:
            info = self.catalogue.find(domain, table)
        except AmbiguousName as ambiguous:
            seen = [p for p in ambiguous.products if self._allowed(p, position)]
            if len(seen) == 1:
                info = next(t for t in self.catalogue.tables if t.product == seen[0] and fold(t.table) == fold(table))
            elif not seen:
                info = None
            else:
                raise QueryDenied(
                    f"the name {domain}.{table} fits tables of several domains",
                    reason="ambiguous_name",
                    hint="Quote the dotted domain: " + ", ".join(f'"{p.rpartition(".")[0]}"' for p in seen),
                    position=position,
                ) from None
        product = info.product if info is not None else f"{fold(domain)}.{fold(table)}"
        # the decider is asked for unknown names too: nothing, not even an outage, tells unknown from forbidden
        if not self._allowed(product, position) or info is None:
            raise self._unknown(position, domain, table)
        hidden = self.decisions[product].hidden
        return (replace(info, hidden=hidden) if hidden else info), None

    def _allowed(self, product: str, position: Position | None) -> bool:
        decision = self.decisions.get(product) or self.decide(product)
        if decision is None:
            return False
        code = (decision.code or "").rpartition(".")[2]
        if decision.allow is True and decision.product == product:
            self.decisions[product] = decision
            return True
        if code == "policy_unavailable":
            raise PolicyUnavailable
        if code == "purpose_required":
            raise QueryDenied(
                "this table is read for a stated purpose only",
                reason="purpose_required",
                hint="Pass purpose=, or --purpose",
                position=position,
            )
        return False

    def _unknown(self, position: Position | None, domain: str, table: str) -> QueryDenied:
        near = self.catalogue.near(f"{domain}.{table}", self.visible())
        hint = f"Did you mean {near}?" if near else "Tables you may read: SHOW TABLES"
        return QueryDenied(f"there is no table {domain}.{table}", reason="unknown_table", hint=hint, position=position)


def _parse(text: str) -> Any:
    import sqlglot
    from sqlglot.errors import ParseError, SqlglotError

    logger = logging.getLogger("sqlglot")
    logger.addFilter(_silent)  # its warnings quote the statement, and a statement is personal data
    try:
        trees = [t for t in sqlglot.parse(text, dialect="duckdb") if t is not None]
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        line, column = first.get("line"), first.get("col")
        raise UnparsableSql(
            Position(line, max(1, column - len(str(first.get("highlight") or "")) + 1)) if line and column else None
        ) from None
    except RecursionError:
        raise QueryDenied(
            "the statement is nested too deeply", reason="too_complex", hint="Split it into several queries"
        ) from None
    except (SqlglotError, ValueError, TypeError, AttributeError, KeyError, IndexError, AssertionError):
        raise UnparsableSql(None) from None  # the parser's own bugs on hostile text: no query
    finally:
        logger.removeFilter(_silent)
    if len(trees) != 1:
        raise QueryDenied("there are several statements", reason="several_statements", hint="Send one query at a time")
    return trees[0]


def _silent(_: logging.LogRecord) -> bool:
    return False


def _check_tree(text: str, tree: Any) -> None:
    """Depth, and the closed list of classes and function names."""
    if type(tree).__name__ not in {"Select", "Union", "Except", "Intersect", "Subquery", "Values"}:
        raise QueryDenied(
            "this is not a query",
            reason="not_a_query",
            hint="Start with SELECT, FROM, WITH or VALUES",
            position=position_of(text, tree),
        )
    known = functions()
    stack = [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise QueryDenied(
                "the statement is nested too deeply", reason="too_complex", hint="Split it into several queries"
            )
        name = type(node).__name__
        if name not in AST_CLASSES:
            raise QueryDenied(
                f"{_shown(text, node)} is not allowed",
                reason="not_allowed",
                hint="See docs/reference/sql for the SQL that is",
                position=position_of(text, node),
            )
        if name == "Anonymous" and (
            not isinstance(node.this, str) or fold(node.this) not in known.callable | known.table
        ):
            raise QueryDenied(
                f"the function {node.name} is not allowed",
                reason="not_allowed",
                hint="See docs/reference/sql for those that are",
                position=position_of(text, node),
            )
        _check_bounds(text, node, name)
        stack.extend((child, depth + 1) for child in node.iter_expressions())


def _shown(text: str, node: Any) -> str:
    """What to call a refused node: its first word in the user's text, if it is a word, else its class."""
    start, end = node.meta.get("start"), node.meta.get("end")
    word = text[start : end + 1] if start is not None and end is not None else ""
    return word if _NAME.fullmatch(word) else type(node).__name__


_BOUND_NAMES = {"GenerateSeries": "range", "Repeat": "repeat", "Pad": "lpad"}


def _check_bounds(text: str, node: Any, name: str) -> None:
    """Calls whose output size an argument sets take a constant there, not above the bound."""
    bound = functions().bounds.get(fold(node.this) if name == "Anonymous" else _BOUND_NAMES.get(name, ""))
    if bound is None:
        return
    if name == "GenerateSeries":
        arguments = [node.args.get("start"), node.args.get("end")]
    elif name == "Anonymous":
        arguments = [node.expressions[i] for i in bound.arguments if i < len(node.expressions)]
    else:
        arguments = [node.args.get("times") or node.args.get("expression")]
    for argument in arguments:
        if argument is None:
            continue
        value = _constant_int(argument)
        if value is None or abs(value) > bound.at_most:
            raise QueryDenied(
                f"the size of {fold(node.this) if name == 'Anonymous' else _BOUND_NAMES[name]}() is no constant of at most {bound.at_most:,}",
                reason="not_allowed",
                hint="Give a smaller number",
                position=position_of(text, node),
            )


def _constant_int(node: Any) -> int | None:
    sign = 1
    while type(node).__name__ in {"Neg", "Paren"}:
        sign, node = (-sign if type(node).__name__ == "Neg" else sign), node.this
    if (
        type(node).__name__ == "Literal"
        and not node.is_string
        and str(node.this).isdigit()
        and len(str(node.this)) < 20
    ):
        return sign * int(str(node.this))
    return None


def _check_parameters(text: str, tree: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    names = set()
    for node in tree.walk():
        if type(node).__name__ == "Placeholder":
            name = node.args.get("this")
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise QueryDenied(
                    "a parameter has no name",
                    reason="not_allowed",
                    hint="Write $name and pass parameters={'name': ...}",
                    position=position_of(text, node),
                )
            names.add(name)
    missing = sorted(names - set(given))
    if missing:
        raise UsageError(
            f"the query names parameters that are not given: {', '.join(missing)}. Pass parameters={{...}}, or --param NAME=VALUE",
            code="federation.missing_parameter",
        )
    return {name: given[name] for name in names}
