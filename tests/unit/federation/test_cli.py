"""`meshkit sql`: forms, limits, files, exit codes."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meshkit.cli.sql import run_sql
from meshkit.errors import UsageError
from meshkit.federation import QueryDenied, UnparsableSql

OPTIONS = {
    "principal": None,
    "purpose": None,
    "params": (),
    "dialect": "duckdb",
    "form": "table",
    "path": None,
    "limit": None,
    "timeout": 30.0,
    "explain": False,
}


class Reader:
    """What the command needs of a mesh: `sql` and `plan_sql` that know who asks."""

    def __init__(self, federation, who):
        self.federation, self.who = federation, who

    def sql(self, query, *, principal, **options):
        return self.federation.sql(query, principal=self.who, **options)

    def plan_sql(self, query, *, principal, **options):
        return self.federation.plan_sql(query, principal=self.who, **options)


@pytest.fixture
def run(federation, analyst):
    return lambda query, **options: run_sql(Reader(federation, analyst), query, **{**OPTIONS, **options})


def test_a_table_marks_masked_columns_and_aligns_numbers(run, capsys):
    assert run("select id, email, total from sales.orders where id < 3 order by id") == 0
    assert (
        capsys.readouterr().out
        == "id  email [redact]  total\n--  --------------  -----\n 1  REDACTED        10.50\n 2  REDACTED        20.00\n"
    )


def test_json_has_the_documented_form(run, capsys):
    run("select id, email, total, placed from sales.orders order by id", form="json", limit=1)
    value = json.loads(capsys.readouterr().out)
    assert list(value) == ["format", "query_id", "trust", "columns", "rows", "row_count", "truncated"]
    assert (
        value["format"] == "meshkit.federation.result/1" and value["trust"] == "advisory" and value["truncated"] is True
    )
    assert value["rows"] == [[1, "REDACTED", 10.5, "2026-01-02T00:00:00Z"]] and value["row_count"] == 1
    assert value["columns"][1] == {
        "name": "email",
        "type": "string",
        "product": "sales.orders",
        "mask": "redact",
        "rule": "r2",
    }


def test_decimals_that_a_double_would_round_are_text(run, capsys):
    run("select 123456789012345678.91::decimal(20,2) a, 1.5::decimal(3,1) b, 'nan'::double c, 'x'::blob d", form="json")
    assert json.loads(capsys.readouterr().out)["rows"] == [["123456789012345678.91", 1.5, None, "eA=="]]


def test_csv_quotes_what_needs_it(run, capsys):
    run("select name, country from crm.people where id <= 2 order by id", form="csv")
    assert capsys.readouterr().out == 'name,country\nAna,FR\n"Bob, Jr",DE\n'


def test_binary_forms_go_to_files_that_appear_when_complete(run, tmp_path):
    run("select id from sales.orders", form="parquet", path=str(tmp_path / "o.parquet"))
    assert pq.read_table(tmp_path / "o.parquet").num_rows == 4
    run("select id from sales.orders", form="arrow", path=str(tmp_path / "o.arrow"), limit=3)
    assert pa.ipc.open_stream(io.BytesIO((tmp_path / "o.arrow").read_bytes())).read_all().num_rows == 3
    with pytest.raises(QueryDenied):
        run("select id from hr.pay", form="parquet", path=str(tmp_path / "no.parquet"))
    assert not [p for p in tmp_path.iterdir() if "no.parquet" in p.name]


def test_a_table_stops_at_a_thousand_rows_and_says_so(run, capsys):
    run("select * from range(1500) t(n)")
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1002 and "first 1,000 rows" in shown.err


def test_values_do_not_steer_the_terminal(run, capsys):
    run("select chr(27) || '[2J' v")
    assert "\x1b" not in capsys.readouterr().out


def test_parameters_are_json_or_text(run, capsys):
    run("select $n + 1 a, $s b, $t c", params=("n=41", "s=hello", 't="7"'), form="json")
    assert json.loads(capsys.readouterr().out)["rows"] == [[42, "hello", "7"]]
    with pytest.raises(UsageError, match="NAME=VALUE"):
        run("select 1", params=("novalue",))


def test_sql_comes_from_stdin_and_a_terminal_is_told_that_there_is_no_shell(run, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("select 1 as one"))
    run("-", form="csv")
    assert capsys.readouterr().out == "one\n1\n"

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    with pytest.raises(UsageError, match="shell comes with a later release"):
        run(None)


def test_explain_prints_the_plan(run, capsys):
    run("select email from sales.orders where id = 1", explain=True)
    assert "read    sales.orders from port lake" in capsys.readouterr().out
    run("select email from sales.orders", explain=True, form="json")
    assert json.loads(capsys.readouterr().out)["format"] == "meshkit.federation.query_plan/1"


def test_denied_is_exit_1_and_unparsable_exit_2(run):
    with pytest.raises(QueryDenied) as denied:
        run("select * from hr.pay")
    with pytest.raises(UnparsableSql) as unparsable:
        run("select (")
    assert (denied.value.exit_code, unparsable.value.exit_code) == (1, 2)


def test_help_has_an_example():
    from click.testing import CliRunner

    from meshkit.cli.sql import sql

    shown = CliRunner().invoke(sql, ["--help"])
    assert shown.exit_code == 0 and "meshkit sql " in shown.output
