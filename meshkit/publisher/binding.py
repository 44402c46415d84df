"""A table's plan bound to its columns as they are: places, decoders, types checked, functions from row to record.

Bound once against the catalog before the run, where every problem is reported at once, and again for each relation message of the WAL.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal as Number
from typing import Any

from meshkit.publisher.decoders.values import PgType, Unrepresentable, canonical, decoder, to_text
from meshkit.publisher.errors import RowFailure
from meshkit.publisher.expressions import ExpressionError, compile_expression, convert
from meshkit.publisher.mapping import CompiledMapping, FieldPlan, TablePlan
from meshkit.publisher.natural import from_written, rescaled
from meshkit.types import DataType, Decimal, List, Primitive, Temporal, TypeTextError, parse_type

__all__ = ["BindProblem", "BoundTable", "MissingColumn", "bind_table"]

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class BindProblem:
    """A field that does not fit its column."""

    field: FieldPlan | None
    message: str
    hint: str
    code: str = "mapping_invalid"


class MissingColumn(Exception):  # a signal for the runner, which knows LSN and catalog
    """A column is there under none of its names."""

    def __init__(self, names: tuple[str, ...], field: FieldPlan | None) -> None:
        self.names, self.field = names, field
        super().__init__(names[-1])


@dataclass(frozen=True, slots=True)
class BoundTable:
    """A table ready for the row path. `places` are the wire positions of the columns that are read, `decoders` beside them."""

    plan: TablePlan
    names: tuple[str, ...]
    places: tuple[int, ...]
    decoders: tuple[Callable[[bytes], Any], ...]
    types: tuple[PgType, ...]
    build: Callable[[Row], dict[str, Any]]
    build_key: Callable[[Row], dict[str, Any]]
    passes: Callable[[Row], bool] | None
    key_indexes: tuple[int, ...]  # rows' places of the columns that make the key
    identity: tuple[int, ...]  # rows' places of the identity columns that are read
    may_be_unchanged: bool

    def decode(self, values: Sequence[Any], unsent: Any) -> list[Any]:
        """Values of the columns that are read; marks stay. A text value is kept as text by its decoder's kind."""
        row: list[Any] = []
        try:
            for place, decode in zip(self.places, self.decoders, strict=True):
                value = values[place] if place < len(values) else unsent
                row.append(decode(value) if type(value) is bytes else self._other(value, len(row)))
        except (ValueError, IndexError, struct.error):
            name = self.names[len(row)]
            raise RowFailure(
                "decode_failed", f"column {name} holds bytes that are no {self.types[len(row)].name}", columns=(name,)
            ) from None
        return row

    def _other(self, value: Any, index: int) -> Any:
        if not isinstance(value, str):
            return value
        if self.types[index].kind in {"text", "bpchar", "json"}:
            return value
        raise RowFailure("text_form", f"column {self.names[index]} came in text form", columns=(self.names[index],))


def bind_table(
    mapping: CompiledMapping, plan: TablePlan, columns: Mapping[str, tuple[int, PgType]], identity: frozenset[str]
) -> tuple[BoundTable | None, list[BindProblem]]:
    """Bind `plan` to `columns` (name -> wire position and type) with the replica identity. Raises: `MissingColumn`."""
    wanted, problems = _present(plan, columns), list[BindProblem]()
    names = tuple(wanted.values())
    places = {name: (index, columns[name][1]) for index, name in enumerate(names)}
    by_any = {**places, **{alias: places[name] for alternatives, name in wanted.items() for alias in alternatives}}
    unknown = [n for n in names if columns[n][1].kind == "unknown"]
    if unknown:
        problems += [BindProblem(_reader(plan, n), f"column {plan.name}.{n} is of type {columns[n][1].name}, which can't be published",
                                 "Expose its parts by a generated column, or leave it out.") for n in unknown]  # fmt: skip
        return None, problems
    if plan.outbox is not None:
        return _bound(plan, names, columns, lambda _: {}, lambda _: {}, None, (), identity), problems
    fields: list[tuple[FieldPlan, Callable[[Row], Any]]] = []
    for field in plan.fields:
        function = _field(field, plan, by_any, wanted, problems)
        if function is not None:
            fields.append((field, function))
    key_fields = [(f, run) for f, run in fields if f.name in mapping.key]
    problems += _key_problems(plan, key_fields, wanted, identity)
    passes = _condition(plan, by_any, problems)
    if problems:
        return None, problems
    key_indexes = tuple(places[wanted[f.source.column]][0] for f, _ in key_fields if f.source.column)
    bound = _bound(plan, names, columns, _record(fields), _record(key_fields), passes, key_indexes, identity)
    return bound, problems


