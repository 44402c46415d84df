"""The publisher on a real PostgreSQL: changes become events, restarts repeat none, what can't go on stops with its reason."""

import json
import threading
import uuid

import psycopg
import pytest
from publishing import TABLE, manifest, manifest_text

from meshkit.manifest import Manifest
from meshkit.publisher import (
    MappingInvalid,
    MemorySink,
    MemoryStore,
    PostgresSource,
    Publisher,
    PublisherSettings,
    set_trace,
)

OUTBOX = """source:
  database: sales_db
  outbox:
    table: public.outbox
    columns: {key: key, payload: payload, traceparent: traceparent, type: type}
    types: [order_placed]
"""
FAST = PublisherSettings(retry_for_seconds=5)


@pytest.fixture
def database(fresh_database):
    dsn = fresh_database()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLE)
        yield dsn, connection
    with psycopg.connect(dsn, autocommit=True) as connection:
        for (slot,) in connection.execute(
            "SELECT slot_name FROM pg_replication_slots WHERE database = current_database() AND NOT active"
        ).fetchall():
            connection.execute("SELECT pg_drop_replication_slot(%s)", (slot,))


def source(dsn, **options):
    name = "s" + dsn.rpartition("/")[2].lower()
    return PostgresSource(dsn, slot=name, publication=name, slot_wait_seconds=5, **options)


def run(dsn, store, product=None, *, settings=FAST, **options):
    sink = MemorySink(store)
    publisher = Publisher(product or manifest(), source=source(dsn), sinks=[sink], settings=settings, **options)
    return publisher.run(until="caught_up")


def payloads(store):
    return [None if e.value is None else json.loads(e.value)["payload"] for e in store.events]


def test_an_insert_becomes_the_public_record_of_the_demo(database):
    dsn, connection = database
    store = MemoryStore()
    assert run(dsn, store).stop_reason == "caught_up"
    connection.execute("INSERT INTO orders (id, amount, status) VALUES (1, 99.99, 'completed')")
    report = run(dsn, store)
    assert (report.stop_reason, report.events) == ("caught_up", 1)
    (event,) = store.events
    assert b'"payload":{"order_id":1,"total":99.99,"state":"completed"}' in event.value
    assert event.key == b'{"order_id":1}'
    assert "hidden" not in event.value.decode()
    assert json.loads(event.value)["metadata"]["op"] == "insert"


def test_rows_that_were_there_before_come_by_snapshot_and_only_once(database):
    dsn, connection = database
    connection.execute("INSERT INTO orders SELECT g, g, 'open' FROM generate_series(1, 95) g")
    store = MemoryStore()
    settings = PublisherSettings(snapshot_rows=10, retry_for_seconds=5)
    report = run(dsn, store, settings=settings)
    assert report.stop_reason == "caught_up"
    assert [e.op for e in store.events] == ["snapshot"] * 95
    assert sorted(p["order_id"] for p in payloads(store)) == list(range(1, 96))
    again = run(dsn, store, settings=settings)
    assert again.events == 0


def test_update_delete_and_change_of_key(database):
    dsn, connection = database
    store = MemoryStore()
    run(dsn, store)
    connection.execute("INSERT INTO orders (id, amount, status) VALUES (1, 1, 'a'), (2, 2, 'b')")
    connection.execute("UPDATE orders SET status = 'c' WHERE id = 1")
    connection.execute("UPDATE orders SET id = 3 WHERE id = 2")
    connection.execute("DELETE FROM orders WHERE id = 1")
    run(dsn, store)
    shown = [(e.op, e.key.decode(), e.value is None) for e in store.events]
    assert shown == [
        ("insert", '{"order_id":1}', False), ("insert", '{"order_id":2}', False), ("update", '{"order_id":1}', False),
        ("delete", '{"order_id":2}', True), ("update", '{"order_id":3}', False), ("delete", '{"order_id":1}', True),
    ]  # fmt: skip
    assert store.events[3].event_id == store.events[4].event_id + ":k"
    assert dict(store.events[5].headers)["ce_type"] == b"sales.orders.v1.delete"


