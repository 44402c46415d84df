"""Hand-checked lineage of statements, one rule each. Inputs are written `table.column:SUBTYPE`, doubt with `?`."""

import pytest

from meshkit.lineage.sql import parse_sql

SCHEMA = {
    "s.t": ["a", "b", "c"],
    "s.u": {"a": "int", "d": "int", "e": "struct<x int, y int>"},
    "sales.eu.orders": ["id", "total"],
}
SHORT = {"IDENTITY": "I", "TRANSFORMATION": "T", "AGGREGATION": "A"}


def outputs(read):
    return {
        o.name: " ".join(
            sorted(
                f"{i.table.removeprefix('s.')}.{i.column}:{SHORT.get(i.subtype, i.subtype)}{'' if i.confidence == 'exact' else '?'}"
                for i in o.inputs
            )
        )
        for o in read.outputs
    }


def effects(read):
    return " ".join(f"{i.table.removeprefix('s.')}.{i.column}:{i.subtype}" for i in read.indirect)


CASES = [
    # expressions
    ("select a, b + 1 as x, cast(c as int) y from s.t", {"a": "t.a:I", "x": "t.b:T", "y": "t.c:T"}, ""),
    ("select (a) as a1 from s.t", {"a1": "t.a:I"}, ""),
    ("select case when a > 1 then b else c end as x from s.t", {"x": "t.b:T t.c:T t.a:CONDITIONAL"}, ""),
    ("select case a when 1 then b end as x from s.t", {"x": "t.b:T t.a:CONDITIONAL"}, ""),
    ("select if(a > 1, b, c) as x from s.t", {"x": "t.b:T t.c:T t.a:CONDITIONAL"}, ""),
    ("select coalesce(a, b) as x from s.t", {"x": "t.a:T t.b:T"}, ""),
    ("select sum(a) filter (where b > 0) as x from s.t", {"x": "t.a:A t.b:CONDITIONAL"}, ""),
    ("select sum(a) over (partition by b order by c) as x from s.t", {"x": "t.a:A t.b:WINDOW t.c:WINDOW"}, ""),
    ("select row_number() over w as x from s.t window w as (partition by b order by c)", {"x": "t.b:WINDOW t.c:WINDOW"}, ""),
    ("select count(*) as n, count(b) as m from s.t", {"n": "t.*:A", "m": "t.b:A"}, ""),
    ("select count(*) from s.t", {"count_star()": "t.*:A"}, ""),
    ("select sum(a) + max(b) as x from s.t", {"x": "t.a:A t.b:A"}, ""),
    ("select array_agg(a order by b) as x from s.t", {"x": "t.a:A t.b:WINDOW"}, ""),
    ("select percentile_cont(0.5) within group (order by a) as x from s.t", {"x": "t.a:A"}, ""),
    ("select list_transform([a], v -> v + b) as x from s.t", {"x": "t.a:T t.b:T"}, ""),
    ("select {'k': a, 'b': c} as x from s.t", {"x": "t.a:T t.c:T"}, ""),
    ("select e.x, u.e.y, s.u.e.x as z from s.u", {"x": "u.e:I", "y": "u.e:I", "z": "u.e:I"}, ""),
    ("select t from s.t", {"t": "t.a:T t.b:T t.c:T"}, ""),
    ("select a as x, x + b as y from s.t", {"x": "t.a:I", "y": "t.a:T t.b:T"}, ""),
    ("select b as a, a + 1 as y from s.t", {"a": "t.b:I", "y": "t.a:T"}, ""),
    ("select 1 as one, null as nothing from s.t", {"one": "", "nothing": ""}, ""),
    # sub-queries
    ("select (select max(d) from s.u where u.a = t.a) as x from s.t", {"x": "u.d:A t.a:FILTER u.a:FILTER"}, ""),
    ("select b from s.t where a in (select d from s.u where a = 1)", {"b": "t.b:I"}, "t.a:FILTER u.a:FILTER u.d:FILTER"),
    ("select b from s.t where exists (select e from s.u where u.a = c)", {"b": "t.b:I"}, "t.c:FILTER u.a:FILTER"),
    ("select a in (select d from s.u) as x from s.t", {"x": "t.a:T u.d:T"}, ""),
    # clauses
    ("select b from s.t where a > 1 order by c", {"b": "t.b:I"}, "t.a:FILTER t.c:SORT"),
    ("select b, sum(a) as x from s.t group by 1 having max(c) > 1 order by x", {"b": "t.b:I", "x": "t.a:A"}, "t.a:SORT t.b:GROUP_BY t.c:FILTER"),
    ("select b, sum(a) as x from s.t group by all", {"b": "t.b:I", "x": "t.a:A"}, "t.b:GROUP_BY"),
    ("select b, sum(a) as x from s.t group by rollup (b, c)", {"b": "t.b:I", "x": "t.a:A"}, "t.b:GROUP_BY t.c:GROUP_BY"),
    ("select distinct a from s.t", {"a": "t.a:I"}, "t.a:GROUP_BY"),
    ("select a from s.t qualify row_number() over (partition by b order by c) = 1", {"a": "t.a:I"}, "t.b:FILTER t.c:FILTER"),
    ("select a as k from s.t order by k", {"k": "t.a:I"}, "t.a:SORT"),
    # joins
    ("select b, d from s.t join s.u on t.a = u.a", {"b": "t.b:I", "d": "u.d:I"}, "t.a:JOIN u.a:JOIN"),
    ("select a, d from s.t join s.u using (a)", {"a": "t.a:I u.a:I", "d": "u.d:I"}, "t.a:JOIN u.a:JOIN"),
    ("select t.a, d from s.t natural join s.u", {"a": "t.a:I", "d": "u.d:I"}, "t.a:JOIN u.a:JOIN"),
    ("select * from s.t join s.u using (a)", {"a": "t.a:I u.a:I", "b": "t.b:I", "c": "t.c:I", "d": "u.d:I", "e": "u.e:I"}, "t.a:JOIN u.a:JOIN"),
    ("select * from s.t semi join s.u on t.a = u.a", {"a": "t.a:I", "b": "t.b:I", "c": "t.c:I"}, "t.a:JOIN u.a:JOIN"),
    ("select x, b from s.t, lateral (select d + t.b as x from s.u) q", {"x": "t.b:T u.d:T", "b": "t.b:I"}, ""),
    ("select v from s.t, unnest([a, b]) as k(v)", {"v": "t.a:T t.b:T"}, ""),
    ("select g.i, a from s.t, generate_series(1, 3) as g(i)", {"i": "", "a": "t.a:I"}, ""),
    ("select v.x, a from s.t, (values (1, 2)) as v(x, y)", {"x": "", "a": "t.a:I"}, ""),
    # stars
    ("select * exclude (b) replace (a + c as c) from s.t", {"a": "t.a:I", "c": "t.a:T t.c:T"}, ""),
    ("select * rename (a as z) from s.t", {"z": "t.a:I", "b": "t.b:I", "c": "t.c:I"}, ""),
    ("select columns('[ab]') from s.t", {"a": "t.a:I", "b": "t.b:I"}, ""),
    ("from s.t", {"a": "t.a:I", "b": "t.b:I", "c": "t.c:I"}, ""),
    # CTEs
    ("with q as (select a + 1 as x from s.t where b = 1) select x from q", {"x": "t.a:T"}, "t.b:FILTER"),
    ("with q as (select d from s.u), r as (select a from s.t) select a from r", {"a": "t.a:I"}, ""),
    ("with q(z) as (select a from s.t) select z from q", {"z": "t.a:I"}, ""),
    ("with t as (select b as a from s.t) select a from t", {"a": "t.b:I"}, ""),
    ("select x from (select case when a = 1 then b end as x, c from s.t) q", {"x": "t.b:T t.a:CONDITIONAL"}, ""),
    ("select 1 as k from (select case when a = 1 then b end as x from s.t) q where x = 2", {"k": ""}, "t.a:FILTER t.b:FILTER"),
    ("with recursive r as (select a, b from s.t union all select t.a, r.b + t.c from s.t join r on t.b = r.a) select b from r",
     {"b": "t.b:T t.c:T"}, "t.a:JOIN t.b:JOIN"),
    # set operations
    ("select a, b from s.t union all select d, a from s.u", {"a": "t.a:I u.d:I", "b": "t.b:I u.a:I"}, ""),
    ("select a from s.t union select d from s.u", {"a": "t.a:I u.d:I"}, "t.a:GROUP_BY u.d:GROUP_BY"),
    ("select a from s.t except select d from s.u", {"a": "t.a:I"}, "t.a:GROUP_BY u.d:GROUP_BY"),
    ("select a, b from s.t union all by name select d as b, d + 1 as z from s.u", {"a": "t.a:I", "b": "t.b:I u.d:I", "z": "u.d:T"}, ""),
    # pivots
    ("select * from s.t pivot (sum(a) for b in ('x', 'y'))", {"c": "t.c:I", "x": "t.a:A t.b:CONDITIONAL", "y": "t.a:A t.b:CONDITIONAL"}, "t.c:GROUP_BY"),
    ("select * from s.t unpivot (v for n in (a, b))", {"c": "t.c:I", "n": "", "v": "t.a:T t.b:T"}, ""),
    # names of tables
    ('select total from "sales.eu".orders', {"total": "sales.eu.orders.total:I"}, ""),
    ("select total from sales_eu.orders", {"total": "sales.eu.orders.total:I"}, ""),
    ("SELECT A, T.B FROM S.T", {"a": "t.a:I", "b": "t.b:I"}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "expected", "indirect"), CASES, ids=[c[0][:60] for c in CASES])