def _bound(
    plan: TablePlan, names: tuple[str, ...], columns: Mapping[str, tuple[int, PgType]], build: Any, build_key: Any, passes: Any,
    key_indexes: tuple[int, ...], identity: frozenset[str],
) -> BoundTable:  # fmt: skip
    types = tuple(columns[n][1] for n in names)
    return BoundTable(
        plan, names, tuple(columns[n][0] for n in names), tuple(decoder(t) for t in types), types, build, build_key, passes,
        key_indexes, tuple(i for i, n in enumerate(names) if n in identity), any(t.is_toastable for t in types),
    )  # fmt: skip


def _present(plan: TablePlan, columns: Mapping[str, Any]) -> dict[tuple[str, ...], str]:
    found: dict[tuple[str, ...], str] = {}
    for names in plan.columns():
        name = next((n for n in names if n in columns), None)
        if name is None:
            raise MissingColumn(names, _reader(plan, names[-1]))
        found[names] = name
    return found


def _reader(plan: TablePlan, column: str) -> FieldPlan | None:
    return next((f for f in plan.fields if any(column in names for names in f.columns())), None)


def _key_problems(
    plan: TablePlan,
    key_fields: Sequence[tuple[FieldPlan, Any]],
    wanted: Mapping[tuple[str, ...], str],
    identity: frozenset[str],
) -> list[BindProblem]:
    return [
        BindProblem(f, f"key field `{f.name}` is mapped from a column outside the replica identity of {plan.name}",
                    "Deletes would not carry it: map a column of the primary key, or set REPLICA IDENTITY.")
        for f, _ in key_fields if f.source.column and wanted[f.source.column] not in identity
    ]  # fmt: skip


def _condition(
    plan: TablePlan, columns: Mapping[str, tuple[int, PgType]], problems: list[BindProblem]
) -> Callable[[Row], bool] | None:
    if plan.where is None:
        return None
    try:
        compiled = compile_expression(plan.where, columns)
    except ExpressionError as error:
        problems.append(
            BindProblem(None, f"`where` of {plan.name} can't be compiled: {error}", "Compare columns with literals.")
        )
        return None
    if compiled.kind != "bool":
        problems.append(
            BindProblem(None, f"`where` of {plan.name} is no condition but {compiled.kind}", "Write a comparison.")
        )
    run = compiled.run
    return lambda row: run(row) is True


def _record(fields: Sequence[tuple[FieldPlan, Callable[[Row], Any]]]) -> Callable[[Row], dict[str, Any]]:
    steps = [(f.name, run, f.required) for f, run in fields]

    def build(row: Row) -> dict[str, Any]:
        record: dict[str, Any] = {}
        for name, run, required in steps:
            try:
                value = run(row)
            except RowFailure as failure:
                failure.field = f"{name}.{failure.field}" if failure.field else name
                raise
            if value is None and required:
                raise RowFailure("required_null", f"required field {name} is null", field=name)
            record[name] = value
        return record

    return build


def _field(
    field: FieldPlan, plan: TablePlan, columns: Mapping[str, tuple[int, PgType]], wanted: Mapping[tuple[str, ...], str],
    problems: list[BindProblem],
) -> Callable[[Row], Any] | None:  # fmt: skip
    source = field.source
    if source.kind == "const":
        value = from_written(source.const, field.data_type)
        return lambda _: value
    if source.kind == "nest":
        parts = [(c, _field(c, plan, columns, wanted, problems)) for c in field.children]
        return _record([(c, f) for c, f in parts if f is not None])
    if source.column is not None:
        index, pg = columns[wanted[source.column]]
        read: Callable[[Row], Any] = lambda row: row[index]  # noqa: E731  # two forms of one reader
        kind, have, shown = pg.kind, canonical(pg), f"column {plan.name}.{wanted[source.column]} of type {pg.name}"
    else:
        try:
            compiled = compile_expression(field.tree, columns)
        except ExpressionError as error:
            problems.append(
                BindProblem(field, f"`{field.name}`: the expression can't be compiled: {error}", "Change it, or cast.")
            )
            return None
        read, kind, shown = compiled.run, compiled.kind, "the expression"
        have = canonical(
            PgType(compiled.kind if compiled.kind != "unknown" else "text", "", compiled.precision, compiled.scale)
        )
    if source.values is not None:
        return _translated(field, read, source.values)
    return _converted(field, read, kind, have, shown, problems)


def _translated(field: FieldPlan, read: Callable[[Row], Any], values: Mapping[str, Any]) -> Callable[[Row], Any]:
    table = {str(k): from_written(v, field.data_type) for k, v in values.items()}
    is_open = "otherwise" in field.source.model_fields_set
    other = from_written(field.source.otherwise, field.data_type) if is_open else None

    def run(row: Row) -> Any:
        value = read(row)
        if value is None:
            return None
        text = to_text(value)
        if text in table:
            return table[text]
        if is_open:
            return other
        raise RowFailure("value_not_listed", "a value is not among `values`")

    return run