def test_a_renamed_column_stops_with_its_place_and_goes_on_with_both_names(database):
    dsn, connection = database
    store = MemoryStore()
    run(dsn, store)
    connection.execute("INSERT INTO orders (id, amount, status) VALUES (1, 1, 'before')")
    connection.execute("ALTER TABLE orders RENAME COLUMN status TO order_status")
    connection.execute("INSERT INTO orders (id, amount, order_status) VALUES (2, 2, 'after')")
    for _ in range(2):
        report = run(dsn, store)
        assert report.stop_reason == "publisher.mapped_column_missing"
        assert report.exit_code == 1
        assert 'mapped from public.orders.status, renamed to "order_status" at commit' in report.message
        assert "product field sales.orders.state (manifest.yaml:" in report.message
        assert report.message.endswith("Map state from [order_status, status] and start again.")
        assert [p["state"] for p in payloads(store)] == ["before"]
    report = run(dsn, store, manifest(state="[order_status, status]"))
    assert report.stop_reason == "caught_up"
    assert [p["state"] for p in payloads(store)] == ["before", "after"]


def test_new_columns_change_nothing(database):
    dsn, connection = database
    store = MemoryStore()
    run(dsn, store)
    connection.execute("ALTER TABLE orders ADD COLUMN extra int DEFAULT 7")
    connection.execute("INSERT INTO orders (id, amount, status) VALUES (1, 1, 'a')")
    assert run(dsn, store).stop_reason == "caught_up"
    assert payloads(store) == [{"order_id": 1, "total": 1.00, "state": "a"}]


def test_truncate_stops_before_it_and_a_failing_row_is_a_dead_letter(database):
    dsn, connection = database
    store = MemoryStore()
    product = manifest(state="{column: status, values: {c: completed, o: open}}")
    run(dsn, store, product)
    connection.execute("INSERT INTO orders (id, amount, status) VALUES (1, 1, 'c'), (2, 2, 'x')")
    connection.execute("TRUNCATE orders")
    report = run(dsn, store, product)
    assert report.stop_reason == "publisher.truncated"
    assert [p["state"] for p in payloads(store)] == ["completed"]
    (letter,) = store.dead_letters
    assert (letter.code, letter.fields, letter.columns) == ("value_not_listed", ("state",), ("status",))
    assert letter.row == {"id": "2", "amount": "2.00", "status": "x"}
    assert "x" not in letter.message.split()


def test_under_halt_everything_before_the_poison_row_is_published(database):
    dsn, connection = database
    store = MemoryStore()
    product = manifest(state="{column: status, values: {c: completed}}")
    settings = PublisherSettings(on_poison="halt", retry_for_seconds=5)
    run(dsn, store, product, settings=settings)
    connection.execute("INSERT INTO orders (id, amount, status) VALUES (1, 1, 'c'), (2, 2, 'x'), (3, 3, 'c')")
    for _ in range(2):
        assert run(dsn, store, product, settings=settings).stop_reason == "publisher.poison_row"
        assert [p["order_id"] for p in payloads(store)] == [1]
        assert store.dead_letters == []


def test_a_where_condition_turns_leaving_rows_into_tombstones(database):
    dsn, connection = database
    store = MemoryStore()
    product = manifest(table_options="where: \"status <> 'draft'\"")
    run(dsn, store, product)
    connection.execute("INSERT INTO orders (id, amount, status) VALUES (1, 1, 'draft'), (2, 2, 'open'), (3, 3, NULL)")
    connection.execute("UPDATE orders SET status = 'open' WHERE id = 1")
    connection.execute("UPDATE orders SET status = 'draft' WHERE id = 2")
    run(dsn, store, product)
    assert [(e.op, json.loads(e.key)["order_id"]) for e in store.events] == [
        ("insert", 2),
        ("update", 1),
        ("delete", 2),
    ]


def test_a_cut_transaction_is_resumed_inside(database):
    dsn, connection = database
    store = MemoryStore()
    run(dsn, store)
    connection.execute("INSERT INTO orders SELECT g, g, 'open' FROM generate_series(1, 500) g")
    sink = MemorySink(store)
    settings = PublisherSettings(max_chunk_rows=70, retry_for_seconds=10)
    publisher = Publisher(manifest(), source=source(dsn), sinks=[sink], settings=settings)
    original, calls = sink.flush, []

    def sometimes():
        calls.append(1)
        if len(calls) in {4, 7}:
            sink.fail_next()
        original()

    sink.flush = sometimes
    report = publisher.run(until="caught_up")
    assert report.stop_reason == "caught_up"
    assert report.restarts == 2
    assert [p["order_id"] for p in payloads(store)] == list(range(1, 501))
    assert len({e.event_id for e in store.events}) == 500