def test_each_rule_gives_the_hand_checked_lineage(sql, expected, indirect):
    """With schema, DuckDB dialect."""
    read = parse_sql(sql, "duckdb", SCHEMA)
    assert read.status == "exact", read.problems
    assert {k.lower(): v for k, v in outputs(read).items()} == {
        k: " ".join(sorted(v.split())) for k, v in expected.items()
    }
    assert effects(read) == indirect


def test_the_documented_example_has_the_documented_json():
    """A CTAS with a join and an aggregate; source catalog-lineage-slo section 3."""
    read = parse_sql(
        "create table mkt.revenue as select sum(o.total) as revenue from mkt.leads l join sales.orders o on o.id = l.order_id",
        "duckdb",
        {"sales.orders": {"id": "bigint", "total": "decimal(12,2)"}, "mkt.leads": ["order_id"]},
    ).to_json()
    assert read["kind"] == "create_table_as"
    assert (read["sources"], read["targets"]) == (["mkt.leads", "sales.orders"], ["mkt.revenue"])
    item = {
        "table": "sales.orders",
        "column": "total",
        "kind": "DIRECT",
        "subtype": "AGGREGATION",
        "confidence": "exact",
    }
    assert read["outputs"] == [{"name": "revenue", "inputs": [item]}]
    assert {"table": "sales.orders", "column": "id", "subtype": "JOIN"} in read["indirect"]
    assert read["fingerprint"].startswith("sha256:")


