"""The event form to the letter."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.ports import InnerPosition, Position, RunContext, SnapshotProgress
from meshkit.publisher.envelope import PG_EPOCH_US, Envelope, Moment, topic_of
from meshkit.publisher.position import format_lsn, parse_lsn, position_from_json, position_key, position_to_json
from meshkit.types import BYTES, FLOAT64, INT64, JSON, STRING, TIMESTAMP, TIMESTAMPTZ, Struct, StructField
from meshkit.types import Decimal as DecimalType

ROW = Struct(
    (StructField("order_id", INT64, True), StructField("total", DecimalType(10, 2)), StructField("state", STRING))
)
COMMIT, CHANGE = parse_lsn("0/1A2B3C8"), parse_lsn("0/1A2B2F0")


def envelope(row=ROW):
    return Envelope(
        RunContext(
            "sales",
            "sales.orders",
            "1.0.0",
            1,
            topic_of("sales", "orders", 1),
            "s",
            "7423190845613071234",
            ("order_id",),
            row,
        ),
        "urn:mesh:sales:orders",
    )


def moment(us=1_766_916_000_000_000 - PG_EPOCH_US, **options):
    return Moment.of("7423190845613071234:0/1A2B3C8", us, **options)


def test_the_event_of_the_design_byte_for_byte():
    payload = {"order_id": 1, "total": Decimal("99.99"), "state": "completed"}
    event_id = "7423190845613071234:0/1A2B3C8:0/1A2B2F0:0"
    when = moment(trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
    event = envelope().encode("insert", event_id, (COMMIT, CHANGE, 0), when, {"order_id": 1}, payload)
    assert event.value == (
        b'{"metadata":{"product":"sales.orders","version":"1.0.0","timestamp":"2025-12-28T10:00:00Z",'
        b'"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","event_id":"7423190845613071234:0/1A2B3C8:0/1A2B2F0:0","op":"insert",'
        b'"source":{"commit_lsn":"0/1A2B3C8","change_lsn":"0/1A2B2F0","index":0}},'
        b'"payload":{"order_id":1,"total":99.99,"state":"completed"}}'
    )
    headers = dict(event.headers)
    assert [name for name, _ in event.headers] == [
        "content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "traceparent", "mesh_version", "mesh_position",
    ]  # fmt: skip
    assert headers["ce_type"] == b"sales.orders.v1.insert"
    assert headers["ce_source"] == b"urn:mesh:sales:orders"
    assert headers["ce_id"] == event_id.encode()
    assert event.key == b'{"order_id":1}'


def test_equal_input_gives_equal_bytes_and_a_fraction_only_if_there_is_one():
    assert moment() == moment()
    assert moment(1_500_000).timestamp == "2000-01-01T00:00:01.500000Z"
    assert moment().timestamp == "2025-12-28T10:00:00Z"
    assert len(moment().trace_id) == 32


def test_a_tombstone_has_no_value_and_all_metadata_in_headers():
    event = envelope().encode("delete", "x:1", (COMMIT, CHANGE, 2), moment(), {"order_id": 1}, None)
    assert event.value is None
    assert dict(event.headers)["mesh_position"] == b"0/1A2B3C8:0/1A2B2F0:2"


@pytest.mark.parametrize(
    ("data_type", "value", "shown"),
    [
        (DecimalType(38, 0), Decimal(10) ** 37, "1" + "0" * 37), (DecimalType(10, 2), Decimal("1.50"), "1.50"), (FLOAT64, 0.1, "0.1"),
        (JSON, '{"a": 1.10}', '{"a": 1.10}'), (BYTES, b"\x00\xff", '"AP8="'), (INT64, 2**63 - 1, str(2**63 - 1)),
    ],
)  # fmt: skip
def test_values_keep_every_digit(data_type, value, shown):
    row = Struct((StructField("order_id", INT64, True), StructField("x", data_type)))
    event = envelope(row).encode("insert", "i", (1, 1, 0), moment(), {"order_id": 1}, {"order_id": 1, "x": value})
    assert event.value.decode().endswith(f'"payload":{{"order_id":1,"x":{shown}}}}}')


def test_instants_are_utc_with_z_and_wall_clocks_without_zone():
    from datetime import datetime, timedelta, timezone

    row = Struct((StructField("order_id", INT64, True), StructField("a", TIMESTAMPTZ), StructField("b", TIMESTAMP)))
    there = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    event = envelope(row).encode(
        "insert", "i", (1, 1, 0), moment(), {"order_id": 1}, {"a": there, "b": datetime(2026, 1, 1, 2)}
    )
    assert b'{"a":"2026-01-01T00:00:00Z","b":"2026-01-01T02:00:00"}' in event.value


lsns = st.integers(0, 2**64 - 1)


@settings(deadline=None, max_examples=80)
@given(
    lsns,
    st.one_of(st.none(), st.builds(InnerPosition, lsns, lsns, st.integers(0, 10**6))),
    st.lists(st.integers(0, 2**32 - 1), max_size=3),
)
def test_positions_come_back_from_json_and_keep_their_order(lsn, inner, xids):
    snapshots = (SnapshotProgress("01", "public.t", cursor=("a", "1"), upto=("z", "9"), chunks=3),)
    position = Position(
        "742",
        "s",
        "sales.orders",
        7,
        1,
        lsn,
        "2026-01-01T00:00:00Z",
        inner,
        tuple(xids),
        3,
        "sha256:x",
        {"oid": 1},
        {},
        (),
        snapshots,
    )
    assert position_from_json(position_to_json(position), system_id="742", slot="s", product="sales.orders") == position
    assert parse_lsn(format_lsn(lsn)) == lsn
    assert position_key(position) == b'{"system_id":"742","slot":"s","product":"sales.orders"}'


def test_a_position_covers_what_is_before_it_and_nothing_after():
    position = Position("742", "s", "p", 1, 1, 1000, "", InnerPosition(1500, 1200, 2))
    assert position.covers(999, 5, 0)
    assert position.covers(1500, 1200, 2)
    assert not position.covers(1500, 1200, 3)
    assert not position.covers(1500, 1201, 0)
    assert not position.covers(1600, 1, 0)
