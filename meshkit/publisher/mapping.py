"""The mapping from private rows to public records: compiled from the manifest or from Python, all problems at once.

Pure: no database is asked here. What needs the types of the columns is checked by `binding.bind_table`. Source: publisher section 2.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import ValidationError

from meshkit import _yaml
from meshkit._diagnostics import Diagnostic, from_validation
from meshkit.manifest import DataObject, Manifest
from meshkit.ports import BatchGuard
from meshkit.publisher.errors import MappingInvalid
from meshkit.publisher.expressions import ExpressionError, columns_of, parse_expression
from meshkit.publisher.section import FieldSource, OutboxSource, SourceSection, TableSource
from meshkit.types import DataType, Struct

__all__ = [
    "CompiledMapping",
    "FieldPlan",
    "Problems",
    "TableMapping",
    "TablePlan",
    "col",
    "compile_mapping",
    "const",
    "expr",
    "nest",
]

MAPPING_FORMAT = "meshkit.publisher.mapping/1"


def col(*names: str, cast: str | None = None, values: Mapping[str, Any] | None = None,
        unrepresentable: Literal["dead_letter", "null", "string"] = "dead_letter", **otherwise: Any) -> FieldSource:  # fmt: skip
    """A column, under the first of `names` that the table has. `otherwise=` goes with `values`."""
    given: dict[str, Any] = {"column": names, **otherwise}
    given |= {k: v for k, v in (("cast", cast), ("values", values)) if v is not None}
    if unrepresentable != "dead_letter":
        given["unrepresentable"] = unrepresentable
    return FieldSource.model_validate(given)


def const(value: Any) -> FieldSource:
    """The same value in every record."""
    return FieldSource(const=value)


def expr(sql: str, *, cast: str | None = None) -> FieldSource:
    """An expression over the row, with PostgreSQL's semantics."""
    return FieldSource(expr=sql, cast=cast) if cast else FieldSource(expr=sql)


def nest(**fields: FieldSource | str) -> FieldSource:
    """A struct of fields."""
    return FieldSource.model_validate({"nest": fields})


class TableMapping:
    """One table's mapping in Python: `TableMapping("public.orders", order_id=col("id"), total=col("amount"))`."""

    def __init__(
        self,
        table: str,
        *,
        where: str | None = None,
        deletes: Literal["tombstone", "ignore"] = "tombstone",
        truncate: Literal["halt", "tombstone_keys", "control_event"] = "halt",
        **fields: FieldSource | str,
    ) -> None:
        self.source = TableSource.model_validate(
            {"table": table, "where": where, "deletes": deletes, "truncate": truncate, "map": fields}
        )

    def __repr__(self) -> str:
        return f"TableMapping({self.source.table!r}, {', '.join(self.source.map)})"


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """One public field with its type and where it comes from; `tree` is a checked expression, `children` those of a nest."""

    name: str
    data_type: DataType
    required: bool
    source: FieldSource
    path: tuple[str | int, ...]
    place: str
    tree: Any = None
    children: tuple[FieldPlan, ...] = ()

    def columns(self) -> tuple[tuple[str, ...], ...]:
        """Columns it reads, each with its alternative names."""
        if self.source.column is not None:
            return (self.source.column,)
        if self.tree is not None:
            return tuple((name,) for name in columns_of(self.tree))
        return tuple(names for child in self.children for names in child.columns())


@dataclass(frozen=True, slots=True)
class TablePlan:
    """One table: its fields in schema order, the condition, and what deletes and truncates do."""

    schema: str
    table: str
    fields: tuple[FieldPlan, ...]
    deletes: str
    truncate: str
    where: Any = None
    path: tuple[str | int, ...] = ()
    place: str = ""
    outbox: OutboxSource | None = None

    @property
    def name(self) -> str:
        """`public.orders`."""
        return f"{self.schema}.{self.table}"

    def columns(self) -> tuple[tuple[str, ...], ...]:
        """Every column that must be read, with its alternative names, in order of appearance and without repetition."""
        if self.outbox is not None:
            own = self.outbox.columns
            return tuple((n,) for n in (own.key, own.payload, own.traceparent, own.type) if n)
        wanted = [names for f in self.fields for names in f.columns()]
        if self.where is not None:
            mapped = {name: names for names in wanted for name in names}
            wanted += [mapped.get(n, (n,)) for n in columns_of(self.where)]
        return tuple(dict.fromkeys(wanted))


@dataclass(frozen=True, slots=True)
class CompiledMapping:
    """A whole mapping, ready to be bound to the tables. `fingerprint` is equal for mappings that publish the same bytes."""

    product: str
    tables: tuple[TablePlan, ...]
    key: tuple[str, ...]
    row_type: Struct
    fingerprint: str
    emit: Literal["every_update", "state_changes"] = "every_update"
    database: str | None = None
    source_name: str = "<text>"

    def table(self, schema: str, table: str) -> TablePlan | None:
        """The plan of a table, None for one that is not published."""
        return next((t for t in self.tables if (t.schema, t.table) == (schema, table)), None)