@pytest.mark.parametrize(
    ("sql", "status", "expected"),
    [
        ("select a from x", "exact", {"a": "x.a:I"}),
        ("select x.a, y.b from x join y on x.i = y.i", "exact", {"a": "x.a:I", "b": "y.b:I"}),
        ("select a from x, y", "ambiguous", {"a": "x.a:I? y.a:I?"}),
        ("select * from x", "table", {"*": "x.*:I?"}),
        ("select b from (select *, 1 as k from x) q", "exact", {"b": "x.b:I"}),
        ("select d from (select * rename (c as d) from x) q", "exact", {"d": "x.c:I"}),
        ("select d from (select * replace (c + 1 as d) from x) q", "exact", {"d": "x.c:T"}),
        ("select b from (select distinct * from x) q", "table", {"b": "x.b:I"}),
        ("select b from (select * from x union all select * from y) q", "table", {"b": "x.b:I? y.b:I?"}),
        ("select d from s.u, x", "exact", {"d": "u.d:I"}),
        ("select nope from s.t", "table", {"nope": "t.nope:I?"}),
        ("select (select b from x where z = 1) as k from s.t", "ambiguous", {"k": "t.b:I? x.b:I? x.z:FILTER"}),
        ("select * from read_parquet('f.parquet')", "table", {}),
        ("select a from x order by b", "exact", {"a": "x.a:I"}),
    ],
)
def test_without_schema_lineage_is_right_or_says_that_it_is_not_sure(sql, status, expected):
    """Candidates of an undecidable name are all named; a star stays a star."""
    read = parse_sql(sql, "duckdb", SCHEMA)
    assert read.status == status
    assert outputs(read) == expected
    assert bool(read.problems) == (status != "exact")


