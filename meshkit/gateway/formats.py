"""Bodies: JSON rows, NDJSON and Arrow streams, from fresh buffers. Decimals over 15 digits are strings, NaN is null, bytes base64, times UTC."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["ARROW", "JSON", "NDJSON", "arrow_stream", "choose", "json_rows", "ndjson_stream"]

JSON = "application/json"
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"


def choose(accept: str | None) -> str | None:
    """The best of our forms for an Accept header; None if it takes none of them."""
    if not accept:
        return JSON
    wanted: list[tuple[float, str]] = []
    for part in accept.split(","):
        kind, *options = [p.strip().lower() for p in part.split(";")]
        given = next((o[2:] for o in options if o.startswith("q=")), "1")
        wanted.append((float(given) if given.replace(".", "", 1).isdigit() else 0.0, kind))
    for quality, kind in sorted(wanted, key=lambda w: -w[0]):
        if quality <= 0:
            continue
        if kind in {JSON, NDJSON, ARROW}:
            return kind
        if kind in {"*/*", "application/*"}:
            return JSON
    return None


def json_rows(batches: Iterator[pa.RecordBatch]) -> str:
    """A JSON array of row objects."""
    parts = [text for batch in batches if (text := _lines(batch))]
    return "[" + ",".join(",".join(text.splitlines()) for text in parts) + "]"


def ndjson_stream(batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
    """One row a line."""
    for batch in batches:
        text = _lines(batch)
        if text:
            yield text.encode() if text.endswith("\n") else text.encode() + b"\n"


def arrow_stream(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
    """Arrow IPC stream without the source's metadata; the end marker only after the last batch."""
    import pyarrow as pa

    clean = schema.remove_metadata()
    sink = io.BytesIO()
    writer = pa.ipc.new_stream(sink, clean)
    for batch in batches:
        # a slice would ship the rows around it: take() copies what is visible into fresh buffers
        fresh = batch.take(pa.array(range(batch.num_rows), pa.int64())) if batch.num_rows else batch
        writer.write_batch(pa.RecordBatch.from_arrays(fresh.columns, schema=clean))
        yield _drain(sink)
    writer.close()
    yield _drain(sink)


def _drain(sink: io.BytesIO) -> bytes:
    data = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return data


def _lines(batch: pa.RecordBatch) -> str:
    """Rows as NDJSON text: polars where every type is plain, a row path for nested values that JSON can't tell."""
    import polars as pl

    if not batch.num_rows:
        return ""
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)
    if any(_needs_rows(dtype) for dtype in frame.dtypes):
        return "\n".join(
            json.dumps(row, default=_plain, ensure_ascii=False) for row in map(_clean, frame.iter_rows(named=True))
        )
    return frame.select(_column(name, dtype) for name, dtype in frame.schema.items()).write_ndjson()


def _needs_rows(dtype: Any) -> bool:
    import polars as pl

    return isinstance(dtype, pl.List | pl.Array | pl.Struct | pl.Map | pl.Duration)


def _column(name: str, dtype: Any) -> pl.Expr:
    import polars as pl

    column = pl.col(name)
    if isinstance(dtype, pl.Decimal):
        return column.cast(pl.Float64) if (dtype.precision or 38) <= 15 else column.cast(pl.String)
    if isinstance(dtype, pl.Float32 | pl.Float64):
        return pl.when(column.is_finite()).then(column)
    if isinstance(dtype, pl.Binary):
        return column.bin.encode("base64")
    if isinstance(dtype, pl.Datetime):
        zone = "Z" if dtype.time_zone else ""
        return (
            column.dt.convert_time_zone("UTC").dt.to_string(f"%Y-%m-%dT%H:%M:%S%.f{zone}")
            if zone
            else column.dt.to_string("%Y-%m-%dT%H:%M:%S%.f")
        )
    if isinstance(dtype, pl.Date | pl.Time):
        return column.dt.to_string("%Y-%m-%d" if isinstance(dtype, pl.Date) else "%H:%M:%S%.f")
    return column


def _clean(value: Any) -> Any:
    """NaN and infinity have no JSON form."""
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean(v) for v in value]
    if isinstance(value, float) and (value != value or value in {float("inf"), float("-inf")}):  # noqa: PLR0124  # NaN
        return None
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        digits = len(value.as_tuple().digits)
        return float(value) if digits <= 15 else str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"PT{value.total_seconds():g}S"
    raise TypeError(type(value).__name__)
