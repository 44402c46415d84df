"""mesh.sql over local files: what is read, masked, recorded and refused."""

from decimal import Decimal

import pytest

from meshkit.errors import MeshkitError, UsageError
from meshkit.federation import (
    AuditUnavailable,
    ContractBroken,
    EngineSettings,
    MissingPrincipal,
    QueryDenied,
    QueryFailed,
    ResultConsumed,
    SchemaDrift,
    SourceUnavailable,
)
from meshkit.ports import ColumnDecision, Principal

OPEN = {"sales.orders": ({"email": ColumnDecision("clear")}, []), "crm.people": ({}, []), "web.clicks": ({}, [])}


def rows(federation, query, principal, **more):
    with federation.sql(query, principal=principal, **more) as result:
        return result.to_arrow().to_pylist()


def test_a_sensitive_column_comes_out_masked_and_null_stays_null(federation, analyst):
    assert rows(federation, "select id, email from sales.orders order by id", analyst) == [
        {"id": 1, "email": "REDACTED"}, {"id": 2, "email": "REDACTED"}, {"id": 3, "email": None}, {"id": 4, "email": "REDACTED"},
    ]  # fmt: skip


def test_a_sensitive_column_that_the_decision_does_not_name_is_null(build, analyst):
    federation = build({"sales.orders": ({}, [])})
    assert {r["email"] for r in rows(federation, "select email from sales.orders", analyst)} == {None}


def test_row_filters_hide_rows_from_rows_counts_and_joins(build, analyst):
    federation = build({"sales.orders": ({"email": ColumnDecision("redact")}, ["country IN ('FR')"])})
    assert rows(federation, "select count(*) n, sum(total) t from sales.orders", analyst) == [
        {"n": 2, "t": Decimal("15.75")}
    ]
    assert rows(federation, "select count(*) n from sales.orders a join sales.orders b using (id)", analyst) == [
        {"n": 2}
    ]


def test_filters_of_one_decision_are_combined_with_and(build, analyst):
    federation = build({"sales.orders": ({}, ["country = 'FR'", "total > 6"])})
    assert [r["id"] for r in rows(federation, "select id from sales.orders", analyst)] == [1]


def test_a_filter_may_look_into_another_product(build, analyst):
    federation = build({"sales.orders": ({}, ["id in (select id from crm.people)"])})
    assert [r["id"] for r in rows(federation, "select id from sales.orders order by id", analyst)] == [1, 2, 3]


@pytest.mark.parametrize(
    "text",
    ["nope = 1", "country = ", "id in (select id from x.y)", "other.country = 'FR'", "id in (select id from people)"],
)
def test_a_filter_that_cannot_be_evaluated_denies_the_read(build, analyst, text):
    federation = build({"sales.orders": ({}, [text])})
    with pytest.raises(MeshkitError) as caught:
        rows(federation, "select id from sales.orders", analyst)
    assert caught.value.code == "federation.policy_unavailable"


def test_a_mask_for_some_rows_shows_the_others_as_otherwise_says(build, analyst):
    federation = build(
        {"sales.orders": ({"email": ColumnDecision("clear", only_rows="country = 'FR'", otherwise="redact")}, [])}
    )
    shown = rows(federation, "select email from sales.orders order by id", analyst)
    assert [r["email"] for r in shown] == ["ana.canary@mail.example", "REDACTED", None, "REDACTED"]


def test_keyed_masks_are_applied_after_the_fetch_and_join_in_the_sandbox(build, analyst):
    federation = build(
        {"sales.orders": ({"email": ColumnDecision("secret", only_rows="country = 'FR'", otherwise="null")}, [])}
    )
    assert [r["email"] for r in rows(federation, "select email from sales.orders order by id", analyst)] == [
        "tok0",
        None,
        None,
        None,
    ]
    assert rows(
        federation, "select count(*) n from sales.orders a join sales.orders b on a.email = b.email", analyst
    ) == [{"n": 1}]


def test_a_condition_on_a_masked_column_compares_masked_values(federation, analyst):
    assert rows(federation, "select id from sales.orders where email = 'ana.canary@mail.example'", analyst) == []
    assert len(rows(federation, "select id from sales.orders where email = 'REDACTED'", analyst)) == 3


