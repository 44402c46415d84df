"""The state store: migrations once and in order, upsert, places of failure."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from meshkit._sql import Migration, Store, StoreUnavailable, from_micros, micros
from meshkit.errors import UsageError


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    opened = Store.open(f"sqlite:///{tmp_path}/deep/state.db" if request.param == "file" else "sqlite://")
    yield opened
    opened.close()


def table(store):
    metadata = sa.MetaData()
    made = sa.Table("t", metadata, sa.Column("k", sa.String, primary_key=True), sa.Column("v", sa.Integer))
    store.create(metadata)
    return made


def test_upsert_inserts_and_updates(store):
    made = table(store)
    with store.write() as connection:
        store.upsert(connection, made, [{"k": "a", "v": 1}, {"k": "b", "v": 2}], key=["k"])
        store.upsert(connection, made, [{"k": "a", "v": 3}], key=["k"])
    with store.read() as connection:
        assert connection.execute(sa.select(made).order_by(made.c.k)).all() == [("a", 3), ("b", 2)]


def test_an_error_rolls_the_whole_transaction_back(store):
    made = table(store)
    with pytest.raises(RuntimeError), store.write() as connection:
        store.upsert(connection, made, [{"k": "a", "v": 1}], key=["k"])
        raise RuntimeError
    with store.read() as connection:
        assert connection.execute(sa.select(made)).all() == []


def test_migrations_run_once_and_a_newer_store_is_refused(store):
    first, second = (
        Migration("1", ("CREATE TABLE m (a INTEGER)",)),
        Migration("2", ("ALTER TABLE m ADD COLUMN b INTEGER",)),
    )
    store.migrate("x", [first])
    store.migrate("x", [first, second])
    store.migrate("x", [first, second])
    with pytest.raises(StoreUnavailable, match="newer meshkit"):
        store.migrate("x", [first])


def test_writers_of_many_threads_take_turns(store):
    made = table(store)

    def add(number):
        with store.write() as connection:
            store.upsert(connection, made, [{"k": str(number), "v": number}], key=["k"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    with store.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(made)).scalar() == 40


def test_times_are_microseconds_and_naive_ones_are_refused():
    at = datetime(2026, 11, 24, 9, 0, 0, 123456, tzinfo=UTC)
    assert from_micros(micros(at)) == at
    with pytest.raises(UsageError, match="zone"):
        micros(datetime(2026, 11, 24))


def test_an_unreachable_store_says_what_to_check_and_hides_the_password():
    store = Store.open("postgresql+psycopg://u:hidden@127.0.0.1:1/x")
    with pytest.raises(StoreUnavailable, match="mesh.yaml") as caught, store.read():
        pass
    assert "hidden" not in str(caught.value)
