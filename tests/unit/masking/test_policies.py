"""Loading policy files: all problems at once with places. Applying decisions to frames. `policy test`."""

from datetime import UTC, datetime

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from masking_shop import GRANT, ORDERS, manifest, policies, read, who

from meshkit import masking
from meshkit.errors import EnvironmentProblem, UsageError
from meshkit.masking import (
    AccessDenied,
    KeyRing,
    MissingKey,
    PolicyError,
    PolicySettings,
    load_policies,
    run_policy_tests,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

BROKEN = """version: 1
grants:
  - {id: g1, products: [sales.*]}
  - {id: g1, products: [sales.orders]}
rules:
  - {id: a, tag: ["pii:email"], mask: clear}
"""
WRONG = """version: 1
grants:
  - {id: g1, products: [sales.*]}
  - {id: g1, products: [sales.ordres, "*.orders"]}
rules:
  - {id: a, tags: ["pii:email"], mask: email.parttial}
  - {id: b, tags: ["pii:salary"], mask: last_n}
  - {id: c, mask: clear}
  - {id: d, columns: [sales.orders.emial], mask: clear, overrides: [e]}
  - {id: e, columns: [sales.orders.email], mask: shape, overrides: [d, z]}
  - {id: f, columns: [sales.orders.email], mask: {last_n: {n: 0}}}
  - {id: g, columns: [sales.orders.email], mask: clear, only_rows: "contry = 'FR'"}
  - {id: h, columns: [sales.orders.email], mask: {sql: "upper(email)"}}
  - {id: i, columns: [sales.orders.iban], mask: hmac, only_rows: consent}
row_filters:
  - {id: f1, products: [sales.orders], filter: "total > (select 1)"}
  - {id: f2, products: [sales.orders], filter: "country like :x"}
"""


def test_unknown_keys_stand_with_place_and_hint():
    """Format problems come first, as the rest would be guesses."""
    _, found = read(BROKEN)
    assert [(d.code, d.place) for d in found] == [("masking.unknown_key", "policies/p.yaml:6:13")]
    assert "Did you mean `tags`?" in str(found[0])


def test_every_problem_is_reported_at_once():
    """Ids, selectors, masks, types, overrides, SQL: all with line."""
    _, found = read(WRONG)
    errors = [(d.line, d.code) for d in found if d.severity == "error"]
    assert errors == [
        (4, "masking.duplicate_id"), (4, "masking.pattern"), (6, "masking.unknown_mask"), (7, "masking.mask_misfit"), (8, "masking.selector"),
        (9, "masking.overrides"), (10, "masking.unknown_mask"), (10, "masking.overrides"), (10, "masking.overrides"), (11, "masking.mask_misfit"),
        (12, "masking.policy_sql"), (13, "masking.unknown_mask"), (14, "masking.only_rows"), (16, "masking.policy_sql"), (17, "masking.policy_sql"),
    ]  # fmt: skip
    warnings = [(d.line, str(d)) for d in found if d.severity == "warning"]
    assert [line for line, _ in warnings] == [4, 9]
    assert "Did you mean 'sales.orders'?" in warnings[0][1]
    assert "Did you mean 'sales.orders.email'?" in warnings[1][1]


@pytest.mark.parametrize(
    "text",
    [
        "grants: []", "version: 2", "version: 1\ngrants: [{id: a, products: []}]", "version: 1\ngrants: [{id: a, products: [x], roles: []}]",
        "version: 1\nrules: [{id: a, tags: [x], mask: [clear]}]", "version: 1\nrules: [{id: a, tags: [x], mask: {a: {}, b: {}}}]",
        "version: 1\ngrants: [{id: a, products: [x], until: soon}]", "version: 1\nversion: 1", "version: 1\nrules: [{id: a, tags: [x], mask: clear, lookup: true}]",
        "version: 1\nrules: [{id: a, tags: [x], mask: clear, otherwise: redact}]", "version: 1\nrules: [{id: a, tags: [x], columns: [y], mask: clear}]",
        "version: 1\nrules: [{id: a, tags: [x], mask: clear, only_rows: c, otherwise: bucket}]", "", "[]", "version: 1\ngrants: [{id: a, products: [x], effect: maybe}]",
    ],
)  # fmt: skip
def test_bad_files_are_refused(text):
    """Never skipped, never half loaded."""
    _, found = read(text, ())
    assert any(d.severity == "error" for d in found)


def test_files_and_folders_load_and_name_what_is_missing(tmp_path):
    """A folder stands for all YAML below it; ids are unique across files."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.yaml").write_text("version: 1\n" + GRANT)
    (tmp_path / "deep" / "b.yml").write_text("version: 1\nrules: [{id: a, tags: ['pii:*'], mask: redact}]\n")
    loaded = load_policies(tmp_path)
    assert (len(loaded.grants), len(loaded.rules)) == (1, 1)
    assert "<table>" in loaded._repr_html_()
    (tmp_path / "c.yaml").write_text("version: 1\n" + GRANT)
    with pytest.raises(PolicyError, match=r"c\.yaml:2:\d+"):
        load_policies(tmp_path)
    with pytest.raises(EnvironmentProblem):
        load_policies(tmp_path / "none.yaml")


def test_engines_of_later_releases_are_refused():
    """Refused by name."""
    for engine in ("rego", "opa"):
        with pytest.raises(ValueError, match="not in this release"):
            PolicySettings(engine=engine)


TESTED = (
    GRANT
    + """rules:
  - {id: r1, tags: ["pii:email"], roles: [admin], mask: clear}
row_filters: [{id: f1, products: [sales.orders], filter: all}]
tests:
  - {as: {roles: [admin]}, product: sales.orders, expect: {columns: {email: clear, phone: {last_n: {n: 4}}}, row_filters: [f1]}}
  - {as: {roles: [admin]}, product: hr.people, expect: {allow: false}}
  - {as: {}, product: sales.orders, expect: {columns: {email: clear, nope: clear}, row_filters: []}}
  - {as: {}, product: sales.orders, expect: {allow: false}}
"""
)


def test_policy_tests_compare_decisions():
    """What differs is named; unknown products and columns fail."""
    report = run_policy_tests(policies(TESTED), [ORDERS], now=NOW)
    assert [r.problems for r in report.results] == [
        (),
        ("unknown product hr.people",),
        ("email: expected clear, got email.partial", "unknown column nope", "row_filters: expected none, got f1"),
        ("allow: expected false, got true",),
    ]
    assert report.exit_code == 1
    assert report.to_text().splitlines()[0] == "ok      sales.orders as admin  (policies/p.yaml:7:5)"
    assert report.to_json()["tests"][0]["ok"] is True
    assert run_policy_tests(policies(GRANT), [ORDERS], now=NOW).exit_code == 1


# apply ---------------------------------------------------------------------------------------------------------------------------------

DATA = pl.DataFrame(
    {
        "order_id": [1, 2, 3],
        "country": ["FR", "DE", None],
        "email": ["john.doe@gmail.com", "ana@x.fr", None],
        "consent": [True, False, None],
        "salary": [12_345, -1, None],
        "internal": ["x", "y", "z"],
    }
)


def test_frames_of_every_kind_are_masked_alike():
    """polars, lazy polars, pyarrow, pandas; columns outside the contract drop."""
    expected = ["j***@gmail.com", "a***@x.fr", None]
    shown = masking.apply(DATA, ORDERS, who())
    assert shown["email"].to_list() == expected
    assert shown["salary"].to_list() == [10_000, -10_000, None]
    assert "internal" not in shown.columns
    assert masking.apply(DATA.lazy(), ORDERS, who()).collect()["email"].to_list() == expected
    table = masking.apply(DATA.to_arrow().cast(pa.schema([("order_id", pa.int64()), ("country", pa.string()), ("email", pa.string()),
        ("consent", pa.bool_()), ("salary", pa.int64()), ("internal", pa.string())])), ORDERS, who())  # fmt: skip
    assert table["email"].to_pylist() == expected
    assert table.schema.field("email").type == pa.string()
    assert list(masking.apply(pd.DataFrame({"email": ["john.doe@gmail.com"]}), ORDERS, who())["email"]) == expected[:1]
    with pytest.raises(UsageError):
        masking.apply([1], ORDERS, who())


def test_policies_filter_and_mask_and_refuse():
    """Row filters on raw values, then masks."""
    found = policies(
        GRANT
        + """rules:
  - {id: a, columns: [sales.orders.email], roles: [x], mask: clear, only_rows: "consent", otherwise: redact}
row_filters: [{id: f, products: [sales.orders], filter: "country in (:countries) or country is null"}]
"""
    )
    shown = masking.apply(DATA, ORDERS, who("x", countries=["FR"]), policies=found)
    assert shown["order_id"].to_list() == [1, 3]
    assert shown["email"].to_list() == ["john.doe@gmail.com", None]
    both = masking.apply(DATA, ORDERS, who("x", countries=["FR", "DE"]), policies=found)
    assert both["email"].to_list() == ["john.doe@gmail.com", "REDACTED", None]
    assert masking.apply(DATA, ORDERS, who("x"), policies=found).is_empty()
    with pytest.raises(AccessDenied, match="schema_drift"):
        masking.apply(DATA.drop("country"), ORDERS, who("x", countries=["FR"]), policies=found)
    with pytest.raises(AccessDenied, match="not_granted"):
        masking.apply(DATA, ORDERS, who(), policies=policies("rules: []\n"))


def test_a_sensitive_column_of_another_type_is_null_and_others_are_cast():
    """6."""
    shown = masking.apply(pl.DataFrame({"email": [5], "order_id": ["7"], "salary": ["x"]}), ORDERS, who())
    assert shown.rows() == [(None, 7, None)]
    assert shown.schema == {"email": pl.String, "order_id": pl.Int64, "salary": pl.Int64}
    categorical = pl.DataFrame({"email": ["a@b.c"]}, schema={"email": pl.Categorical})
    assert masking.apply(categorical, ORDERS, who()).schema["email"] == pl.String


def test_keyed_columns_need_a_key():
    """`missing_key`; the default scope is the domain."""
    frame = pl.DataFrame({"iban": ["FR76"]})
    with pytest.raises(MissingKey):
        masking.apply(frame, ORDERS, who())
    token = masking.apply(frame, ORDERS, who(), keys=KeyRing("v1", {"v1": "k" * 32}))["iban"][0]
    assert token.startswith("v1:")
    assert len(token) == 67
    other = manifest(domain="hr")
    assert masking.apply(frame, other, who(), keys=KeyRing("v1", {"v1": "k" * 32}))["iban"][0] != token
