"""Model files: the documented example parses, round-trips, and errors carry file:line:column."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.errors import MeshkitError
from meshkit.identity import LinkageModel, LinkageModelError
from meshkit.identity.model import Fit

EXAMPLE = """\
apiVersion: meshkit/v1
kind: LinkageModel
name: users-x-customers
left: {id: user_id, updated: changed_at, columns: {given: given_name, surname: family_name, mail: email, phone: phone, plz: postcode, born: birth_date}}
right: {id: customer_id, columns: {contact: full_name, email: email, mobile: {role: phone, country: US}, zip: postcode, birthday: birth_date}}
cardinality: one-to-one
blocking: [[email], {keys: [postcode, family_name], origin: household, cap: 20000}]
comparisons:
  - {kind: family_name, levels: [exact, swapped, {jaro_winkler: 0.92}, {jaro_winkler: 0.85}], frequency: true}
  - {kind: date, columns: [birth_date], individual: true, name: birth date}
  - email
thresholds: {link: 0.5, review: [0.2, 0.9]}
limits: {pairs: 200000000, churn: 5%}
fit: model.fit.json
"""


def test_the_documented_example_parses_and_round_trips():
    model = LinkageModel.parse(EXAMPLE)
    assert model.blocking[1].household and not model.blocking[0].household
    assert [c.name for c in model.comparisons] == ["family_name", "birth date", "email"]
    assert model.right.columns["mobile"].country == "US"
    assert LinkageModel.parse(model.dump()) == model


def test_the_digest_ignores_names_thresholds_and_limits_but_not_rules():
    model = LinkageModel.parse(EXAMPLE)
    renamed = LinkageModel.parse(
        EXAMPLE.replace("mail: email", "mailbox: email").replace("link: 0.5", "link: 0.7").replace("200000000", "9")
    )
    assert renamed.digest() == model.digest()
    assert LinkageModel.parse(EXAMPLE.replace("0.85", "0.80")).digest() != model.digest()
    assert LinkageModel.parse(EXAMPLE.replace("[[email],", "[[phone],")).digest() != model.digest()


@pytest.mark.parametrize(
    "old, new, line, said",
    [
        ("mail: email", "mail: emale", 4, "emale"),
        ("country: US", "country: XX", 5, "XX"),
        ("[[email],", "[[emale],", 7, "keys must be distinct roles"),
        ("cap: 20000", "cap: 0", 7, "cap"),
        ("kind: family_name", "kind: famly_name", 9, "unknown kind"),
        ("kind: date, columns: [birth_date]", "kind: number, columns: [birth_date]", 10, "not in this release"),
        ("{jaro_winkler: 0.85}", "{jaro_winkler: 0.95}", 9, "can never be reached"),
        ("swapped,", "initials,", 9, "has no level"),
        ("link: 0.5", "link: 0.1", 12, "0.2"),
        ("name: users-x-customers", "nam: users-x-customers", 3, "nam"),
        ("cardinality: one-to-one", "cardinality: one-to-two", 6, "one-to-one"),
    ],
)  # fmt: skip
def test_errors_name_their_place(old, new, line, said):
    with pytest.raises(LinkageModelError, match=said) as caught:
        LinkageModel.parse(EXAMPLE.replace(old, new, 1), source="model.yaml")
    assert f"model.yaml:{line}:" in str(caught.value)


def test_broken_yaml_is_a_model_error():
    with pytest.raises(LinkageModelError, match=r"model.yaml:2"):
        LinkageModel.parse("left: [", source="model.yaml")


def test_over_31_rules_are_refused():
    rules = "blocking: [" + ", ".join(["[email]"] * 32) + "]"
    with pytest.raises(LinkageModelError, match="31"):
        LinkageModel.parse(rules)


def test_a_named_fit_is_loaded_beside_the_model_and_a_damaged_one_refused(tmp_path):
    (tmp_path / "model.yaml").write_text(EXAMPLE)
    assert LinkageModel.load(tmp_path / "model.yaml").fit == "model.fit.json"
    (tmp_path / "model.fit.json").write_text("{}")
    with pytest.raises(LinkageModelError, match="no valid fit"):
        LinkageModel.load(tmp_path / "model.yaml")
    facts = Fit.model_validate(
        {"model": "sha256:0", "standardisers": {}, "rows": [1, 1], "pairs": 1, "seed": 0, "classes": [], "log_likelihood": 0, "iterations": 1, "converged": True}
    )  # fmt: skip
    (tmp_path / "model.fit.json").write_text(facts.to_text())
    assert LinkageModel.load(tmp_path / "model.yaml").fit == facts


@settings(deadline=None, max_examples=60)
@given(st.integers(0, len(EXAMPLE) - 1), st.integers(0, 12), st.text("[]{}:,- \n\"'&*!|>0aé\t", max_size=6))
def test_a_damaged_model_is_read_or_refused_never_a_crash(at, cut, put):
    try:
        model = LinkageModel.parse(EXAMPLE[:at] + put + EXAMPLE[at + cut :])
    except MeshkitError:
        return
    assert LinkageModel.parse(model.dump()) == model
