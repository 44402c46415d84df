"""Tables of the catalog: revisions of manifests with validity, problems of sources, events of access (append-only)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshkit._sql import Store

__all__ = ["CatalogTables"]


class CatalogTables:
    """The tables, created at first use."""

    def __init__(self, store: Store) -> None:
        import sqlalchemy as sa

        self.store = store
        metadata = sa.MetaData()
        number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
        self.revision = sa.Table(
            "catalog_revision", metadata,
            sa.Column("id", number, primary_key=True, autoincrement=True),
            sa.Column("urn", sa.String(256), nullable=False), sa.Column("source", sa.String(64), nullable=False),
            sa.Column("path", sa.String(1024), nullable=False), sa.Column("version", sa.String(64), nullable=False),
            sa.Column("commit_id", sa.String(64)), sa.Column("sha256", sa.String(64), nullable=False), sa.Column("manifest", sa.Text, nullable=False),
            sa.Column("state", sa.String(16), nullable=False), sa.Column("valid_from", sa.BigInteger, nullable=False),
            sa.Column("valid_to", sa.BigInteger),
            sa.Index("catalog_revision_current", "source", "path", "valid_to"), sa.Index("catalog_revision_urn", "urn", "valid_to"),
        )  # fmt: skip
        self.problem = sa.Table(
            "catalog_problem", metadata,
            sa.Column("source", sa.String(64), primary_key=True), sa.Column("path", sa.String(1024), primary_key=True),
            sa.Column("code", sa.String(128), primary_key=True), sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("column_no", sa.Integer, nullable=False), sa.Column("message", sa.Text, nullable=False),
            sa.Column("first_seen", sa.BigInteger, nullable=False), sa.Column("last_seen", sa.BigInteger, nullable=False),
        )  # fmt: skip
        self.source = sa.Table(
            "catalog_source", metadata,
            sa.Column("name", sa.String(64), primary_key=True), sa.Column("place", sa.String(1024), nullable=False),
            sa.Column("last_success", sa.BigInteger), sa.Column("last_try", sa.BigInteger, nullable=False), sa.Column("error", sa.Text),
        )  # fmt: skip
        self.access = sa.Table(
            "access_event", metadata,
            sa.Column("seq", number, primary_key=True, autoincrement=True),
            sa.Column("request_id", sa.String(64), nullable=False), sa.Column("kind", sa.String(16), nullable=False),
            sa.Column("product", sa.String(128), nullable=False), sa.Column("principal", sa.String(256), nullable=False),
            sa.Column("by", sa.String(256), nullable=False), sa.Column("at", sa.BigInteger, nullable=False), sa.Column("facts", sa.Text, nullable=False),
            sa.Index("access_event_request", "request_id"), sa.Index("access_event_product", "product"),
        )  # fmt: skip
        store.create(metadata)
