"""Decisions: who may read, how columns look, which rows show. Source: federation-and-masking section 3, 1 to 7."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masking_shop import FIELDS, GRANT, ORDERS, manifest, policies, who

from meshkit.errors import UsageError
from meshkit.masking import (
    AccessDenied,
    KeyRing,
    MaskMisfit,
    Masks,
    PolicyDecider,
    PolicySet,
    PolicySettings,
    UnknownTarget,
    decide,
    decision_json,
)
from meshkit.ports import Grant
from meshkit.types import STRING

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

CONTACT = """
where_attributes: {}
grants:
  - {id: g1, products: [sales.*], roles: [analyst, admin, fraud]}
rules:
  - {id: r1, tags: ["pii:email", "pii:phone"], roles: [admin], mask: clear, reason: support desk}
  - {id: r2, tags: ["pii:email"], mask: email.partial}
  - {id: r3, columns: [sales.orders.iban], roles: [fraud], mask: {hmac: {scope: fraud}}, until: 2026-12-31}
row_filters:
  - {id: f1, products: [sales.orders], roles: [analyst], filter: "country in (:countries)"}
  - {id: f2, products: [sales.orders], roles: [admin], filter: all}
"""


def ask(text, principal, *, product=ORDERS, purpose=None, now=NOW, combine="strictest", grants=()):
    return decide(product, principal, policies(text), purpose=purpose, now=now, combine=combine, catalog_grants=grants)


def look(decision, column="email"):
    found = decision.columns.get(column)
    return "clear" if found is None else found.mask


def filters(decision):
    return {f.rule: f.sql for f in decision.row_filters}


def test_an_analyst_sees_partial_mails_and_an_admin_all():
    """The first example of the product."""
    analyst = ask(CONTACT, who("analyst", countries=["FR", "DE"]))
    assert look(analyst) == "email.partial"
    assert analyst.columns["email"].rule == "r2"
    assert analyst.columns["email"].reason == "baseline"
    assert filters(analyst) == {"f1": "country IN ('FR', 'DE')"}
    admin = ask(CONTACT, who("admin"))
    assert look(admin) == "clear"
    assert filters(admin) == {"f2": "TRUE"}


def test_without_a_grant_nothing_is_read():
    """1: no live grant."""
    for decision in (ask(CONTACT, who("intern")), ask("rules: []\n", who("analyst")), ask(CONTACT, who())):
        assert (decision.allow, decision.code) == (False, "masking.not_granted")
        assert not decision.columns


def test_a_matching_deny_wins_and_an_ended_grant_does_not_count():
    """1: deny beats allow; `until` counts the named day."""
    text = """grants: [{id: a, products: [sales.*], roles: [analyst], until: 2026-11-24}, {id: d, products: [sales.*], roles: [temp], effect: deny}]\n"""
    assert ask(text, who("analyst")).allow
    assert ask(text, who("analyst")).valid_until == datetime(2026, 11, 25, tzinfo=UTC)
    assert ask(text, who("analyst"), now=datetime(2026, 11, 25, tzinfo=UTC)).code == "masking.not_granted"
    assert ask(text, who("analyst", "temp")).code == "masking.denied"


def test_a_purpose_is_needed_where_the_grant_names_some():
    """1: missing or unlisted."""
    text = "grants: [{id: a, products: [sales.orders], purposes: [fraud]}]\n"
    assert ask(text, who()).code == "masking.purpose_required"
    assert ask(text, who(), purpose="fun").code == "masking.purpose_required"
    assert ask(text, who(), purpose="fraud").allow


def test_a_product_that_links_people_is_granted_by_its_exact_name_only():
    """A prefix does not reach it."""
    linked = manifest(domain="identity", name="user_map", fields=FIELDS, more="tags: [linkage]\n")
    assert not ask("grants: [{id: a, products: ['*', identity.*]}]\n", who(), product=linked).allow
    assert ask("grants: [{id: a, products: [identity.user_map]}]\n", who(), product=linked).allow


def test_where_attributes_must_hold_with_their_type():
    """ABAC beside roles; several places that name one attribute all count."""
    text = "where_attributes: {region: eu}\ngrants: [{id: a, products: [sales.*], where_attributes: {level: [2, 3]}}]\n"
    assert ask(text, who(region="eu", level=3)).allow
    assert ask(text, who(region=["us", "eu"], level=2)).allow
    for attributes in (
        {},
        {"region": "us", "level": 3},
        {"region": "eu", "level": "3"},
        {"region": "eu", "level": True},
        {"region": "eu"},
    ):
        assert not ask(text, who(**attributes)).allow
    twice = "where_attributes: {region: eu}\ngrants: [{id: a, products: [sales.*], where_attributes: {region: us}}]\n"
    assert not ask(twice, who(region="us")).allow


def test_columns_without_a_rule_take_the_default_of_their_tag():
    """3: and what no default fits is null."""
    decision = ask(GRANT, who())
    shown = {n: c.mask for n, c in decision.columns.items()}
    assert shown == {
        "email": "email.partial",
        "phone": "last_n",
        "iban": "hmac",
        "salary": "bucket",
        "secret": "null",
        "address": "null",
    }
    assert decision.columns["iban"].args == {"scope": "sales"}


def test_a_class_or_column_that_a_policy_names_is_sensitive_for_everyone():
    """2: for those without a rule it is null."""
    text = (
        GRANT
        + """rules:
  - {id: a, classification: restricted, roles: [admin], mask: clear}
  - {id: b, columns: [sales.orders.country], roles: [admin], mask: clear}
