"""Links of shop accounts and CRM customers."""

import polars as pl

from meshkit import data_product
from meshkit.identity import Linker, Side


@data_product("manifest.yaml")
def user_map(users: pl.DataFrame, customers: pl.DataFrame) -> pl.DataFrame:
    """One person, two systems: names, mail, phone, postcode and birth date decide."""
    left = Side.of(users, name="sales.users", id="user_id")
    right = Side.of(customers, name="marketing.customers", id="customer_id")
    return Linker(left, right, seed=7).link().to_polars()
