"""A closed subset of SQL expressions with PostgreSQL's semantics, compiled to Python functions over one row's natural values.

Columns, literals, arithmetic, comparison, and/or/not, is null, in, case, coalesce, nullif, lower, upper, trim, substr, length, `||` and
cast; anything else is a compile error. Nulls, integer division, the scale of numerics and overflows are those of PostgreSQL. Order of
texts depends on the database's collation: `<` on texts is refused.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Context, Decimal, InvalidOperation
from math import isfinite
from typing import Any

from meshkit.publisher.decoders.values import PgType, Unrepresentable, shortest_float4, to_text
from meshkit.publisher.errors import RowFailure

__all__ = ["Compiled", "ExpressionError", "columns_of", "compile_expression", "convert", "parse_expression"]

Function = Callable[[Sequence[Any]], Any]
_INTEGERS = {"int2": 16, "int4": 32, "int8": 64}
_TOWER = ("int2", "int4", "int8", "numeric", "float4", "float8")
_EXACT = Context(prec=2000)
_CASTS = {
    "SMALLINT": "int2", "INT": "int4", "BIGINT": "int8", "DECIMAL": "numeric", "FLOAT": "float4", "DOUBLE": "float8", "TEXT": "text",
    "VARCHAR": "text", "BOOLEAN": "bool", "DATE": "date", "TIMESTAMP": "timestamp", "TIMESTAMPTZ": "timestamptz",
}  # fmt: skip


class ExpressionError(Exception):
    """An expression outside the subset; the text says which part. Becomes a diagnostic of the mapping."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A function over a row's values, and the kind of what it gives (`int4`, `numeric`, `text`, `unknown` for null and bare texts)."""

    kind: str
    run: Function
    precision: int | None = None
    scale: int | None = None


def parse_expression(text: str) -> Any:
    """The tree of an expression in PostgreSQL's dialect. Raises: `ExpressionError`."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(f"SELECT {text}", read="postgres")
    except SqlglotError:
        raise ExpressionError("it is no SQL expression that can be read") from None
    parts = tree.args.get("expressions") or []
    extra = [k for k, v in tree.args.items() if v and k not in {"expressions", "kind"}]
    if tree.key != "select" or len(parts) != 1 or extra or parts[0].key == "alias":
        raise ExpressionError("it is not one single expression")
    _check(parts[0])
    return parts[0]


_KNOWN = {
    "column", "identifier", "literal", "boolean", "null", "add", "sub", "mul", "div", "mod", "neg", "paren", "eq", "neq", "lt", "lte", "gt",
    "gte", "and", "or", "not", "is", "in", "case", "if", "coalesce", "nullif", "lower", "upper", "trim", "substring", "length", "dpipe",
    "cast", "datatype", "datatypeparam",
}  # fmt: skip


def _check(tree: Any) -> None:
    for node in tree.walk():
        if node.key not in _KNOWN:
            word = node.name.upper() if node.key == "anonymous" else node.key.upper()
            raise ExpressionError(
                f"{word} is not part of the expressions that the publisher computes. Use a generated column, or simplify"
            )
        if node.key == "column" and node.args.get("table") is not None:
            raise ExpressionError("columns are named without their table")


def columns_of(tree: Any) -> tuple[str, ...]:
    """Names of the columns an expression reads, in order of appearance."""
    return tuple(dict.fromkeys(_column_name(node) for node in tree.walk() if node.key == "column"))


def _column_name(node: Any) -> str:
    identifier = node.this
    return str(identifier.this) if identifier.args.get("quoted") else str(identifier.this).lower()


def compile_expression(tree: Any, columns: Mapping[str, tuple[int, PgType]]) -> Compiled:
    """Function of a checked tree; `columns` gives each column's place in the row and its type. Raises: `ExpressionError`."""
    return _Compiler(columns).visit(tree)