@dataclass(slots=True)
class Problems:
    """Collects diagnostics with places in the manifest."""

    manifest: Manifest
    found: list[Diagnostic] = field(default_factory=list)

    def place(self, path: Sequence[str | int]) -> str:
        """`manifest.yaml:41:16`."""
        span = self.manifest.span(*path)
        return f"{self.manifest.source_name}:{span.line}:{span.column}" if span else self.manifest.source_name

    def add(self, path: Sequence[str | int], code: str, message: str, hint: str) -> None:
        """One more problem at the value of `path`."""
        span = self.manifest.span(*path)
        line, column = (span.line, span.column) if span else (1, 1)
        self.found.append(
            Diagnostic(
                f"publisher.{code}", message, hint, "error", self.manifest.source_name, line, column, tuple(path)
            )
        )

    def raise_if_any(self) -> None:
        """Raises: `MappingInvalid` with everything found."""
        if self.found:
            raise MappingInvalid(self.found)


def compile_mapping(
    manifest: Manifest, tables: Iterable[TableMapping] | None = None, *, guards: Sequence[BatchGuard] = ()
) -> CompiledMapping:
    """Compile the `source` section of a manifest, or mappings made in Python.

    Raises: `MappingInvalid` with every problem and its place: incomplete maps, unknown fields, bad expressions, keys that deletes
    can't use, personal data without guard.
    """
    problems = Problems(manifest)
    section = _section(manifest) if tables is None else SourceSection(tables=[t.source for t in tables])
    target = manifest.objects[manifest.main_object]
    if not target.key:
        problems.add(("schema", manifest.main_object), "mapping_invalid", f"object `{manifest.main_object}` has no key field",
                     "Events are ordered and compacted by key: mark one with `key: 1`.")  # fmt: skip
    _check_guards(manifest, target, guards, problems)
    if section.outbox is not None:
        plans = [_outbox_plan(section.outbox, target, problems)]
    else:
        plans = [_table_plan(i, t, target, problems) for i, t in enumerate(section.tables)]
        _refuse_twice(section.tables, problems)
    problems.raise_if_any()
    return CompiledMapping(
        manifest.id, tuple(plans), target.key, target.data_type, _fingerprint(section, target), section.emit, section.database,
        manifest.source_name,
    )  # fmt: skip


def _section(manifest: Manifest) -> SourceSection:
    if manifest.source is None:
        problems = Problems(manifest)
        problems.add(
            (), "mapping_invalid", f"{manifest.id} has no `source`", "Add one, or give `mapping=TableMapping(...)`."
        )
        raise MappingInvalid(problems.found)
    try:
        return SourceSection.model_validate(manifest.source)
    except ValidationError as error:
        written = manifest._document  # noqa: SLF001  # the text's places, which no public method gives by prefix
        inner = _yaml.Document(manifest.source_name, manifest.source, {}, {})
        if written is not None:
            inner = _yaml.Document(
                written.source, manifest.source,
                {p[1:]: s for p, s in written.spans.items() if p[:1] == ("source",)},
                {p[1:]: s for p, s in written.key_spans.items() if p[:1] == ("source",)},
            )  # fmt: skip
        raise MappingInvalid(from_validation(inner, error, SourceSection, module="publisher")) from None


def _refuse_twice(tables: Sequence[TableSource], problems: Problems) -> None:
    seen: set[str] = set()
    for number, table in enumerate(tables):
        if table.table in seen:
            problems.add(
                ("source", "tables", number, "table"),
                "mapping_invalid",
                f"table `{table.table}` is mapped twice",
                "Keep one.",
            )
        seen.add(table.table)


def _check_guards(manifest: Manifest, target: DataObject, guards: Sequence[BatchGuard], problems: Problems) -> None:
    """Topics have no read-time policy: personal data needs a guard, or a word that it may be seen."""
    covered = frozenset[str]().union(*(g.covers for g in guards))
    for name in sorted(covered & set(target.key)):
        problems.add(("schema", manifest.main_object, "fields", name), "mapping_invalid", f"a guard masks key field `{name}`",
                     "Tombstones would miss masked keys: leave the key clear, or key by another field.")  # fmt: skip
    for path, schema in target.walk():
        dotted = ".".join(path)
        if schema.is_personal and schema.publish != "clear" and not covered & {dotted, path[0]}:
            where = ("schema", manifest.main_object, "fields", *path)
            problems.add(where, "unguarded_field", f"field `{dotted}` is tagged as personal data and would be published in clear",
                         "Mask it by a guard, or mark it `publish: clear` if everyone with the topic may see it.")  # fmt: skip


