"""`check_data`: one scan of DuckDB answers all row checks and metrics of an object; SQL rules run in a locked database of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from meshkit.contracts.quality import duck
from meshkit.contracts.quality.checks import Check, compile_checks_of, portable_pattern
from meshkit.contracts.quality.data import View, attach
from meshkit.contracts.quality.plan import MAX_ROW_NUMBERS
from meshkit.contracts.quality.report import CheckResult, QualityReport
from meshkit.errors import MissingExtra, UsageError
from meshkit.types.duckdb import quote

if TYPE_CHECKING:
    from meshkit.manifest import DataObject, Manifest

__all__ = ["CheckOptions", "check_data"]


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How data is checked. `memory_limit` and `threads` bound DuckDB; `only` limits to whole-publish checks (`"whole"`)."""

    extra_columns: Literal["fail", "warn", "ignore"] = "fail"
    allow_empty: bool = False
    memory_limit: str = "2GB"
    threads: int = 2
    only: Literal["all", "whole"] = "all"


def check_data(
    manifest: Manifest, data: Any, *, object_name: str | None = None, options: CheckOptions | None = None
) -> QualityReport:
    """Check data against the contract. `data`: a path, glob, polars frame or Arrow table of one object, or a mapping of object to data.

    Raises: `EnvironmentProblem` if a path is missing; `MissingExtra`; `UsageError` for an unknown object.
    """
    try:
        import duckdb
    except ImportError:
        raise MissingExtra("quality", package="duckdb", purpose="checking data") from None
    options = options or CheckOptions()
    named: Mapping[str, Any] = data if isinstance(data, Mapping) else {object_name or manifest.main_object: data}
    unknown = [name for name in named if name not in manifest.objects]
    if unknown:
        raise UsageError(
            f"{manifest.id} has no object {unknown[0]!r}. Known: {', '.join(manifest.objects)}",
            code="contracts.unknown_object",
        )
    with duckdb.connect(config={"memory_limit": options.memory_limit, "threads": options.threads}) as connection:
        connection.execute("SET TimeZone='UTC'")
        views = {
            name: attach(connection, part, manifest.objects[name], name, extra_columns=options.extra_columns)
            for name, part in named.items()
        }
        report = QualityReport(manifest.id, manifest.version)
        for name, view in views.items():
            report = report.merged(_check_object(connection, manifest, name, view, views, options))
    return report


def judge_files(manifest: Manifest, object_name: str, paths: Mapping[str, Sequence[str]]) -> QualityReport:
    """The rules over a whole publish, on staged Parquet files whose columns already have the contract's types."""
    import duckdb

    options = CheckOptions(only="whole", allow_empty=True)
    with duckdb.connect(config={"memory_limit": options.memory_limit, "threads": options.threads}) as connection:
        connection.execute("SET TimeZone='UTC'")
        views = {}
        for name, files in paths.items():
            listed = "[" + ", ".join(duck.string_literal(p) for p in files) + "]"
            connection.execute(f"CREATE VIEW {quote(f'data_{name}')} AS SELECT * FROM read_parquet({listed})")
            views[name] = View(quote(f"data_{name}"))
        return _check_object(connection, manifest, object_name, views[object_name], views, options)


def _check_object(
    connection: Any, manifest: Manifest, name: str, view: View, views: Mapping[str, View], options: CheckOptions
) -> QualityReport:
    item = manifest.objects[name]
    checks = [c for c in compile_checks_of(manifest, name) if options.only == "all" or not c.is_row_check]
    absent = [c for c in checks if view.missing & {*c.fields, *c.steps[:1]}]
    results = [r for r in view.findings if options.only == "all"]
    results += [
        CheckResult(c.id, "error", c.path, c.severity, message="its column is absent or of another type")
        for c in absent
    ]
    runnable = [c for c in checks if c not in absent]
    if len(view.missing) == len(item.fields):
        return QualityReport(manifest.id, manifest.version, tuple(results), 0, tuple(view.notes))
    rows, found = _scan(connection, view, item, [c for c in runnable if c.kind not in {"sql", "references"}])
    results += found
    results += [_reference(connection, view, c, views) for c in runnable if c.kind == "references"]
    results += [_sql_rule(connection, c, views, name, rows) for c in runnable if c.kind == "sql"]
    if rows == 0 and not options.allow_empty:
        message = "there are no rows, so nothing is proven. Allow it with --allow-empty"
        results.append(CheckResult(f"schema.{name}.not_empty", "fail", (("object", name),), message=message))
    return QualityReport(manifest.id, manifest.version, tuple(results), rows, tuple(view.notes))


