"""Reading a topic from its start, for the demo: every event there is now."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from meshkit._portal import Portal

__all__ = ["read_events"]


def read_events(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    """Events of all partitions with a value (tombstones left out), in partition order."""
    with Portal() as portal:
        return portal.call(_read(bootstrap, topic), timeout_seconds=60)


async def _read(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        await consumer._client.force_metadata_update()  # noqa: SLF001  # assign() without a group needs the partitions
        partitions = consumer.partitions_for_topic(topic) or {0}
        consumer.assign([TopicPartition(topic, p) for p in sorted(partitions)])
        await consumer.seek_to_beginning()
        events: list[dict[str, Any]] = []
        quiet = 0
        while quiet < 3:  # the broker's end offsets are not exact: read until nothing more comes
            found = await consumer.getmany(timeout_ms=500)
            quiet = 0 if found else quiet + 1
            events += [json.loads(r.value) for records in found.values() for r in records if r.value]
        return events
    finally:
        await asyncio.wait_for(consumer.stop(), 10)
