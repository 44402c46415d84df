"""Readiness by a real operation: a port that accepts connections proves nothing.

`check` runs the whole operation once, when a service starts; `check_again` is cheap and leaves no trace, for every five seconds after.
"""

from __future__ import annotations

import asyncio
import http.client
import uuid
from collections.abc import Coroutine

from meshkit.errors import EnvironmentProblem
from meshkit.local.graph import HttpProbe, KafkaProbe, PostgresProbe, Probe, S3Probe
from meshkit.local.s3wire import S3Wire

__all__ = ["NotReady", "check", "check_again", "warm"]

PROBE_BUCKET = "meshkit-probe"


class NotReady(EnvironmentProblem):
    """A probe failed; the text says at which step."""

    code = "local.not_ready"


def warm(probe: Probe | None) -> None:
    """Import what the probe needs while the server is still starting."""
    if isinstance(probe, PostgresProbe):
        import psycopg  # noqa: F401
    elif isinstance(probe, KafkaProbe):
        import aiokafka.admin  # noqa: F401


async def check(probe: Probe, *, timeout_seconds: float = 5.0) -> None:
    """Do the operation that users will do. Raises: `NotReady`."""
    await _guarded(_full(probe), timeout_seconds)


async def check_again(probe: Probe, *, timeout_seconds: float = 5.0) -> None:
    """Whether a server that was ready still answers. Raises: `NotReady`."""
    await _guarded(_light(probe), timeout_seconds)


async def _guarded(operation: Coroutine[None, None, None], timeout_seconds: float) -> None:
    try:
        await asyncio.wait_for(operation, timeout_seconds)
    except NotReady:
        raise
    except TimeoutError:
        raise NotReady(f"no answer within {timeout_seconds:g} s") from None
    except Exception as error:  # drivers raise errors of many libraries; each means: not ready yet
        raise NotReady(f"{type(error).__name__} while probing") from error


async def _full(probe: Probe) -> None:
    match probe:
        case PostgresProbe():
            await asyncio.to_thread(_postgres, probe)
        case S3Probe():
            await asyncio.to_thread(_s3, probe)
        case KafkaProbe():
            await _kafka(probe)
        case HttpProbe():
            await asyncio.to_thread(_http, probe)


async def _light(probe: Probe) -> None:
    match probe:
        case S3Probe():
            await asyncio.to_thread(_s3_list, probe)
        case KafkaProbe():
            await _kafka_metadata(probe)
        case _:
            await _full(probe)


def _postgres(probe: PostgresProbe) -> None:
    import psycopg

    with psycopg.connect(
        host="127.0.0.1",
        port=probe.port,
        user=probe.user,
        password=probe.password,
        dbname="postgres",
        connect_timeout=4,
    ) as connection:
        row = connection.execute("SELECT current_setting('wal_level')").fetchone()
    if row != ("logical",):
        raise NotReady("wal_level is not logical")


def _wire(probe: S3Probe) -> S3Wire:
    return S3Wire(probe.port, probe.key, probe.secret, probe.region)


def _s3(probe: S3Probe) -> None:
    wire = _wire(probe)
    for bucket in (PROBE_BUCKET, *probe.buckets):
        status, body = wire.call("PUT", f"/{bucket}")
        if status != 200 and b"BucketAlready" not in body:
            raise NotReady(f"creating bucket {bucket} answered {status}")
    path, content = f"/{PROBE_BUCKET}/{uuid.uuid4().hex}", b"meshkit"
    for method, sent, expected in (("PUT", content, 200), ("GET", b"", 200), ("DELETE", b"", 204)):
        status, body = wire.call(method, path, sent)
        if status != expected:
            raise NotReady(f"{method} of an object answered {status}")
        if method == "GET" and body != content:
            raise NotReady("an object came back different")


def _s3_list(probe: S3Probe) -> None:
    status, _ = _wire(probe).call("GET", "/")
    if status != 200:
        raise NotReady(f"listing buckets answered {status}")


async def _kafka(probe: KafkaProbe) -> None:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    server = await _reachable(probe.port)
    admin = AIOKafkaAdminClient(bootstrap_servers=server)
    try:
        await admin.start()
        await admin.create_topics(
            [NewTopic(probe.topic, 1, 1)]
        )  # an existing topic is no exception, only a code in the answer
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=server, acks="all")
    try:
        await producer.start()
        sent = await producer.send_and_wait(probe.topic, b"meshkit", partition=0)
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(bootstrap_servers=server, enable_auto_commit=False)
    try:
        await consumer.start()
        where = TopicPartition(probe.topic, 0)
        consumer.assign([where])
        consumer.seek(where, sent.offset)
        got = await consumer.getone()
    finally:
        await consumer.stop()
    if got.value != b"meshkit":
        raise NotReady("a record came back different")


async def _kafka_metadata(probe: KafkaProbe) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=await _reachable(probe.port))
    try:
        await admin.start()
        if probe.topic not in await admin.list_topics():
            raise NotReady(f"topic {probe.topic} is gone")
    finally:
        await admin.close()


async def _reachable(port: int) -> str:
    """The bootstrap address, after a plain connection: the client would log an error for each refused one."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()
    return f"127.0.0.1:{port}"


def _http(probe: HttpProbe) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", probe.port, timeout=4)
    try:
        connection.request("GET", probe.path)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != 200:
        raise NotReady(f"GET {probe.path} answered {status}")
