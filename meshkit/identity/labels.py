"""Labels by people: pairs of ids said to be, or not to be, the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from meshkit.identity.errors import BadLabels
from meshkit.identity.prepare import Prepared
from meshkit.identity.side import FrameLike, Side, read_table

__all__ = ["Labels", "read_labels"]


@dataclass(frozen=True, slots=True)
class Labels:
    """Labelled pairs by row number; `unknown` labels name ids that a side does not have and are left out."""

    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    match: npt.NDArray[np.bool_]
    unknown: int = 0

    @property
    def positive(self) -> int:
        """Pairs said to be the same."""
        return int(self.match.sum())

    @property
    def negative(self) -> int:
        """Pairs said to differ."""
        return int((~self.match).sum())


def read_labels(frame: FrameLike, prepared: Prepared) -> Labels:
    """Labels `[left_id, right_id, match]` (or the sides' own id columns); without `match` all are positive.

    Raises: `BadLabels` if columns are absent or two rows contradict each other.
    """
    table = read_table(Side(frame, "labels", "left_id"))
    right_side = prepared.resolved.right or prepared.resolved.left
    names = _column(table, "left_id", prepared.resolved.left.id), _column(table, "right_id", right_side.id)
    if "match" in table.columns and table["match"].null_count():
        raise BadLabels("some labels have no `match`. Say true or false for each.")
    match = (
        table["match"].cast(pl.String).str.to_lowercase().is_in(["true", "1"])
        if "match" in table.columns
        else pl.lit(value=True)
    )
    said = pl.select(l=table[names[0]].cast(pl.String), r=table[names[1]].cast(pl.String), match=match).with_row_index(
        "row", offset=1
    )
    _refuse_contradictions(said)
    left = pl.DataFrame({"l": prepared.left_ids.cast(pl.String)}).with_row_index("i")
    right = pl.DataFrame({"r": prepared.right_ids.cast(pl.String)}).with_row_index("j")
    found = said.unique(["l", "r"], keep="first").join(left, on="l").join(right, on="r")
    i, j = found["i"].cast(pl.Int32).to_numpy(), found["j"].cast(pl.Int32).to_numpy()
    if prepared.records.duplicates:
        i, j = np.minimum(i, j), np.maximum(i, j)
    return Labels(i, j, found["match"].to_numpy(), said.unique(["l", "r"]).height - found.height)


def _column(table: pl.DataFrame, standard: str, own: str) -> str:
    for name in (standard, own):
        if name in table.columns:
            return name
    raise BadLabels(f"labels need a column {standard} (or {own}); they have {', '.join(table.columns)}.")


def _refuse_contradictions(said: pl.DataFrame) -> None:
    both = said.filter(pl.col("match").n_unique().over("l", "r") > 1)
    if both.height:
        rows = ", ".join(str(r) for r in both["row"].head(10))
        raise BadLabels(f"labels contradict each other in rows {rows}. Keep one of each.")
