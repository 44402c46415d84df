"""Policies, masks and audit under SQL: the modules as a mesh puts them together, over a Parquet file."""

from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from masking_shop import HEAD

from meshkit import masking
from meshkit.federation import Federation, QueryDenied
from meshkit.manifest import Manifest
from meshkit.masking import AuditChain, KeyRing, Masks, PolicyDecider, find_query, verify_audit
from meshkit.masking.policy_reader import read_policies
from meshkit.ports import Principal

KEYS = KeyRing("v1", {"v1": "k" * 32})
SCHEMA = """schema:
  orders:
    fields:
      order_id: {type: int64, key: 1, required: true}
      email: {type: string, tags: ["pii:email"]}
      phone: {type: string, tags: ["pii:phone"]}
      iban: {type: string, tags: ["pii:iban"]}
      customer: {type: int64, tags: ["pii:id"]}
      born: {type: date, tags: ["pii:birth_date"]}
      seen: {type: timestamptz, tags: ["pii:birth_date"]}
      salary: {type: "decimal(12,2)", tags: ["pii:salary"]}
      country: string
      ratio: float64
      Order: string
      consent: bool
ports: {lake: {kind: file, location: orders.parquet, format: parquet}}
slos: {freshness: {within: 1h, target: 99%, port: lake}}
"""
FRAME = pl.DataFrame(
    {
        "order_id": [1, 2, 3, 4],
        "email": ["john.doe@gmail.com", "é@ü.de", None, "nonsense"],
        "phone": ["+33123456789", "12", None, "٣٣٣٣٣٣٣٣٣"],
        "iban": ["FR7630006000011234567890189", "e\u0301", None, ""],
        "customer": [1, -(2**63), None, 0],
        "born": [date(1985, 5, 5), date(1900, 1, 1), None, date(2024, 12, 31)],
        "seen": [
            datetime(2024, 12, 31, 23, 30, tzinfo=UTC),
            datetime(1929, 12, 31, tzinfo=UTC),
            None,
            datetime(2020, 2, 29, tzinfo=UTC),
        ],
        "salary": [Decimal("12345.67"), Decimal("-0.01"), None, Decimal("9999999999.99")],
        "country": ["FR", "DE", None, "it's"],
        "ratio": [0.5, float("nan"), None, float("inf")],
        "Order": ["a%", "ab", None, "x"],
        "consent": [True, False, None, True],
    },
    schema_overrides={"salary": pl.Decimal(12, 2)},
)
GRANT = "version: 1\ngrants: [{id: g, products: [sales.*], roles: [r]}]\n"


@pytest.fixture
def product(tmp_path):
    FRAME.write_parquet(tmp_path / "orders.parquet")
    (tmp_path / "manifest.yaml").write_text(HEAD.format(domain="sales", name="orders") + SCHEMA)
    return Manifest.load(tmp_path / "manifest.yaml")


@pytest.fixture
def ask(product, tmp_path):
    """`ask(policy text, attributes)`: all rows by SQL, and the same by `masking.apply`."""

    def run(text, query="select * from sales.orders order by order_id", role="r", **attributes):
        policies, diagnostics = read_policies([("p.yaml", GRANT + text)], [product])
        assert not diagnostics
        principal = Principal("ana", (role,), attributes)
        chain = AuditChain(tmp_path / "audit")
        with Federation(
            {product.id: product}, decider=PolicyDecider([product], policies), masks=Masks(KEYS), audit=chain
        ) as federation:
            with federation.sql(query, principal=principal) as result:
                by_sql = pl.DataFrame(pl.from_arrow(result.to_arrow()))
                query_id = result.query_id
        local = masking.apply(FRAME, product, principal, policies=policies, keys=KEYS)
        return by_sql, local, query_id

    return run


def test_default_masks_are_the_same_in_sql_and_on_a_frame(ask, tmp_path):
    """Every default mask, keyed ones too; the audit chain names each."""
    by_sql, local, query_id = ask("")
    assert by_sql.equals(local, null_equal=True)
    assert by_sql["email"].to_list() == ["j***@gmail.com", "***@ü.de", None, "***"]
    assert by_sql["iban"][0].startswith("v1:")
    assert by_sql["salary"].to_list() == [Decimal("10000.00"), Decimal("-10000.00"), None, Decimal("9999990000.00")]
    assert by_sql["seen"].to_list()[:2] == [datetime(2024, 1, 1, tzinfo=UTC), datetime(1930, 1, 1, tzinfo=UTC)]
    assert verify_audit([tmp_path / "audit"]).ok
    (entry,) = find_query(query_id, [tmp_path / "audit"]).records
    masks = {c["column"]: c["mask"] for c in entry["products"][0]["columns"]}
    assert masks["email"] == "email.partial"
    assert masks["iban"] == "hmac"


@pytest.mark.parametrize(
    "condition",
    [
        "country in (:countries)", "not country in (:countries)", "ratio >= 0.5", "not ratio > 0.6", "salary > 0 or salary is null", "lower(country) = 'fr'",
        "length(country) > 2", "coalesce(country, 'FR') = 'FR'", "\"Order\" like 'a%'", "born between '1900-01-01' and '1999-12-31'",
        "seen < '2024-12-31T00:00:00Z'", "consent", "consent is false", "order_id in (1, 4)", "email = 'john.doe@gmail.com'", "country = 'it''s'",
    ],
)  # fmt: skip
def test_row_filters_show_the_same_rows_in_sql_and_on_a_frame(ask, condition):
    """Every operation of policy SQL passes the engine."""
    text = 'row_filters: [{id: f, products: [sales.orders], filter: "' + condition.replace('"', '\\"') + '"}]\n'
    by_sql, local, _ = ask(text, countries=["FR", "it's"])
    assert by_sql.equals(local, null_equal=True)
    assert 0 < by_sql.height < 4


def test_conditional_masks_are_the_same(ask):
    """`only_rows` in SQL and on a frame."""
    by_sql, local, _ = ask(
        "rules: [{id: a, tags: ['pii:email'], roles: [r], mask: clear, only_rows: consent, otherwise: redact}]\n"
    )
    assert by_sql.equals(local, null_equal=True)
    assert by_sql["email"].to_list() == ["john.doe@gmail.com", "REDACTED", None, "nonsense"]


def test_tokens_join_and_a_missing_attribute_shows_no_rows(ask):
    """Tokens are equal for equal values."""
    by_sql, _, _ = ask("", query="select count(*) n from sales.orders a join sales.orders b on a.iban = b.iban")
    assert by_sql["n"][0] == 3
    none, local, _ = ask("row_filters: [{id: f, products: [sales.orders], filter: 'country in (:countries)'}]\n")
    assert none.is_empty()
    assert local.is_empty()


def test_a_reader_without_grant_sees_no_table(ask):
    """Forbidden and unknown look alike."""
    with pytest.raises(QueryDenied):
        ask("", role="other")