def test_unchanged_toasted_values_are_never_lost(database):
    dsn, connection = database
    connection.execute("ALTER TABLE orders ALTER COLUMN status SET STORAGE EXTERNAL")
    store = MemoryStore()
    run(dsn, store)
    large = uuid.uuid4().hex * 400
    connection.execute(
        "INSERT INTO orders (id, amount, status) VALUES (1, 1, %s), (2, 2, %s), (3, 3, %s)", (large, large, large)
    )
    run(dsn, store)
    connection.execute("UPDATE orders SET amount = 5 WHERE id = 1")  # reselected
    connection.execute("UPDATE orders SET amount = 6 WHERE id = 2")
    connection.execute("DELETE FROM orders WHERE id = 2")  # gone: superseded
    report = run(dsn, store)
    assert report.superseded == 1
    assert payloads(store)[3:] == [{"order_id": 1, "total": 5.00, "state": large}, None]


def test_a_streamed_transaction_gives_the_same_events_as_a_plain_one(database, postgres_dsn):
    dsn, connection = database
    store = MemoryStore()
    run(dsn, store)
    connection.execute("BEGIN")
    connection.execute("SAVEPOINT a")
    connection.execute("INSERT INTO orders SELECT g, g, repeat('x', 200) FROM generate_series(1, 5000) g")
    connection.execute("ROLLBACK TO a")
    connection.execute("INSERT INTO orders SELECT g, g, repeat('y', 200) FROM generate_series(5001, 10000) g")
    connection.execute("COMMIT")
    other, plain = PostgresSource(dsn, slot="x" + source(dsn).slot, publication=source(dsn).publication), MemoryStore()
    idle(dsn)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("SELECT pg_copy_logical_replication_slot(%s, %s)", (source(dsn).slot, other.slot))
    other.streaming = False
    settings = PublisherSettings(snapshot="never", retry_for_seconds=5)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {dsn.rpartition('/')[2]} SET logical_decoding_work_mem = '64kB'")
    run(dsn, store)
    Publisher(manifest(), source=other, sinks=[MemorySink(plain)], settings=settings).run(
        until="caught_up", adopt_slot=True
    )
    assert len(store.events) == 5000
    assert [(e.event_id, e.value) for e in store.events] == [(e.event_id, e.value) for e in plain.events]


def test_snapshot_and_stream_together_end_in_the_table(database):
    """Writers change rows while the snapshot runs: the last event of each key is the row of the table."""
    dsn, connection = database
    connection.execute("INSERT INTO orders SELECT g, 0, 'start' FROM generate_series(1, 400) g")
    done = threading.Event()

    def write():
        with psycopg.connect(dsn, autocommit=True) as writer:
            number = 0
            while not done.is_set():
                number += 1
                key = number * 7 % 400 + 1
                if number % 5 == 0:
                    writer.execute("DELETE FROM orders WHERE id = %s", (key,))
                else:
                    writer.execute(
                        "INSERT INTO orders VALUES (%s, %s, 'w') ON CONFLICT (id) DO UPDATE SET amount = excluded.amount",
                        (key, number),
                    )

    thread = threading.Thread(target=write)
    thread.start()
    store = MemoryStore()
    settings = PublisherSettings(snapshot_rows=23, retry_for_seconds=5)
    try:
        run(dsn, store, settings=settings)
    finally:
        done.set()
        thread.join()
    run(dsn, store, settings=settings)
    state = {}
    for event, payload in zip(store.events, payloads(store), strict=True):
        key = json.loads(event.key)["order_id"]
        if payload is None:
            state.pop(key, None)
        else:
            state[key] = payload["total"]
    rows = dict(connection.execute("SELECT id, amount::float8 FROM orders").fetchall())
    assert state == rows
    assert len({(e.event_id, e.key) for e in store.events}) == len(store.events)


