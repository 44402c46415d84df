"""Ground, manifest, contracts, catalog, gateway: numbers next to a baseline in the same run. `nox -s benchmarks`."""

import subprocess
import sys
import time
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest

from meshkit.catalog import Document, SearchIndex, Signals
from meshkit.contracts import compile_checks, diff
from meshkit.manifest import Manifest, scaffold, validate

pytestmark = pytest.mark.benchmark


def cpu(function, rounds=5):
    """Best CPU seconds of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        function()
        best = min(best, time.process_time() - began)
    return best


def wide(fields, version="1.0.0"):
    text = scaffold(name="wide", domain="bench").replace("version: 0.1.0", f"version: {version}")
    lines = "".join(
        f"      f{i}: {{type: 'decimal(12,2)', required: true, min: 0, description: Field {i}.}}\n"
        for i in range(fields)
    )
    return text.replace("      created_at:", lines + "      created_at:", 1)


def test_import_time():
    """`import meshkit` against bare Python; bar 150 ms."""

    def start(code):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    bare, whole = min(start("pass") for _ in range(5)), min(start("import meshkit, meshkit.manifest") for _ in range(5))
    print(
        f"\nimport meshkit.manifest: {1000 * (whole - bare):.0f} ms over bare Python's {1000 * bare:.0f} ms (bar 150 ms)"
    )


def test_validate_100_manifests(tmp_path):
    """Against parsing the same YAML with PyYAML's C loader alone; bar 1.5 s for 200-line manifests."""
    import yaml

    for number in range(100):
        (tmp_path / f"{number}.manifest.yaml").write_text(
            wide(170).replace("name: wide", f"name: wide{number}").replace("field: wide.", "field: wide.")
        )
    texts = [p.read_text() for p in tmp_path.iterdir()]
    baseline = cpu(lambda: [yaml.load(t, Loader=yaml.CSafeLoader) for t in texts], 2)
    ours = cpu(lambda: validate([tmp_path]), 2)
    print(
        f"\nvalidate 100 manifests of 190 lines: {ours:.2f} s CPU, {ours / baseline:.1f}x parsing the YAML (bar 1.5 s)"
    )
    assert ours < 20 * baseline


def test_diff_of_1000_fields():
    """Against walking both manifests as plain data; bar 0.1 s."""
    old, new = Manifest.parse(wide(1000)), Manifest.parse(wide(1000).replace("min: 0", "min: 1"))
    baseline, ours = cpu(lambda: (old.plain(), new.plain())), cpu(lambda: diff(old, new))
    print(
        f"\ndiff of 1,000 changed fields: {1000 * ours:.0f} ms, {ours / baseline:.2f}x dumping both to plain data (bar 100 ms)"
    )
    assert ours < 20 * baseline


def test_split_per_row():
    """15 columns, 10 rules, 64 Ki rows, against polars' own filter of one column; bar 1 µs per row."""
    names = [f"f{i}" for i in range(10)]
    manifest = Manifest.parse(wide(10))
    plan = compile_checks(manifest)
    rows = 65_536
    at = pl.Series([None] * rows, dtype=pl.Datetime("us", "UTC")).fill_null(pl.datetime(2026, 1, 1, time_zone="UTC"))
    frame = pl.DataFrame({"id": range(rows), **{n: [Decimal("1.00")] * rows for n in names}}).with_columns(
        created_at=pl.lit(at[0]) if len(at) else None
    )
    batch = plan.conform(frame.to_arrow().combine_chunks().to_batches()[0])
    assert isinstance(batch, pa.RecordBatch)
    baseline, ours = cpu(lambda: frame.filter(pl.col("id") >= 0)), cpu(lambda: plan.split(batch))
    print(
        f"\nsplit, {len(plan.checks)} rules: {1e6 * ours / rows:.2f} µs a row, {ours / baseline:.1f}x one polars filter (bar 1 µs)"
    )
    assert ours / rows < 10e-6


def test_search_of_10000_products():
    """p99 of mixed queries against a linear scan for the word; bar 50 ms."""
    base = Manifest.parse(scaffold(name="orders", domain="sales"))
    words = ["orders", "customer", "daily", "raw", "revenue", "leads", "shop", "audit", "weather", "flight"]
    manifests = [
        base.model_copy(update={"name": f"{words[i % 10]}_{words[i // 10 % 10]}_{i}", "domain": words[i % 7]})
        for i in range(10_000)
    ]
    began = time.process_time()
    index = SearchIndex(Document.of(m, Signals(usage=n)) for n, m in enumerate(manifests))
    built = time.process_time() - began
    queries = ["orders", "raw revenue", "weather flight", "custmer", "leads_audit_15", "domain:raw daily"] * 20
    times = sorted(cpu(lambda q=q: index.search(q), 1) for q in queries)
    baseline = cpu(lambda: [m for m in manifests if "revenue" in m.name])
    p99 = times[int(len(times) * 0.99)]
    print(
        f"\nsearch in 10,000: p99 {1000 * p99:.1f} ms, {p99 / baseline:.0f}x a scan of names; index {built:.1f} s (bars 50 ms, 2 s)"
    )


def test_gateway_rows_per_second(tmp_path):
    """JSON and Arrow bodies of masked rows against masking.apply alone. In-process, one client."""
    from mesh_folder import make_mesh_folder

    from meshkit.config import load_config
    from meshkit.gateway.formats import arrow_stream, json_rows
    from meshkit.mesh import Mesh

    rows = 200_000
    folder = make_mesh_folder(tmp_path)
    csv = folder / "products" / "raw_orders" / "raw.csv"
    lines = [f"{i},{i % 500}.00,u{i}@mail.example,2026-01-01T00:00:00+00:00" for i in range(rows)]
    csv.write_text("id,amount,email,at\n" + "\n".join(lines) + "\n")
    with Mesh(load_config(folder / "mesh.yaml"), trust="enforced") as mesh:
        mesh.publish("sales.orders")

        def run(encode):
            with mesh.sql("SELECT * FROM sales.orders", principal="analyst") as result:
                encode(result)

        plain = cpu(lambda: run(lambda r: r.to_arrow()), 3)
        as_json = cpu(lambda: run(lambda r: json_rows(r.batches())), 3)
        as_arrow = cpu(lambda: run(lambda r: sum(len(b) for b in arrow_stream(r.schema, r.batches()))), 3)
    print(
        f"\ngateway bodies, rows per CPU second: JSON {rows / as_json:,.0f}, Arrow {rows / as_arrow:,.0f}; {as_json / plain:.2f}x, {as_arrow / plain:.2f}x the query alone"
    )