class _Compiler:
    def __init__(self, columns: Mapping[str, tuple[int, PgType]]) -> None:
        self.columns = columns

    def visit(self, node: Any) -> Compiled:
        method = getattr(self, f"_{node.key}", None)
        if method is None:
            raise ExpressionError(f"{node.key.upper()} can't stand here")
        compiled: Compiled = method(node)
        return compiled

    def _paren(self, node: Any) -> Compiled:
        return self.visit(node.this)

    def _column(self, node: Any) -> Compiled:
        name = _column_name(node)
        index, pg = self.columns[name]
        kind = {"oid": "int8", "bpchar": "text"}.get(pg.kind, pg.kind)
        if kind in {"list", "json", "jsonb", "interval", "timetz", "bit", "inet", "cidr", "macaddr", "bytea"}:
            raise ExpressionError(f"column {name} of type {pg.name} can't be used in an expression")
        if pg.kind == "bpchar":  # PostgreSQL drops the padding when it turns char(n) into text
            return Compiled(kind, lambda row: None if row[index] is None else _usable(row[index]).rstrip(" "))

        def read(row: Sequence[Any]) -> Any:
            value = row[index]
            return _usable(value) if type(value) is Unrepresentable else value

        return Compiled(kind, read, pg.precision, pg.scale)

    def _literal(self, node: Any) -> Compiled:
        if node.is_string:
            text = str(node.this)
            return Compiled("unknown", lambda _: text)
        number = Decimal(str(node.this))
        if number == number.to_integral_value() and "." not in node.this and "e" not in node.this.lower():
            whole = int(number)
            kind = "int4" if -(2**31) <= whole < 2**31 else "int8" if -(2**63) <= whole < 2**63 else "numeric"
            value: Any = whole if kind != "numeric" else number
            return Compiled(kind, lambda _: value)
        plain = Decimal(format(number, "f"))
        return Compiled("numeric", lambda _: plain)

    def _boolean(self, node: Any) -> Compiled:
        value = bool(node.this)
        return Compiled("bool", lambda _: value)

    def _null(self, _: Any) -> Compiled:
        return Compiled("unknown", lambda _: None)

    # Arithmetic

    def _arithmetic(self, node: Any, compute: Mapping[str, Callable[[Any, Any], Any]]) -> Compiled:
        left, right = self._alike(self.visit(node.this), self.visit(node.expression), numbers=True)
        kind = left.kind
        function = compute["int" if kind in _INTEGERS else "float" if kind.startswith("float") else "numeric"]
        run = _strict(lambda a, b: _fit(function(a, b), kind), left.run, right.run)
        return Compiled(kind, run)

    def _add(self, node: Any) -> Compiled:
        return self._arithmetic(node, {"int": operator.add, "float": operator.add, "numeric": _EXACT.add})

    def _sub(self, node: Any) -> Compiled:
        return self._arithmetic(node, {"int": operator.sub, "float": operator.sub, "numeric": _EXACT.subtract})

    def _mul(self, node: Any) -> Compiled:
        return self._arithmetic(node, {"int": operator.mul, "float": operator.mul, "numeric": _EXACT.multiply})

    def _div(self, node: Any) -> Compiled:
        return self._arithmetic(node, {"int": _int_div, "float": _float_div, "numeric": _numeric_div})

    def _mod(self, node: Any) -> Compiled:
        return self._arithmetic(node, {"int": _int_mod, "float": _no_float_mod, "numeric": _numeric_mod})

    def _neg(self, node: Any) -> Compiled:
        inner = self.visit(node.this)
        if inner.kind not in _TOWER:
            raise ExpressionError("minus needs a number")
        kind = inner.kind
        return Compiled(
            kind,
            _strict1(
                lambda a: _fit(-a if not isinstance(a, Decimal) else a.copy_negate() if a else a, kind), inner.run
            ),
        )

    # Comparison and logic

    def _compare(self, node: Any, test: Callable[[Any, Any], bool], *, ordered: bool) -> Compiled:
        left, right = self._alike(self.visit(node.this), self.visit(node.expression))
        if ordered and left.kind in {"text", "unknown"}:
            raise ExpressionError("the order of texts depends on the database's collation: only = and <> compare texts")
        if left.kind in {"float4", "float8"} and "float4" in {left.kind, right.kind}:
            raise ExpressionError(
                "comparing `real` values is inexact. Cast the column to double precision in a generated column"
            )
        return Compiled("bool", _strict(test, left.run, right.run))

    def _eq(self, node: Any) -> Compiled:
        return self._compare(node, operator.eq, ordered=False)

    def _neq(self, node: Any) -> Compiled:
        return self._compare(node, operator.ne, ordered=False)

    def _lt(self, node: Any) -> Compiled:
        return self._compare(node, operator.lt, ordered=True)

    def _lte(self, node: Any) -> Compiled:
        return self._compare(node, operator.le, ordered=True)

    def _gt(self, node: Any) -> Compiled:
        return self._compare(node, operator.gt, ordered=True)

    def _gte(self, node: Any) -> Compiled:
        return self._compare(node, operator.ge, ordered=True)

    def _boolean_of(self, node: Any) -> Function:
        return convert_to(self.visit(node), "bool").run

    def _and(self, node: Any) -> Compiled:
        left, right = self._boolean_of(node.this), self._boolean_of(node.expression)

        def run(row: Sequence[Any]) -> Any:
            a = left(row)
            if a is False:
                return False
            b = right(row)
            return False if b is False else None if a is None or b is None else True

        return Compiled("bool", run)

    def _or(self, node: Any) -> Compiled:
        left, right = self._boolean_of(node.this), self._boolean_of(node.expression)

        def run(row: Sequence[Any]) -> Any:
            a = left(row)
            if a is True:
                return True
            b = right(row)
            return True if b is True else None if a is None or b is None else False

        return Compiled("bool", run)

    def _not(self, node: Any) -> Compiled:
        inner = self._boolean_of(node.this)
        return Compiled("bool", _strict1(operator.not_, inner))

    def _is(self, node: Any) -> Compiled:
        inner, wanted = self.visit(node.this).run, node.expression
        if wanted.key == "null":
            return Compiled("bool", lambda row: inner(row) is None)
        if wanted.key == "boolean":
            flag, test = bool(wanted.this), self._boolean_of(node.this)
            return Compiled("bool", lambda row: test(row) is flag)
        raise ExpressionError("IS goes with NULL, TRUE and FALSE")

    def _in(self, node: Any) -> Compiled:
        if not node.args.get("expressions"):
            raise ExpressionError("IN needs a list of values")
        import sqlglot.expressions as exp

        tests = [exp.EQ(this=node.this.copy(), expression=item.copy()) for item in node.expressions]
        tree: Any = tests[0]
        for test in tests[1:]:
            tree = exp.Or(this=tree, expression=test)
        return self.visit(tree)

    # Choice

    def _case(self, node: Any) -> Compiled:
        import sqlglot.expressions as exp

        subject = node.this
        branches = node.args["ifs"]
        tests = [
            self._boolean_of(exp.EQ(this=subject.copy(), expression=b.this.copy()) if subject is not None else b.this)
            for b in branches
        ]
        default = node.args.get("default")
        results = [self.visit(b.args["true"]) for b in branches]
        results.append(self.visit(default) if default is not None else Compiled("unknown", lambda _: None))
        kind, runs = self._common(results)

        def run(row: Sequence[Any]) -> Any:
            for test, result in zip(tests, runs, strict=False):
                if test(row) is True:
                    return result(row)
            return runs[-1](row)

        return Compiled(kind, run)

    def _coalesce(self, node: Any) -> Compiled:
        kind, runs = self._common([self.visit(n) for n in (node.this, *node.expressions)])

        def run(row: Sequence[Any]) -> Any:
            for function in runs:
                value = function(row)
                if value is not None:
                    return value
            return None

        return Compiled(kind, run)

    def _nullif(self, node: Any) -> Compiled:
        first = self.visit(node.this)
        left, right = self._alike(first, self.visit(node.expression))
        original, a, b = (first.run if first.kind != "unknown" else left.run), left.run, right.run

        def run(row: Sequence[Any]) -> Any:
            x, y = a(row), b(row)
            return None if x is not None and y is not None and x == y else original(row)

        return Compiled(first.kind if first.kind != "unknown" else left.kind, run)

    def _common(self, parts: Sequence[Compiled]) -> tuple[str, list[Function]]:
        kinds = [p.kind for p in parts if p.kind != "unknown"]
        kind = kinds[0] if kinds else "text"
        for other in kinds[1:]:
            kind = _wider(kind, other)
        return kind, [convert_to(p, kind).run for p in parts]

    def _alike(self, left: Compiled, right: Compiled, *, numbers: bool = False) -> tuple[Compiled, Compiled]:
        kind, _ = self._common([left, right])
        if numbers and kind not in _TOWER:
            raise ExpressionError("arithmetic needs numbers")
        if numbers and "float4" in {left.kind, right.kind} and kind == "float4" and left.kind != right.kind:
            kind = "float8"  # real with an integer or numeric computes in double precision
        return convert_to(left, kind), convert_to(right, kind)

    # Texts

    def _text_of(self, node: Any) -> Function:
        part = self.visit(node)
        if part.kind not in {"text", "unknown"}:
            raise ExpressionError(f"a text is needed, not {part.kind}. Cast it to text")
        return part.run

    def _lower(self, node: Any) -> Compiled:
        return Compiled("text", _strict1(lambda a: _each(a, str.lower), self._text_of(node.this)))

    def _upper(self, node: Any) -> Compiled:
        return Compiled("text", _strict1(lambda a: _each(a, str.upper), self._text_of(node.this)))

    def _trim(self, node: Any) -> Compiled:
        side = str(node.args.get("position") or "BOTH").upper()
        strip = {"BOTH": str.strip, "LEADING": str.lstrip, "TRAILING": str.rstrip}[side]
        subject = self._text_of(node.this)
        if node.args.get("expression") is None:
            return Compiled("text", _strict1(lambda a: strip(a, " "), subject))
        return Compiled("text", _strict(strip, subject, self._text_of(node.expression)))

    def _length(self, node: Any) -> Compiled:
        return Compiled("int4", _strict1(len, self._text_of(node.this)))

    def _substring(self, node: Any) -> Compiled:
        subject, start = self._text_of(node.this), convert_to(self.visit(node.args["start"]), "int4").run
        if node.args.get("length") is None:
            return Compiled("text", _strict(lambda a, s: a[max(s - 1, 0) :], subject, start))
        length = convert_to(self.visit(node.args["length"]), "int4").run

        def run(row: Sequence[Any]) -> Any:
            text, first, count = subject(row), start(row), length(row)
            if text is None or first is None or count is None:
                return None
            if count < 0:
                raise RowFailure("negative_length", "substr has a negative length")
            return text[max(first - 1, 0) : max(first - 1 + count, 0)]

        return Compiled("text", run)

    def _dpipe(self, node: Any) -> Compiled:
        parts = [self.visit(node.this), self.visit(node.expression)]
        if all(p.kind not in {"text", "unknown"} for p in parts):
            raise ExpressionError("|| needs a text on one side")
        left, right = (convert_to(p, "text").run for p in parts)
        return Compiled("text", _strict(operator.add, left, right))

    def _cast(self, node: Any) -> Compiled:
        target = node.args["to"]
        kind = _CASTS.get(target.this.name if hasattr(target.this, "name") else str(target.this))
        sizes = [int(p.this.name) for p in target.expressions]
        if kind is None or (sizes and kind != "numeric"):
            raise ExpressionError(f"a cast to {target.sql('postgres')} is not part of the publisher's expressions")
        inner = self.visit(node.this)
        precision, scale = (sizes[0], sizes[1] if len(sizes) > 1 else 0) if sizes else (None, None)
        source = inner.run
        run = _strict1(lambda a: convert(a, kind, precision, scale), source)
        return Compiled(kind, run, precision, scale)


