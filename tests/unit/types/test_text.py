"""The text form of types and quantities."""

import pytest
from hypothesis import given, settings
from strategies import types

from meshkit.types import (
    DATE,
    INT32,
    INT64,
    STRING,
    DataType,
    Decimal,
    List,
    Struct,
    StructField,
    Temporal,
    TypeTextError,
    parse_type,
)
from meshkit.types.quantities import (
    QuantityError,
    parse_duration,
    parse_range,
    parse_ratio,
    parse_threshold,
    parse_version,
)


@settings(deadline=None, max_examples=150)
@given(types)
def test_the_text_of_every_type_reads_back_equal(data_type: DataType):
    assert parse_type(str(data_type)) == data_type


@pytest.mark.parametrize(
    "text, expected",
    [
        ("INT", INT32),
        ("integer", INT32),
        ("int4", INT32),
        ("BIGINT", INT64),
        ("varchar(20)", STRING),
        ("numeric(10, 2)", Decimal(10, 2)),
        ("timestamp with time zone", Temporal("timestamptz")),
        ("timestamp(3)", Temporal("timestamp", "ms")),
        ("array<date>", List(DATE)),
        ('struct<"a.b": int>', Struct((StructField("a.b", INT32),))),
    ],
)
def test_aliases_mean_the_canonical_type(text, expected):
    assert parse_type(text) == expected


@pytest.mark.parametrize(
    "text, hint",
    [
        ("strin", "'string'"),
        ("decimal", "decimal(12,2)"),
        ("list", "list<string>"),
        ("list<int", "Close"),
        ("int extra", "extra"),
        ("timestamp(s)", "ms"),
    ],
)
def test_a_wrong_type_says_what_to_write(text, hint):
    with pytest.raises(TypeTextError) as caught:
        parse_type(text)
    assert hint in str(caught.value)


@pytest.mark.parametrize("text", ["list<" * 200 + "int" + ">" * 200, "x" * 20_000])
def test_hostile_type_texts_are_refused(text):
    with pytest.raises(TypeTextError):
        parse_type(text)


def test_durations_read_short_and_iso_forms():
    assert parse_duration("90s").seconds == 90
    assert parse_duration("PT1H30M") == parse_duration("90m")
    assert parse_duration("6mo").months == 6
    assert parse_duration("1y").bounds_seconds() == (365 * 86400, 366 * 86400)
    assert [str(parse_duration(t)) for t in ("240m", "3y", "1w", "45s")] == ["4h", "3y", "1w", "45s"]
    with pytest.raises(QuantityError, match="15m"):
        parse_duration("soon")


def test_a_bare_percentage_is_refused_because_it_could_mean_either():
    assert parse_ratio("99.9%") == 0.999
    assert parse_ratio("0.5") == 0.5
    with pytest.raises(QuantityError, match=r"Write 99\.9%"):
        parse_ratio("99.9")


def test_between_excludes_both_ends_as_in_odcs():
    threshold = parse_threshold("between 5 and 10")
    assert [threshold.holds(n) for n in (5, 6, 10)] == [False, True, False]
    assert parse_threshold("< 1 %").is_percent
    with pytest.raises(QuantityError):
        parse_threshold("about 5")


def test_version_ranges_and_order():
    assert parse_version("1.0.0-rc.1") < parse_version("1.0.0") < parse_version("1.0.1") < parse_version("1.10.0")
    assert parse_range("1.2").contains("1.9.0")
    assert not parse_range("1.2").contains("2.0.0-rc.1")
    assert parse_range(">=2.1,<3").contains("2.1.0")
    assert not parse_range(">=2.1,<3").contains("3.0.0-beta")
    with pytest.raises(QuantityError):
        parse_range("latest")
