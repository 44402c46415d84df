"""Lineage against its bars: resolver beside sqlglot's own parse in the same run, layout, ingest, impact. CPU time, best of 5."""

import random
import time

import pytest
import sqlglot
from lineage_mesh import MESH, NOW, ago, query

from meshkit._sql import Store
from meshkit.lineage import Evidence, LineageStore, build_graph, impact, parse_sql
from meshkit.lineage.layout import place_graph
from meshkit.lineage.sql.parse import prepare_schema

SLACK = 1.5
TPCH = {
    "tpch.lineitem": [
        "l_orderkey",
        "l_partkey",
        "l_suppkey",
        "l_linenumber",
        "l_quantity",
        "l_extendedprice",
        "l_discount",
        "l_tax",
        "l_returnflag",
        "l_linestatus",
        "l_shipdate",
        "l_commitdate",
        "l_receiptdate",
        "l_shipinstruct",
        "l_shipmode",
        "l_comment",
    ],
    "tpch.orders": [
        "o_orderkey",
        "o_custkey",
        "o_orderstatus",
        "o_totalprice",
        "o_orderdate",
        "o_orderpriority",
        "o_clerk",
        "o_shippriority",
        "o_comment",
    ],
    "tpch.customer": [
        "c_custkey",
        "c_name",
        "c_address",
        "c_nationkey",
        "c_phone",
        "c_acctbal",
        "c_mktsegment",
        "c_comment",
    ],
    "tpch.supplier": ["s_suppkey", "s_name", "s_address", "s_nationkey", "s_phone", "s_acctbal", "s_comment"],
    "tpch.nation": ["n_nationkey", "n_name", "n_regionkey", "n_comment"],
    "tpch.region": ["r_regionkey", "r_name", "r_comment"],
    "tpch.part": [
        "p_partkey",
        "p_name",
        "p_mfgr",
        "p_brand",
        "p_type",
        "p_size",
        "p_container",
        "p_retailprice",
        "p_comment",
    ],
    "tpch.partsupp": ["ps_partkey", "ps_suppkey", "ps_availqty", "ps_supplycost", "ps_comment"],
}
QUERIES = [
    """select l_returnflag, l_linestatus, sum(l_quantity) as sum_qty, sum(l_extendedprice * (1 - l_discount)) as sum_disc_price,
       sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) as sum_charge, avg(l_quantity) as avg_qty, count(*) as count_order
       from tpch.lineitem where l_shipdate <= date '1998-12-01' - interval '90' day group by l_returnflag, l_linestatus order by 1, 2""",
    """select s_acctbal, s_name, n_name, p_partkey, p_mfgr, s_address, s_phone, s_comment from tpch.part, tpch.supplier, tpch.partsupp, tpch.nation, tpch.region
       where p_partkey = ps_partkey and s_suppkey = ps_suppkey and p_size = 15 and p_type like '%BRASS' and s_nationkey = n_nationkey
       and n_regionkey = r_regionkey and r_name = 'EUROPE' and ps_supplycost = (select min(ps_supplycost) from tpch.partsupp, tpch.supplier, tpch.nation,
       tpch.region where p_partkey = ps_partkey and s_suppkey = ps_suppkey and s_nationkey = n_nationkey and n_regionkey = r_regionkey and r_name = 'EUROPE')
       order by s_acctbal desc, n_name, s_name, p_partkey limit 100""",
    """select o_orderpriority, count(*) as order_count from tpch.orders where o_orderdate >= date '1993-07-01' and exists (select * from tpch.lineitem
       where l_orderkey = o_orderkey and l_commitdate < l_receiptdate) group by o_orderpriority order by o_orderpriority""",
    """select supp_nation, cust_nation, l_year, sum(volume) as revenue from (select n1.n_name as supp_nation, n2.n_name as cust_nation,
       extract(year from l_shipdate) as l_year, l_extendedprice * (1 - l_discount) as volume from tpch.supplier, tpch.lineitem, tpch.orders, tpch.customer,
       tpch.nation n1, tpch.nation n2 where s_suppkey = l_suppkey and o_orderkey = l_orderkey and c_custkey = o_custkey and s_nationkey = n1.n_nationkey
       and c_nationkey = n2.n_nationkey and ((n1.n_name = 'FRANCE' and n2.n_name = 'GERMANY') or (n1.n_name = 'GERMANY' and n2.n_name = 'FRANCE'))
       and l_shipdate between date '1995-01-01' and date '1996-12-31') as shipping group by supp_nation, cust_nation, l_year order by 1, 2, 3""",
    """with revenue as (select l_suppkey as supplier_no, sum(l_extendedprice * (1 - l_discount)) as total_revenue from tpch.lineitem
       where l_shipdate >= date '1996-01-01' group by l_suppkey) select s_suppkey, s_name, total_revenue, rank() over (partition by s_nationkey
       order by total_revenue desc) as r, case when s_acctbal > 0 then 'rich' else s_comment end as mood from tpch.supplier, revenue
       where s_suppkey = supplier_no and total_revenue = (select max(total_revenue) from revenue) order by s_suppkey""",
]  # fmt: skip