def convert_to(part: Compiled, kind: str) -> Compiled:
    """The part as another kind, by PostgreSQL's implicit rules. Raises: `ExpressionError` where only a cast would do."""
    if part.kind == kind:
        return part
    implicit = part.kind == "unknown" or (part.kind in _TOWER and kind in _TOWER) or kind == "text"
    implicit = (
        implicit
        or (part.kind == "date" and kind in {"timestamp", "timestamptz"})
        or (part.kind == "uuid" and kind == "text")
    )
    if not implicit:
        raise ExpressionError(f"{part.kind} where {kind} is needed. Write a cast")
    if part.kind == "unknown":
        value = part.run(())
        try:
            fixed = None if value is None else convert(value, kind)
        except RowFailure:
            raise ExpressionError(f"a literal is no {kind}") from None
        return Compiled(kind, lambda _: fixed)
    source = part.run
    return Compiled(kind, _strict1(lambda a: convert(a, kind), source))


def _wider(left: str, right: str) -> str:
    if left == right:
        return left
    if left in _TOWER and right in _TOWER:
        return max(left, right, key=_TOWER.index)
    if {left, right} <= {"date", "timestamp"}:
        return "timestamp"
    if {left, right} <= {"date", "timestamptz"}:
        return "timestamptz"
    raise ExpressionError(f"{left} and {right} don't go together. Write a cast")