def _scan(connection: Any, view: View, item: DataObject, checks: list[Check]) -> tuple[int, list[CheckResult]]:
    """All counts in one statement; row numbers only for what failed."""
    columns: list[tuple[Check, str]] = []
    results: list[CheckResult] = []
    for check in checks:
        try:
            columns.append((check, _aggregate(check, item)))
        except duck.Unsupported as error:
            results.append(CheckResult(check.id, "unsupported", check.path, check.severity, message=str(error)))
    counted = ", ".join(["count(*)", *(sql for _, sql in columns)])
    rows, *counts = connection.execute(f"SELECT {counted} FROM {view.name}").fetchone()
    for (check, _), count in zip(columns, counts, strict=True):
        results.append(_judged(check, int(count or 0), int(rows), connection, view))
    return int(rows), results


def _aggregate(check: Check, item: DataObject) -> str:
    if check.is_row_check:
        return f"coalesce(sum({duck.violations(check)}), 0)"
    if check.kind in {"unique", "key"}:
        return _duplicates(check.fields)
    metric, arguments = check.argument
    if metric == "row_count":
        return "count(*)"
    if not check.fields or any(f not in item.fields for f in check.fields):
        raise duck.Unsupported(f"metric {metric} needs `field` or args.fields that name columns of the object")
    if metric == "duplicate_values":
        return _duplicates(check.fields)
    return f"count(*) FILTER (WHERE {_invalid(metric, arguments, check.fields[0], item)})"


def _duplicates(fields: tuple[str, ...]) -> str:
    """Rows beyond the first of each value or tuple; tuples with a null part don't count."""
    names = [quote(f) for f in fields]
    present = " AND ".join(f"{n} IS NOT NULL" for n in names)
    value = names[0] if len(names) == 1 else f"row({', '.join(names)})"
    return f"count(*) FILTER (WHERE {present}) - count(DISTINCT CASE WHEN {present} THEN {value} END)"


def _invalid(metric: str | None, arguments: dict[str, Any], field: str, item: DataObject) -> str:
    column, data_type = quote(field), item.fields[field].data_type
    if metric == "null_values":
        return f"{column} IS NULL"
    listed = arguments.get("values")
    values = ", ".join(duck.literal(v, data_type) for v in listed if v is not None) if isinstance(listed, list) else ""
    if metric == "missing_values":
        return f"{column} IS NULL" + (f" OR {column} IN ({values})" if values else "")
    if metric == "invalid_values":
        tests = [f"{column} NOT IN ({values})"] if values else []
        if "pattern" in arguments:
            tests.append(
                f"NOT regexp_matches({column}, {duck.string_literal(portable_pattern(str(arguments['pattern']), engine='re2'))})"
            )
        if tests:
            return f"{column} IS NOT NULL AND ({' OR '.join(tests)})"
        raise duck.Unsupported("metric invalid_values needs args.values or args.pattern")
    known = "row_count, null_values, missing_values, invalid_values, duplicate_values"
    raise duck.Unsupported(f"metric {metric} is not known here. Use one of {known}, or sql")


def _judged(check: Check, count: int, rows: int, connection: Any, view: View) -> CheckResult:
    if check.must is None:
        numbers = _row_numbers(connection, view, check) if count and check.is_row_check else ()
        return CheckResult(
            check.id, "fail" if count else "pass", check.path, check.severity, count, "rows", "0 rows", count, numbers
        )
    percent = (100 * count / rows if rows else 0.0) if check.must.is_percent else float(count)
    holds = check.must.holds(percent)
    measured = percent / 100 if check.must.is_percent else float(count)
    unit: Literal["rows", "ratio"] = "ratio" if check.must.is_percent else "rows"
    failing = count if not holds and check.argument and check.argument[0] != "row_count" else 0
    return CheckResult(
        check.id, "pass" if holds else "fail", check.path, check.severity, measured, unit, str(check.must), failing
    )