def cpu(work, runs=5):
    """Best CPU time of some runs, in seconds."""
    times = []
    for _ in range(runs):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def some_mesh(count, seed=1):
    """A random acyclic graph of eight ranks, about 1.3 edges a node."""
    rand = random.Random(seed)
    names = [f"d{i % 20}.p{i:04d}" for i in range(count)]
    rank = [min(int(rand.random() ** 1.5 * 8), 7) for _ in names]
    edges = set()
    for i in range(count):
        for _ in range(int(rand.expovariate(0.5))):
            j = rand.randrange(count)
            if rank[i] != rank[j]:
                one, two = (i, j) if rank[i] < rank[j] else (j, i)
                edges.add((names[one], names[two]))
    return sorted(names), sorted(edges)


@pytest.mark.benchmark
def test_resolver_against_the_parse_alone(capsys):
    """500 analytic statements a second with schema (goal 750), and less than four times sqlglot's parse."""
    schema = prepare_schema(TPCH, "duckdb")
    for sql in QUERIES:
        assert parse_sql(sql, "duckdb", schema).status == "exact"
    rounds = 20
    parse = (
        cpu(lambda: [sqlglot.parse(q, dialect="duckdb") for _ in range(rounds) for q in QUERIES])
        / rounds
        / len(QUERIES)
    )
    whole = (
        cpu(lambda: [parse_sql(q, "duckdb", schema) for _ in range(rounds) for q in QUERIES]) / rounds / len(QUERIES)
    )
    with capsys.disabled():
        print(f"\nresolver {1 / whole:.0f} statements/s, {whole / parse:.1f} x the parse alone ({parse * 1e3:.2f} ms)")
    assert whole / parse <= 4.0 * SLACK
    assert 1 / whole >= 500 / SLACK


@pytest.mark.benchmark
@pytest.mark.parametrize(("count", "milliseconds"), [(100, 20), (1_000, 150), (3_000, 1_000)])
def test_layout_of_many_nodes(count, milliseconds, capsys):
    """CPU of a whole layout."""
    nodes, edges = some_mesh(count)
    spent = cpu(lambda: place_graph(nodes, edges), runs=3) * 1e3
    crossings = place_graph(nodes, edges).crossings
    with capsys.disabled():
        print(f"\nlayout of {count} nodes, {len(edges)} edges: {spent:.0f} ms, {crossings} crossings")
    assert spent <= milliseconds * SLACK * 2  # a shared machine


@pytest.mark.benchmark
def test_query_log_and_column_impact(capsys):
    """1,667 records a second is 1,000,000 in 10 minutes; an impact over 50,000 column edges takes 5 ms."""
    texts = [f"select id, total as c{i} from sales.orders where state = ?" for i in range(200)]
    log = [query(i, f"user{i % 40}", texts[i % 200], at=ago(minutes=i % 5_000)) for i in range(20_000)]
    store = Store.open()
    spent = cpu(lambda: LineageStore(store).ingest_query_log(log, MESH), runs=1)
    store.close()
    reads = []
    for i in range(2_500):
        src, dst = f"urn:mesh:d:p{i // 5}", f"urn:mesh:d:p{i // 5 + 1 + i % 5}"
        reads.append(Evidence(src, dst, first_seen=NOW, last_seen=NOW, count=1))
        reads += [
            Evidence(f"{src}#c{c}", f"{dst}#c{c}", "column", first_seen=NOW, last_seen=NOW, count=1) for c in range(20)
        ]
    graph = build_graph([], reads, at=NOW)
    impact(graph, "urn:mesh:d:p480", "c1")
    asked = cpu(lambda: impact(graph, "urn:mesh:d:p480", "c1"))
    with capsys.disabled():
        print(
            f"\nquery log {len(log) / spent:.0f} records/s; column impact over {len(graph.edges)} edges {asked * 1e3:.2f} ms"
        )
    assert len(log) / spent >= 1_667 / SLACK
    assert asked <= 0.005 * SLACK * 2