def convert(value: Any, kind: str, precision: int | None = None, scale: int | None = None) -> Any:
    """Cast a natural value as PostgreSQL does. Raises: `RowFailure` (`cast_failed`, `overflow`)."""
    try:
        if kind == "numeric":
            return _to_numeric(value, precision, scale)
        return _CONVERTERS[kind](value)
    except (ValueError, InvalidOperation, TypeError, OverflowError, struct.error):
        raise RowFailure("cast_failed", f"a value is no {kind}") from None


def _to_int(value: Any, bits: int) -> int:
    if isinstance(value, str):
        text = value.strip(" \t\n\r\f\v")
        if not text.lstrip("+-").isdigit() or not text.isascii():
            raise ValueError
        whole = int(text)
    elif isinstance(value, Decimal):
        whole = int(value.to_integral_value("ROUND_HALF_UP"))
    elif isinstance(value, float):
        whole = round(value)
    else:
        whole = int(_number(value))
    if not -(1 << bits - 1) <= whole < 1 << bits - 1:
        raise RowFailure("overflow", "a number is out of its type's range")
    return whole


def _number(value: Any) -> Any:
    if isinstance(value, bool | int | float | Decimal):
        return value
    raise TypeError


def _to_numeric(value: Any, precision: int | None, scale: int | None) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise TypeError
    number = (
        Decimal(f"{value:.15g}")
        if isinstance(value, float)
        else Decimal(value.strip() if isinstance(value, str) else value)
    )
    if not number.is_finite():
        raise ValueError
    number = Decimal(format(number, "f"))
    if precision is None or scale is None:
        return number
    fixed = number.quantize(Decimal(1).scaleb(-scale), "ROUND_HALF_UP", _EXACT)
    if fixed.adjusted() >= precision - scale and fixed != 0:
        raise RowFailure("overflow", "a number has more digits than its type")
    return abs(fixed) if fixed == 0 else fixed


