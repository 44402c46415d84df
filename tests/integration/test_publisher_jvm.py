"""Exactly once on real Apache Kafka: transactions, fences, and a publisher that is killed again and again.

Needs Java 17 or newer and Kafka's jars below `KAFKA_HOME/lib`, or Maven to fetch them once.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psycopg
import pytest
from publishing import TABLE, manifest, manifest_text

from meshkit.errors import MeshkitError
from meshkit.ports import Chunk, Position, RunContext
from meshkit.publisher import KafkaSink, PostgresSource, Publisher, PublisherSettings
from meshkit.publisher.envelope import Envelope, Moment
from meshkit.types import INT64, STRING, Struct, StructField

pytestmark = pytest.mark.jvm

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId>
<version>1</version><dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.3.1</version>
</dependency></dependencies></project>"""
PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
offsets.topic.num.partitions=2
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=16777216
"""


def jars(cache):
    if os.environ.get("KAFKA_HOME"):
        return Path(os.environ["KAFKA_HOME"]) / "lib"
    if shutil.which("mvn") is None:
        pytest.skip("neither KAFKA_HOME nor Maven is here")
    folder = cache.mkdir("kafka-4.3.1")
    if not any((folder / "lib").glob("kafka_2.13-*.jar")):
        (folder / "pom.xml").write_text(POM)
        words = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib", "-DincludeScope=runtime"]
        subprocess.run(words, cwd=folder, check=True, timeout=300)
    return folder / "lib"


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def kafka(request, tmp_path_factory):
    """`host:port` of an Apache Kafka of this module."""
    if shutil.which("java") is None:
        pytest.skip("no Java here")
    lib, folder = jars(request.config.cache), tmp_path_factory.mktemp("kafka")
    port = free_port()
    properties = folder / "server.properties"
    properties.write_text(PROPERTIES.format(port=port, controller=free_port(), data=folder / "data"))
    environment = {k: v for k, v in os.environ.items() if k != "JAVA_TOOL_OPTIONS"}
    java = ["java", "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{lib}/*"]
    found = subprocess.run(
        [*java, "kafka.tools.StorageTool", "random-uuid"], capture_output=True, text=True, check=True, env=environment
    )
    identity = found.stdout.split()[-1]
    subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", "-t", identity, "-c", properties],
        capture_output=True,
        check=True,
        env=environment,
    )
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*java, "kafka.Kafka", properties], stdout=log, stderr=log, env=environment)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def committed(bootstrap, topic, partitions=3):
    """What a read_committed consumer sees."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from meshkit._portal import Portal

    async def read():
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level="read_committed"
        )
        await consumer.start()
        try:
            parts = [TopicPartition(topic, n) for n in range(partitions)]
            consumer.assign(parts)
            await consumer.seek_to_beginning(*parts)
            found = []
            while batches := await consumer.getmany(timeout_ms=3000):
                found += [r for records in batches.values() for r in records]
            return found
        finally:
            await consumer.stop()

    with Portal() as portal:
        return portal.call(read(), timeout_seconds=60)


class Bench:
    def __init__(self, bootstrap):
        domain = f"k{uuid.uuid4().hex[:10]}"
        row = Struct((StructField("order_id", INT64, True), StructField("state", STRING)))
        self.bootstrap = bootstrap
        self.run = RunContext(
            domain, f"{domain}.orders", "1.0.0", 1, f"mesh.{domain}.orders.v1", "s", "742", ("order_id",), row
        )

    def sink(self):
        return KafkaSink(self.bootstrap, create_topics=True)

    def chunk(self, sequence, *numbers):
        events = tuple(
            Envelope(self.run, "urn:mesh:x").encode(
                "insert", f"742:{n}", (n, n, 0), Moment.of("742:1", 0), {"order_id": n}, {"order_id": n, "state": "a"}
            )
            for n in numbers
        )
        return Chunk(
            events, (), Position("742", "s", self.run.product, sequence, 1, sequence * 100, "2026-01-01T00:00:00Z")
        )

    def seen(self):
        return sorted(json.loads(r.key)["order_id"] for r in committed(self.bootstrap, self.run.topic))