"""
    )
    assert look(ask(text, who()), "note") == "null"
    assert look(ask(text, who()), "country") == "null"
    assert look(ask(text, who("admin")), "note") == "clear"
    confidential = GRANT + "rules: [{id: a, classification: confidential, mask: redact}]\n"
    assert look(ask(confidential, who()), "note") == "redact"
    assert look(ask(confidential, who())) == "redact"


def test_roles_without_a_rule_do_not_count_nor_does_order():
    """3: `intern` has no rule, so it does not make anything stricter or weaker."""
    for roles in (("admin", "intern"), ("intern", "admin")):
        assert (
            look(ask(GRANT + CONTACT.partition("rules:")[1] + CONTACT.partition("rules:")[2], who(*roles))) == "clear"
        )


def test_the_strictest_role_wins_unless_the_weakest_is_asked_for():
    """3: `combine: least`."""
    text = (
        GRANT
        + """rules:
  - {id: a, tags: ["pii:email"], roles: [x], mask: clear}
  - {id: b, tags: ["pii:email"], roles: [y], mask: redact}
"""
    )
    assert look(ask(text, who("x", "y"))) == "redact"
    assert look(ask(text, who("x", "y"), combine="least")) == "clear"


def test_two_masks_of_one_rank_become_redact_and_one_mask_takes_coarser_arguments():
    """The lattice."""
    rules = "rules: [{id: a, tags: ['pii:email'], mask: email.partial}, {id: b, tags: ['pii:*'], mask: last_n}]\n"
    merged = ask(GRANT + rules, who()).columns["email"]
    assert (merged.mask, merged.rule) == ("redact", "a+b")
    widths = "rules: [{id: a, tags: ['pii:salary'], mask: {bucket: {width: 100}}}, {id: b, columns: [sales.orders.salary], mask: {bucket: {width: 1000}}}]\n"
    assert ask(GRANT + widths, who()).columns["salary"].args == {"width": 1000}
    overlapping = widths.replace("1000", "150")
    assert look(ask(GRANT + overlapping, who()), "salary") == "redact"
    scopes = "rules: [{id: a, tags: ['pii:email'], mask: {hmac: {scope: x}}}, {id: b, tags: ['pii:email'], mask: {hmac: {scope: y}}}]\n"
    assert look(ask(GRANT + scopes, who())) == "redact"


def test_overridden_rules_drop_out():
    """Only while the overriding rule applies."""
    text = (
        GRANT
        + """rules:
  - {id: a, tags: ["pii:email"], mask: redact}
  - {id: b, columns: [sales.orders.email], mask: email.partial, overrides: [a], purposes: [support]}