@pytest.mark.parametrize(
    ("sql", "kind", "targets", "expected", "indirect"),
    [
        ("insert into s.u (d, a) select a, b from s.t", "insert", ["s.u"], {"d": "t.a:I", "a": "t.b:I"}, ""),
        ("insert into s.u select a, b, c from s.t where b > 1", "insert", ["s.u"], {"a": "t.a:I", "d": "t.b:I", "e": "t.c:I"}, "t.b:FILTER"),
        ("insert into s.u by name select b as d from s.t", "insert", ["s.u"], {"d": "t.b:I"}, ""),
        ("create view v.w (x, y) as select a, b + c from s.t", "create_view", ["v.w"], {"x": "t.a:I", "y": "t.b:T t.c:T"}, ""),
        ("with q as (select a from s.t) insert into s.u (d) select a from q", "insert", ["s.u"], {"d": "t.a:I"}, ""),
        ("merge into s.t using s.u on t.a = u.a when matched then update set b = u.d when not matched then insert (a, b) values (u.a, u.d + 1)",
         "merge", ["s.t"], {"b": "u.d:T", "a": "u.a:I"}, "t.a:JOIN u.a:JOIN"),
        ("update s.t set b = u.d + c from s.u where t.a = u.a", "update", ["s.t"], {"b": "t.c:T u.d:T"}, "t.a:FILTER u.a:FILTER"),
        ("delete from s.t where a in (select d from s.u)", "delete", ["s.t"], {}, "t.a:FILTER u.d:FILTER"),
        ("copy (select a from s.t) to 'x.csv'", "copy", [], {"a": "t.a:I"}, ""),
    ],
)  # fmt: skip
def test_statements_write_their_targets_by_name_or_position(sql, kind, targets, expected, indirect):
    """INSERT, views, MERGE, UPDATE, DELETE, COPY."""
    read = parse_sql(sql, "duckdb", SCHEMA)
    assert read.status == "exact", read.problems
    assert (read.kind, list(read.targets), outputs(read), effects(read)) == (kind, targets, expected, indirect)


def test_statements_that_move_no_rows_are_events():
    """RENAME, DROP, TRUNCATE and DELETE say what they do."""
    assert parse_sql("alter table s.t rename to w", "duckdb").renames == (("s.t", "s.w"),)
    assert parse_sql("drop table if exists s.t", "duckdb").drops == ("s.t",)
    assert parse_sql("truncate table s.t", "duckdb").effect == "delete"
    assert parse_sql("delete from s.t", "duckdb").effect == "delete"
    assert parse_sql("set threads = 2", "duckdb").status == "exact"


@pytest.mark.parametrize(
    ("dialect", "sql", "source", "column"),
    [
        ("snowflake", "SELECT TOTAL FROM SALES.ORDERS", "sales.orders", "total"),
        ("snowflake", 'SELECT "TOTAL" FROM "SALES"."ORDERS"', "sales.orders", "total"),
        ("postgres", "SELECT Total FROM Sales.Orders", "sales.orders", "total"),
        ("bigquery", "select total from `sales`.`orders`", "sales.orders", "total"),
        ("trino", 'select "total" from sales.orders', "sales.orders", "total"),
        ("spark", "select total from sales.orders", "sales.orders", "total"),
        ("ansi", "select total from sales.orders", "sales.orders", "total"),
    ],
)
def test_names_fold_as_the_dialect_does(dialect, sql, source, column):
    """Unquoted and quoted names meet the names of manifests."""
    read = parse_sql(sql, dialect, {"sales.orders": ["id", "total"]})
    assert read.status == "exact"
    assert [(i.table, i.column) for i in read.outputs[0].inputs] == [(source, column)]


def test_postgres_keeps_the_case_of_quoted_names():
    """`"Total"` is another column than `total`."""
    assert parse_sql('select "Total" from sales.orders', "postgres", {"sales.orders": ["total"]}).status == "table"


def test_lateral_aliases_follow_the_dialect():
    """Postgres has none: `x` is in no table there."""
    assert parse_sql("select a as x, x + 1 as y from s.t", "postgres", SCHEMA).status == "table"
    assert parse_sql("select a as x, x + 1 as y from s.t", "postgres", SCHEMA, lateral_aliases=True).status == "exact"


def test_one_part_names_get_the_default_namespace():
    """Not those of CTEs."""
    read = parse_sql("with q as (select a from t) select a from q", "duckdb", SCHEMA, default_namespace="s")
    assert read.sources == ("s.t",)
    assert outputs(read) == {"a": "t.a:I"}
