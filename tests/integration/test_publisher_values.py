"""Values and expressions against PostgreSQL's own text and evaluation."""

import json
import math
from decimal import Decimal

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.publisher import MemorySink, MemoryStore, Publisher, PublisherSettings
from meshkit.publisher.decoders.values import PgType, Unrepresentable, decoder, to_text
from meshkit.publisher.errors import RowFailure
from meshkit.publisher.expressions import ExpressionError, compile_expression, parse_expression
from meshkit.publisher.sources.catalog import TypeBook

VALUES = [
    "0::int2", "'-32768'::int2", "2147483647", "'-9223372036854775808'::int8", "4294967295::oid", "true", "1.5::float4", "0.1::float4", "3e20::float4",
    "1e-7::float8", "123456789.125::float8", "1e15::float8", "0::numeric", "-0.00001234::numeric", "12345678901234567890.0987654321::numeric",
    "10000::numeric", "99990000::numeric(12,2)", "1e30::numeric", "'NaN'::numeric", "'Infinity'::float8", "'h\u00e4 \"q\"'::text", "'ab'::char(5)",
    "'2024-02-29'::date", "'infinity'::date", "'4714-11-24 BC'::date", "'12000-01-01'::date", "'10:11:12.5'::time", "'24:00:00'::time",
    "'2024-01-01 10:00:00.123'::timestamp", "'0001-01-01 00:00:00'::timestamp", "'2024-01-01 10:00:00+02'::timestamptz", "'-infinity'::timestamptz",
    "'0044-03-15 12:00:00 BC'::timestamp", "'\\xdeadbeef'::bytea", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", "'{\"a\": 1.10}'::json", "'{\"b\": [1, 2]}'::jsonb",
    "'1 year 2 mons 3 days 04:05:06.7'::interval", "'-1 year 5 mons -00:00:00.000001'::interval", "'0'::interval", "'10:00:00+02'::timetz", "'10:00:00.25-03:30'::timetz",
    "B'10110'::bit(5)", "B'1'::varbit", "'10.1.2.3'::inet", "'10.1.0.0/16'::inet", "'::1'::inet", "'10.0.0.0/8'::cidr", "'08:00:2b:01:02:03'::macaddr",
    "ARRAY[1, NULL, 3]", "ARRAY['a', 'b c', NULL, '']", "ARRAY[[1,2],[3,4]]", "'{}'::int[]", "ARRAY[1.50::numeric(5,2)]", "'x'::name",
]  # fmt: skip


@pytest.fixture(scope="module")
def connection(fresh_database):
    with psycopg.connect(fresh_database(), autocommit=True) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        opened.execute("SET intervalstyle = 'iso_8601'")
        yield opened


def stored(connection, sql):
    """Type and binary value of an expression, and its text."""
    result = connection.execute(f"SELECT {sql}", binary=True).pgresult
    pg = TypeBook(connection).get(result.ftype(0), result.fmod(0))
    text = connection.execute(f"SELECT ({sql})", binary=False).pgresult.get_value(0, 0)
    return pg, result.get_value(0, 0), text.decode()


@pytest.mark.parametrize("sql", VALUES)
def test_every_type_reads_as_select_shows_it(connection, sql):
    pg, raw, text = stored(connection, sql)
    assert pg.kind != "unknown"
    shown = to_text(decoder(pg)(raw))
    assert {"true": "t", "false": "f"}.get(shown, shown) == text


def test_ranges_and_composites_have_no_public_form(connection):
    connection.execute("CREATE TYPE pair AS (a int, b int)")
    connection.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    connection.execute("CREATE DOMAIN cents AS numeric(12,2)")
    assert stored(connection, "int4range(1, 2)")[0].kind == "unknown"
    assert stored(connection, "(1, 2)::pair")[0].kind == "unknown"
    assert decoder(stored(connection, "'glad'::mood")[0])(stored(connection, "'glad'::mood")[1]) == "glad"
    assert (stored(connection, "1::cents")[0].precision, stored(connection, "1::cents")[0].scale) == (12, 2)


@settings(deadline=None, max_examples=150)
@given(number=st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**20), max_value=10**20))
def test_any_numeric_is_exact(connection, number):
    pg, raw, text = stored(connection, f"'{number:f}'::numeric")
    assert to_text(decoder(pg)(raw)) == text