def _row_numbers(connection: Any, view: View, check: Check) -> tuple[int, ...]:
    sql = (
        f"SELECT n FROM (SELECT row_number() OVER () AS n, {duck.violations(check)} AS bad FROM {view.name}) "
        f"WHERE bad > 0 ORDER BY n LIMIT {MAX_ROW_NUMBERS}"
    )
    return tuple(row[0] for row in connection.execute(sql).fetchall())


def _reference(connection: Any, view: View, check: Check, views: Mapping[str, View]) -> CheckResult:
    """Every value is there in the other object; another product's rows are not at hand here."""
    target, _, column = str(check.argument).partition(".")
    if "#" in str(check.argument) or target not in views:
        message = f"the rows of {check.argument} are not given. Pass them with --data {target}=PATH"
        return CheckResult(check.id, "unsupported", check.path, "warning", message=message)
    here = quote(check.steps[0])
    sql = (
        f"SELECT count(*) FROM {view.name} AS l WHERE l.{here} IS NOT NULL "
        f"AND NOT EXISTS (SELECT 1 FROM {views[target].name} AS r WHERE r.{quote(column)} = l.{here})"
    )
    count = connection.execute(sql).fetchone()[0]
    return CheckResult(
        check.id, "fail" if count else "pass", check.path, check.severity, count, "rows", "0 rows", count
    )


def _sql_rule(connection: Any, check: Check, views: Mapping[str, View], object_name: str, rows: int) -> CheckResult:
    """The rule sees the objects of this product and nothing else: no files, no settings, one SELECT."""
    import duckdb

    text = str(check.argument).replace("{object}", quote(object_name))
    problem = _refused(connection, text, set(views))
    if problem:
        return CheckResult(check.id, "unsupported", check.path, check.severity, message=problem)
    with duckdb.connect(config={"memory_limit": "1GB", "threads": 2}) as locked:
        for name, view in views.items():
            locked.register(name, connection.execute(f"SELECT * FROM {view.name}").to_arrow_table())
        locked.execute("SET enable_external_access=false")
        locked.execute("SET lock_configuration=true")
        try:
            answer = locked.execute(text).fetchall()
        except duckdb.Error as error:
            return CheckResult(
                check.id, "error", check.path, check.severity, message=f"the statement failed ({type(error).__name__})"
            )
    if (
        len(answer) != 1
        or len(answer[0]) != 1
        or (not isinstance(answer[0][0], int | float) and not hasattr(answer[0][0], "as_tuple"))
    ):
        return CheckResult(check.id, "error", check.path, check.severity, message="the statement must give one number")
    assert check.must is not None
    value = float(answer[0][0])
    percent = (100 * value / rows if rows else 0.0) if check.must.is_percent else value
    return CheckResult(
        check.id,
        "pass" if check.must.holds(percent) else "fail",
        check.path,
        check.severity,
        value,
        "rows",
        str(check.must),
    )


def _refused(connection: Any, text: str, objects: set[str]) -> str | None:
    """What keeps a statement from running, or None: it must be one SELECT over the product's own objects."""
    tree = json.loads(connection.execute("SELECT json_serialize_sql(?)", [text]).fetchone()[0])
    if tree.get("error"):
        return "the statement is no single SELECT"
    statements = tree.get("statements", [])
    if len(statements) != 1:
        return "the statement is no single SELECT"
    ctes = set(_names(statements, "cte_map"))
    for node in _nodes(statements):
        kind = str(node.get("type"))
        if kind == "BASE_TABLE" and (
            node.get("schema_name") or node.get("catalog_name") or node.get("table_name") not in objects | ctes
        ):
            return "the statement reads something other than this product's objects"
        if kind in {"TABLE_FUNCTION", "SHOW_REF"}:
            return "the statement uses a table function"
    return None


def _nodes(value: Any) -> Any:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _names(value: Any, key: str) -> Any:
    for node in _nodes(value):
        if key in node and isinstance(node[key], dict):
            yield from (entry["key"] for entry in node[key].get("map", []))
