"""Evidence by reading: one aggregate over the files of a port, or over its Postgres table. For ports without usable footers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from meshkit._storage import CommitLog, fixed_part, open_filesystem
from meshkit.errors import EnvironmentProblem
from meshkit.slo.evaluate import CLOCK_SKEW
from meshkit.slo.evidence.footers import instant
from meshkit.slo.models import Evidence, Promise
from meshkit.types.duckdb import quote

__all__ = ["SCAN_LIMIT_BYTES", "from_postgres", "from_scan"]

SCAN_LIMIT_BYTES = 1 << 30


def from_scan(
    promises: Sequence[Promise],
    location: str,
    file_format: str,
    options: Mapping[str, Any] | None,
    *,
    now: datetime,
    limit_bytes: int = SCAN_LIMIT_BYTES,
) -> Iterator[Evidence]:
    """Evidence from Parquet, CSV or JSON files up to `limit_bytes` in all; nothing above it (then the promise is not measured).

    Raises: `EnvironmentProblem` if the store can't be reached.
    """
    import duckdb

    log = CommitLog(fixed_part(location), options)
    filesystem, pattern = open_filesystem(location, options)
    matches = (
        p for p in filesystem.glob(pattern) if not p.rpartition("/")[2].startswith(".")
    )  # owner files are no data
    paths = [log.path(f.path) for f in log.current_files()] or list(matches)
    sizes = sum(int(filesystem.info(p).get("size") or 0) for p in paths)
    if not paths or sizes > limit_bytes:
        return
    with duckdb.connect(config={"threads": 1, "memory_limit": "512MB"}) as connection:
        connection.execute("SET TimeZone='UTC'")
        connection.register_filesystem(filesystem)
        protocol = filesystem.protocol if isinstance(filesystem.protocol, str) else filesystem.protocol[0]
        listed = "[" + ", ".join("'" + f"{protocol}://{p}".replace("'", "''") + "'" for p in paths) + "]"
        reader = {
            "parquet": "read_parquet({})",
            "csv": "read_csv({}, header=true)",
            "json": "read_json({})",
            "ndjson": "read_json({})",
        }.get(file_format)
        if reader is None:
            return
        columns = _columns(promises)
        try:
            row = connection.execute(
                f"SELECT {', '.join(_aggregates(columns, now))} FROM {reader.format(listed)}"
            ).fetchone()
        except duckdb.Error:
            return  # columns that are not there, files that can't be read: not measured, and the contract checks say why
    yield from _evidence(promises, columns, row, now, "scan", sizes)


def from_postgres(promises: Sequence[Promise], dsn: str, table: str, *, now: datetime) -> Iterator[Evidence]:
    """Evidence from one aggregate over a table, given as `schema.table`.

    Raises: `EnvironmentProblem` if the database does not answer.
    """
    import psycopg

    columns = _columns(promises)
    name = ".".join(quote(part) for part in table.split("."))
    try:
        with psycopg.connect(
            dsn, connect_timeout=5, options="-c statement_timeout=60000 -c default_transaction_read_only=on"
        ) as connection:
            row = connection.execute(f"SELECT {', '.join(_aggregates(columns, now))} FROM {name}".encode()).fetchone()
    except psycopg.OperationalError as error:
        raise EnvironmentProblem(
            f"the database of port {promises[0].port} does not answer ({type(error).__name__}). Check `sources`",
            code="slo.source",
        ) from None
    except psycopg.Error:
        return  # a column or table that is not there: not measured
    yield from _evidence(promises, columns, row, now, "scan", 0)


def _columns(promises: Sequence[Promise]) -> list[tuple[Promise, str]]:
    return [
        (p, p.sli) for p in promises if (p.sli == "freshness" and p.field) or (p.sli == "completeness" and p.not_null)
    ]


def _aggregates(columns: Sequence[tuple[Promise, str]], now: datetime) -> list[str]:
    """SQL that DuckDB and PostgreSQL both read."""
    latest = (now + CLOCK_SKEW).isoformat()
    parts = ["count(*)"]
    for promise, sli in columns:
        if sli == "freshness":
            column = quote(promise.field or "")
            parts.append(
                f"max(CAST({column} AS timestamptz)) FILTER (WHERE CAST({column} AS timestamptz) <= CAST('{latest}' AS timestamptz))"
            )
        else:
            missing = " OR ".join(f"{quote(c)} IS NULL" for c in promise.not_null)
            parts.append(f"count(*) FILTER (WHERE {missing})")
    return parts


def _evidence(
    columns_of: Sequence[Promise],
    columns: Sequence[tuple[Promise, str]],
    row: Any,
    now: datetime,
    method: str,
    size: int,
) -> Iterator[Evidence]:
    rows, *values = row
    for (promise, sli), value in zip(columns, values, strict=True):
        if sli == "freshness" and value is not None:
            yield Evidence(
                promise.product,
                promise.port,
                "freshness",
                now,
                method,
                instant(value),
                n=rows,
                field=promise.field,
                bytes_read=size,
            )
        elif sli == "completeness" and rows:
            yield Evidence(
                promise.product, promise.port, "completeness", now, method, n=rows, bad=int(value), bytes_read=size
            )
    for promise in columns_of:
        if promise.sli == "availability":
            yield Evidence(promise.product, promise.port, "availability", now, "probe", n=1, bad=0)
