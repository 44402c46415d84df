"""Kafka: events, tombstones, dead letters and the position, in one transaction or in this order with acks.

`exactly_once` writes one Kafka transaction per chunk. `at_least_once` writes the position after all acks, so that a crash can repeat
events, with equal event ids. The embedded broker of a local mesh has no transactions and no idempotence (its ApiVersions claims both):
it is known by its cluster id. Source: publisher section 6.1.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from meshkit._portal import Portal
from meshkit.config import KafkaSecurity
from meshkit.errors import MissingExtra
from meshkit.ports import Chunk, DeadLetter, Event, Position, RunContext
from meshkit.publisher.errors import NotInThisRelease, PublisherStop, SinkUnavailable
from meshkit.publisher.position import position_from_json, position_key, position_to_json
from meshkit.publisher.sinks.dead_letters import dead_letter_json

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["JsonFormat", "KafkaSink"]

EMBEDDED_CLUSTER = "meshkit-embedded"
BATCH_BYTES = 512 << 10
MAX_MESSAGE_BYTES = 1_000_000  # below the brokers' default of 1,048,588
QUIET_MS = 1_500
Record = tuple[str, int, bytes, bytes | None, int, Sequence[tuple[str, bytes]]]


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """Values as JSON, the envelope of section 3."""


class KafkaSink:
    """Writes to `mesh.<domain>.<product>.v<major>` (or `topic`), `<topic>.dlq` and `mesh.<domain>._positions`.

    `create_topics` makes them with fitting settings where they are missing; else a missing topic stops the start.
    """

    def __init__(
        self,
        bootstrap: str | Sequence[str],
        *,
        topic: str | None = None,
        delivery: Literal["exactly_once", "at_least_once"] = "exactly_once",
        format: JsonFormat | None = None,  # noqa: A002  # documented name
        compression: Literal["none", "snappy", "zstd"] = "snappy",
        security: KafkaSecurity | None = None,
        create_topics: bool = False,
        partitions: int = 3,
        transaction_timeout_seconds: float = 60,
        name: str = "kafka",
    ) -> None:
        if format is not None and not isinstance(format, JsonFormat):
            raise NotInThisRelease(
                "only JSON values are in this release: Avro and JSON Schema formats come later. Use JsonFormat()"
            )
        self.bootstrap = bootstrap if isinstance(bootstrap, str) else ",".join(bootstrap)
        self.topic, self.delivery, self.compression, self.security = topic, delivery, compression, security
        self.create_topics, self.partitions, self.transaction_timeout_seconds = (
            create_topics,
            partitions,
            transaction_timeout_seconds,
        )
        self._name = name
        self._portal: Portal | None = None
        self._producer: Any = None
        self._run: RunContext | None = None
        self._pending: list[Chunk] = []
        self._durable: Position | None = None
        self._counts: dict[str, int] = {}
        self._known_partitions: dict[bytes, int] = {}
        self._embedded = False

    @property
    def name(self) -> str:
        return self._name

    def _topics(self, run: RunContext) -> tuple[str, str, str]:
        topic = self.topic or run.topic
        return topic, f"{topic}.dlq", f"mesh.{run.domain}._positions"

    # Protocol

    def open(self, run: RunContext) -> Position | None:
        self.close(abort=True)
        self._portal = Portal("meshkit-kafka")
        self._run, self._pending = run, []
        try:
            self._durable = self._guarded(self._open(run))
        except BaseException:
            self.close(abort=True)
            raise
        return self._durable

    def peek(self, run: RunContext) -> Position | None:
        with Portal("meshkit-kafka-peek") as portal:
            found: Position | None = portal.call(_translated(self._peek(run), self._name))
            return found

    def write(self, chunk: Chunk) -> None:
        self._pending.append(self._without_oversize(chunk))

    def flush(self) -> None:
        pending, self._pending = self._pending, []
        for chunk in pending:
            self._guarded(self._publish(chunk))
            self._durable = chunk.position

    def durable(self) -> Position | None:
        return self._durable

    def keys(self) -> Iterator[pa.RecordBatch]:
        raise NotInThisRelease("the live keys of a topic are read by sweeps, which are not in this release")

    def close(self, *, abort: bool) -> None:
        if self._portal is None:
            return
        try:
            if not abort and self._pending:
                self.flush()
        finally:
            self._pending = []
            portal, self._portal = self._portal, None
            try:
                if self._producer is not None:
                    portal.call(_stopped(self._producer), timeout_seconds=20)
            finally:
                self._producer = None
                portal.close()

    def _guarded(self, work: Awaitable[Any]) -> Any:
        assert self._portal is not None
        return self._portal.call(_translated(work, self._name))

    # Opening

    async def _open(self, run: RunContext) -> Position | None:
        brokers = await self._prepare_topics(run)
        self._embedded = brokers["cluster_id"] == EMBEDDED_CLUSTER
        if self._embedded and self.delivery == "exactly_once":
            raise PublisherStop(
                f"the embedded broker has no transactions, but sink {self._name} is exactly_once. Use delivery: at_least_once",
                code="publisher.no_transactions",
            )
        self._producer = self._make_producer(run)
        await self._producer.start()  # with a transactional id this fences other writers and ends what they left open
        topic, letters, positions = self._topics(run)
        for name in (topic, letters, positions):
            self._counts[name] = len(await self._producer.partitions_for(name))
        found = await self._read_position(run, fenced=True)
        count = self._counts[topic]
        if found is not None and found.topic_partitions not in {None, count}:
            raise PublisherStop(
                f"topic {topic} has {count} partitions, not {found.topic_partitions} as when its events were written: "
                "keys would move. Start a new major version", code="publisher.partitions_changed",
            )  # fmt: skip
        return found

    async def _peek(self, run: RunContext) -> Position | None:
        admin = _kafka().admin.AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, **self._login())
        await admin.start()
        try:
            cluster = await admin.describe_cluster()
            known = set(await admin.list_topics())
        finally:
            await admin.close()
        self._embedded = cluster["cluster_id"] == EMBEDDED_CLUSTER
        return await self._read_position(run, fenced=False) if self._topics(run)[2] in known else None

    def _login(self) -> dict[str, Any]:
        given = self.security
        if given is None or given.protocol == "plaintext":
            return {}
        import ssl

        options: dict[str, Any] = {"security_protocol": given.protocol.upper()}
        if given.protocol.endswith("ssl"):
            options["ssl_context"] = ssl.create_default_context()
        if given.protocol.startswith("sasl"):
            options |= {"sasl_mechanism": given.mechanism or "PLAIN", "sasl_plain_username": given.user,
                        "sasl_plain_password": given.password.reveal() if given.password else None}  # fmt: skip
        return options

    def _make_producer(self, run: RunContext) -> Any:
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap, "acks": "all", "max_batch_size": BATCH_BYTES, "max_request_size": 2 << 20,
            "compression_type": None if self.compression == "none" else self.compression, **self._login(),
        }  # fmt: skip
        if self.delivery == "exactly_once":
            options |= {"transactional_id": f"meshkit.{run.domain}.{run.slot}",
                        "transaction_timeout_ms": int(self.transaction_timeout_seconds * 1000)}  # fmt: skip
        elif not self._embedded:
            options["enable_idempotence"] = True
        return _kafka().AIOKafkaProducer(**options)

    async def _prepare_topics(self, run: RunContext) -> dict[str, Any]:
        kafka = _kafka()
        admin = kafka.admin.AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, **self._login())
        await admin.start()
        try:
            cluster: dict[str, Any] = await admin.describe_cluster()
            known = set(await admin.list_topics())
            missing = [t for t in self._topics(run) if t not in known]
            if missing and not self.create_topics:
                raise PublisherStop(
                    f"topics {', '.join(missing)} are missing. Create them (compacted), or set create_topics",
                    code="publisher.topic_missing",
                )
            if missing:
                answer = await admin.create_topics([self._new_topic(run, t, len(cluster["brokers"])) for t in missing])
                failed = [e for e in answer.topic_errors if e[1] not in {0, 36}]
                if failed:
                    raise SinkUnavailable(
                        f"topics can't be created (Kafka error {failed[0][1]}). Check the rights of the publisher"
                    )
            return cluster
        finally:
            await admin.close()

    def _new_topic(self, run: RunContext, name: str, brokers: int) -> Any:
        topic, letters, positions = self._topics(run)
        week, month = str(7 * 86_400_000), str(30 * 86_400_000)
        settings = {
            topic: {"cleanup.policy": "compact", "delete.retention.ms": week},
            letters: {"cleanup.policy": "delete", "retention.ms": month},
            positions: {"cleanup.policy": "compact"},
        }[name]
        count = 1 if name == positions else self.partitions
        return _kafka().admin.NewTopic(name, count, min(3, brokers), topic_configs=settings)

    # Positions

    async def _read_position(self, run: RunContext, *, fenced: bool) -> Position | None:
        """The newest position of this slot and product: after the fence up to the high watermark, else what is committed by now.

        Never by `end_offsets` on the embedded broker: there they are too small.
        """
        kafka = _kafka()
        partition = kafka.TopicPartition(self._topics(run)[2], 0)
        end = None
        if not self._embedded:
            # without the fence a dead writer's open transaction would be waited for until its timeout
            isolation = "read_uncommitted" if fenced else "read_committed"
            async with _consumer(kafka, partition, self.bootstrap, isolation, self._login()) as reader:
                end = (await reader.end_offsets([partition]))[partition]
        last: dict[bytes, bytes | None] = {}
        async with _consumer(
            kafka, partition, self.bootstrap, "read_committed" if end is not None else "read_uncommitted", self._login()
        ) as reader:
            reader.seek(partition, 0)
            while end is None or await reader.position(partition) < end:
                batch = await reader.getmany(partition, timeout_ms=QUIET_MS)
                records = batch.get(partition, [])
                if not records and (end is None or (reader.last_stable_offset(partition) or 0) >= end):
                    break  # nothing more to come: what is left are markers and aborted records, over which no position is told
                last |= {r.key: r.value for r in records}
        return _chosen(last, run)

    # Writing

    async def _publish(self, chunk: Chunk) -> None:
        run = self._run
        assert run is not None
        topic, letters, positions = self._topics(run)
        count = self._counts[topic]
        data: list[Record] = [
            (topic, self._partition(e.key, count), e.key, e.value, e.timestamp_us // 1000, e.headers)
            for e in chunk.events
        ]
        data += [
            (
                letters,
                self._partition(d.key, self._counts[letters]),
                d.key,
                dead_letter_json(d, run),
                d.timestamp_us // 1000,
                (),
            )
            for d in chunk.dead_letters
        ]
        position = replace(chunk.position, topic_partitions=count)
        value = json.dumps(position_to_json(position), separators=(",", ":")).encode()
        last_us = max((e.timestamp_us for e in chunk.events), default=0)
        mark: Record = (positions, 0, position_key(position), value, last_us // 1000 or None, ())  # type: ignore[assignment]
        if self.delivery == "exactly_once":
            await self._producer.begin_transaction()
            try:
                await self._send([*data, mark])
            except BaseException:
                await self._producer.abort_transaction()
                raise
            await self._producer.commit_transaction()
            return
        await self._send(data)
        await self._send([mark])

    async def _send(self, records: Sequence[Record]) -> None:
        """Send explicit batches, partitions beside each other, and wait for every ack."""
        groups: dict[tuple[str, int], list[Record]] = defaultdict(list)
        for record in records:
            groups[record[0], record[1]].append(record)
        results = await asyncio.gather(
            *(self._send_partition(t, n, g) for (t, n), g in groups.items()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _send_partition(self, topic: str, number: int, records: Sequence[Record]) -> None:
        producer, acks = self._producer, []
        batch = producer.create_batch()
        for _, _, key, value, timestamp, headers in records:
            if batch.append(timestamp=timestamp, key=key, value=value, headers=list(headers)) is None:
                acks.append(await producer.send_batch(batch, topic, partition=number))
                batch = producer.create_batch()
                if batch.append(timestamp=timestamp, key=key, value=value, headers=list(headers)) is None:
                    raise SinkUnavailable(f"an event does not fit a batch of sink {self._name}. Report this")
        acks.append(await producer.send_batch(batch, topic, partition=number))
        await asyncio.gather(*acks)

    def _partition(self, key: bytes, count: int) -> int:
        """Kafka's murmur2, as every client in Java does."""
        found = self._known_partitions.get(key)
        if found is None:
            from aiokafka.partitioner import murmur2

            found = murmur2(key) & 0x7FFFFFFF
            if len(self._known_partitions) > 200_000:
                self._known_partitions.clear()
            self._known_partitions[key] = found
        return found % count

    def _without_oversize(self, chunk: Chunk) -> Chunk:
        """Events larger than a broker takes become dead letters without row."""
        large = [
            e for e in chunk.events if len(e.key) + len(e.value or b"") + 600 > MAX_MESSAGE_BYTES and self._too_large(e)
        ]
        if not large:
            return chunk
        gone = {id(e) for e in large}
        letters = tuple(
            DeadLetter(
                e.event_id,
                e.at,
                e.key,
                "size",
                "too_large",
                (),
                (),
                "the event is larger than a Kafka message may be",
                e.timestamp_us,
            )
            for e in large
        )
        return replace(
            chunk, events=tuple(e for e in chunk.events if id(e) not in gone), dead_letters=chunk.dead_letters + letters
        )

    def _too_large(self, event: Event) -> bool:
        """Compressed alone and measured."""
        from aiokafka.record.default_records import DefaultRecordBatchBuilder

        kind = {"none": 0, "snappy": 2, "zstd": 4}[self.compression]
        alone = DefaultRecordBatchBuilder(2, kind, 0, -1, -1, -1, 1 << 30)
        alone.append(0, event.timestamp_us // 1000, event.key, event.value, list(event.headers))
        return len(alone.build()) > MAX_MESSAGE_BYTES


def _kafka() -> Any:
    try:
        import aiokafka
        import aiokafka.admin
    except ImportError:
        raise MissingExtra("kafka", package="aiokafka", purpose="publishing to Kafka") from None
    return aiokafka


class _consumer:  # noqa: N801  # reads as a function: `async with _consumer(...)`
    def __init__(self, kafka: Any, partition: Any, bootstrap: str, isolation: str, login: dict[str, Any]) -> None:
        self._reader = kafka.AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            isolation_level=isolation,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **login,
        )
        self._partition = partition

    async def __aenter__(self) -> Any:
        await self._reader.start()
        self._reader.assign([self._partition])
        await asyncio.sleep(0)  # aiokafka 0.14 raises CancelledError from stop() if its tasks never began to run
        return self._reader

    async def __aexit__(self, *_: object) -> None:
        await self._reader.stop()