def test_a_chunk_and_its_position_are_committed_together(kafka):
    bench = Bench(kafka)
    sink = bench.sink()
    assert sink.open(bench.run) is None
    sink.write(bench.chunk(1, 1, 2, 3))
    sink.flush()
    sink.close(abort=False)
    assert bench.seen() == [1, 2, 3]
    again = bench.sink()
    assert again.open(bench.run).sequence == 1
    again.close(abort=False)


def test_the_older_of_two_writers_is_fenced_and_its_open_transaction_is_never_seen(kafka):
    bench = Bench(kafka)
    old, new = bench.sink(), bench.sink()
    old.open(bench.run)
    old.write(bench.chunk(1, 1))
    old.flush()
    old._portal.call(old._producer.begin_transaction())
    record = (bench.run.topic, 0, b'{"order_id":9}', b"{}", 0, ())
    old._portal.call(old._send([record]))
    assert new.open(bench.run).sequence == 1
    new.write(bench.chunk(2, 2))
    new.flush()
    with pytest.raises(MeshkitError) as caught:
        old._guarded(old._producer.commit_transaction())
    assert caught.value.code in {"publisher.fenced", "publisher.sink_unavailable"}
    old.close(abort=True)
    new.close(abort=False)
    assert bench.seen() == [1, 2]


def started(publisher):
    return publisher.status().sinks[0]["commit_end_lsn"] is not None


def test_a_publisher_killed_again_and_again_publishes_every_change_exactly_once(kafka, fresh_database, tmp_path):
    dsn, domain = fresh_database(), f"k{uuid.uuid4().hex[:10]}"
    slot = f"s_{domain}"
    (tmp_path / "manifest.yaml").write_text(manifest_text(domain))
    (tmp_path / "mesh.yaml").write_text(
        f"sources:\n  sales_db: {{kind: postgres, dsn: env:TEST_DSN, options: {{slot: {slot}, publication: {slot}, snapshot_rows: 50}}}}\n"
        f"  bus: {{kind: kafka, bootstrap: '{kafka}', serves: ['kafka://']}}\n"
    )
    words = [
        sys.executable,
        "-m",
        "meshkit",
        "publisher",
        "run",
        str(tmp_path / "manifest.yaml"),
        "--config",
        str(tmp_path / "mesh.yaml"),
    ]
    environment = {**os.environ, "TEST_DSN": dsn}
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLE)
        connection.execute("INSERT INTO orders SELECT g, 0, 'start' FROM generate_series(1, 200) g")
        publisher = Publisher(
            manifest(domain), source=PostgresSource(dsn, slot=slot, publication=slot), sinks=[KafkaSink(kafka, create_topics=True)],
            settings=PublisherSettings(retry_for_seconds=30),
        )  # fmt: skip
        for turn in range(4):
            process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while not started(publisher):  # a slot without any position would need --adopt-slot
                assert process.poll() is None
            until = time.monotonic() + 1.0 + turn * 0.37
            while time.monotonic() < until:
                connection.execute("INSERT INTO orders SELECT max(id) + 1, 1, 'live' FROM orders")
                connection.execute("UPDATE orders SET amount = amount + 1 WHERE id %% 50 = %s", (turn,))
                connection.execute("DELETE FROM orders WHERE id = (SELECT min(id) FROM orders)")
            process.send_signal(signal.SIGKILL)
            process.wait()
        report = publisher.run(until="caught_up")
        assert report.stop_reason == "caught_up", report.message
        rows = dict(connection.execute("SELECT id, amount::float8 FROM orders").fetchall())
    events = committed(kafka, f"mesh.{domain}.orders.v1")
    ids = [(dict(e.headers)["ce_id"], e.key) for e in events]
    assert len(ids) == len(set(ids))
    state = {}
    for event in sorted(events, key=lambda e: e.offset):
        key = json.loads(event.key)["order_id"]
        if event.value is None:
            state.pop(key, None)
        else:
            state[key] = json.loads(event.value)["payload"]["total"]
    assert state == rows
