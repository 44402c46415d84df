"""Data as DuckDB sees it: files and Arrow tables become one view with the contract's types, type mismatches become findings."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshkit.contracts.quality.duck import string_literal
from meshkit.contracts.quality.report import CheckResult
from meshkit.errors import EnvironmentProblem, MeshkitError
from meshkit.types import DataType, Decimal, Primitive, Temporal
from meshkit.types.arrow import TypeConversionError, from_arrow_field
from meshkit.types.duckdb import from_duckdb, quote, to_duckdb

if TYPE_CHECKING:
    from meshkit.manifest import DataObject

__all__ = ["View", "attach", "is_lossless"]


@dataclass(slots=True)
class View:
    """A checked view named `name`; `findings` are type and column mismatches, `missing` columns that are not there."""

    name: str
    findings: list[CheckResult] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def attach(connection: Any, data: Any, item: DataObject, object_name: str, *, extra_columns: str = "fail") -> View:
    """Make `data` (path, glob, polars frame, Arrow table) readable as a view with contract types.

    Raises: `EnvironmentProblem` if a file is missing; a file that is there and unreadable is a finding.
    """
    view = View(quote(f"data_{object_name}"))
    if isinstance(data, str | PathLike):
        return _files(connection, fspath(data), item, object_name, view, extra_columns)
    table = _arrow(data)
    connection.register(f"raw_{object_name}", table)
    actual = {f.name: _canonical(f) for f in table.schema}
    _typed_view(connection, quote(f"raw_{object_name}"), actual, item, object_name, view, extra_columns)
    return view


def _arrow(data: Any) -> Any:
    import pyarrow as pa

    if hasattr(data, "collect") and hasattr(data, "collect_schema"):
        data = data.collect()
    if hasattr(data, "to_arrow"):
        data = data.to_arrow()
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        return data
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    raise MeshkitError(
        f"data of type {type(data).__name__} can't be checked. Give a path, polars frame or Arrow table",
        code="contracts.unknown_data",
    )


def _canonical(field_: Any) -> DataType | None:
    try:
        return from_arrow_field(field_)
    except TypeConversionError:
        return None


def _files(connection: Any, pattern: str, item: DataObject, object_name: str, view: View, extra_columns: str) -> View:
    if "://" in pattern and not pattern.startswith("file://"):
        raise MeshkitError(
            f"{pattern.partition('://')[0]}:// data is read through a port. Use --port", code="contracts.remote_data"
        )
    pattern = pattern.removeprefix("file://")
    folder = Path(pattern)
    paths = sorted(glob.glob(pattern, recursive=True)) or ([pattern] if folder.exists() else [])
    if folder.is_dir():
        paths = sorted(str(p) for p in folder.rglob("*") if p.suffix in {".parquet", ".csv", ".json", ".ndjson"})
    if not paths:
        raise EnvironmentProblem(f"{pattern}: no file there. Check the path", code="contracts.no_data")
    view.files = paths
    suffix = Path(paths[0]).suffix
    listed = "[" + ", ".join(string_literal(p) for p in paths) + "]"
    if suffix == ".parquet":
        source, typed = f"read_parquet({listed}, union_by_name=true)", True
    elif suffix == ".csv":
        source, typed = f"read_csv({listed}, all_varchar=true, header=true, union_by_name=true)", False
    elif suffix in {".json", ".ndjson"}:
        source, typed = (
            f"read_json({listed}, auto_detect=true, union_by_name=true, convert_strings_to_integers=false)",
            True,
        )
    else:
        raise MeshkitError(
            f"{paths[0]}: files of this kind can't be checked. Use parquet, csv, json or ndjson",
            code="contracts.unknown_data",
        )
    return _described(
        connection,
        source,
        item,
        object_name,
        view,
        extra_columns,
        typed=typed,
        lenient_absence=suffix in {".json", ".ndjson"},
    )


def _described(
    connection: Any,
    source: str,
    item: DataObject,
    object_name: str,
    view: View,
    extra_columns: str,
    *,
    typed: bool,
    lenient_absence: bool,
) -> View:
    import duckdb

    try:
        columns = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    except duckdb.Error as error:
        message = f"the file can't be read as its format ({type(error).__name__})"
        view.findings.append(
            CheckResult(f"schema.{object_name}.format", "fail", (("object", object_name),), message=message)
        )
        view.missing = set(item.fields)
        return view
    connection.execute(f"CREATE VIEW {quote(f'raw_{object_name}')} AS SELECT * FROM {source}")
    if not typed:
        actual: dict[str, DataType | None] = {name: None for name, *_ in columns}
        _cast_view(connection, actual, item, object_name, view, extra_columns)
        return view
    known: dict[str, DataType | None] = {}
    for name, type_name, *_ in columns:
        try:
            known[name] = from_duckdb(type_name)
        except MeshkitError:
            known[name] = None
    if lenient_absence:
        _cast_view(connection, known, item, object_name, view, extra_columns, optional_absence=True)
    else:
        _typed_view(connection, quote(f"raw_{object_name}"), known, item, object_name, view, extra_columns)
    return view


def _typed_view(
    connection: Any,
    source: str,
    actual: dict[str, DataType | None],
    item: DataObject,
    object_name: str,
    view: View,
    extra_columns: str,
) -> None:
    """Typed data: the type decides before a scan; a narrower lossless one passes with a note."""
    columns = []
    for name, declared in item.fields.items():
        if name not in actual:
            view.missing.add(name)
            view.findings.append(_finding(object_name, name, "absent", "the column is absent"))
            continue
        found = actual[name]
        if found is None or not is_lossless(found, declared.data_type):
            view.missing.add(name)
            message = f"the column is {found or 'of an unknown type'}, the contract says {declared.data_type}"
            view.findings.append(_finding(object_name, name, "type", message))
            continue
        if _bare(found) != _bare(declared.data_type):
            view.notes.append(f"{name} is {found}, narrower than {declared.data_type}")
        columns.append(f"CAST({quote(name)} AS {to_duckdb(declared.data_type)}) AS {quote(name)}")
    _surplus(actual, item, object_name, view, extra_columns)
    connection.execute(f"CREATE VIEW {view.name} AS SELECT {', '.join(columns) or '1 AS nothing'} FROM {source}")


def _cast_view(
    connection: Any,
    actual: dict[str, DataType | None],
    item: DataObject,
    object_name: str,
    view: View,
    extra_columns: str,
    *,
    optional_absence: bool = False,
) -> None:
    """Text formats: cast, and count what can't be cast."""
    columns, casts = [], []
    for name, declared in item.fields.items():
        if name not in actual:
            view.missing.add(name)
            if not optional_absence or declared.required:
                view.findings.append(_finding(object_name, name, "absent", "the column is absent"))
            continue
        target = to_duckdb(declared.data_type)
        columns.append(f"TRY_CAST({quote(name)} AS {target}) AS {quote(name)}")
        casts.append(
            (name, f"count(*) FILTER (WHERE {quote(name)} IS NOT NULL AND TRY_CAST({quote(name)} AS {target}) IS NULL)")
        )
    _surplus(actual, item, object_name, view, extra_columns)
    connection.execute(
        f"CREATE VIEW {view.name} AS SELECT {', '.join(columns) or '1 AS nothing'} FROM {quote(f'raw_{object_name}')}"
    )
    if casts:
        counts = connection.execute(
            f"SELECT {', '.join(c for _, c in casts)} FROM {quote(f'raw_{object_name}')}"
        ).fetchone()
        for (name, _), count in zip(casts, counts, strict=True):
            state: Any = "fail" if count else "pass"
            path = (("object", object_name), ("field", name), ("check", "type"))
            expected = str(item.fields[name].data_type)
            view.findings.append(
                CheckResult(f"schema.{object_name}.{name}.type", state, path, "error", count, "rows", expected, count)
            )


