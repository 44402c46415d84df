"""`meshkit sql`: one query over products, under the policies of who asks."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from meshkit.cli.mesh_option import as_option, mesh_options
from meshkit.cli.output import Output, dump_json
from meshkit.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from meshkit.federation import QueryResult
    from meshkit.mesh import Mesh

__all__ = ["run_sql", "sql"]

TABLE_ROWS = 1_000
DIGITS = 15  # of a decimal that a double still holds exactly
FORMATS = ("table", "json", "csv", "arrow", "parquet")


@click.command()
@click.argument("query", required=False)
@as_option
@click.option("--purpose", metavar="WORD", help="Purpose that a grant asks for.")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of $NAME in the query; JSON, else text. Repeatable.",
)
@click.option(
    "--dialect",
    type=click.Choice(["duckdb", "trino"]),
    default="duckdb",
    show_default=True,
    help="SQL that the query is written in.",
)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Form of the rows."
)
@click.option(
    "--output",
    "path",
    type=click.Path(dir_okay=False, writable=True),
    help="File to write; it appears only when complete.",
)
@click.option("--limit", type=click.IntRange(min=0), help="Rows to show; tables stop at 1,000 without it.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.001),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Stop the query after this time.",
)
@click.option("--explain", is_flag=True, help="Show how the query would run; reads no row.")
@mesh_options
def sql(mesh: Mesh, query: str | None, **options: Any) -> int:
    """Query products as one database. Masking runs in this process: it guards against accidents, not against you.

    \b
    meshkit sql "select state, sum(total) from sales.orders group by 1" --as analyst
    echo "show tables" | meshkit sql --format json
    meshkit sql "from sales.orders where id = \\$id" --param id=7 --format parquet --output one.parquet
    """
    return run_sql(mesh, query, **options)


def run_sql(
    mesh: Any, query: str | None, *, principal: str | None, purpose: str | None, params: tuple[str, ...], dialect: str, form: str, path: str | None,
    limit: int | None, timeout: float, explain: bool,
) -> int:  # fmt: skip
    """Run one query on `mesh` and write its rows. Returns the exit code. Raises: what `mesh.sql` raises; `UsageError`."""
    text = _text(query)
    if form in {"arrow", "parquet"} and path is None and sys.stdout.isatty() and not explain:
        raise UsageError(
            f"--format {form} is binary and this is a terminal. Add --output FILE, or pipe it",
            code="federation.binary_terminal",
        )
    options = {
        "principal": principal,
        "purpose": purpose,
        "parameters": _parameters(params),
        "dialect": dialect,
        "timeout_seconds": timeout,
        "channel": "cli",
    }
    if explain:
        return Output("json" if form == "json" else "text").show(mesh.plan_sql(text, **options))
    with mesh.sql(text, **options) as result:
        if path is None:
            _write(result, form, limit, sys.stdout.buffer if form in {"arrow", "parquet"} else None)
        else:
            _to_file(result, form, limit, Path(path))
    return 0


def _text(query: str | None) -> str:
    if query is not None and query != "-":
        return query
    if sys.stdin.isatty():
        raise UsageError(
            "no QUERY is given. Pass one, or pipe SQL to stdin; the interactive shell comes with a later release",
            code="federation.no_query",
        )
    return sys.stdin.read()


def _parameters(params: tuple[str, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in params:
        name, equals, raw = item.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(
                "--param is written NAME=VALUE, with a NAME of letters, digits and _", code="federation.parameter"
            )
        try:
            value = json.loads(raw, parse_float=Decimal)
        except ValueError:
            value = raw
        values[name] = raw if isinstance(value, dict) else value
    return values


def _to_file(result: QueryResult, form: str, limit: int | None, path: Path) -> None:
    """Write beside and rename: a query that fails on the way leaves no short file."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as target:
            _write(result, form, limit, target)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _write(result: QueryResult, form: str, limit: int | None, target: BinaryIO | None) -> None:
    if form == "arrow":
        import pyarrow as pa

        assert target is not None
        with pa.ipc.new_stream(target, result.schema) as writer:
            for batch in _limited(result, limit):
                writer.write_batch(batch)
        return
    if form == "parquet":
        import pyarrow.parquet as pq

        assert target is not None
        with pq.ParquetWriter(target, result.schema) as writer:
            for batch in _limited(result, limit):
                writer.write_batch(batch)
        return
    for chunk in {"table": _table, "json": _json, "csv": _csv}[form](result, limit):
        if target is None:
            click.echo(chunk, nl=False)
        else:
            target.write(chunk.encode())


def _limited(result: QueryResult, limit: int | None) -> Iterator[pa.RecordBatch]:
    left = limit
    for batch in result.batches():
        if left is None:
            yield batch
            continue
        if left <= 0:
            return
        yield batch.slice(0, left)
        left -= min(left, batch.num_rows)


def _rows(result: QueryResult, limit: int | None) -> Iterator[list[Any]]:
    for batch in _limited(result, limit):
        columns = [c.to_pylist() for c in batch.columns]
        yield from (list(row) for row in zip(*columns, strict=True))


def _json(result: QueryResult, limit: int | None) -> Iterator[str]:
    rows = [[_plain(v) for v in row] for row in _rows(result, None if limit is None else limit + 1)]
    truncated = limit is not None and len(rows) > limit
    shown = rows[:limit] if truncated else rows
    columns = [
        {"name": c.name, "type": c.type, "product": c.product, "mask": c.mask, "rule": c.rule} for c in result.columns
    ]
    value = {
        "format": "meshkit.federation.result/1", "query_id": result.query_id, "trust": result.trust, "columns": columns, "rows": shown,
        "row_count": len(shown), "truncated": truncated,
    }  # fmt: skip
    yield dump_json(value) + "\n"


def _csv(result: QueryResult, limit: int | None) -> Iterator[str]:
    yield _csv_line([c.name for c in result.columns])
    for row in _rows(result, limit):
        yield _csv_line(["" if v is None else _cell(v) for v in row])


def _csv_line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _table(result: QueryResult, limit: int | None) -> Iterator[str]:
    most = TABLE_ROWS if limit is None else limit
    rows = [["" if v is None else _cell(v) for v in row] for row in _rows(result, most + 1)]
    more, rows = len(rows) > most, rows[:most]
    heads = [f"{c.name} [{c.mask}]" if c.mask else c.name for c in result.columns]
    widths = [max([len(h), *(len(r[i]) for r in rows)]) for i, h in enumerate(heads)]
    numeric = [c.type.startswith(("int", "float", "decimal")) for c in result.columns]

    def line(cells: list[str]) -> str:
        return (
            "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(cells, widths, numeric, strict=True)).rstrip()
            + "\n"
        )

    yield line(heads)
    yield line(["-" * w for w in widths])
    for row in rows:
        yield line(row)
    if more:
        click.echo(f"Shown are the first {most:,} rows. Use --limit, or --format csv", err=True)


def _cell(value: Any) -> str:
    plain = _plain(value)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    text = (
        json.dumps(plain, ensure_ascii=False)
        if isinstance(plain, dict | list)
        else str(value if isinstance(value, Decimal) else plain)
    )
    return text.replace("\r", "\\r").replace("\x1b", "\\x1b")  # a value must not steer the terminal


def _plain(value: Any) -> Any:
    """JSON form: decimals that a double would round as text, NaN null, bytes base64, times RFC 3339 UTC."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return str(value) if len(value.as_tuple().digits) > DIGITS else float(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, int | str | bool) or value is None else str(value)
