"""Policy SQL: what is allowed, what is refused, equal results in DuckDB and polars."""

from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.masking.condition import BadCondition
from meshkit.masking.condition_reader import parse_condition
from meshkit.types import BOOL, DATE, FLOAT64, INT32, INT64, STRING, TIMESTAMPTZ, Struct, StructField, parse_type
from meshkit.types.arrow import schema_of

ROW = Struct(
    tuple(
        StructField(n, t)
        for n, t in {
            "id": INT64, "small": INT32, "name": STRING, "country": STRING, "ok": BOOL, "day": DATE, "at": TIMESTAMPTZ, "price": parse_type("decimal(12,2)"),
            "ratio": FLOAT64, "Order": STRING, "tags": parse_type("list<string>"), "doc": parse_type("json"), "select": INT64,
        }.items()
    )
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("country in ('FR', :more)", "country IN ('FR', 'DE', 'IT')"),
        ("country = :one", "country = 'x''y'"),
        ("5 < id", "id > 5"),
        ("id between -1 and 3", "(id >= -1 AND id <= 3)"),
        ("price >= 1.5", "price >= CAST('1.50' AS DECIMAL(12,2))"),
        ("day = '2024-02-29' or day > date '2024-01-01'", "(day = DATE '2024-02-29' OR day > DATE '2024-01-01')"),
        ("at < '2024-01-01T00:00:00+01:00'", "\"at\" < CAST('2023-12-31 23:00:00+00:00' AS TIMESTAMP WITH TIME ZONE)"),
        ("ok is true and not ok", "((NOT ok IS NULL) AND ok = TRUE)"),
        ("\"Order\" like 'a%'", "\"Order\" LIKE 'a%'"),
        ("ORDER_ is null", None),
        ('"order" is not null', '(NOT "Order" IS NULL)'),
        ("lower(name) = 'x' and length(name) > 3", "(system.main.lower(name) = 'x' AND system.main.length(name) > 3)"),
        ("coalesce(country, 'FR') <> 'FR'", "COALESCE(country, 'FR') <> 'FR'"),
        ('"select" = 1', '"select" = 1'),
        ("name = country", "name = country"),
        ("ratio <= 0.5", "CASE WHEN system.main.isnan(ratio) THEN NULL ELSE ratio END <= CAST('0.5' AS DOUBLE)"),
        ("true", "TRUE"),
    ],
)
def test_conditions_are_rendered_with_quoted_names_and_typed_literals(text, sql):
    """Nothing of the written text is copied."""
    condition = parse_condition(text)
    rendered = condition.sql(ROW, {"more": ["DE", "IT"], "one": "x'y"})
    assert rendered == (
        sql if text != "ok is true and not ok" else "((" + "(NOT ok IS NULL) AND ok = TRUE) AND (NOT ok))"
    )
    assert (rendered is None) == bool(condition.check(ROW))


@pytest.mark.parametrize(
    "text",
    [
        "", "(", "1 = 1", "a; select 1", "id = 1 order by id", "id = 1 union select 1", "id = 1 limit 1", "id in (select id from t)", "exists (select 1)",
        "sum(id) > 1", "row_number() over () = 1", "read_text('/etc/passwd') = 'x'", "cast(name as int) = 1", "id / 0 = 1", "id + 1 = 2", "name || 'x' = 'y'",
        "name like :p", "name like country", "t.id = 1", "case when ok then true else false end", "name ilike 'x'", "regexp_matches(name, 'a')", "? = id",
        "id = ?", "id in ()", "id = 1 -- x\n or (", "name similar to 'a'", "id = id and (select true)", "doc.a = 1", "tags[1] = 'x'", "not " * 200 + "ok",
        "lower(lower(name)) = 'x'", "id = (select 1)", "name = 'a' collate nocase", "now() > at", "*",
    ],
)  # fmt: skip
def test_all_else_is_refused(text):
    """A closed list: whatever is not named does not run."""
    with pytest.raises(BadCondition):
        parse_condition(text)


