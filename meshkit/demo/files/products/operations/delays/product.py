"""Delay by airport and rain."""

import polars as pl

from meshkit import data_product


@data_product("manifest.yaml")
def delays(flights: pl.LazyFrame, observations: pl.LazyFrame) -> pl.LazyFrame:
    """Flights joined with the weather of their scheduled hour."""
    joined = flights.join(observations, on=["origin", "time_hour"]).filter(
        pl.col("precip").is_not_null() & pl.col("dep_delay").is_not_null()
    )
    return joined.group_by("origin", rain=pl.col("precip") > 0).agg(
        mean_delay=pl.col("dep_delay").mean(), flights=pl.len().cast(pl.Int64)
    )
