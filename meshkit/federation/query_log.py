"""The query log in the state store: what was read, by whom, from where. Lineage and catalog learn from it; literals are `?`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from meshkit._sql import Store, from_micros, micros
from meshkit.ports import QueryLogRecord

if TYPE_CHECKING:
    from sqlalchemy import Table

__all__ = ["StoreQueryLog"]

_PAGE = 1_000


def _table() -> Table:
    import sqlalchemy as sa

    return sa.Table(
        "query_log_entry",
        sa.MetaData(),
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("query_id", sa.String(64), nullable=False),
        sa.Column("principal", sa.String(256), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )


class StoreQueryLog:
    """`ports.QueryLog` over the state store: appended after each query, read with rising sequence numbers."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.table = _table()
        store.create(self.table.metadata)

    def append(self, record: QueryLogRecord) -> None:
        """Record one query. Raises: `StoreUnavailable`."""
        row = {
            "at": micros(record.at),
            "query_id": record.query_id,
            "principal": record.principal,
            "status": record.status,
            "record": _dump(record),
        }
        with self.store.write() as connection:
            connection.execute(self.table.insert().values(**row))

    def read(self, *, after: int = 0) -> Iterator[tuple[int, QueryLogRecord]]:
        """Records with sequence numbers above `after`, rising; in pages, so that a long log needs little memory."""
        import sqlalchemy as sa

        while True:
            statement = sa.select(self.table.c.sequence, self.table.c.record).where(self.table.c.sequence > after)
            with self.store.read() as connection:
                rows = connection.execute(statement.order_by(self.table.c.sequence).limit(_PAGE)).all()
            for sequence, text in rows:
                yield int(sequence), _parse(text)
            if len(rows) < _PAGE:
                return
            after = int(rows[-1][0])


def _dump(record: QueryLogRecord) -> str:
    data: dict[str, Any] = {name: getattr(record, name) for name in record.__slots__}
    data["at"] = micros(record.at)
    data["relations"] = None if record.relations is None else {k: list(v) for k, v in record.relations.items()}
    data["column_lineage"] = {k: [list(pair) for pair in v] for k, v in record.column_lineage.items()}
    data["roles"] = list(record.roles)
    return json.dumps(data, sort_keys=True, ensure_ascii=False)


def _parse(text: str) -> QueryLogRecord:
    data = json.loads(text)
    known = {k: v for k, v in data.items() if k in QueryLogRecord.__slots__}
    known["at"] = from_micros(data["at"])
    known["relations"] = None if data["relations"] is None else {k: tuple(v) for k, v in data["relations"].items()}
    known["column_lineage"] = {k: tuple((p, c) for p, c in v) for k, v in data["column_lineage"].items()}
    known["roles"] = tuple(data["roles"])
    return QueryLogRecord(**known)
