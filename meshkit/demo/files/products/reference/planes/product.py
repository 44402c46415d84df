"""Aircraft by tail number."""

import polars as pl

from meshkit import data_product
from meshkit.demo.flights import read_csv


@data_product("manifest.yaml")
def planes() -> pl.DataFrame:
    """Aircraft by tail number."""
    numbers = [pl.col(c).cast(pl.Int32) for c in ("year", "engines", "seats")]
    return read_csv("planes").select("tailnum", "type", "manufacturer", "model", *numbers)
