"""One spelling for values that mean the same; null in, null out; empty is null."""

from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.identity.errors import SideProblem
from meshkit.identity.roles import infer_roles, role_of_name
from meshkit.identity.standardise import Options, standardise

NOW = Options(last_year=2026)


@pytest.mark.parametrize(
    "role, raw, expected",
    [
        ("given_name", "  Ana  María ", "ana maria"),
        ("given_name", "Dr. Jürgen", "jurgen"),
        ("given_name", "none", None),
        ("given_name", "", None),
        ("family_name", "O'Brien", "obrien"),
        ("family_name", "Müller-Lüdenscheidt", "muller-ludenscheidt"),
        ("family_name", "Straße", "strasse"),
        ("family_name", "Smith Jr.", "smith"),
        ("email", " Ana.Mueller@Mail.Example ", "ana.mueller@mail.example"),
        ("email", "two@at@signs", None),
        ("email", "@mail.example", None),
        ("email", "noreply@mail.example", None),
        ("phone", "+49 (0)30 1234567", "301234567"),
        ("phone", "030 / 123 45 67", "301234567"),
        ("phone", "0049301234567", "301234567"),
        ("phone", "+1 (555) 123-4567", "5551234567"),
        ("phone", "(555) 123-4567", "5551234567"),
        ("phone", "12345", None),
        ("phone", "0000000", None),
        ("street", "Hauptstraße 12a", "haupt 12a"),
        ("street", "12 Main Street, Apt 4", "12 main u4"),
        ("postcode", "ab1 2cd", "ab12cd"),
        ("postcode", "00000", None),
        ("postcode", "01234", "01234"),
        ("national_id", "AB-12 34", "ab1234"),
        ("national_id", "9999999", None),
        ("birth_date", "1990-02-03", "19900203"),
        ("birth_date", "1990/2/3", "19900203"),
        ("birth_date", "19900203", "19900203"),
        ("birth_date", "1990-02-03T00:00:00", "19900203"),
        ("birth_date", "31.12.1980", "19801231"),
        ("birth_date", "03.04.1980", "19800403"),
        ("birth_date", "13/04/1990", "19900413"),
        ("birth_date", "04/13/1990", "19900413"),
        ("birth_date", "03/04/1990", None),
        ("birth_date", "1899-12-31", None),
        ("birth_date", "2027-01-02", None),
        ("birth_date", "soon", None),
    ],
)
def test_values_get_one_spelling(role, raw, expected):
    assert standardise(role, pl.Series([raw]), NOW)[role].to_list() == [expected]


def test_a_date_format_settles_ambiguous_dates():
    made = standardise("birth_date", pl.Series(["03/04/1990"]), Options(format="%m/%d/%Y", last_year=2026))
    assert made["birth_date"].to_list() == ["19900304"]


def test_dates_numbers_and_floats_are_read_as_people_write_them():
    assert standardise("birth_date", pl.Series([date(1990, 1, 2)]), NOW)["birth_date"][0] == "19900102"
    assert standardise("postcode", pl.Series([30159.0, None]), NOW)["postcode"].to_list() == ["30159", None]


def test_a_country_strips_a_calling_code_without_plus():
    made = standardise("phone", pl.Series(["4930 12345678", "030 12345678"]), Options(country="DE"))
    assert made["phone"].n_unique() == 1


@pytest.mark.parametrize(
    "raw, given_name, family_name",
    [
        ("Ana Maria Weber", "ana", "weber"),
        ("Weber, Ana", "ana", "weber"),
        ("Weber", None, "weber"),
        ("Prof. Dr. Ana Weber", "ana", "weber"),
    ],
)
def test_a_full_name_gives_its_first_and_last_word(raw, given_name, family_name):
    made = standardise("full_name", pl.Series([raw]), NOW)
    assert (made["given_name"][0], made["family_name"][0]) == (given_name, family_name)


def test_the_house_number_is_derived_from_the_street():
    made = standardise("street", pl.Series(["Hauptstr. 12 a", "7 Main Road", "Ring"]), NOW)
    assert made["house_number"].to_list() == ["12a", "7", None]


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.one_of(st.none(), st.text(max_size=20)), min_size=1, max_size=5),
    st.sampled_from(["given_name", "full_name", "email", "phone", "street", "postcode", "birth_date", "city"]),
)
def test_standardising_keeps_rows_keeps_nulls_and_never_gives_empty_text(values, role):
    for made in standardise(role, pl.Series(values, dtype=pl.String), NOW).values():
        assert len(made) == len(values)
        assert all(v is None or v for v in made.to_list())
        assert all(made[i] is None for i, v in enumerate(values) if v is None)


@settings(deadline=None, max_examples=13)
@given(st.text(alphabet="abcXYZ äöü-' .,", max_size=20))
def test_names_and_cities_are_stable_under_a_second_standardising(value):
    for role in ("city", "family_name"):
        once = standardise(role, pl.Series([value]), NOW)[role]
        if role == "family_name" and "," in value:
            continue
        assert standardise(role, once, NOW)[role].to_list() == once.to_list()


@pytest.mark.parametrize(
    "column, role",
    [
        ("given", "given_name"), ("firstName", "given_name"), ("surname", "family_name"), ("mail", "email"), ("e_mail", "email"),
        ("mobile", "phone"), ("zip", "postcode"), ("plz", "postcode"), ("born", "birth_date"), ("date_of_birth", "birth_date"),
        ("contact", "full_name"), ("name", "full_name"), ("address_1", "street"), ("address_2", None), ("street_number", "house_number"),
        ("suburb", "city"), ("soc_sec_id", "national_id"), ("company_name", "organisation"), ("changed_at", None), ("user_name", None),
        ("state", None), ("ip_address", None), ("email_address", "email"),
    ],
)  # fmt: skip
def test_a_column_name_says_its_role(column, role):
    assert role_of_name(column) == role


def test_tags_decide_before_names_and_other_columns_then_play_no_role():
    roles = infer_roles(["a", "first", "city"], {"a": ["pii:email"], "first": ["pii:name"]}, side="s")
    assert [(r.column, r.role, r.source) for r in roles] == [("a", "email", "tag"), ("first", "given_name", "tag")]


def test_an_explicit_role_tag_wins_and_an_unknown_one_is_refused():
    assert infer_roles(["x"], {"x": ["role:city", "pii:email"]}, side="s")[0].role == "city"
    with pytest.raises(SideProblem, match="no such role"):
        infer_roles(["x"], {"x": ["role:planet"]}, side="s")


def test_two_columns_for_one_role_are_an_error_that_names_both():
    with pytest.raises(SideProblem, match="mail and email both play the role email"):
        infer_roles(["mail", "email"], {}, side="crm")
