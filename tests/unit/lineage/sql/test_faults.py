"""What can't be read is said, never guessed and never an exception of the parser."""

import pytest

from meshkit.errors import UsageError
from meshkit.lineage.sql import parse_script, parse_sql


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("selec a from", "sql.syntax"),
        ("select a from t where", "sql.syntax"),
        ("select 'open", "sql.syntax"),
        ("select " + "(" * 150 + "1" + ")" * 150, "sql.too_deep"),
        ("select " + "not " * 200 + "true", "sql.too_deep"),
        ("select " + "- " * 20_000 + "1", "sql.too_deep"),
        ("select " + "a," * 30_000 + "a from t", "sql.too_big"),
        ("select 1 -- " + "x" * (1 << 20), "sql.too_big"),
        ("", "sql.empty"),
        ("-- only a comment", "sql.empty"),
    ],
)
def test_what_does_not_parse_is_unparsed_with_a_code(sql, code):
    """Caps are checked on words, before the parser can recurse."""
    read = parse_sql(sql, "duckdb")
    assert (read.status, read.problems[0].code) == ("unparsed", code)


def test_a_long_chain_of_operators_and_unions_is_read():
    """Depth of the tree is no depth of the text: the walk has its own stack."""
    chain = parse_sql("select " + " + ".join(["a"] * 20_000) + " as x from t", "duckdb")
    assert [i.column for i in chain.outputs[0].inputs] == ["a"]
    unions = parse_sql(" union all ".join(["select a from t"] * 2_000), "duckdb")
    assert unions.status == "exact"


def test_a_syntax_error_has_its_place_and_no_text():
    """A statement may hold data values; problems never do."""
    read = parse_sql("select a\nfrom t where b = 'secret' secret2 oops (", "duckdb")
    assert read.problems[0].line == 2
    assert "secret" not in str(read.to_json()["problems"])


def test_several_statements_are_refused_by_parse_sql():
    """`lineage.many_statements` is a usage error."""
    with pytest.raises(UsageError) as caught:
        parse_sql("select 1; select 2", "duckdb")
    assert caught.value.code == "lineage.many_statements"


def test_an_unknown_dialect_names_the_nearest():
    """Usage error with a hint."""
    with pytest.raises(UsageError, match=r"duckdb"):
        parse_sql("select 1", "duckdv")


@pytest.mark.parametrize("schema", [{"t": "abc"}, {"t": 3}, {"t": [1]}])
def test_a_schema_that_is_none_is_a_usage_error(schema):
    """`lineage.bad_schema`."""
    with pytest.raises(UsageError) as caught:
        parse_sql("select 1", "duckdb", schema)
    assert caught.value.code == "lineage.bad_schema"


def test_one_bad_statement_does_not_spoil_its_neighbours():
    """Coverage counts all rungs."""
    script = parse_script("select a from t; selec oops; select * from u; select b from t, v", "duckdb")
    assert script.coverage == {"statements": 4, "exact": 1, "ambiguous": 1, "table": 1, "unparsed": 1}
    assert script.exit_code == 1


def test_a_huge_insert_of_values_is_cut_after_its_first_row():
    """Logs hold inserts of a million rows; all rows have one lineage."""
    rows = ", ".join(f"({i}, 'v{i}')" for i in range(40_000))
    read = parse_sql(f"insert into s.t (a, b) values {rows}", "duckdb")
    assert (read.status, read.targets) == ("exact", ("s.t",))


def test_fingerprints_forget_literals_lists_and_comments():
    """Equal statements with other values are one."""
    one = parse_sql("select a from t where b in (1, 2, 3) and c = 'x' -- hello", "duckdb")
    two = parse_sql("SELECT a FROM t WHERE b IN (4) AND c = 'secret'", "duckdb")
    other = parse_sql("select a from t where b in (1) and d = 'x'", "duckdb")
    assert one.fingerprint == two.fingerprint != other.fingerprint