"""
    )
    assert look(ask(text, who(), purpose="support")) == "email.partial"
    assert look(ask(text, who())) == "redact"


def test_a_rule_ends_with_its_day_and_the_decision_with_it():
    """7: `valid_until` is the earliest end of the entries considered."""
    fraud = ask(CONTACT, who("fraud", "admin"))
    assert fraud.columns["iban"].args == {"scope": "fraud"}
    assert fraud.valid_until == datetime(2027, 1, 1, tzinfo=UTC)
    later = ask(CONTACT, who("fraud", "admin"), now=datetime(2027, 1, 1, tzinfo=UTC))
    assert later.columns["iban"].args == {"scope": "sales"}
    assert later.columns["iban"].rule is None


def test_conditions_decide_per_row():
    """`only_rows` and `otherwise`, attributes bound; an unbound condition hides every row."""
    text = (
        GRANT
        + """rules:
  - {id: a, columns: [sales.orders.email], roles: [x], mask: clear, only_rows: "consent = true and country = :home", otherwise: redact}
"""
    )
    column = ask(text, who("x", home="FR")).columns["email"]
    assert (column.mask, column.only_rows, column.otherwise) == (
        "clear",
        "(consent = TRUE AND country = 'FR')",
        "redact",
    )
    for attributes in ({}, {"home": 1}, {"home": ["FR"]}):
        column = ask(text, who("x", **attributes)).columns["email"]
        assert (column.mask, column.only_rows) == ("redact", None)


def test_a_condition_joined_with_another_rule_is_stricter_in_each_kind_of_row():
    """Inside the stricter of both, outside the stricter of both; different conditions show least."""
    text = (
        GRANT
        + """rules:
  - {id: a, tags: ["pii:email"], roles: [x], mask: clear, only_rows: "consent", otherwise: redact}
  - {id: b, tags: ["pii:email"], roles: [y], mask: email.partial}
  - {id: c, tags: ["pii:email"], roles: [z], mask: clear, only_rows: "country = 'FR'"}
"""
    )
    joined = ask(text, who("x", "y")).columns["email"]
    assert (joined.mask, joined.only_rows, joined.otherwise) == ("email.partial", "consent", "redact")
    assert look(ask(text, who("x", "z"))) == "null"
    least = ask(text, who("x", "y"), combine="least").columns["email"]
    assert (least.mask, least.otherwise) == ("clear", "email.partial")


def test_a_value_with_a_sensitive_part_is_hidden_unless_the_part_is_clear():
    """Nested tags: values are not rebuilt in this release."""
    assert look(ask(GRANT, who()), "address") == "null"
    for column in ("sales.orders.address", "sales.orders.address.street"):
        assert look(ask(GRANT + f"rules: [{{id: a, columns: [{column}], mask: clear}}]\n", who()), "address") == "clear"


def test_a_mask_that_does_not_fit_becomes_null():
    """Policies that were loaded without the manifest fail closed."""
    assert look(ask(GRANT + "rules: [{id: a, tags: ['pii:*'], mask: email.partial}]\n", who()), "salary") == "null"


def test_filters_without_a_match_show_no_rows():
    """4: a product with filters, and none for this principal."""
    assert filters(ask(CONTACT, who("fraud"))) == {"none": "FALSE"}
    assert filters(ask(GRANT, who("fraud"))) == {}


@pytest.mark.parametrize("countries", [None, [], "", 5, ["FR", 5], [None], {"a": 1}])
def test_an_attribute_that_is_missing_or_wrong_makes_the_filter_false(countries):
    """5: also under NOT."""
    attributes = {} if countries is None else {"countries": countries}
    text = GRANT + "row_filters: [{id: f, products: [sales.*], filter: 'not country in (:countries)'}]\n"
    expected = "(NOT country IN (''))" if countries == "" else "FALSE"
    assert filters(ask(text, who(**attributes))) == {"f": expected}


def test_attributes_are_literals_never_text_of_the_query():
    """5: quotes stay inside."""
    evil = "x') OR 1=1 --"
    assert filters(ask(CONTACT, who("analyst", countries=[evil])))["f1"] == "country IN ('x'') OR 1=1 --')"
    assert filters(ask(CONTACT, who("analyst", countries="FR")))["f1"] == "country IN ('FR')"


def test_filters_of_roles_are_joined_by_and_or_by_or():
    """4: AND across roles, with `least` OR."""
    text = (
        GRANT
        + """row_filters:
  - {id: a, products: [sales.*], roles: [x], filter: "total >= 10"}
  - {id: b, products: [sales.*], roles: [y], filter: "country = 'FR'"}
  - {id: c, products: [sales.*], roles: [y], filter: "consent"}