def _to_float(value: Any) -> float:
    if isinstance(value, str) and not value.strip().replace("_", "x").isascii():
        raise ValueError
    number = float(value.strip() if isinstance(value, str) else value)
    if not isfinite(number) or isinstance(value, bool):
        raise ValueError
    return number


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value != 0
    word = value.strip().lower()
    for words, flag in ((("true", "yes", "on", "1"), True), (("false", "no", "off", "0"), False)):
        if word and any(w.startswith(word) for w in words) and word != "o":
            return flag
    raise ValueError


def _to_date(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else date.fromisoformat(value.strip())


def _to_timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001  # timestamp without zone
    parsed = datetime.fromisoformat(value.strip())
    return parsed.replace(tzinfo=None)


def _to_timestamptz(value: Any) -> datetime:
    if isinstance(value, str):
        parsed = datetime.fromisoformat(value.strip())
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC)


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "int2": lambda v: _to_int(v, 16), "int4": lambda v: _to_int(v, 32), "int8": lambda v: _to_int(v, 64),
    "float4": lambda v: _single(_to_float(v)), "float8": _to_float, "text": to_text, "bool": _to_bool, "date": _to_date,
    "timestamp": _to_timestamp, "timestamptz": _to_timestamptz, "uuid": lambda v: str(__import__("uuid").UUID(v)),
}  # fmt: skip


