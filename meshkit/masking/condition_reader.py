"""SQL text of a policy to a `Condition`: parsed by sqlglot, and only what stands in a closed list is understood."""

from __future__ import annotations

import logging
import re
from typing import Any

from meshkit.masking.condition import (
    Attr,
    BadCondition,
    Both,
    Col,
    Compare,
    Condition,
    InList,
    IsNull,
    Like,
    Lit,
    Node,
    Not,
    Truth,
)
from meshkit.masking.extra import require
from meshkit.masking.literals import NumberText

__all__ = ["parse_condition"]

_MAX_TEXT = 10_000
_MAX_DEPTH = 100
_OPERATORS = {"EQ": "=", "NEQ": "<>", "GT": ">", "GTE": ">=", "LT": "<", "LTE": "<="}
_FLIPPED = {"=": "=", "<>": "<>", ">": "<", ">=": "<=", "<": ">", "<=": ">="}


def parse_condition(text: str) -> Condition:
    """Read a condition. Raises: `BadCondition`."""
    require("sqlglot", purpose="policies with SQL conditions")
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if (
        len(text) > _MAX_TEXT
        or text.count("(") > _MAX_DEPTH
        or len(re.findall(r"\b(?:and|or|not|case)\b", text, re.IGNORECASE)) > _MAX_DEPTH
    ):
        raise BadCondition("the condition is too long or nested too deeply")  # deep nesting crashes the compiled parser
    logging.getLogger("sqlglot").addFilter(_silent)
    try:
        trees = [t for t in sqlglot.parse(f"SELECT 1 WHERE {text}\n", dialect="duckdb") if t is not None]
    except (SqlglotError, RecursionError):
        raise BadCondition("the condition is no SQL expression") from None
    tree = trees[0] if len(trees) == 1 else None
    where = tree.args.get("where") if isinstance(tree, exp.Select) else None
    extra = (
        {k for k, v in tree.args.items() if v and k not in {"where", "expressions", "kind"}}
        if tree is not None
        else set()
    )
    if where is None or extra:
        raise BadCondition("the condition is no single SQL expression")
    return Condition(text.strip(), _read(where.this))


def _silent(record: logging.LogRecord) -> bool:  # noqa: ARG001
    return False  # sqlglot's warnings quote the text


def _read(node: Any) -> Node:
    from sqlglot import exp

    if isinstance(node, exp.Paren):
        return _read(node.this)
    if isinstance(node, exp.And | exp.Or):
        return Both("AND" if isinstance(node, exp.And) else "OR", _read(node.this), _read(node.expression))
    if isinstance(node, exp.Not):
        return Not(_read(node.this))
    if isinstance(node, exp.Boolean):
        return Truth(bool(node.this))
    name = type(node).__name__
    if name in _OPERATORS:
        return _comparison(_OPERATORS[name], _operand(node.this), _operand(node.expression))
    if isinstance(node, exp.Between) and not node.args.get("symmetric"):
        subject = node.this
        low = _comparison(">=", _operand(subject), _operand(node.args["low"]))
        return Both("AND", low, _comparison("<=", _operand(subject), _operand(node.args["high"])))
    if isinstance(node, exp.In):
        return _in_list(node)
    if isinstance(node, exp.Like):
        pattern = node.expression
        if not isinstance(pattern, exp.Literal) or not pattern.is_string:
            raise BadCondition("LIKE needs a constant pattern; an attribute in it could hold wildcards")
        return Like(_column(node.this), str(pattern.this))
    if isinstance(node, exp.Is):
        return _is(node)
    if isinstance(node, exp.Column | exp.Lower | exp.Length | exp.Coalesce):
        return Truth(_column(node))
    raise BadCondition(_refusal(node))


def _is(node: Any) -> Node:
    from sqlglot import exp

    if isinstance(node.expression, exp.Null):
        return IsNull(_column(node.this))
    if isinstance(node.expression, exp.Boolean):
        column = _column(node.this)
        equal = Compare("=", column, Lit(bool(node.expression.this)))
        return Both("AND", Not(IsNull(column)), equal)
    raise BadCondition(_refusal(node))


def _in_list(node: Any) -> InList:
    if node.args.get("query") is not None:
        raise BadCondition(
            "subqueries in policy SQL are not in this release. List the values, or use an attribute: in (:name)"
        )
    if node.args.get("unnest") is not None or node.args.get("field") is not None or not node.expressions:
        raise BadCondition("IN needs a list of constants or attributes in brackets")
    items = []
    for item in map(_operand, node.expressions):
        if isinstance(item, Col):
            raise BadCondition("IN needs constants or attributes, not columns")
        items.append(item)
    return InList(_column(node.this), tuple(items))


def _comparison(operator: str, left: Col | Lit | Attr, right: Col | Lit | Attr) -> Compare:
    if isinstance(left, Col):
        return Compare(operator, left, right)
    if isinstance(right, Col):
        return Compare(_FLIPPED[operator], right, left)
    raise BadCondition("a comparison needs a column on one side")


def _operand(node: Any) -> Col | Lit | Attr:
    from sqlglot import exp

    if isinstance(node, exp.Paren):
        return _operand(node.this)
    if isinstance(node, exp.Literal):
        return Lit(str(node.this) if node.is_string else NumberText(str(node.this)))
    if isinstance(node, exp.Boolean):
        return Lit(bool(node.this))
    if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal) and not node.this.is_string:
        return Lit(NumberText(f"-{node.this.this}"))
    if (
        isinstance(node, exp.Cast)
        and isinstance(node.this, exp.Literal)
        and node.this.is_string
        and not node.args.get("format")
    ):
        if node.to.this.name in {
            "DATE",
            "TIMESTAMP",
            "TIMESTAMPTZ",
        }:  # DATE '2024-01-01': the column's type says the rest
            return Lit(str(node.this.this))
    elif isinstance(node, exp.Placeholder) and isinstance(node.this, str):
        return Attr(node.this)
    return _column(node)


def _column(node: Any) -> Col:
    from sqlglot import exp

    if isinstance(node, exp.Paren):
        return _column(node.this)
    if isinstance(node, exp.Column):
        if node.args.get("table") is not None or not isinstance(node.this, exp.Identifier):
            raise BadCondition("a condition names columns of its own product, without table and without nested paths")
        return Col(str(node.this.this))
    if isinstance(node, exp.Lower | exp.Length):
        inner = _column(node.this)
        if inner.function is None and inner.default is None:
            return Col(inner.name, "lower" if isinstance(node, exp.Lower) else "length")
    if isinstance(node, exp.Coalesce) and len(node.expressions) == 1:
        inner, default = _column(node.this), _operand(node.expressions[0])
        if isinstance(default, Lit) and inner.default is None and inner.function is None:
            return Col(inner.name, None, default)
    raise BadCondition(_refusal(node))


def _refusal(node: Any) -> str:
    from sqlglot import exp

    if isinstance(node, exp.Subquery | exp.Select | exp.Exists):
        return "subqueries in policy SQL are not in this release"
    if isinstance(node, exp.Placeholder):
        return "an attribute is written :name and compared with a column"
    what = (
        node.sql_name().lower()
        if isinstance(node, exp.Func) and not isinstance(node, exp.Anonymous)
        else type(node).__name__.lower()
    )
    if isinstance(node, exp.Anonymous):
        what = str(node.this)[:40]
    return (
        f"`{what}` is not allowed in policy SQL. Allowed are comparisons of columns with constants or attributes, IN, BETWEEN, IS NULL, "
        "LIKE, AND, OR, NOT, lower, length, coalesce"
    )