def test_conditions_on_clear_columns_go_down_and_masked_ones_stay_up(federation, analyst):
    plan = federation.plan_sql("select id from sales.orders where country = 'FR' and email = 'x'", principal=analyst)
    (fragment,) = plan.fragments
    assert fragment.pushed == ("a condition on country",)
    assert fragment.not_pushed == ("a condition on email: the column is masked",)
    assert "'FR'" not in plan.to_text()
    assert plan.to_json()["format"] == "meshkit.federation.query_plan/1"


def test_csv_and_json_are_read_with_the_types_of_the_contract(federation, analyst):
    assert rows(federation, "select * from crm.people order by id", analyst) == [
        {"id": 1, "name": "Ana", "country": "FR", "age": 31}, {"id": 2, "name": "Bob, Jr", "country": "DE", "age": None}, {"id": 3, "name": "", "country": "FR", "age": 44},
    ]  # fmt: skip
    assert rows(federation, "select url, tags, info.n from web.clicks where id = 3", analyst) == [
        {"url": "/p/3", "tags": ["a", "b"], "n": 3}
    ]


def test_three_formats_join_in_one_statement(federation, analyst):
    query = "select p.name, o.total, c.url from sales.orders o join crm.people p using (id) join web.clicks c on c.id = o.id where o.country = 'FR' order by 2"
    assert rows(federation, query, analyst) == [
        {"name": "", "total": Decimal("5.25"), "url": "/p/3"},
        {"name": "Ana", "total": Decimal("10.50"), "url": "/p/1"},
    ]


def test_a_value_against_the_contract_names_file_row_and_column_but_not_the_value(build, analyst, tmp_path):
    federation = build()
    (tmp_path / "people.csv").write_text("id,name,country,age\n1,Ana,FR,31\n2,Bob,DE,canary77\n")
    with pytest.raises(ContractBroken) as caught:
        rows(federation, "select age from crm.people", analyst)
    assert (caught.value.column, caught.value.file, caught.value.row) == ("age", "people.csv", 2)
    assert "canary" not in str(caught.value)
    assert rows(federation, "select name from crm.people order by 1", analyst) == [{"name": "Ana"}, {"name": "Bob"}]


def test_a_bad_value_in_a_hidden_row_does_not_show(build, analyst, tmp_path):
    federation = build({"crm.people": ({}, ["country = 'FR'"])})
    (tmp_path / "people.csv").write_text("id,name,country,age\n1,Ana,FR,31\n2,Bob,DE,canary77\n")
    assert rows(federation, "select age from crm.people", analyst) == [{"age": 31}]


def test_a_column_that_the_file_lacks_is_schema_drift_only_when_it_is_read(build, analyst, tmp_path):
    federation = build()
    (tmp_path / "people.csv").write_text("id,name\n1,Ana\n")
    with pytest.raises(SchemaDrift, match="age"):
        rows(federation, "select age from crm.people", analyst)
    assert rows(federation, "select name from crm.people", analyst) == [{"name": "Ana"}]


def test_a_missing_file_is_a_source_problem_with_exit_code_3(build, analyst, tmp_path):
    federation = build()
    (tmp_path / "orders.parquet").unlink()
    with pytest.raises(SourceUnavailable) as caught:
        rows(federation, "select id from sales.orders", analyst)
    assert caught.value.exit_code == 3
    assert str(tmp_path) not in str(caught.value)


def test_a_recursive_query_and_a_with_query_used_twice_read_the_same_rows(federation, analyst):
    assert rows(federation, "with c as (select id from sales.orders) select count(*) n from c a, c b", analyst) == [
        {"n": 16}
    ]
    query = "with recursive r as (select 1::bigint i union all select r.i + 1 from r join sales.orders o on o.id = r.i) select max(i) m from r"
    assert rows(federation, query, analyst) == [{"m": 5}]


def test_parameters_are_bound_and_go_down_as_constants(federation, analyst):
    assert rows(
        federation,
        "select id from sales.orders where country = $c and id < $n order by id",
        analyst,
        parameters={"c": "FR", "n": 3},
    ) == [{"id": 1}]
    with pytest.raises(UsageError, match="not given: c"):
        rows(federation, "select id from sales.orders where country = $c", analyst)


