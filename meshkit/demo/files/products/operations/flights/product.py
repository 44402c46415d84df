"""Departures of 2013, numbered in the order of the source."""

import polars as pl

from meshkit import data_product
from meshkit.demo.flights import read_csv


@data_product("manifest.yaml")
def flights() -> pl.DataFrame:
    """Departures of 2013, numbered in the order of the source."""
    rows = read_csv("flights").with_row_index("flight_id", offset=1)
    small = [pl.col(c).cast(pl.Int32) for c in ("flight", "dep_delay", "arr_delay", "air_time", "distance")]
    return rows.select(
        pl.col("flight_id").cast(pl.Int64),
        pl.col("time_hour").str.to_datetime(time_unit="us", time_zone="UTC"),
        "origin",
        "dest",
        "carrier",
        *small,
        "tailnum",
    )
