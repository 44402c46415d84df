"""Airline codes and names."""

import polars as pl

from meshkit import data_product
from meshkit.demo.flights import read_csv


@data_product("manifest.yaml")
def airlines() -> pl.DataFrame:
    """Airline codes and names."""
    return read_csv("airlines").select("carrier", "name")