def test_columns_say_product_mask_and_rule(federation, analyst):
    with federation.sql(
        "select id, email, upper(email) u, count(*) over () n from sales.orders", principal=analyst
    ) as result:
        id_, email, upper, n = result.columns
    assert (id_.product, id_.mask, id_.type) == ("sales.orders", None, "int64")
    assert (email.product, email.mask, email.rule) == ("sales.orders", "redact", "r2")
    assert (upper.product, upper.mask, n.mask) == (None, "derived", None)
    assert result.trust == "advisory"


def test_batches_stream_once_and_tables_repeat(federation, analyst):
    result = federation.sql("select id from sales.orders order by id", principal=analyst)
    assert [b.num_rows for b in result.batches(max_rows=3)] == [3, 1]
    with pytest.raises(ResultConsumed):
        result.batches()
    result = federation.sql("select id from sales.orders", principal=analyst)
    assert result.to_polars().height == result.to_arrow().num_rows == len(result.to_pandas()) == 4


def test_the_result_is_an_arrow_stream(federation, analyst):
    import polars as pl

    assert pl.DataFrame(federation.sql("select id from sales.orders", principal=analyst)).height == 4


def test_html_escapes_values_and_marks_masks(federation, analyst):
    html = federation.sql("select email, '<b>' x from sales.orders", principal=analyst)._repr_html_()
    assert "[redact]" in html and "&lt;b&gt;" in html and "<b>" not in html


def test_listings_show_granted_products_only(federation, analyst):
    assert [r["table_name"] for r in rows(federation, "show tables", analyst)] == [
        "sales.orders",
        "crm.people",
        "web.clicks",
    ]
    assert rows(
        federation, "select table_name t from information_schema.tables where table_schema = 'crm'", analyst
    ) == [{"t": "people"}]
    assert [r["mask"] for r in rows(federation, "describe sales.orders", analyst)] == [
        "clear",
        "redact",
        "clear",
        "clear",
        "clear",
    ]
    assert len(rows(federation, "select * from information_schema.columns", analyst)) == 13
    assert "hr" not in str(rows(federation, "select * from information_schema.columns", analyst))


def test_explain_answers_with_the_plan_and_reads_no_row(federation, analyst):
    text = "\n".join(
        r["plan"] for r in rows(federation, "explain select email from sales.orders where id = 1", analyst)
    )
    assert "redact(email)" in text and "a condition on id" in text


def test_unknown_and_forbidden_products_give_the_same_error(federation, analyst):
    texts = []
    for name in ("hr.pay", "hr.pox"):
        with pytest.raises(QueryDenied) as caught:
            federation.sql(f"select * from {name}", principal=analyst)
        texts.append((caught.value.code, str(caught.value).replace(name, "?")))
    assert texts[0] == texts[1]
    assert texts[0][0] == "federation.unknown_table"


def test_nobody_named_is_refused(federation):
    with pytest.raises(MissingPrincipal):
        federation.sql("select 1", principal=None)


def test_the_audit_record_is_there_before_the_first_row_and_holds_no_literal(build, analyst, audit):
    federation = build(audit=audit)
    result = federation.sql(
        "select email from sales.orders where country = 'canary-literal' -- canary-comment",
        principal=analyst,
        purpose="reporting",
    )
    (record,) = audit.records
    assert record.outcome == "allowed"
    assert record.sql == "select email from sales.orders where country = ?"
    assert record.products[0]["columns"] == [
        {"column": "email", "tag": "pii:email", "rule": "r2", "mask": "redact", "reason": ""}
    ]
    result.close()


def test_denials_are_recorded_with_their_code(build, analyst, audit, query_log):
    federation = build(audit=audit, query_log=query_log)
    with pytest.raises(QueryDenied):
        federation.sql("select * from hr.pay where id = 4711", principal=analyst)
    assert (audit.records[0].outcome, audit.records[0].code) == ("denied", "federation.unknown_table")
    ((_, entry),) = query_log.read()
    assert entry.status == "denied" and "4711" not in entry.statement


def test_no_row_leaves_when_the_audit_chain_is_down(build, analyst):
    class Down:
        def append(self, record):
            raise OSError("disk full")

    federation = build(audit=Down())
    with pytest.raises(AuditUnavailable):
        federation.sql("select id from sales.orders", principal=analyst)