def _converted(
    field: FieldPlan,
    read: Callable[[Row], Any],
    kind: str,
    have: DataType | None,
    shown: str,
    problems: list[BindProblem],
) -> Callable[[Row], Any] | None:
    cast = field.source.cast
    if cast is not None:
        target = _cast_type(cast)
        if target is None:
            problems.append(
                BindProblem(
                    field, f"`{field.name}`: unknown type in `cast`", "Write a type such as text or decimal(10,2)."
                )
            )
            return None
        read, have = _cast(read, target), target
    if have is None:
        problems.append(
            BindProblem(
                field,
                f"{shown} has no fixed digits for field `{field.name}`",
                "Add `cast: decimal(p,s)` or `cast: text`.",
            )
        )
        return None
    change = _lossless(have, field.data_type)
    if change is False:
        problems.append(
            BindProblem(field, f"{shown} does not fit field `{field.name}` of type {field.data_type} without loss",
                        f"Declare `cast: {field.data_type}` to send failing rows to the dead letters, or change the field.")
        )  # fmt: skip
        return None
    del kind
    return _representable(field, read, change)


def _representable(
    field: FieldPlan, read: Callable[[Row], Any], change: Callable[[Any], Any] | None
) -> Callable[[Row], Any]:
    rule = field.source.unrepresentable

    def run(row: Row) -> Any:
        value = read(row)
        if value is None:
            return None
        if type(value) is Unrepresentable:
            if rule == "null":
                return None
            if rule == "string":
                return value.text
            raise RowFailure("unrepresentable", "a value such as NaN or infinity has no public form")
        return value if change is None else change(value)

    return run


def _cast_type(text: str) -> DataType | None:
    word = text.strip().lower()
    try:
        return parse_type({"text": "string", "numeric": "string"}.get(word, word))
    except TypeTextError:
        return None


def _cast(read: Callable[[Row], Any], target: DataType) -> Callable[[Row], Any]:
    def run(row: Row) -> Any:
        value = read(row)
        if value is None or (type(value) is Unrepresentable and str(target) != "string"):
            return value
        return cast_natural(value, target)

    return run


_KINDS = {"int8": "int2", "int16": "int2", "int32": "int4", "int64": "int8", "float32": "float4", "float64": "float8", "string": "text",
          "bool": "bool", "date": "date", "timestamp": "timestamp", "timestamptz": "timestamptz", "uuid": "uuid"}  # fmt: skip


def cast_natural(value: Any, target: DataType) -> Any:
    """PostgreSQL's cast of a natural value to a canonical type. Raises: `RowFailure`."""
    if isinstance(target, Decimal):
        return convert(value, "numeric", target.precision, target.scale)
    name = getattr(target, "name", "")
    if name not in _KINDS:
        raise RowFailure("cast_failed", f"nothing is cast to {target}")
    cast = convert(value, _KINDS[name])
    if name == "int8" and not -128 <= cast <= 127:
        raise RowFailure("overflow", "a number is out of its type's range")
    return cast


def _lossless(have: DataType, want: DataType) -> Any:
    """None if values fit as they are, a function that changes their form, False if something could be lost."""
    if have == want or str(have) == str(want):
        return None
    if isinstance(have, List) and isinstance(want, List):
        inner = _lossless(have.item, want.item)
        return inner if inner in (None, False) else lambda v: [None if x is None else inner(x) for x in v]
    if isinstance(have, Temporal) and isinstance(want, Temporal):
        return None if have.name == want.name and want.unit in {"us", "ns"} else False
    if isinstance(want, Decimal):
        return _to_decimal(have, want)
    if not isinstance(have, Primitive) or not isinstance(want, Primitive):
        return False
    integers = ("int8", "int16", "int32", "int64")
    if have.is_integer and want.is_integer:
        return None if integers.index(have.name) <= integers.index(want.name) else False
    if have.is_integer and want.name == "float64" and have.name != "int64":
        return float
    if (have.name, want.name) in {("float32", "float64"), ("uuid", "string")}:
        return None
    return False


def _to_decimal(have: DataType, want: Decimal) -> Any:
    digits = {"int8": 3, "int16": 5, "int32": 10, "int64": 19}
    if isinstance(have, Primitive) and have.name in digits:
        fits = want.precision - want.scale >= digits[have.name]
        return (lambda v: rescaled(Number(v), want.scale)) if fits else False
    if (
        isinstance(have, Decimal)
        and want.scale >= have.scale
        and want.precision - want.scale >= have.precision - have.scale
    ):
        return (lambda v: rescaled(v, want.scale)) if want.scale > have.scale else None
    return False