@pytest.mark.parametrize(
    "text",
    ["nope = 1", "id = 'x'", "id = 1.5", "small = 3000000000", "price = 1.555", "name = 5", "ok = 1", "day = '2024-13-01'", "at = '2024-01-01T00:00:00'", "id",
     "tags = 'x'", "doc = 'x'", "id = small", "lower(id) = 'x'", "id like 'x'", "coalesce(id, 'x') = 1", "ratio = 1e999"],
)  # fmt: skip
def test_conditions_that_do_not_fit_the_contract_are_named_and_false(text):
    """A comparison across types could raise on some value."""
    condition = parse_condition(text)
    assert condition.check(ROW)
    assert condition.sql(ROW, {}) is None
    assert condition.polars(ROW, {}) is None


VALUES = {
    "name": st.sampled_from(["a", "abc", "ABC", "x%y", "", "é", "a\nb"]),
    "country": st.sampled_from(["FR", "DE", "it's"]),
    "id": st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1]),
    "ok": st.booleans(),
    "day": st.sampled_from([date(2024, 2, 29), date(1, 1, 1)]),
    "at": st.sampled_from([datetime(2024, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC)]),
    "price": st.sampled_from([Decimal("1.50"), Decimal("-9999999999.99")]),
    "ratio": st.sampled_from([0.5, float("inf"), float("nan")]),
}
ATOMS = [
    "country in ('FR', :c)", "name like 'a%'", "name like 'x%y'", "name like '_'", "id >= 0", "id in (:ids)", "ok", "ok is false", "day > '2000-01-01'",
    "at <> '2024-01-01T00:00:00Z'", "price < 0", "ratio > 0.25", "ratio = 0.5", "name is null", "lower(name) = 'abc'", "length(name) < 2", "name < country",
    "coalesce(country, 'DE') = 'DE'", "id between 0 and 1", "country not in ('FR')",
]  # fmt: skip
conditions = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("(not {})".format, inner),
    ),
    max_leaves=5,
)
ATTRIBUTES = {"c": ["DE", "it's"], "ids": [1, 0]}
COLUMNS = Struct(tuple(f for f in ROW.fields if f.name in VALUES))
DATABASE = duckdb.connect()


@settings(max_examples=60, deadline=None)
@given(conditions, st.lists(st.fixed_dictionaries({n: st.none() | v for n, v in VALUES.items()}), max_size=6))
def test_rows_are_the_same_in_duckdb_and_polars(text, rows):
    """NULL is false in both."""
    condition = parse_condition(text)
    frame = pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(rows, schema_of(COLUMNS)))).with_row_index("n")
    mine = frame.filter(condition.polars(COLUMNS, ATTRIBUTES))["n"].to_list()
    with DATABASE.cursor() as cursor:
        cursor.register("source", frame.to_arrow())
        theirs = cursor.sql(f"SELECT n FROM source WHERE {condition.sql(COLUMNS, ATTRIBUTES)} ORDER BY n").fetchall()
    assert mine == [row[0] for row in theirs]


def test_every_word_of_duckdb_is_a_usable_column_name():
    """Unquoted names are only those that DuckDB reads as names anywhere."""
    words = [r[0] for r in DATABASE.sql("SELECT DISTINCT keyword_name FROM duckdb_keywords()").fetchall()]
    for word in [*words, "user", "rowid", "current_date", "é", "a b", 'a"b', "1a"]:
        row = Struct((StructField(word, INT64),))
        quoted = word.replace('"', '""')
        sql = parse_condition(f'"{quoted}" = 1 and not ("{quoted}" in (2) or "{quoted}" is null)').sql(row, {})
        with DATABASE.cursor() as cursor:
            assert cursor.sql(f'SELECT 5 FROM (SELECT 1 AS "{quoted}") WHERE {sql}').fetchall() == [(5,)], word