def _single(value: float) -> float:
    return shortest_float4(struct.unpack(">f", struct.pack(">f", value))[0])


def _usable(value: Any) -> Any:
    if isinstance(value, Unrepresentable):
        raise RowFailure("unrepresentable", "an expression reads a value that can't be computed with")
    return value


def _strict(function: Callable[[Any, Any], Any], left: Function, right: Function) -> Function:
    def run(row: Sequence[Any]) -> Any:
        a = left(row)
        b = right(row)
        return None if a is None or b is None else function(a, b)

    return run


def _strict1(function: Callable[[Any], Any], inner: Function) -> Function:
    def run(row: Sequence[Any]) -> Any:
        a = inner(row)
        return None if a is None else function(a)

    return run


def _fit(value: Any, kind: str) -> Any:
    if kind in _INTEGERS:
        bits = _INTEGERS[kind]
        if not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise RowFailure("overflow", "an expression's result is out of its type's range")
        return value
    if kind == "numeric":
        return abs(value) if value == 0 else value  # PostgreSQL has no negative zero
    if not isfinite(value):
        raise RowFailure("overflow", "an expression's result is out of range")
    return _single(value) if kind == "float4" else value


def _zero() -> Any:
    raise RowFailure("division_by_zero", "an expression divides by zero")


def _int_div(a: int, b: int) -> int:
    if b == 0:
        return int(_zero())
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _int_mod(a: int, b: int) -> int:
    if b == 0:
        return int(_zero())
    return a - b * _int_div(a, b)


def _float_div(a: float, b: float) -> float:
    return a / b if b else float(_zero())


def _no_float_mod(_: float, __: float) -> float:
    raise RowFailure("cast_failed", "% needs whole or exact numbers")


def _numeric_mod(a: Decimal, b: Decimal) -> Decimal:
    if b == 0:
        return Decimal(_zero())
    scale = max(_scale(a), _scale(b))
    return _EXACT.remainder(a, b).quantize(Decimal(1).scaleb(-scale), context=_EXACT)


def _numeric_div(a: Decimal, b: Decimal) -> Decimal:
    """The result's scale is that of `select_div_scale` in PostgreSQL's numeric.c: at least 16 significant digits."""
    if b == 0:
        return Decimal(_zero())
    (weight1, first1), (weight2, first2) = _leading(a), _leading(b)
    weight = weight1 - weight2 - (1 if first1 <= first2 else 0)
    scale = min(max(16 - weight * 4, _scale(a), _scale(b), 0), 1000)
    return _EXACT.divide(a, b).quantize(Decimal(1).scaleb(-scale), "ROUND_HALF_UP", _EXACT)


def _leading(value: Decimal) -> tuple[int, int]:
    """Weight and value of the first digit to the base 10,000."""
    if value == 0:
        return 0, 0
    weight = value.adjusted() // 4
    return weight, int(abs(value).scaleb(-4 * weight, _EXACT))


def _scale(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(-int(exponent), 0)


def _each(text: str, change: Callable[[str], str]) -> str:
    """Letter by letter, as the C library does: ß has no single upper-case letter and stays."""
    return "".join(c if len(d := change(c)) != 1 else d for c in text)