def _surplus(actual: dict[str, Any], item: DataObject, object_name: str, view: View, extra_columns: str) -> None:
    for name in actual:
        if name in item.fields or extra_columns == "ignore":
            continue
        severity: Any = "error" if extra_columns == "fail" else "warning"
        path = (("object", object_name), ("field", name), ("check", "undeclared"))
        shown = "".join(c if c.isprintable() else "?" for c in name)
        message = "the column is not in the contract. Declare it, drop it, or use --extra-columns ignore"
        view.findings.append(
            CheckResult(f"schema.{object_name}.{shown}.undeclared", "fail", path, severity, message=message)
        )


def _finding(object_name: str, name: str, check: str, message: str) -> CheckResult:
    path = (("object", object_name), ("field", name), ("check", check))
    return CheckResult(f"schema.{object_name}.{name}.{check}", "fail", path, message=message)


def _bare(data_type: DataType) -> str:
    return str(data_type).replace(" required", "")


_INTEGER_DIGITS = {"int8": 3, "int16": 5, "int32": 10, "int64": 19}
_ORDER: Sequence[str] = ("int8", "int16", "int32", "int64")


def is_lossless(found: DataType, declared: DataType) -> bool:
    """Whether every value of `found` is a value of `declared`: equal, narrower integer, decimal or float, finer unit."""
    if _bare(found) == _bare(declared):
        return True
    if isinstance(found, Primitive) and isinstance(declared, Primitive):
        if found.is_integer and declared.is_integer:
            return _ORDER.index(found.name) <= _ORDER.index(declared.name)
        same_text = {found.name, declared.name} <= {"string", "uuid", "json"} and declared.name != "string"
        return (found.name, declared.name) == ("float32", "float64") or (same_text and found.name == "string")
    if isinstance(declared, Decimal):
        if isinstance(found, Decimal):
            return (
                found.scale <= declared.scale and found.precision - found.scale <= declared.precision - declared.scale
            )
        return (
            isinstance(found, Primitive)
            and found.is_integer
            and _INTEGER_DIGITS[found.name] <= declared.precision - declared.scale
        )
    if isinstance(found, Temporal) and isinstance(declared, Temporal):
        return found.name == declared.name and (found.unit, declared.unit) in {("ms", "us"), ("ms", "ns"), ("us", "us")}
    if found.is_nested and declared.is_nested and type(found) is type(declared):
        return _nested_lossless(found, declared)
    return False


def _nested_lossless(found: Any, declared: Any) -> bool:
    if hasattr(found, "item"):
        return is_lossless(found.item, declared.item)
    if hasattr(found, "key"):
        return is_lossless(found.key, declared.key) and is_lossless(found.value, declared.value)
    names = {f.name: f.type for f in found.fields}
    return {f.name for f in declared.fields} == set(names) and all(
        is_lossless(names[f.name], f.type) for f in declared.fields
    )