def test_the_query_log_has_relations_lineage_rows_and_time(build, analyst, query_log):
    federation = build(query_log=query_log)
    rows(
        federation,
        "select o.country, sum(o.total) total from sales.orders o join crm.people p using (id) group by 1",
        analyst,
    )
    ((number, entry),) = query_log.read()
    assert number == 1 and entry.status == "ok" and entry.rows == 2 and entry.bytes > 0
    assert entry.relations == {"sales.orders": ("id", "country", "total"), "crm.people": ("id",)}
    assert entry.column_lineage == {"country": (("sales.orders", "country"),), "total": (("sales.orders", "total"),)}
    assert list(query_log.read(after=1)) == []


def test_an_engine_error_is_a_class_without_text_or_cause(build, analyst):
    federation = build(OPEN)
    with pytest.raises(QueryFailed) as caught:
        rows(federation, "select email::int from sales.orders", analyst)
    assert caught.value.kind == "cast"
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_type_error_is_found_before_rows_are_read(federation, analyst):
    with pytest.raises(QueryFailed) as caught:
        rows(federation, "select country + placed from sales.orders", analyst)
    assert caught.value.kind == "bind"


def test_a_query_over_its_time_is_stopped(federation, analyst):
    with pytest.raises(QueryFailed) as caught:
        rows(
            federation,
            "select count(*) from range(10000000) a, range(10000000) b where a.range + b.range = 7",
            analyst,
            timeout_seconds=0.3,
        )
    assert caught.value.kind == "timeout"
    assert caught.value.code == "federation.engine_limit"


def test_a_query_over_its_memory_is_stopped(build, analyst):
    federation = build(settings=EngineSettings(memory="20MiB", spill="1MiB"))
    with pytest.raises(QueryFailed) as caught:
        rows(
            federation,
            "select max(length(l)) from (select string_agg(a.range::varchar, ',') l from range(10000000) a)",
            analyst,
        )
    assert caught.value.kind == "memory"


def test_a_query_that_outgrows_its_memory_spills_and_ends(build, analyst):
    federation = build(settings=EngineSettings(memory="64MiB", spill="1GiB"))
    query = "select max(h) from (select hash(range)::varchar || repeat('x', 60) h from range(1500000) order by h limit 1000000)"
    assert len(rows(federation, query, analyst)) == 1


def test_closing_early_frees_the_query_and_logs_it(build, analyst, query_log):
    federation = build(query_log=query_log)
    result = federation.sql("select a.range from range(10000000) a", principal=analyst)
    next(result.batches())
    result.close()
    result.close()
    assert [e.status for _, e in query_log.read()] == ["ok"]


def test_trino_dialect_is_refused_by_name(federation, analyst):
    with pytest.raises(UsageError, match="Trino"):
        federation.sql("select 1", principal=analyst, dialect="trino")


def test_the_spill_folder_is_private_and_goes_away(build, analyst):
    from pathlib import Path

    federation = build()
    rows(federation, "select id from sales.orders", analyst)
    folder = Path(federation.engine._spill.path)
    assert folder.stat().st_mode & 0o777 == 0o700
    federation.close()
    assert not folder.exists()


def test_the_decider_that_answers_for_another_product_is_not_believed(build, analyst):
    from dataclasses import replace

    class Confused:
        def decide(self, product, principal, *, purpose, now):
            from meshkit.ports import Decision

            return (
                Decision("d", "crm.people", "1", "p", True)
                if product == "sales.orders"
                else replace(Decision("d", product, "1", "p", False))
            )

        def revision(self):
            return "p"

    federation = build(Confused())
    with pytest.raises(QueryDenied):
        federation.sql("select id from sales.orders", principal=analyst)


def test_a_decision_over_columns_outside_the_contract_denies(build, analyst):
    federation = build({"sales.orders": ({"ghost": ColumnDecision("clear")}, [])})
    with pytest.raises(MeshkitError) as caught:
        federation.sql("select id from sales.orders", principal=analyst)
    assert caught.value.code == "federation.policy_unavailable"


def test_roles_without_a_grant_see_nothing(federation):
    with pytest.raises(QueryDenied):
        federation.sql("select id from sales.orders", principal=Principal("x", roles=("nobody",)))


