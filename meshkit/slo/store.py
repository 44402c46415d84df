"""Evidence in the state store (tables `slo_*`): appended, read per product, cleared after 35 days."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshkit._sql import Store, from_micros, micros
from meshkit.slo.models import Evidence

if TYPE_CHECKING:
    from sqlalchemy import Table

__all__ = ["EvidenceStore"]

KEEP = timedelta(days=35)


def _table() -> Table:
    import sqlalchemy as sa

    return sa.Table(
        "slo_evidence",
        sa.MetaData(),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("product", sa.String(128), nullable=False),
        sa.Column("port", sa.String(256), nullable=False),
        sa.Column("sli", sa.String(32), nullable=False),
        sa.Column("observed_at", sa.BigInteger, nullable=False),
        sa.Column("method", sa.String(32), nullable=False),
        sa.Column("value", sa.Float),
        sa.Column("n", sa.BigInteger),
        sa.Column("bad", sa.BigInteger),
        sa.Column("field", sa.String(256)),
        sa.Column("bytes_read", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.String(64)),
        sa.Index("slo_evidence_by_product", "product", "observed_at"),
    )


class EvidenceStore:
    """Measurements by product and time."""

    def __init__(self, store: Store) -> None:
        self.store, self.table = store, _table()
        store.create(self.table.metadata)

    def append(self, evidence: Iterable[Evidence]) -> None:
        """Store measurements and drop those older than 35 days."""
        rows = [
            {n: getattr(e, n) for n in Evidence.__slots__} | {"observed_at": micros(e.observed_at)} for e in evidence
        ]
        if not rows:
            return
        oldest = max(r["observed_at"] for r in rows) - int(KEEP.total_seconds() * 1e6)
        with self.store.write() as connection:
            connection.execute(self.table.insert(), rows)
            connection.execute(self.table.delete().where(self.table.c.observed_at < oldest))

    def read(
        self, products: Sequence[str] | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> dict[str, list[Evidence]]:
        """Measurements by product, in time order; all products for None."""
        import sqlalchemy as sa

        columns = self.table.c
        statement = sa.select(self.table).order_by(columns.observed_at, columns.id)
        if products is not None:
            statement = statement.where(columns.product.in_(list(products)))
        if since is not None:
            statement = statement.where(columns.observed_at >= micros(since))
        if until is not None:
            statement = statement.where(columns.observed_at <= micros(until))
        found: dict[str, list[Evidence]] = {}
        with self.store.read() as connection:
            for row in connection.execute(statement).mappings():
                facts: dict[str, Any] = {n: row[n] for n in Evidence.__slots__}
                facts["observed_at"] = from_micros(facts["observed_at"])
                found.setdefault(row["product"], []).append(Evidence(**facts))
        return found
