"""Orders per state."""

import polars as pl

from meshkit import DataProduct, check, data_product, transform


@data_product("manifest.yaml")
class OrderAudit(DataProduct):
    """Orders per state, with the one rule that finance insists on."""

    @transform
    def build(self, orders: pl.LazyFrame) -> pl.LazyFrame:
        """Count and sum."""
        return orders.group_by("state").agg(orders=pl.len().cast(pl.Int64), total=pl.col("total").sum())

    @check("a state without orders has no row")
    def counted(self, rows: pl.LazyFrame) -> pl.Expr:
        """Every row counts something."""
        return pl.col("orders") > 0
