"""The linkage table: ids of both sides and a confidence, as Arrow, with the report that says how good it is."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import IO, Any

import polars as pl
import pyarrow as pa

from meshkit.identity.block import Capped
from meshkit.identity.doubts import DOUBTS, Doubt
from meshkit.identity.errors import DoubtsNotAccepted, LinkageUsage, SourceProblem
from meshkit.identity.side import Side

__all__ = ["ColumnLineage", "LinkReport", "LinkageTable", "id_names", "write_table"]

_LINKS = uuid.uuid5(uuid.NAMESPACE_URL, "meshkit.identity.link/1")


def id_names(left: Side, right: Side | None) -> tuple[str, str]:
    """Names of the id columns: `<domain>_<id column>`; where equal with the product's name, then `left_`, `right_`."""
    if right is None:
        return f"left_{left.id}", f"right_{left.id}"
    names = (
        _prefixed(left.name.rpartition(".")[0] or left.name, left.id),
        _prefixed(right.name.rpartition(".")[0] or right.name, right.id),
    )
    if names[0] == names[1]:
        names = _prefixed(left.name, left.id), _prefixed(right.name, right.id)
    return names if names[0] != names[1] else (f"left_{left.id}", f"right_{right.id}")


def _prefixed(prefix: str, column: str) -> str:
    prefix = prefix.replace(".", "_")
    return column if column.startswith(f"{prefix}_") else f"{prefix}_{column}"


@dataclass(frozen=True, slots=True)
class ColumnLineage:
    """Where an output column comes from: `kind` DIRECT or INDIRECT, `subtype` IDENTITY or JOIN; `output` `*` means all."""

    output: str
    side: str
    column: str
    kind: str
    subtype: str


