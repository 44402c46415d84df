"""Hourly weather, with one wind of 1,048 mph that the contract sets aside."""

import polars as pl

from meshkit import data_product
from meshkit.demo.flights import read_csv


@data_product("manifest.yaml")
def observations() -> pl.DataFrame:
    """Hourly weather, with one wind of 1,048 mph that the contract sets aside."""
    return read_csv("weather").select(
        "origin",
        pl.col("time_hour").str.to_datetime(time_unit="us", time_zone="UTC"),
        "temp",
        "humid",
        pl.col("wind_dir").cast(pl.Int32),
        "wind_speed",
        "precip",
        "visib",
    )