"""
    )
    assert filters(ask(text, who("x", "y"))) == {
        "a": "total >= CAST('10.00' AS DECIMAL(12,2))",
        "b": "country = 'FR'",
        "c": "consent",
    }
    least = ask(text, who("y", "x"), combine="least").row_filters
    assert [(f.rule, f.sql) for f in least] == [
        ("a+b+c", "(consent AND country = 'FR') OR (total >= CAST('10.00' AS DECIMAL(12,2)))")
    ]


def test_a_grant_of_some_columns_hides_the_others():
    """Approved access requests may name columns."""
    grant = Grant(
        "req-1",
        "sales.orders",
        "user:ana",
        NOW - timedelta(days=1),
        NOW + timedelta(days=1),
        frozenset({"order_id", "orders.email"}),
    )
    decision = ask("rules: []\n", who(), grants=[grant])
    assert decision.allow
    assert look(decision, "order_id") == "clear"
    assert look(decision) == "email.partial"
    assert (look(decision, "total"), decision.columns["total"].reason) == ("null", "not granted")
    assert decision.valid_until == grant.valid_until
    assert not ask("rules: []\n", who(), grants=[grant], now=NOW + timedelta(days=2)).allow


def test_equal_questions_have_equal_answers_and_a_naive_time_is_refused():
    """Pure: the same value, the same id."""
    assert ask(CONTACT, who("analyst", countries=["FR"])) == ask(CONTACT, who("analyst", countries=["FR"]))
    assert ask(CONTACT, who("analyst", countries=["FR"])).decision_id != ask(CONTACT, who("admin")).decision_id
    with pytest.raises(UsageError):
        ask(CONTACT, who("admin"), now=datetime(2026, 1, 1))
    shape = decision_json(ask(CONTACT, who("analyst")))
    assert shape["format"] == "meshkit.masking.decision/1"
    assert shape["columns"]["email"] == {
        "mask": "email.partial",
        "args": {},
        "tag": "pii:email",
        "rule": "r2",
        "reason": "baseline",
    }


MASKS = st.sampled_from(
    [
        "clear",
        "email.partial",
        "{last_n: {n: 2}}",
        "{last_n: {n: 3}}",
        "{hmac: {scope: a}}",
        "redact",
        "'null'",
        "{constant: {value: x}}",
    ]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), MASKS), min_size=1, max_size=5), st.randoms())
def test_order_of_rules_and_roles_never_matters_and_more_roles_show_no_more(rules, random):
    """3: a lattice."""
    from meshkit.masking.masks import load_mask

    def text(entries):
        return (
            GRANT
            + "rules:\n"
            + "".join(
                f"  - {{id: r{i}, tags: ['pii:email'], roles: [{role}], mask: {mask}}}\n" for i, (role, mask) in entries
            )
        )

    entries = list(enumerate(rules))
    one = ask(text(entries), who("x", "y", "z")).columns["email"]
    random.shuffle(entries)
    other = ask(text(entries), who("z", "x", "y")).columns["email"]
    assert (one.mask, one.args) == (other.mask, other.args)
    for role in "xyz":
        alone = ask(text(entries), who(role)).columns["email"]
        if any(r == role for r, _ in rules):
            assert load_mask(one.mask).rank >= load_mask(alone.mask).rank


# The decider ---------------------------------------------------------------------------------------------------------------------------


class Approved:
    """Grants in memory."""

    def __init__(self, *grants, broken=False):
        self.grants, self.broken = grants, broken

    def revision(self):
        return len(self.grants)

    def grants_for(self, principal, product, *, at):
        if self.broken:
            from meshkit.errors import EnvironmentProblem

            raise EnvironmentProblem("down")
        return tuple(g for g in self.grants if g.product == product and g.principal == f"user:{principal.subject}")


PRICES = manifest(
    domain="shop",
    name="prices",
    fields="schema: {prices: {fields: {id: int64}}}\n",
    more="inputs: {a: {product: sales.orders, columns: [order_id, email]}}\n",
)


def test_the_decider_adds_grants_of_the_catalog_and_fails_closed():
    """A grant source that is down denies everything."""
    grant = Grant("req-1", "sales.orders", "user:ana", NOW - timedelta(days=1))
    decider = PolicyDecider([ORDERS], PolicySet(), Approved(grant))
    assert decider.decide("sales.orders", who(), purpose=None, now=NOW).allow
    assert not decider.decide("sales.orders", who(subject="bob"), purpose=None, now=NOW).allow
    broken = PolicyDecider([ORDERS], policies(GRANT), Approved(broken=True))
    assert broken.decide("sales.orders", who(), purpose=None, now=NOW).code == "masking.policy_unavailable"
    assert (
        PolicyDecider([ORDERS], policies(GRANT)).decide("sales.unknown", who(), purpose=None, now=NOW).code
        == "masking.not_granted"
    )


def test_a_product_reads_the_columns_its_manifest_declares_masked_as_for_anyone():
    """The implicit grant of `inputs`; a token that claims to be a product has none."""
    decider = PolicyDecider([ORDERS, PRICES])
    product = who("product", "product:shop.prices", subject="product:shop.prices", issuer="mesh")
    decision = decider.decide("sales.orders", product, purpose=None, now=NOW)
    assert decision.allow
    assert (look(decision, "order_id"), look(decision), look(decision, "total")) == ("clear", "email.partial", "null")
    assert not decider.decide("shop.prices", product, purpose=None, now=NOW).allow
    for issuer in ("https://id.company.com", "dev"):
        forged = who("product", subject="product:shop.prices", issuer=issuer)
        assert not decider.decide("sales.orders", forged, purpose=None, now=NOW).allow


def test_a_cached_decision_ends_with_its_validity_and_differs_by_attributes():
    """7."""
    decider = PolicyDecider([ORDERS], policies(CONTACT))
    fraud = who("fraud", "admin")
    first = decider.decide("sales.orders", fraud, purpose=None, now=NOW)
    assert decider.decide("sales.orders", fraud, purpose=None, now=NOW) is first
    assert decider.decide("sales.orders", fraud, purpose=None, now=datetime(2027, 1, 1, tzinfo=UTC)) != first
    shown = [
        filters(decider.decide("sales.orders", who("analyst", countries=c), purpose=None, now=NOW))["f1"]
        for c in (["1"], [1], [True], ["1"])
    ]
    assert shown == ["country IN ('1')", "FALSE", "FALSE", "country IN ('1')"]


def test_the_revision_changes_with_everything_that_can_change_a_decision():
    """Policies, combination, manifests, grants."""
    grant = Grant("req-1", "sales.orders", "user:ana", NOW)
    found = {
        PolicyDecider([ORDERS], policies(CONTACT)).revision(),
        PolicyDecider([ORDERS], policies(CONTACT.replace("mask: clear", "mask: redact"))).revision(),
        PolicyDecider([ORDERS], policies(CONTACT), settings=PolicySettings(combine="least")).revision(),
        PolicyDecider([ORDERS, PRICES], policies(CONTACT)).revision(),
        PolicyDecider([ORDERS], policies(CONTACT), Approved()).revision(),
        PolicyDecider([ORDERS], policies(CONTACT), Approved(grant)).revision(),
    }
    assert len(found) == 6
    assert policies(CONTACT).revision == policies(CONTACT + "# a comment\n").revision


def test_open_access_reads_everything_masked():
    """A local mesh without policies."""
    decision = PolicyDecider([ORDERS], open_access=True).decide("sales.orders", who(), purpose=None, now=NOW)
    assert decision.allow
    assert look(decision) == "email.partial"


def test_why_names_the_winner_and_what_became_of_the_others():
    """Rules, sample, rows."""
    decider = PolicyDecider([ORDERS], policies(CONTACT))
    why = decider.why("sales.orders.email", principal=who("analyst", countries=["FR"]), now=NOW)
    assert why.to_text().splitlines() == [
        "sales.orders.email  string  pii:email  confidential",
        "roles   analyst",
        "mask    email.partial  by r2  (baseline)",
        "sample  john.doe@gmail.com -> j***@gmail.com",
        "rule    r1  clear  other roles",
        "rule    r2  email.partial  wins",
        "rows    f1  country IN ('FR')",
    ]
    assert why.to_json()["format"] == "meshkit.masking.policy_why/1"
    assert why.exit_code == 0
    assert decider.why("sales.orders.email", principal=who("intern"), now=NOW).exit_code == 1
    for address in ("sales.orders.nope", "sales.nope.email", "email"):
        with pytest.raises(UnknownTarget):
            decider.why(address, principal=who("analyst"), now=NOW)


def test_a_token_is_made_for_lookups_only_where_a_rule_says_so():
    """Equal to what the mask shows; refused without `lookup`, for other masks and other types."""
    keys = KeyRing("v1", {"v1": "k" * 32})
    rule = "rules: [{id: a, tags: ['pii:iban', 'pii:phone'], roles: [fraud], mask: {hmac: {scope: fraud}}, lookup: true}]\n"
    decider = PolicyDecider([ORDERS], policies(GRANT + rule))
    token = decider.token("sales.orders.iban", "FR76", principal=who("fraud"), keys=keys, now=NOW)
    decision = decider.decide("sales.orders", who("fraud"), purpose=None, now=NOW)
    shown = Masks(keys).arrow(pa.chunked_array([["FR76"]]), STRING, decision.columns["iban"])
    assert shown.to_pylist() == [token]
    for address, value, role, kind in (
        ("sales.orders.iban", 76, "fraud", MaskMisfit), ("sales.orders.iban", "FR76", "x", MaskMisfit), ("sales.orders.email", "a@b", "fraud", MaskMisfit),
    ):  # fmt: skip
        with pytest.raises(kind) as error:
            decider.token(address, value, principal=who(role), keys=keys, now=NOW)
        assert "76" not in str(error.value)
    with pytest.raises(AccessDenied):
        PolicyDecider([ORDERS]).token("sales.orders.iban", "FR76", principal=who("fraud"), keys=keys, now=NOW)


def test_arguments_that_do_not_fit_the_column_become_null():
    """A width with decimals on whole numbers, in policies loaded without the manifest."""
    decision = ask(GRANT + "rules: [{id: a, tags: ['pii:salary'], mask: {bucket: {width: 0.5}}}]\n", who())
    assert look(decision, "salary") == "null"