@dataclass(frozen=True, slots=True)
class LinkReport:
    """What a linkage did and how good it thinks it is. Counts and ratios only."""

    left: str
    right: str
    rows: tuple[int, int]
    linked: tuple[int, int]
    model: str
    digest: str
    fitted: str
    iterations: int
    converged: bool
    candidates: int
    links: int
    threshold: float
    precision: float | None
    recall_of_candidates: float | None
    blocking_recall: float | None
    classes: tuple[tuple[str, str | None, float], ...]
    doubts: tuple[Doubt, ...] = ()
    capped: tuple[Capped, ...] = ()
    warnings: tuple[str, ...] = ()
    out: str | None = None

    @property
    def exit_code(self) -> int:
        """1 with doubts."""
        return 1 if self.doubts else 0

    def to_json(self) -> dict[str, Any]:
        """As `meshkit.identity.link/1`."""
        return {
            "format": "meshkit.identity.link/1",
            "left": {"name": self.left, "rows": self.rows[0], "linked": self.linked[0]},
            "right": {"name": self.right, "rows": self.rows[1], "linked": self.linked[1]},
            "model": {"name": self.model, "digest": self.digest, "fitted": self.fitted, "iterations": self.iterations, "converged": self.converged},
            "candidates": self.candidates,
            "links": self.links,
            "threshold": self.threshold,
            "expected": {"precision": self.precision, "recall_of_candidates": self.recall_of_candidates, "blocking_recall": self.blocking_recall},
            "classes": [
                {"name": n, **({"origin": o} if o else {}), "pairs": round(p)} for n, o, p in self.classes
            ],
            "doubts": [{"code": d.code, "text": d.text} for d in self.doubts],
            "churn": None,
            "capped": [
                {"rule": c.rule, "keys": c.keys, "rows": c.rows, "pairs_refined": c.pairs_refined, "pairs_skipped": c.pairs_skipped}
                for c in self.capped
            ],
            "warnings": list(self.warnings),
            "out": self.out,
        }  # fmt: skip

    def to_text(self) -> str:
        """For people."""
        lines = [
            (
                f"{self.links:,} links between {self.left} ({self.linked[0]:,} of {self.rows[0]:,} rows) and "
                f"{self.right} ({self.linked[1]:,} of {self.rows[1]:,}), from {self.candidates:,} candidate pairs at confidence >= {self.threshold:g}"
            ),
            (
                f"expected: precision {_ratio(self.precision)}, recall of candidates {_ratio(self.recall_of_candidates)}, "
                f"recall of blocking about {_ratio(self.blocking_recall)} (an estimate)"
            ),
            f"model {self.model} {self.digest[:19]}, fitted {self.fitted}, {self.iterations} iterations{'' if self.converged else ', not converged'}",
        ]
        lines += [
            f"capped: rule {c.rule}, {c.keys:,} keys: {c.pairs_refined:,} pairs kept by further keys, {c.pairs_skipped:,} skipped"
            for c in self.capped
        ]
        lines += [f"warning: {w}" for w in self.warnings]
        lines += [f"doubt {d.code}: {d.text}" for d in self.doubts]
        if self.out:
            lines.append(f"written to {self.out}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"


def _ratio(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


@dataclass(frozen=True, slots=True)
class LinkageTable:
    """Links as Arrow: both ids in their own types and `confidence_score`, in order of the left rows."""

    table: pa.Table = field(repr=False)
    report: LinkReport
    lineage: tuple[ColumnLineage, ...] = field(repr=False, default=())
    _details: Callable[[], dict[str, Any]] | None = field(repr=False, default=None, compare=False)
    _urns: tuple[str, str] = ("left", "right")

    def to_arrow(self) -> pa.Table:
        """Ids and confidence as an Arrow table."""
        return self.table

    def to_polars(self) -> pl.DataFrame:
        """Ids and confidence as a polars frame."""
        frame = pl.from_arrow(self.table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def links(self) -> pa.Table:
        """`link_id`, ids, confidence, `weight_bits`, `pattern`, `rules`. A link keeps its id as long as both ids stay."""
        left, right = (self.table.column(n).to_pylist() for n in (0, 1))
        made = [
            str(uuid.uuid5(_LINKS, _canonical([self._urns[0], a, self._urns[1], b])))
            for a, b in zip(left, right, strict=True)
        ]
        details = {} if self._details is None else self._details()
        names = self.table.column_names
        columns = {"link_id": pa.array(made, pa.string()), **{n: self.table.column(n) for n in names}, **details}
        return pa.table(columns)

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """Reasons not to trust this table."""
        return self.report.doubts

    def raise_for_doubts(self, accept: Collection[str] = ()) -> LinkageTable:
        """The table itself, or `DoubtsNotAccepted` for doubts whose code is not in `accept`."""
        unknown = sorted(set(accept) - set(DOUBTS))
        if unknown:
            raise LinkageUsage(f"no doubt is called {', '.join(unknown)}; doubts are {', '.join(DOUBTS)}")
        left = [(d.code, d.text) for d in self.report.doubts if d.code not in accept]
        if left:
            raise DoubtsNotAccepted(left)
        return self

    def _repr_html_(self) -> str:
        return self.report._repr_html_()  # the notebook protocol's own name


def _canonical(parts: Sequence[Any]) -> str:
    return json.dumps(parts, separators=(",", ":"), ensure_ascii=False, default=str)


def check_kind(path: str | Path) -> str:
    """The suffix that says how a table is written. Raises: `LinkageUsage` for a kind that can't be written."""
    kind = Path(path).suffix.lower()
    if kind not in {".parquet", ".csv", ".arrow"}:
        raise LinkageUsage(f"{Path(path).name}: can't write kind {kind!r}. Give .parquet, .csv or .arrow.")
    return kind


def write_table(table: pa.Table, path: str | Path) -> None:
    """Write Parquet, CSV or Arrow by suffix: beside, flushed, then renamed, so that a kill leaves the old file.

    Raises: `LinkageUsage` for another suffix, `SourceProblem` if the place can't be written.
    """
    kind = check_kind(path)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    writers: dict[str, Callable[[IO[bytes]], object]] = {
        ".parquet": frame.write_parquet,
        ".csv": frame.write_csv,
        ".arrow": frame.write_ipc,
    }
    write_beside(path, writers[kind])


def write_beside(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its place, flush it and rename it. Raises: `SourceProblem` if the place can't be written."""
    place = Path(path)
    beside = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise SourceProblem(
            f"{place} can't be written ({type(error).__name__}). Check the folder and the disk."
        ) from None
