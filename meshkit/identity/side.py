"""A side of a linkage: a frame in any form that people hold data in, with a name, an id column and tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from meshkit.identity.errors import LinkageUsage, SideProblem, SourceProblem
from meshkit.identity.roles import role_of_name, words_of

__all__ = ["FrameLike", "Side", "as_side", "column_names", "guess_id", "read_table"]

FrameLike: TypeAlias = Any  # polars (lazy too), pyarrow, anything with `__arrow_c_stream__`, pandas, a path


@dataclass(frozen=True, slots=True)
class Side:
    """Rows of one system. `id` names the column that identifies a row; `tags` are the manifest's tags by column.

    `standardised`: values are spelt by these standardisers already (dates as yyyymmdd); they are taken as they are.
    """

    frame: FrameLike = field(repr=False)
    name: str
    id: str
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    standardised: bool = False

    @classmethod
    def of(
        cls,
        frame: FrameLike,
        *,
        name: str,
        id: str,  # noqa: A002  # the documented name
        tags: Mapping[str, Sequence[str]] | None = None,
        standardised: bool = False,
    ) -> Side:
        """A side from a frame or path. `name` is a product (`sales.users`) or any word; it names the id in the result."""
        return cls(frame, name, id, dict(tags or {}), standardised)


def as_side(value: Side | FrameLike, default_name: str, model_id: str | None) -> Side:
    """The side itself, or a bare frame named by its path's stem (else `default_name`) with the model's or the only id column."""
    if isinstance(value, Side):
        return value
    name = Path(value).stem if isinstance(value, str | Path) else default_name
    return Side(value, name, model_id or guess_id(column_names(value), name))


def guess_id(columns: Sequence[str], side: str) -> str:
    """The only column whose name ends in `id` and plays no role. Raises: `LinkageUsage` if there is none or several."""
    found = [c for c in columns if words_of(c)[-1:] == ["id"] and role_of_name(c) is None]
    if len(found) != 1:
        seen = f"columns {', '.join(found)} all look like ids" if found else "no column looks like an id"
        raise LinkageUsage(f"{side}: {seen}. Say which: Side.of(frame, name=..., id=...), --id-left, --id-right")
    return found[0]


def column_names(frame: FrameLike) -> list[str]:
    """Names of the columns, without reading rows of a lazy frame."""
    if isinstance(frame, pl.LazyFrame):
        return frame.collect_schema().names()
    if isinstance(frame, str | Path):
        return column_names(_scan(frame))
    return _eager(frame).columns


def read_table(side: Side, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The columns of a side as polars, each once. Raises: `SideProblem` with every absent column; `SourceProblem`."""
    frame = _scan(side.frame) if isinstance(side.frame, str | Path) else side.frame
    names = column_names(frame)
    wanted = list(names if columns is None else columns)
    absent = [c for c in wanted if c not in names]
    if absent:
        raise SideProblem([f"{side.name} has no column {c}; it has {', '.join(names)}" for c in absent])
    if isinstance(frame, pl.LazyFrame):
        try:
            read = frame.select(wanted).collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise SourceProblem(f"{side.name} can't be read ({type(error).__name__}). Check the file.") from None
        return _typed_ids(read, side) if isinstance(side.frame, str | Path) else read
    return _typed_ids(_eager(frame).select(wanted), side)


def _typed_ids(frame: pl.DataFrame, side: Side) -> pl.DataFrame:
    """CSV is read as text, so that `01234` stays a postcode; an id written as a plain integer is one."""
    if not _is_csv(side.frame) or side.id not in frame.columns:
        return frame
    ids = frame[side.id]
    numbers = ids.cast(pl.Int64, strict=False)
    if ids.dtype == pl.String and (numbers.cast(pl.String) == ids).fill_null(value=False).all():
        return frame.with_columns(numbers)
    return frame


def _is_csv(frame: FrameLike) -> bool:
    return isinstance(frame, str | Path) and Path(frame).suffix.lower() == ".csv"


def _scan(path: str | Path) -> pl.LazyFrame:
    place = Path(path)
    if not place.is_file():
        raise SourceProblem(f"there is no file {place}. Give a Parquet, CSV or Arrow file.")
    kind = place.suffix.lower()
    try:
        if kind in {".parquet", ".pq"}:
            return pl.scan_parquet(place)
        if kind == ".csv":
            return pl.scan_csv(place, infer_schema=False)
        if kind in {".arrow", ".feather", ".ipc"}:
            return pl.scan_ipc(place)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SourceProblem(f"{place} can't be read ({type(error).__name__}). Check the file.") from None
    raise LinkageUsage(f"{place}: unknown kind of file {kind!r}. Give .parquet, .csv or .arrow.")


def _eager(frame: FrameLike) -> pl.DataFrame:
    if isinstance(frame, pl.DataFrame):
        return frame
    if type(frame).__module__.partition(".")[0] == "pandas":
        return pl.from_pandas(frame)
    if hasattr(frame, "__arrow_c_stream__"):
        return pl.DataFrame(frame)
    raise LinkageUsage(
        f"a side can't be a {type(frame).__name__}. Give polars, pyarrow, pandas, an Arrow stream or a path."
    )
