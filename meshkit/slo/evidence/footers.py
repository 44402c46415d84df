"""Null counts and newest event times from Parquet footers: metadata only, no data page is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

from meshkit._storage import CommitLog, fixed_part, open_filesystem
from meshkit.slo.evaluate import CLOCK_SKEW
from meshkit.slo.models import Evidence, Promise

__all__ = ["from_footers", "instant"]


def from_footers(
    promises: Sequence[Promise],
    location: str,
    options: Mapping[str, Any] | None,
    *,
    now: datetime,
    run_id: str | None = None,
) -> Iterator[Evidence]:
    """Evidence of the promises that one Parquet port can answer; nothing where it has no files or no statistics.

    Raises: `EnvironmentProblem` if the store can't be reached.
    """
    files, committed = _files(location, options)
    if not files:
        return
    footers, read = _footers(files, options)
    for promise in promises:
        if promise.sli == "freshness":
            newest = (
                _newest(footers, promise.field, now) if promise.field else committed.timestamp() if committed else None
            )
            if newest is not None:
                yield Evidence(
                    promise.product,
                    promise.port,
                    "freshness",
                    now,
                    "footers",
                    newest,
                    field=promise.field,
                    bytes_read=read,
                    run_id=run_id,
                )
        elif (promise.sli == "completeness" and len(promise.not_null) == 1) or (
            promise.sli == "completeness" and _no_nulls(footers, promise.not_null)
        ):
            counted = _nulls(footers, promise.not_null)
            if counted is not None:
                rows, nulls = counted
                yield Evidence(
                    promise.product,
                    promise.port,
                    "completeness",
                    now,
                    "footers",
                    n=rows,
                    bad=nulls,
                    bytes_read=read,
                    run_id=run_id,
                )


def _files(location: str, options: Mapping[str, Any] | None) -> tuple[list[str], datetime | None]:
    """URLs of the port's files, and when they became current."""
    log = CommitLog(fixed_part(location), options)
    latest = log.latest()
    if latest is not None:
        at = datetime.fromisoformat(latest.time) if latest.time else None
        return [f"{log.url}/{f.path}" for f in log.current_files()], at
    filesystem, pattern = open_filesystem(location, options)
    try:
        found = [p for p in filesystem.glob(pattern) if not p.rpartition("/")[2].startswith(".")]
    except FileNotFoundError:
        return [], None
    times = [t for t in (_modified(filesystem.info(p)) for p in found) if t is not None]
    scheme = location.partition("://")[0] + "://" if "://" in location else ""
    return [f"{scheme}{p}" for p in found], max(times, default=None)


def _modified(info: Mapping[str, Any]) -> datetime | None:
    at = info.get("LastModified") or info.get("mtime")
    if isinstance(at, int | float):
        return datetime.fromtimestamp(at, UTC)
    return at if isinstance(at, datetime) else None


def _footers(urls: Iterable[str], options: Mapping[str, Any] | None) -> tuple[list[Any], int]:
    import pyarrow.parquet as pq

    found, read = [], 0
    for url in urls:
        filesystem, path = open_filesystem(url, options)
        with filesystem.open(path, "rb", block_size=1 << 16) as file:
            footer = pq.read_metadata(file)
        found.append(footer)
        read += footer.serialized_size
    return found, read


def _statistics(footers: Sequence[Any], column: str) -> Iterator[tuple[int, Any]]:
    """Rows and statistics of each row group for a top-level column; None where a group has none."""
    for footer in footers:
        for group in range(footer.num_row_groups):
            block = footer.row_group(group)
            chunk = next(
                (block.column(i) for i in range(block.num_columns) if block.column(i).path_in_schema == column), None
            )
            yield block.num_rows, chunk.statistics if chunk is not None and chunk.is_stats_set else None


def _newest(footers: Sequence[Any], column: str, now: datetime) -> float | None:
    """The newest maximum that is not in the future; groups without statistics make the answer unknown."""
    latest = (now + CLOCK_SKEW).timestamp()
    newest: float | None = None
    for rows, statistics in _statistics(footers, column):
        if not rows:
            continue
        if statistics is None:
            return None
        if not statistics.has_min_max:
            if statistics.null_count == rows:
                continue
            return None
        at = instant(statistics.max)
        if at is None or at > latest:
            return None  # a row from the future hides how old the rest is: a scan must tell
        newest = at if newest is None else max(newest, at)
    return newest


def instant(value: Any) -> float | None:
    """Seconds since 1970 of an event time: naive times are UTC, a date is the start of its day."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC).timestamp()
    return None


def _no_nulls(footers: Sequence[Any], columns: Sequence[str]) -> bool:
    """Whether the footers alone prove that no promised column has a null; else rows with several nulls would count twice."""
    counted = _nulls(footers, columns)
    return counted is not None and counted[1] == 0


def _nulls(footers: Sequence[Any], columns: Sequence[str]) -> tuple[int, int] | None:
    rows = sum(f.num_rows for f in footers)
    nulls = 0
    for column in columns:
        for count, statistics in _statistics(footers, column):
            if not count:
                continue
            if statistics is None or not statistics.has_null_count:
                return None
            nulls += statistics.null_count
    return rows, nulls
