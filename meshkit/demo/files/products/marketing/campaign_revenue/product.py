"""Revenue per campaign."""

import polars as pl

from meshkit import data_product


@data_product("manifest.yaml")
def campaign_revenue(orders: pl.LazyFrame, campaigns: pl.LazyFrame) -> pl.LazyFrame:
    """Orders joined with the campaign that brought them."""
    joined = orders.join(campaigns, on="campaign_id")
    return joined.group_by(campaign="name").agg(
        revenue=pl.col("total").sum(), spend=pl.col("spend").first(), orders=pl.len().cast(pl.Int64)
    )