def _chosen(records: dict[bytes, bytes | None], run: RunContext) -> Position | None:
    found: dict[str, Any] = {}
    for key, value in records.items():
        try:
            name = json.loads(key)
        except ValueError:
            continue
        if (
            value is not None
            and isinstance(name, dict)
            and (name.get("slot"), name.get("product")) == (run.slot, run.product)
        ):
            found[str(name.get("system_id"))] = json.loads(value)
    if run.system_id in found:
        return position_from_json(found[run.system_id], system_id=run.system_id, slot=run.slot, product=run.product)
    if found:
        raise PublisherStop(
            f"events of slot {run.slot} were published from another database (system id {min(found)}). "
            "Start a new major version, or drop the old position", code="publisher.system_changed",
        )  # fmt: skip
    return None


async def _translated(work: Awaitable[Any], name: str) -> Any:
    """Kafka's errors as ours: a fence stops the run, anything else is retried."""
    from aiokafka.errors import KafkaError, ProducerFenced

    try:
        return await work
    except ProducerFenced:
        raise PublisherStop(
            f"another publisher writes to sink {name}. Stop one of them", code="publisher.fenced"
        ) from None
    except (KafkaError, TimeoutError, OSError) as error:
        raise SinkUnavailable(f"sink {name} failed ({type(error).__name__}). Check broker, topics and rights") from None


async def _stopped(producer: Any) -> None:
    from aiokafka.errors import KafkaError

    try:
        await asyncio.wait_for(producer.stop(), 15)
    except (KafkaError, TimeoutError):
        return