COLUMNS = {
    "a": PgType("int4", "integer"), "b": PgType("int2", "smallint"), "n": PgType("numeric", "numeric"), "m": PgType("numeric", "numeric"),
    "x": PgType("float8", "double precision"), "s": PgType("text", "text"), "t": PgType("text", "text"), "f": PgType("bool", "boolean"),
}  # fmt: skip
EXPRESSIONS = [
    "a + b", "a - b", "a * b", "a / b", "a % b", "-a", "n + m", "n - m", "n * m", "n / m", "n % m", "a / n", "a + x", "n + coalesce(m, 0)",
    "a > b", "n = m", "n <> a", "x >= 1.5", "a is null", "f is not true", "not f", "f and a > 0", "f or a > 0", "a in (1, 2, null)",
    "case when a > 0 then 'p' when a < 0 then 'n' end", "case a when 1 then n else 0 end", "coalesce(s, t, 'none')", "nullif(a, 1)", "nullif(s, t)",
    "lower(s)", "upper(s)", "trim(s)", "length(s)", "substr(s, 2)", "substr(s, a, b)", "s || '-' || t", "s || a", "a::text", "n::text", "n::int",
    "n::numeric(8,2)", "a::numeric / 3", "x::int", "x::numeric", "a::double precision", "f::text", "s = t", "a::bigint * 4000000000", "f::int",
]  # fmt: skip
small = st.integers(-40, 40)
numerics = st.one_of(
    small.map(Decimal),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9),
)
texts = st.text(st.sampled_from(" aBcé\u00df1_"), max_size=6)
rows = st.fixed_dictionaries({
    "a": st.one_of(st.none(), small, st.integers(-(2**31), 2**31 - 1)), "b": st.one_of(st.none(), small, st.integers(-(2**15), 2**15 - 1)),
    "n": st.one_of(st.none(), numerics), "m": st.one_of(st.none(), numerics), "x": st.one_of(st.none(), st.floats(-1e6, 1e6)),
    "s": st.one_of(st.none(), texts), "t": st.one_of(st.none(), texts), "f": st.one_of(st.none(), st.booleans()),
})  # fmt: skip
CASTS = {"a": "int4", "b": "int2", "n": "numeric", "m": "numeric", "x": "float8", "s": "text", "t": "text", "f": "bool"}


@settings(deadline=None, max_examples=40)
@given(row=rows)
def test_expressions_are_evaluated_as_postgres_does(connection, row):
    columns = ", ".join(f"%({name})s::{CASTS[name]} AS {name}" for name in row)
    indexed = {name: (i, COLUMNS[name]) for i, name in enumerate(COLUMNS)}
    natural = [Decimal(format(v, "f")) if isinstance(v, Decimal) else v for v in (row[n] for n in COLUMNS)]
    for text in EXPRESSIONS:
        try:
            compiled = compile_expression(parse_expression(text), indexed)
        except ExpressionError as error:
            pytest.fail(f"{text}: {error}")
        try:
            ours = to_text(compiled.run(natural))
        except RowFailure:
            ours = "error"
        try:
            theirs = connection.execute(
                f"SELECT ({text.replace('%', '%%')})::text FROM (SELECT {columns}) AS r", row
            ).fetchone()[0]
        except psycopg.errors.DataError:
            theirs = "error"
        assert ours == theirs, text


def test_stream_and_snapshot_give_equal_records_of_every_type(fresh_database):
    from publishing import manifest

    dsn = fresh_database()
    fields = (
        "i2: int16\nd: date\nti: time\nts: timestamp\ntz: timestamptz\nj: json\nby: bytes\nu: string\nf4: float32\nf8: float64\nb: bool\n"
        "iv: string\nar: list<int32>\nip: string\nfree: decimal(12,3)"
    )
    mapped = "\n".join(
        f"{n}: {n}" for n in ("i2", "d", "ti", "ts", "tz", "j", "by", "u", "f4", "f8", "b", "iv", "ar", "ip")
    )
    product = manifest(fields=fields, map=mapped + "\nfree: {column: free, cast: 'decimal(12,3)'}")
    name = "s" + dsn.rpartition("/")[2]
    row = (
        "7, 10.50, 'ok', -3, '2024-02-29', '10:11:12.5', '2024-01-01 10:00', '2024-01-01 10:00+02', '{\"k\": 1.20}', '\\x00ff', gen_random_uuid(), "
        "0.1, 1e300, true, '1 day 2 hours', '{1,NULL,3}', '10.0.0.0/8', 1.5"
    )
    with psycopg.connect(dsn, autocommit=True) as c:
        c.execute(
            "CREATE TABLE orders (id int8 PRIMARY KEY, amount numeric(10,2), status text, i2 int2, d date, ti time, ts timestamp, tz timestamptz, "
            "j jsonb, by bytea, u uuid, f4 real, f8 float8, b bool, iv interval, ar int[], ip inet, free numeric)"
        )
        c.execute(f"INSERT INTO orders VALUES ({row})")

        def publish(store):
            from meshkit.publisher import PostgresSource

            source = PostgresSource(dsn, slot=name, publication=name)
            return Publisher(
                product, source=source, sinks=[MemorySink(store)], settings=PublisherSettings(retry_for_seconds=3)
            ).run(until="caught_up")

        store = MemoryStore()
        publish(store)
        c.execute("UPDATE orders SET id = 7")
        publish(store)
        first, second = (json.loads(e.value, parse_float=Decimal)["payload"] for e in store.events)
        assert first == second
        del first["u"]
        assert first == {
            "order_id": 7, "total": Decimal("10.50"), "state": "ok", "i2": -3, "d": "2024-02-29", "ti": "10:11:12.500000", "ts": "2024-01-01T10:00:00",
            "tz": "2024-01-01T08:00:00Z", "j": {"k": Decimal("1.20")}, "by": "AP8=", "f4": Decimal("0.1"), "f8": Decimal("1e300"), "b": True,
            "iv": "P1DT2H", "ar": [1, None, 3], "ip": "10.0.0.0/8", "free": Decimal("1.500"),
        }  # fmt: skip
        while c.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", (name,)).fetchone()[0]:
            pass
        c.execute("SELECT pg_drop_replication_slot(%s)", (name,))


def test_values_that_json_cannot_hold_follow_the_rule_of_their_field():
    assert isinstance(decoder(PgType("float8", ""))(b"\x7f\xf0" + bytes(6)), Unrepresentable)
    assert math.isfinite(decoder(PgType("float8", ""))(bytes(8)))
