"""CPU per event of the row path, beside a baseline in the same run. CPU is the gate: wall time on shared cores moves by half."""

import json
import statistics
import struct
import time
from decimal import Decimal

import pytest
from publishing import manifest

from meshkit.ports import RunContext
from meshkit.publisher import compile_mapping
from meshkit.publisher.binding import bind_table
from meshkit.publisher.decoders import pgoutput
from meshkit.publisher.decoders.values import PgType
from meshkit.publisher.envelope import Envelope, Moment
from meshkit.publisher.rows import RowPath, Transaction

pytestmark = pytest.mark.benchmark
EVENTS, ROUNDS = 20_000, 5


def numeric(text):
    number = Decimal(text)
    whole = int(number.scaleb(2))
    digits = [whole // 1_000_000, whole // 100 % 10_000, whole % 100 * 100]
    return struct.pack(">hhHh3h", 3, 1, 0, 2, *digits)


def frame(number):
    values = [struct.pack(">q", number), numeric("123456.78"), b"completed", b"never decoded"]
    body = b"".join(b"b" + struct.pack(">I", len(v)) + v for v in values)
    return b"I" + struct.pack(">I", 7) + b"N" + struct.pack(">H", 4) + body


def cpu_per_event(work):
    """Median over rounds, in microseconds of CPU."""
    seconds = []
    for _ in range(ROUNDS):
        before = time.process_time()
        work()
        seconds.append(time.process_time() - before)
    return statistics.median(seconds) / EVENTS * 1e6


def test_decoder_and_row_path():
    mapping = compile_mapping(manifest())
    columns = {
        "id": (0, PgType("int8", "bigint")), "amount": (1, PgType("numeric", "numeric(10,2)", 10, 2)), "status": (2, PgType("text", "text")),
        "secret": (3, PgType("text", "text")),
    }  # fmt: skip
    table, problems = bind_table(mapping, mapping.tables[0], columns, frozenset({"id"}))
    assert not problems
    run = RunContext("sales", "sales.orders", "1.0.0", 1, "t", "s", "742", mapping.key, mapping.row_type)
    envelope = Envelope(run, "urn:mesh:sales:orders")
    frames = [frame(n) for n in range(EVENTS)]
    moment = Moment.of("742:1", 0)

    def parse_only():
        for data in frames:
            pgoutput.parse(data, 1)

    def whole():
        path = RowPath(envelope, None, "742")
        transaction = Transaction(100, 0, 1, moment)
        for number, data in enumerate(frames):
            drafts, _, _ = path.change(table, pgoutput.parse(data, number), (100, number, 0), transaction)
            for d in drafts:
                envelope.encode(d.op, d.event_id, d.at, d.moment, d.key, d.payload, key_bytes=d.key_bytes)

    def baseline():
        """What any publisher in Python pays at least: one JSON document of the same content by the standard library."""
        for number in range(EVENTS):
            json.dumps(
                {
                    "metadata": {"product": "sales.orders", "op": "insert", "id": number},
                    "payload": {"a": number, "b": 1.5, "c": "completed"},
                }
            )

    parsed, all_of_it, least = cpu_per_event(parse_only), cpu_per_event(whole), cpu_per_event(baseline)
    print(
        f"\nframe {parsed:.1f} us/event, frame to encoded event {all_of_it:.1f} us/event, json.dumps {least:.1f} us/event"
    )
    assert parsed < 4 * least
    assert all_of_it < 20 * least
