"""The command on a local mesh's own parts: PostgreSQL, the embedded broker, Parquet files."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid

import psycopg
import pytest
from publishing import TABLE, manifest_text

from meshkit.cli import meshkit, run
from meshkit.publisher import read_current


@pytest.fixture
def place(tmp_path, fresh_database, kafka_bootstrap):
    """A folder with manifest.yaml and mesh.yaml over a new database and a domain of its own."""
    domain, dsn = f"d{uuid.uuid4().hex[:10]}", fresh_database()
    text = manifest_text(domain).replace(
        "slos:", '  lake: {kind: file, format: parquet, location: "lake/*.parquet"}\nslos:', 1
    )
    (tmp_path / "manifest.yaml").write_text(text)
    slot = f"s_{domain}"
    (tmp_path / "mesh.yaml").write_text(
        f"sources:\n  sales_db: {{kind: postgres, dsn: env:TEST_DSN, options: {{slot: {slot}, publication: {slot}, retry_for_seconds: 5}}}}\n"
        f"  bus: {{kind: kafka, bootstrap: '{kafka_bootstrap}', delivery: at_least_once, serves: ['kafka://']}}\n"
    )
    os.environ["TEST_DSN"] = dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLE)
        yield tmp_path, connection, domain
        for _ in range(100):
            if not connection.execute(
                "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND active", (slot,)
            ).fetchone():
                break
            time.sleep(0.05)
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (slot,)
        )


def command(folder, *words):
    return run(
        meshkit,
        ["publisher", words[0], str(folder / "manifest.yaml"), "--config", str(folder / "mesh.yaml"), *words[1:]],
    )


def test_insert_run_and_see_the_event_in_kafka_and_parquet(place, kafka_bootstrap, capsys):
    folder, connection, domain = place
    assert command(folder, "run", "--plan") == 0
    assert "CREATE PUBLICATION" in capsys.readouterr().out
    assert command(folder, "doctor") == 0
    connection.execute("INSERT INTO orders (id, amount, status) VALUES (1, 99.99, 'completed')")
    assert command(folder, "run", "--until", "caught-up", "--format", "json") == 0
    connection.execute("UPDATE orders SET status = 'sent' WHERE id = 1")
    capsys.readouterr()
    assert command(folder, "run", "--until", "caught-up", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["events"] == 1
    values = [json.loads(r.value)["payload"] for r in consumed(kafka_bootstrap, f"mesh.{domain}.orders.v1")]
    assert values == [
        {"order_id": 1, "total": 99.99, "state": "completed"},
        {"order_id": 1, "total": 99.99, "state": "sent"},
    ]
    assert read_current(str(folder / "lake"))["state"].to_pylist() == ["sent"]
    assert command(folder, "status", "--format", "json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [s["name"] for s in shown["sinks"]] == ["events", "lake"]
    assert shown["slot"]["confirmed_flush_lsn"] >= "0/"


def consumed(bootstrap, topic):
    """Everything on a topic, until nothing more comes."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from meshkit._portal import Portal

    async def read():
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
        await consumer.start()
        try:
            parts = [TopicPartition(topic, n) for n in range(3)]
            consumer.assign(parts)
            for part in parts:
                consumer.seek(part, 0)
            found = []
            while batches := await consumer.getmany(timeout_ms=1500):
                found += [r for records in batches.values() for r in records]
            return found
        finally:
            await consumer.stop()

    with Portal() as portal:
        return portal.call(read())


def test_sigterm_finishes_the_open_chunk_and_exits_0(place):
    folder, connection, domain = place
    words = [
        sys.executable,
        "-m",
        "meshkit",
        "publisher",
        "run",
        str(folder / "manifest.yaml"),
        "--config",
        str(folder / "mesh.yaml"),
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        slot = f"s_{domain}"
        while not connection.execute(
            "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND active", (slot,)
        ).fetchone():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        connection.execute("INSERT INTO orders (id, amount, status) VALUES (1, 1, 'a')")
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 0
    assert f"{domain}.orders: stopped at" in out


def test_what_is_not_in_this_release_is_named(place, capsys):
    folder, _, _ = place
    assert command(folder, "run", "--resync") == 2
    assert "`resync` and `take_over` are not in this release" in capsys.readouterr().err