def test_two_publishers_of_one_slot_the_second_stops(database):
    dsn, _ = database
    store = MemoryStore()
    run(dsn, store)
    stop = threading.Event()
    first = Publisher(manifest(), source=source(dsn), sinks=[MemorySink(store)], settings=FAST)
    thread = threading.Thread(target=lambda: first.run(stop=stop))
    thread.start()
    try:
        while not _active(dsn):
            pass
        busy = PostgresSource(dsn, slot=source(dsn).slot, publication=source(dsn).slot, slot_wait_seconds=0.3)
        report = Publisher(manifest(), source=busy, sinks=[MemorySink(store)], settings=FAST).run(until="caught_up")
        assert (report.stop_reason, report.exit_code) == ("publisher.slot_in_use", 3)
        assert first.status().state == "streaming"
    finally:
        stop.set()
        thread.join()


def idle(dsn):
    """A server process needs a moment to see that its publisher has gone."""
    while _active(dsn):
        pass


def _active(dsn):
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT active FROM pg_replication_slots WHERE slot_name = %s", (source(dsn).slot,)
        ).fetchone()[0]


def test_a_dropped_or_moved_slot_is_never_silent(database):
    dsn, connection = database
    store = MemoryStore()
    run(dsn, store)
    connection.execute("INSERT INTO orders (id) VALUES (1)")
    idle(dsn)
    connection.execute("SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", (source(dsn).slot,))
    assert run(dsn, store).stop_reason == "publisher.gap"
    idle(dsn)
    connection.execute("SELECT pg_drop_replication_slot(%s)", (source(dsn).slot,))
    assert run(dsn, store).stop_reason == "publisher.slot_lost"
    connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (source(dsn).slot,))
    assert run(dsn, MemoryStore()).stop_reason == "publisher.position_missing"


def test_the_trace_of_the_application_is_in_the_event(database):
    dsn, connection = database
    store = MemoryStore()
    run(dsn, store)
    with connection.transaction():
        set_trace(connection, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        connection.execute("INSERT INTO orders (id) VALUES (1)")
    run(dsn, store)
    assert store.events[0].trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert dict(store.events[0].headers)["traceparent"].startswith(b"00-4bf92f3577b34da6a3ce929d0e0e4736-")


def test_wrong_columns_and_types_are_reported_together_before_anything_is_made(database):
    dsn, connection = database
    connection.execute("ALTER TABLE orders ADD COLUMN anything numeric")
    product = manifest(fields="gross: decimal(12,2)\nplaced: {type: date}", map="gross: anything\nplaced: placed_at")
    publisher = Publisher(product, source=source(dsn), sinks=[MemorySink()])
    with pytest.raises(MappingInvalid) as caught:
        publisher.run(until="caught_up")
    assert "no column `placed_at`" in str(caught.value)
    connection.execute("ALTER TABLE orders ADD COLUMN placed_at timestamptz")
    with pytest.raises(MappingInvalid) as caught:
        publisher.plan()
    assert len(caught.value.diagnostics) == 2
    assert all(d.line > 1 for d in caught.value.diagnostics)
    assert connection.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)


def test_plan_and_doctor_change_nothing_and_tell_all(database):
    dsn, connection = database
    publisher = Publisher(manifest(), source=source(dsn), sinks=[MemorySink()])
    plan = publisher.plan()
    assert plan.statements[0].endswith(
        'FOR TABLE "public"."orders" ("id", "amount", "status") WITH (publish_via_partition_root = true)'
    )
    assert plan.topic == "mesh.sales.orders.v1"
    assert publisher.doctor().ok
    assert connection.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)
    assert publisher.status().to_json()["slot"] is None


def test_an_outbox_publishes_inserts_even_if_they_are_deleted_at_once(database):
    dsn, connection = database
    connection.execute(
        "CREATE TABLE outbox (seq bigserial PRIMARY KEY, key jsonb, payload jsonb, traceparent text, type text)"
    )
    head = manifest_text().split("source:")[0]
    product = Manifest.parse(head + OUTBOX)
    store = MemoryStore()
    assert run(dsn, store, product).stop_reason == "caught_up"
    with connection.transaction():
        connection.execute(
            """INSERT INTO outbox (key, payload, type) VALUES ('{"order_id": 5}', '{"order_id": 5, "total": 10.10, "state": "x"}',
            'order_placed'), ('{"order_id": 6}', '{"order_id": 6}', 'other'), ('[]', '{}', 'order_placed')"""
        )
        connection.execute("DELETE FROM outbox")
    run(dsn, store, product)
    assert [(e.op, e.key) for e in store.events] == [("event", b'{"order_id":5}')]
    assert b'"total":10.10' in store.events[0].value
    assert [d.code for d in store.dead_letters] == ["bad_message"]


