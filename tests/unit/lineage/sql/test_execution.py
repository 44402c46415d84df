"""By execution: change one input column in DuckDB; only outputs with an edge from it may change."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.lineage.sql import parse_sql

SCHEMA = {"m.t": ["a", "b", "c"], "m.u": ["a", "d", "e"]}
ROWS = 12


@st.composite
def expressions(draw, columns, depth=2):
    if depth == 0:
        return draw(st.sampled_from([*columns, "1"]))
    sub = expressions(columns, depth - 1)
    x, y, z = draw(sub), draw(sub), draw(sub)
    p, q = (
        draw(st.sampled_from(columns)),
        draw(st.sampled_from(columns)),
    )  # DuckDB binds names in a lambda of a correlated sub-query outside it
    return draw(
        st.sampled_from(
            [x, f"({x} + {y})", f"case when {x} > {y} then {z} else {y} end", f"coalesce(nullif({x}, {y}), 7)", f"greatest({x}, {y})",
             f"if({x} = {y}, {z}, 0)", f"list_sum(list_transform([{p}, {q}], v -> v * 2))", f"{{'k': {x}, 'z': {y}}}.k",
             f"cast({x} as varchar)::int", f"(select max(e) from m.u where d > {x})", f"({x} in (select d from m.u))::int",
             f"exists (select 1 from m.u where u.d = {x})::int"]
        )
    )  # fmt: skip


@st.composite
def sources(draw):
    """A FROM with the plain column names it offers."""
    return draw(
        st.sampled_from(
            [("m.t", ["a", "b", "c"]), ("m.u", ["a", "d", "e"]), ("m.t join m.u using (a)", ["a", "b", "d"]), ("m.t left join m.u on t.a = u.d", ["b", "c", "e"]),
             ("m.t natural join m.u", ["b", "e"]), ("(select * exclude (a) from m.t where a > 2) q", ["b", "c"]),
             ("(select a + b as p, c as q from m.t union all select d, e from m.u) w", ["p", "q"]),
             ("(from m.t unpivot (v for n in (a, b))) s", ["c", "v"]), ("m.t, unnest([a, b]) as k(v)", ["a", "c", "v"]),
             ("(select b, sum(a) as s from m.t group by b having max(c) > 1) g", ["b", "s"]), ("m.t semi join m.u on t.a = u.a", ["a", "b"]),
             ("(values (1, 2), (3, 4)) z(x, y), m.t", ["x", "a", "b"]), ("m.t, lateral (select t.b + u.d as l from m.u where u.a = t.a) r", ["b", "l"])]
        )
    )  # fmt: skip


@st.composite
def queries(draw):
    source, columns = draw(sources())
    parts = [draw(expressions(columns)) for _ in range(draw(st.integers(1, 3)))]
    where = f" where {draw(expressions(columns, 1))} > 1" if draw(st.booleans()) else ""
    shape = draw(st.sampled_from(["plain", "group", "window", "cte"]))
    if shape == "group":
        outs = ", ".join(
            [
                f"{columns[0]} as grp",
                *(f"sum({p}) filter (where {columns[-1]} > 2) as o{i}" for i, p in enumerate(parts)),
                "count(*) as n",
            ]
        )
        return f"select {outs} from {source}{where} group by grp"
    if shape == "window":
        outs = ", ".join(f"sum({p}) over (partition by {columns[-1]}) as o{i}" for i, p in enumerate(parts))
        return f"select {outs} from {source}{where}"
    outs = ", ".join(f"{p} as o{i}" for i, p in enumerate(parts))
    inner = f"select {outs} from {source}{where}"
    if shape == "plain":
        return inner
    return f"with q as ({inner}), unused as (select d from m.u) select o0, case when o0 > 1 then 1 else 2 end as z from q where o{len(parts) - 1} is not null"


@pytest.fixture(scope="module")
def database():
    connection = duckdb.connect()
    connection.execute("create schema m")
    yield connection
    connection.close()


def _fill(connection, changed=None):
    for table, columns in SCHEMA.items():
        listed = ", ".join(
            f"(hash(i, {n + 1 + (100 if (table, c) == changed else 0)}) % 5)::int as {c}" for n, c in enumerate(columns)
        )
        connection.execute(f"create or replace table {table} as select {listed} from range({ROWS}) r(i)")


def _columns(connection, sql):
    cursor = connection.execute(sql)
    names = [d[0] for d in cursor.description]
    rows = cursor.fetchall()
    return {name: sorted(map(repr, (row[i] for row in rows))) for i, name in enumerate(names)}


def _check(connection, sql):
    read = parse_sql(sql, "duckdb", SCHEMA)
    assert read.status == "exact", (sql, read.problems)
    _fill(connection)
    before = _columns(connection, sql)
    for table, columns in SCHEMA.items():
        for column in columns:
            _fill(connection, (table, column))
            after = _columns(connection, sql)
            everywhere = any((i.table, i.column) == (table, column) for i in read.indirect)
            for output in read.outputs:
                reads = any((i.table, i.column) == (table, column) for i in output.inputs)
                if before[output.name] != after[output.name]:
                    assert everywhere or reads, (sql, f"{table}.{column} changes {output.name}")


@settings(deadline=None, max_examples=120)
@given(sql=queries())
def test_only_outputs_with_an_edge_change_when_an_input_column_changes(database, sql):
    """Random queries over joins, sub-queries, windows, aggregates, CTEs, unions, unpivot."""
    _check(database, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from (select b, c, a from m.t) pivot (sum(a) for b in (1, 2, 3))",
        "with recursive r as (select a, b, 1 as n from m.t union all select u.a, r.b + u.d, n + 1 from m.u join r on u.a = r.a where n < 3) select sum(b) as s, count(*) as n from r",
        "select distinct on (a) a, b from m.t order by a, b, c",
        "select columns('[ab]') from m.t where c in (select e from m.u where d = a)",
        "select a, b from m.t except select d, e from m.u",
        "select string_agg(b::varchar, ',' order by c, b) as s, arg_max(a, b * 100 + c) as m from m.t",
        "select percentile_cont(0.5) within group (order by a) as p, count(distinct b) as d from m.t",
        "select a as x, x + b as y, y * 2 as z from m.t where z > 2 group by all",
        "select lag(b) over w as p, row_number() over (w rows unbounded preceding) as r from m.t window w as (partition by a order by b, c)",
    ],
)
def test_statements_of_rare_shape_hold_the_same_law(database, sql):
    """Pivot, recursion, DISTINCT ON, set operations, ordered aggregates, named windows."""
    _check(database, sql)


@settings(deadline=None, max_examples=40)
@given(sql=queries())
def test_renaming_aliases_and_inlining_a_cte_leave_lineage_alone(sql):
    """`with z as (q) select * from z` has the outputs and effects of q."""
    plain = parse_sql(sql, "duckdb", SCHEMA)
    wrapped = parse_sql(f"with zz as ({sql}) select inner_name.* from zz as inner_name", "duckdb", SCHEMA)
    derived = parse_sql(f"select * from ({sql}) as other", "duckdb", SCHEMA)
    assert plain.outputs == wrapped.outputs == derived.outputs
    assert plain.indirect == wrapped.indirect == derived.indirect


@settings(deadline=None, max_examples=120)
@given(sql=queries())
def test_without_schema_an_exact_statement_is_the_one_with_schema_and_doubt_names_the_truth(sql):
    """Right, or `ambiguous` or `table`: never wrong."""
    sure, blind = parse_sql(sql, "duckdb", SCHEMA), parse_sql(sql, "duckdb")
    assert set(blind.sources) == set(sure.sources)
    if blind.status == "exact":
        assert (blind.outputs, blind.indirect) == (sure.outputs, sure.indirect)
    elif blind.status == "ambiguous":
        for output in sure.outputs:
            named = {(i.table, i.column) for i in blind.output(output.name).inputs}
            assert {(i.table, i.column) for i in output.inputs} <= named
