"""Airports of the United States."""

import polars as pl

from meshkit import data_product
from meshkit.demo.flights import read_csv


@data_product("manifest.yaml")
def airports() -> pl.DataFrame:
    """Airports of the United States."""
    return read_csv("airports").select("faa", "name", "lat", "lon", pl.col("alt").cast(pl.Int32), "tzone")
