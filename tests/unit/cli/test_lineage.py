"""`meshkit lineage`: files in, text and JSON out, exit codes."""

import json
import sys
from pathlib import Path

import pytest
from lineage_mesh import MESH, NOW, query

from meshkit.cli import meshkit, run
from meshkit.cli.lineage import show_graph
from meshkit.cli.output import Output
from meshkit.lineage import Evidence, build_graph, product_urn

SQL = "create table mkt.revenue as select sum(total) as revenue from sales.orders where id > 3"


@pytest.fixture
def sql(tmp_path):
    path = tmp_path / "revenue.sql"
    path.write_text(SQL)
    return path


def test_parse_prints_the_documented_json(sql, tmp_path, capsys):
    """`meshkit.lineage.parse/1`."""
    schema = tmp_path / "schema.json"
    schema.write_text('{"sales.orders": {"id": "bigint", "total": "decimal(12,2)"}}')
    assert run(meshkit, ["lineage", "parse", str(sql), "--schema", str(schema), "--format", "json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["format"], value["dialect"]) == ("meshkit.lineage.parse/1", "duckdb")
    assert value["coverage"] == {"statements": 1, "exact": 1, "ambiguous": 0, "table": 0, "unparsed": 0}
    assert value["statements"][0]["outputs"][0]["inputs"][0]["subtype"] == "AGGREGATION"


def test_parse_prints_text(sql, capsys):
    """A line per output, and what decides rows."""
    assert run(meshkit, ["lineage", "parse", str(sql)]) == 0
    assert capsys.readouterr().out == (
        "1. create table as: exact  sales.orders -> mkt.revenue\n"
        "   revenue <- sales.orders.total (aggregation)\n"
        "   filter: sales.orders.id\n"
        "1 statement: 1 exact\n"
    )


@pytest.mark.parametrize(
    ("text", "rung", "code"),
    [
        ("select * from t", "unparsed", 0),
        ("select * from t", "table", 1),
        ("select * from t", "ambiguous", 1),
        ("selec oops from", "unparsed", 1),
    ],
)
def test_fail_on_chooses_the_rung_that_exits_1(sql, capsys, text, rung, code):
    """At the rung or below."""
    sql.write_text(text)
    assert run(meshkit, ["lineage", "parse", str(sql), "--fail-on", rung]) == code
    capsys.readouterr()


def test_bad_input_is_usage_or_environment(sql, tmp_path, capsys):
    """2 for the call, 3 for the file."""
    bad = tmp_path / "bad.json"
    bad.write_text("[1")
    assert run(meshkit, ["lineage", "parse", str(sql), "--dialect", "nonsense"]) == 2
    assert run(meshkit, ["lineage", "parse", str(sql), "--schema", str(bad)]) == 2
    assert run(meshkit, ["lineage", "parse", str(tmp_path / "absent.sql")]) == 3
    assert "bad.json:1:3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("svg", "<svg"),
        ("mermaid", "flowchart LR"),
        ("dot", "digraph"),
        ("json", "{"),
        ("text", "shop.checkout ->"),
        ("matrix", " "),
    ],
)
def test_a_graph_is_shown_in_every_form(form, start, capsys):
    """One value, six forms."""
    read = Evidence(product_urn("sales.orders"), product_urn("finance.audit"), first_seen=NOW, last_seen=NOW, count=1)
    assert show_graph(build_graph(MESH, [read], at=NOW), Output(form)) == 0
    out = capsys.readouterr().out
    if form == "text":
        assert "sales.orders -> finance.audit  observed, not declared" in out
    else:
        assert out.startswith(start)


def test_help_has_an_example_and_imports_no_parser():
    """`meshkit lineage --help` stays fast."""
    for name in ("show", "impact", "parse"):
        assert run(meshkit, ["lineage", name, "--help"]) == 0
    assert Path(sys.modules["meshkit.cli.lineage"].__file__).name == "lineage.py"


@pytest.fixture
def mesh_file(tmp_path, monkeypatch):
    """A mesh of four manifests whose log has one read that nobody declared."""
    from datetime import UTC, datetime

    from meshkit._sql import Store
    from meshkit.lineage import LineageStore

    for item in MESH:
        folder = tmp_path / "products" / item.id
        folder.mkdir(parents=True)
        (folder / "manifest.yaml").write_text(item.dump())
    path = tmp_path / "mesh.yaml"
    path.write_text(
        f"apiVersion: meshkit/v1\nkind: Mesh\nname: t\nproducts: [./products]\nstate: 'sqlite:///{tmp_path}/state.db'\n"
    )
    store = Store.open(f"sqlite:///{tmp_path}/state.db")
    record = query(1, "product:finance.audit", relations={"sales.orders": ("id",)}, at=datetime.now(UTC))
    LineageStore(store).ingest_query_log([record], MESH)
    store.close()
    monkeypatch.chdir(tmp_path)
    return str(path)


def test_show_prints_the_graph_of_a_mesh_and_findings_exit_1(mesh_file, capsys):
    """Exit 0 unless `--findings` is given."""
    assert run(meshkit, ["lineage", "show", "--config", mesh_file]) == 0
    assert "sales.orders -> finance.audit  observed, not declared, 1 read" in capsys.readouterr().out
    assert run(meshkit, ["lineage", "show", "--config", mesh_file, "--findings", "--format", "json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert value["format"] == "meshkit.lineage.graph/1"
    assert [e["agreement"] for e in value["edges"] if e["dst"] == "urn:mesh:finance:audit"] == ["observed_not_declared"]
    assert (
        run(meshkit, ["lineage", "show", "sales.orders", "--column", "id", "--format", "svg", "--config", mesh_file])
        == 0
    )
    assert capsys.readouterr().out.startswith("<svg")
    assert run(meshkit, ["lineage", "show", "--diff", "2020-01-01", "--config", mesh_file]) == 0
    assert "+ sales.orders -> finance.audit" in capsys.readouterr().out


def test_show_refuses_what_is_not_there(mesh_file, capsys):
    """1 for an unknown product, 2 for a bad call."""
    assert run(meshkit, ["lineage", "show", "sales.order", "--config", mesh_file]) == 1
    assert "Did you mean sales.orders?" in capsys.readouterr().err
    assert run(meshkit, ["lineage", "show", "--column", "id", "--config", mesh_file]) == 2
    assert run(meshkit, ["lineage", "show", "--at", "yesterday", "--config", mesh_file]) == 2
    capsys.readouterr()


def test_impact_is_the_question_of_a_ci_job(mesh_file, capsys):
    """Exit 1 if somebody is affected or unknown, 0 if nobody is."""
    assert run(meshkit, ["lineage", "impact", "sales.orders#id", "--config", mesh_file]) == 1
    assert "affected      finance.audit  (1 hop)  finance-team  it reads id" in capsys.readouterr().out
    assert (
        run(
            meshkit,
            ["lineage", "impact", "shop.checkout", "--column", "email", "--config", mesh_file, "--format", "json"],
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["summary"] == {"affected": 0, "unknown": 0, "not_affected": 1}
    assert run(meshkit, ["lineage", "impact", "shop.checkout", "--change", "stop", "--csv", "--config", mesh_file]) == 1
    assert capsys.readouterr().out.startswith("verdict,product,hops,")