def test_a_guard_masks_and_rejects_before_anything_leaves(database):
    import pyarrow as pa

    from meshkit.ports import GuardResult

    class Guard:
        covers = frozenset({"state"})

        def apply(self, rows):
            masked = pa.array(["***"] * rows.num_rows)
            rejected = {n: "too_much" for n, total in enumerate(rows.column("total").to_pylist()) if total > 100}
            return GuardResult(rows.set_column(rows.schema.get_field_index("state"), "state", masked), rejected)

    dsn, connection = database
    store = MemoryStore()
    run(dsn, store, guards=[Guard()])
    connection.execute("INSERT INTO orders (id, amount, status) VALUES (1, 1.50, 'Ana'), (2, 200, 'Eve')")
    run(dsn, store, guards=[Guard()])
    assert payloads(store) == [{"order_id": 1, "total": 1.50, "state": "***"}]
    assert b'"total":1.50' in store.events[0].value
    assert [(d.stage, d.code) for d in store.dead_letters] == [("guard", "too_much")]


def test_state_changes_leaves_out_equal_records_and_keeps_the_others(database):
    dsn, connection = database
    product = manifest(options="emit: state_changes")
    with pytest.raises(MappingInvalid, match="REPLICA IDENTITY FULL"):
        run(dsn, MemoryStore(), product)
    connection.execute("ALTER TABLE orders REPLICA IDENTITY FULL")
    store = MemoryStore()
    run(dsn, store, product)
    connection.execute("INSERT INTO orders (id, amount, status) VALUES (1, 1, 'a')")
    connection.execute("UPDATE orders SET secret = 'other'")
    connection.execute("UPDATE orders SET status = 'b'")
    report = run(dsn, store, product)
    assert report.suppressed == 1
    assert [e.op for e in store.events] == ["insert", "update"]


def test_two_sinks_one_of_which_fails_end_with_the_same_events(database):
    dsn, connection = database
    one, two = MemoryStore(), MemoryStore()
    sinks = [MemorySink(one, name="one"), MemorySink(two, name="two")]
    connection.execute("INSERT INTO orders SELECT g, g, 'old' FROM generate_series(1, 30) g")
    settings = PublisherSettings(max_chunk_rows=20, snapshot_rows=10, retry_for_seconds=10)
    publisher = Publisher(manifest(), source=source(dsn), sinks=sinks, settings=settings)
    publisher.run(until="caught_up")
    connection.execute("INSERT INTO orders SELECT g, g, 'new' FROM generate_series(31, 130) g")
    original, calls = sinks[1].flush, []

    def third_time():
        calls.append(1)
        if len(calls) == 3:
            sinks[1].fail_next()
        original()

    sinks[1].flush = third_time
    report = publisher.run(until="caught_up")
    assert (report.stop_reason, report.restarts) == ("caught_up", 1)
    assert [e.event_id for e in one.events] == [e.event_id for e in two.events]
    assert len({e.key for e in two.events}) == len(two.events) == 130


def test_a_changed_type_stops_the_run_before_its_first_change(database):
    dsn, connection = database
    store = MemoryStore()
    run(dsn, store)
    name = source(dsn).publication
    connection.execute(f'ALTER PUBLICATION "{name}" SET TABLE orders')
    connection.execute("ALTER TABLE orders ALTER COLUMN amount TYPE numeric(20,5)")
    connection.execute("INSERT INTO orders (id, amount) VALUES (1, 1)")
    with pytest.raises(MappingInvalid, match="does not fit field `total`"):
        run(dsn, store)
    connection.execute("ALTER TABLE orders ALTER COLUMN amount TYPE numeric(10,2)")
    assert run(dsn, store).stop_reason == "publisher.column_retyped"
    assert store.events == []


def test_an_unreachable_database_is_retried_and_then_reported():
    away = PostgresSource("postgresql://nobody:secretword@127.0.0.1:9/none")
    settings = PublisherSettings(retry_for_seconds=0.2)
    report = Publisher(manifest(), source=away, sinks=[MemorySink()], settings=settings).run(until="caught_up")
    assert (report.stop_reason, report.exit_code) == ("publisher.retries_spent", 3)
    assert "secretword" not in report.message