def _table_plan(number: int, source: TableSource, target: DataObject, problems: Problems) -> TablePlan:
    base = ("source", "tables", number)
    schema, table = source.table.split(".")
    if source.truncate == "tombstone_keys":
        problems.add((*base, "truncate"), "not_in_this_release", "`truncate: tombstone_keys` is not in this release",
                     "Use halt or control_event.")  # fmt: skip
    fields = _field_plans(source.map, target.fields, (*base, "map"), problems, where=f"map of {source.table}")
    for name in target.key:
        chosen = source.map.get(name)
        if chosen is not None and chosen.kind not in {"column", "const"}:
            problems.add((*base, "map", name), "mapping_invalid", f"key field `{name}` is computed",
                         "Deletes only carry the replica identity: map a key field from a column or a const.")  # fmt: skip
        if chosen is not None and (chosen.values is not None or chosen.cast is not None):
            problems.add((*base, "map", name), "mapping_invalid", f"key field `{name}` is translated",
                         "A key field is a column as it is, so that deletes and sweeps can use it.")  # fmt: skip
    condition = _tree(source.where, (*base, "where"), problems) if source.where is not None else None
    return TablePlan(
        schema, table, fields, source.deletes, source.truncate, condition, base, problems.place((*base, "table"))
    )


def _outbox_plan(source: OutboxSource, target: DataObject, problems: Problems) -> TablePlan:
    base = ("source", "outbox")
    schema, table = source.table.split(".")
    members = source.map if source.map is not None else {name: name for name in target.fields}
    for name in members:
        if name not in target.fields:
            problems.add(
                (*base, "map", name),
                "mapping_invalid",
                f"`{name}` is no field of the product",
                _near(name, target.fields),
            )
    fields = tuple(
        FieldPlan(name, f.data_type, f.required, FieldSource(column=(members[name],)), base, problems.place(base))
        for name, f in target.fields.items() if name in members
    )  # fmt: skip
    _complete(members, target.fields, (*base, "map"), problems, f"map of {source.table}")
    return TablePlan(schema, table, fields, "ignore", "halt", None, base, problems.place((*base, "table")), source)


def _complete(
    mapped: Iterable[str], fields: Mapping[str, Any], path: tuple[Any, ...], problems: Problems, where: str
) -> None:
    mapped = set(mapped)
    for name, schema in fields.items():
        if name not in mapped and (schema.required or schema.key is not None):
            problems.add(
                path,
                "mapping_invalid",
                f"required field `{name}` is missing in the {where}",
                f"Add `{name}: <column>`.",
            )


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = get_close_matches(name, names, n=1)
    return f"Did you mean `{near[0]}`?" if near else f"Fields are {', '.join(names)}."


def _field_plans(
    mapped: Mapping[str, FieldSource],
    fields: Mapping[str, Any],
    path: tuple[Any, ...],
    problems: Problems,
    *,
    where: str,
) -> tuple[FieldPlan, ...]:
    for name in mapped:
        if name not in fields:
            problems.add((*path, name), "mapping_invalid", f"`{name}` is no field of the product", _near(name, fields))
    _complete(mapped, fields, path, problems, where)
    return tuple(_field_plan(n, mapped[n], f, (*path, n), problems) for n, f in fields.items() if n in mapped)


def _field_plan(name: str, source: FieldSource, schema: Any, path: tuple[Any, ...], problems: Problems) -> FieldPlan:
    tree: Any = None
    children: tuple[FieldPlan, ...] = ()
    if source.expr is not None:
        tree = _tree(source.expr, path, problems)
    if source.nest is not None:
        if not schema.fields:
            problems.add(
                path,
                "mapping_invalid",
                f"`{name}` is nested but of type {schema.data_type}",
                "Nest fields of a struct.",
            )
        else:
            children = _field_plans(source.nest, schema.fields, (*path, "nest"), problems, where=f"nest of {name}")
    if source.kind == "const":
        _check_const(name, source.const, schema, path, problems)
    for key, value in (source.values or {}).items():
        _check_const(f"{name}` for `{key}", value, schema, path, problems)
    if source.otherwise is not None:
        _check_const(name, source.otherwise, schema, path, problems)
    if source.unrepresentable == "string" and str(schema.data_type) != "string":
        problems.add(
            path,
            "mapping_invalid",
            f"`{name}` is no text, so `unrepresentable: string` can't be",
            "Use null or dead_letter.",
        )
    required = bool(schema.required or schema.key is not None)
    return FieldPlan(name, schema.data_type, required, source, path, problems.place(path), tree, children)


def _check_const(name: str, value: Any, schema: Any, path: tuple[Any, ...], problems: Problems) -> None:
    from meshkit.publisher.errors import RowFailure
    from meshkit.publisher.natural import from_written

    if value is None:
        if schema.required or schema.key is not None:
            problems.add(path, "mapping_invalid", f"required field `{name}` has a const null", "Give it a value.")
        return
    try:
        from_written(value, schema.data_type)
    except RowFailure:
        problems.add(
            path,
            "mapping_invalid",
            f"the value of `{name}` does not fit {schema.data_type}",
            "Write a value of that type.",
        )


def _tree(text: str, path: tuple[Any, ...], problems: Problems) -> Any:
    try:
        return parse_expression(text)
    except ExpressionError as error:
        problems.add(
            path, "mapping_invalid", f"the expression can't be compiled: {error}", "See the subset in the docs."
        )
        return None


def _fingerprint(section: SourceSection, target: DataObject) -> str:
    canonical = {
        "format": MAPPING_FORMAT, "source": section.model_dump(mode="json", exclude={"database"}, exclude_unset=True),
        "fields": {n: [str(f.data_type), f.required, f.key] for n, f in target.fields.items()},
    }  # fmt: skip
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