def test_a_decision_whose_time_is_over_denies(analyst, build):
    from dataclasses import replace
    from datetime import UTC, datetime, timedelta

    from meshkit.ports import Decision

    class Late:
        def __init__(self, hours):
            self.until = datetime.now(UTC) + timedelta(hours=hours)

        def decide(self, product, principal, *, purpose, now):
            return replace(Decision("d", product, "1", "p", True), valid_until=self.until)

        def revision(self):
            return "p"

    with pytest.raises(QueryDenied):
        build(Late(-1)).sql("select id from sales.orders", principal=analyst)
    assert rows(build(Late(1)), "select count(*) n from sales.orders", analyst) == [{"n": 4}]


def test_a_product_without_a_queryable_port_is_recorded_and_named(build, analyst, audit, tmp_path):
    from meshkit.federation import Federation

    federation = build(audit=audit)
    manifest = federation.products["sales.orders"]
    (port,) = manifest.ports.values()
    streamed = manifest.model_copy(
        update={
            "ports": {"stream": port.model_copy(update={"kind": "kafka", "format": "json", "location": "kafka://bus"})}
        }
    )
    with Federation(
        {"sales.orders": streamed}, decider=federation.decider, masks=federation.masks, audit=audit
    ) as only_stream:
        with pytest.raises(MeshkitError) as caught:
            only_stream.sql("select id from sales.orders", principal=analyst)
    assert caught.value.code == "federation.no_queryable_port"
    assert [r.outcome for r in audit.records] == ["allowed"]


def test_a_csv_without_header_is_read_by_position(analyst, build, tmp_path):
    from meshkit.federation import Federation
    from meshkit.manifest import CsvOptions

    federation = build()
    manifest = federation.products["crm.people"]
    port = manifest.ports["csv"].model_copy(update={"csv": CsvOptions(header=False, delimiter=";")})
    bare = manifest.model_copy(update={"ports": {"csv": port}})
    (tmp_path / "people.csv").write_text("1;Ana;FR;31\n2;Bob;DE;32\n")
    with Federation({"crm.people": bare}, decider=federation.decider, masks=federation.masks) as headless:
        found = rows(headless, "select name, age from crm.people order by id", analyst)
    assert found == [{"name": "Ana", "age": 31}, {"name": "Bob", "age": 32}]


def test_an_empty_commit_is_an_empty_table(analyst, build, tmp_path):
    from meshkit._storage import Commit, CommitLog

    federation = build()
    CommitLog(str(tmp_path)).append(Commit(sequence=1, version="1.0.0", files=()))
    assert rows(federation, "select count(*) n, max(email) e from sales.orders", analyst) == [{"n": 0, "e": None}]


def test_a_committed_path_outside_the_location_is_refused(analyst, build, tmp_path):
    from meshkit._storage import Commit, CommitLog, DataFile

    federation = build()
    CommitLog(str(tmp_path)).append(
        Commit(sequence=1, version="1.0.0", files=(DataFile("../../etc/passwd", 1, 1, ""),))
    )
    with pytest.raises(MeshkitError) as caught:
        rows(federation, "select id from sales.orders", analyst)
    assert caught.value.code == "federation.commit_damaged"


def test_a_second_scan_of_a_fragment_that_may_be_read_once_starts_the_query_again(federation, analyst):
    """What a Postgres fragment does when the engine wants it twice: it is loaded, so both scans are one snapshot."""
    from meshkit.federation import execute

    seen = []

    class Once(execute.Execution):
        def _stream(self, name):
            stream = super()._stream(name)
            stream.once = True
            seen.append(stream)
            return stream

    original = federation._execution
    names = [
        "gated",
        "prepared",
        "reductions",
        "engine",
        "reader",
        "compiler",
        "policy_reader",
        "roles",
        "settings",
        "query_id",
        "virtual",
    ]

    def once(*args):
        made = original(*args)
        return Once(**{name: getattr(made, name) for name in names})

    federation._execution = once
    query = "with c as not materialized (select id from sales.orders) select count(*) n from c a join c b using (id)"
    assert rows(federation, query, analyst) == [{"n": 4}]
    assert any(s.rescanned for s in seen)


def test_importing_the_module_loads_no_engine():
    import subprocess
    import sys

    code = "import sys, meshkit.federation; print([m for m in ('duckdb', 'pyarrow', 'polars', 'pandas', 'sqlglot', 'fsspec') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
