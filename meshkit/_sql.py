"""The state store: SQLite by default, PostgreSQL for teams. Engine, transactions, upsert, and named, ordered migrations.

Each module owns tables with its prefix in its `store.py`: SQLAlchemy Core, no ORM. Times are integer microseconds UTC, JSON is text.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from meshkit.errors import EnvironmentProblem, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, MetaData, Table

__all__ = ["Store", "StoreUnavailable", "from_micros", "micros"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StoreUnavailable(EnvironmentProblem):
    """The state store cannot be opened, read or written."""

    code = "store.unavailable"


def micros(at: datetime) -> int:
    """Aware time to integer microseconds since 1970 UTC, the store's form. Raises: `UsageError` for a naive time."""
    if at.tzinfo is None:
        raise UsageError(
            "a time without zone was given. Pass an aware datetime, for example datetime.now(UTC)", code="time.naive"
        )
    return (at - _EPOCH) // timedelta(microseconds=1)


def from_micros(value: int) -> datetime:
    """Inverse of `micros`."""
    return _EPOCH + timedelta(microseconds=value)


@dataclass(frozen=True, slots=True)
class Migration:
    """A step of a module's schema: applied once, in order, inside one transaction."""

    name: str
    statements: tuple[str, ...]


class Store:
    """One database with the state of a mesh. Thread-safe: each `read` and `write` has its own connection.

    `Store.open("sqlite:///.mesh/state.db")`, `Store.open("sqlite://")` for memory, `Store.open("postgresql+psycopg://...")`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._created: set[str] = set()
        self._lock = threading.Lock()
        # a database in memory is one connection: its transactions take turns
        self._turn: Any = (
            threading.RLock() if engine.dialect.name == "sqlite" and not engine.url.database else nullcontext()
        )

    @classmethod
    def open(cls, url: str = "sqlite://") -> Self:
        """Connect; makes the folder of an SQLite file. Raises: `StoreUnavailable` with the cause, never the URL's password."""
        import sqlalchemy as sa
        from sqlalchemy.pool import StaticPool

        parsed = sa.make_url(url)
        try:
            if parsed.get_backend_name() == "sqlite":
                return cls(_open_sqlite(sa, parsed, StaticPool))
            return cls(sa.create_engine(parsed, pool_pre_ping=True))
        except (sa.exc.SQLAlchemyError, OSError, ImportError) as error:
            shown = parsed.render_as_string(hide_password=True)
            raise StoreUnavailable(
                f"the state store {shown} cannot be opened ({type(error).__name__}). Check `state` in mesh.yaml"
            ) from None

    @property
    def is_sqlite(self) -> bool:
        """Whether text search must use FTS5 (SQLite) or tsvector (PostgreSQL)."""
        return self.engine.dialect.name == "sqlite"

    def create(self, metadata: MetaData) -> None:
        """Create the tables of `metadata` that are not there yet. Cheap to call again."""
        key = ",".join(sorted(metadata.tables))
        with self._lock:
            if key in self._created:
                return
            with self._turn, self._translate(), self.engine.begin() as connection:
                if self.is_sqlite:
                    _begin_immediate(connection)
                metadata.create_all(connection, checkfirst=True)
            self._created.add(key)

    def migrate(self, module: str, migrations: Sequence[Migration]) -> None:
        """Apply those of `migrations` that this store has not seen, in order, in one transaction.

        Raises: `StoreUnavailable` if the store has migrations of `module` that this version does not know (a newer meshkit wrote it).
        """
        import sqlalchemy as sa

        with self.write() as connection:
            connection.execute(
                sa.text(
                    "CREATE TABLE IF NOT EXISTS mesh_migration (module VARCHAR(64), name VARCHAR(128), PRIMARY KEY (module, name))"
                )
            )
            rows = connection.execute(sa.text("SELECT name FROM mesh_migration WHERE module = :m"), {"m": module})
            done = {row[0] for row in rows}
            unknown = done - {m.name for m in migrations}
            if unknown:
                raise StoreUnavailable(
                    f"the state store was written by a newer meshkit: {module} has migration {min(unknown)}. Upgrade meshkit"
                )
            for migration in migrations:
                if migration.name in done:
                    continue
                for statement in migration.statements:
                    connection.execute(sa.text(statement))
                connection.execute(
                    sa.text("INSERT INTO mesh_migration VALUES (:m, :n)"), {"m": module, "n": migration.name}
                )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading: one snapshot while the block runs."""
        with self._turn, self._translate(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that takes the write lock first: commits at the end of the block, rolls back on an error."""
        with self._turn, self._translate(), self.engine.begin() as connection:
            if self.is_sqlite:
                _begin_immediate(connection)
            yield connection

    @contextmanager
    def _translate(self) -> Iterator[None]:
        import sqlalchemy as sa

        try:
            yield
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            cause = type(error.orig).__name__ if error.orig is not None else type(error).__name__
            text = str(error.orig).splitlines()[0] if error.orig is not None else ""
            raise StoreUnavailable(
                f"the state store did not answer ({cause}: {text}). Check `state` in mesh.yaml, disk space and permissions"
            ) from error

    def upsert(
        self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, key: Sequence[str]
    ) -> None:
        """Insert `rows`, or update the non-key columns of rows whose `key` is there already."""
        if not rows:
            return
        if self.is_sqlite:
            from sqlalchemy.dialects.sqlite import insert
        else:
            from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
        statement = insert(table)
        others = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in key and c.name in rows[0]}
        if others:
            statement = statement.on_conflict_do_update(index_elements=list(key), set_=others)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=list(key))
        connection.execute(statement, [dict(row) for row in rows])

    def cursor(self, name: str) -> int:
        """How far a reader of a log has come, by name; 0 at the start."""
        import sqlalchemy as sa

        self.create(_cursors().metadata)
        with self.read() as connection:
            found = connection.execute(sa.select(_cursors().c.value).where(_cursors().c.name == name)).scalar()
        return int(found or 0)

    def advance(self, name: str, value: int) -> None:
        """Move a reader on; never back, so that several processes may read the same log."""
        with self.write() as connection:
            at = connection.execute(_cursors().select().where(_cursors().c.name == name)).mappings().first()
            if at is None or at["value"] < value:
                self.upsert(connection, _cursors(), [{"name": name, "value": value}], key=["name"])

    def close(self) -> None:
        """Release all connections."""
        self.engine.dispose()


@cache
def _cursors() -> Table:
    import sqlalchemy as sa

    columns = (sa.Column("name", sa.String(64), primary_key=True), sa.Column("value", sa.BigInteger, nullable=False))
    return sa.Table("mesh_cursor", sa.MetaData(), *columns)


def _open_sqlite(sa: Any, url: Any, static_pool: Any) -> Engine:
    in_memory = url.database in {None, "", ":memory:"}
    if not in_memory:
        folder = Path(url.database).absolute().parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    options: dict[str, Any] = {"connect_args": {"check_same_thread": False, "timeout": 5.0}}
    if in_memory:
        options["poolclass"] = static_pool
    engine = sa.create_engine(url, **options)

    @sa.event.listens_for(engine, "connect")  # type: ignore[untyped-decorator]
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver's implicit BEGIN would hide ours
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA busy_timeout=5000")
        cursor.close()

    @sa.event.listens_for(engine, "begin")  # type: ignore[untyped-decorator]
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    return engine  # type: ignore[no-any-return]


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("COMMIT")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
