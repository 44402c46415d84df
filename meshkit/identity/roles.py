"""Which column plays which role: from the model, else from tags refined by words of the name, else by the name alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from meshkit.identity.errors import SideProblem

__all__ = ["PROVIDES", "ROLES", "ColumnRole", "infer_roles", "role_of_name", "words_of"]

ROLES = (
    "given_name", "family_name", "full_name", "email", "phone", "address", "street", "house_number", "city", "postcode",
    "country", "birth_date", "national_id", "organisation", "id",
)  # fmt: skip

# What a column of a role gives after standardising.
PROVIDES: Mapping[str, tuple[str, ...]] = {"full_name": ("given_name", "family_name"), "address": ("street",)}

_TAGGED = {
    "pii:email": "email", "pii:phone": "phone", "pii:postcode": "postcode", "pii:birth_date": "birth_date",
    "pii:national_id": "national_id",
}  # fmt: skip
_GIVEN = {"given", "first", "forename", "vorname", "firstname", "givenname", "prenom", "fname"}
_FAMILY = {"family", "last", "sur", "surname", "lastname", "familyname", "nachname", "lname", "nom"}
_CITY = {"city", "town", "suburb", "ort", "stadt", "locality", "wohnort"}
_STREET = {"street", "line", "line1", "strasse", "address", "addr", "adresse", "rue", "road"}
_HOUSE = {"hausnummer", "housenumber", "streetnumber", "hausnr", "hnr"}
_POSTCODE = {"postcode", "zip", "zipcode", "plz", "postal", "postalcode", "postleitzahl"}
_PHONE = {"phone", "mobile", "telephone", "tel", "cell", "telefon", "handy", "mobil", "phonenumber"}
_EMAIL = {"email", "mail", "emailaddress"}
_BIRTH = {"born", "birth", "birthday", "birthdate", "dob", "geburtsdatum", "geburtstag"}
_NATIONAL = {"ssn", "nationalid", "passport", "taxid", "svnr", "nin"}
_ORGANISATION = {"company", "organisation", "organization", "org", "firm", "employer", "firma"}
_WHOLE = {"name", "fullname", "contact"}
_NO_PERSON = {
    "product",
    "file",
    "user",
    "login",
    "screen",
    "nick",
    "host",
    "column",
    "table",
    "event",
    "campaign",
    "state",
}


@dataclass(frozen=True, slots=True)
class ColumnRole:
    """One column with its role, and where that came from."""

    column: str
    role: str
    source: Literal["model", "tag", "name"]
    country: str | None = None
    format: str | None = None


def words_of(column: str) -> list[str]:
    """Lower-case words of a column name: `dateOfBirth_1` gives date, of, birth, 1."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column)
    return [w for w in re.split(r"[^0-9a-zA-Z]+", spaced.lower()) if w]


def infer_roles(columns: Sequence[str], tags: Mapping[str, Sequence[str]], *, side: str) -> tuple[ColumnRole, ...]:
    """Roles of the columns that have one, in the order of the columns.

    Where a side has any role tag, only tagged columns play roles. Raises: `SideProblem` for two columns with one role.
    """
    tagged = any(_is_role_tag(t) for name in columns for t in tags.get(name, ()))
    found: list[ColumnRole] = []
    for column in columns:
        role = _from_tags(column, tags.get(column, ()))
        if role is not None:
            found.append(ColumnRole(column, role, "tag"))
        elif not tagged and (named := role_of_name(column)) is not None:
            found.append(ColumnRole(column, named, "name"))
    problems = doubled(found, side)
    if problems:
        raise SideProblem(problems)
    return tuple(found)


def doubled(found: Sequence[ColumnRole], side: str) -> list[str]:
    """What to say about roles that two columns of one side would play."""
    by_role: dict[str, list[str]] = {}
    for one in found:
        for role in PROVIDES.get(one.role, (one.role,)):
            by_role.setdefault(role, []).append(one.column)
    return [
        f"{side}: columns {' and '.join(names)} both play the role {role}. Name one in the model: {side_key(role, names[0])}"
        for role, names in by_role.items()
        if len(names) > 1
    ]


def side_key(role: str, column: str) -> str:
    """How a model names a column's role."""
    return f"columns: {{{column}: {role}}}"


def _is_role_tag(tag: str) -> bool:
    return tag in _TAGGED or tag in {"pii:name", "pii:address"} or tag.startswith("role:")


def _from_tags(column: str, tags: Sequence[str]) -> str | None:
    for tag in tags:
        if tag.startswith("role:"):
            role = tag.removeprefix("role:")
            if role not in ROLES:
                raise SideProblem([f"column {column} has tag {tag}: no such role. Roles are {', '.join(ROLES)}"])
            return None if role == "id" else role
    for tag in tags:
        if tag in _TAGGED:
            return _TAGGED[tag]
        if tag == "pii:name":
            named = role_of_name(column)
            return named if named in {"given_name", "family_name", "organisation"} else "full_name"
        if tag == "pii:address":
            named = role_of_name(column)
            return named if named in {"city", "postcode", "house_number", "country"} else "street"
    return None


def role_of_name(column: str) -> str | None:
    """The role that a column's name says, or None. A second address line is no street."""
    said = words_of(column)
    has = set(said) | {"".join(said)}
    if has & _NO_PERSON and not has & (_EMAIL | _PHONE | _POSTCODE | _BIRTH):
        return None
    number = has & {"number", "no", "nr", "nummer", "num"}
    checks: list[tuple[bool, str]] = [
        (bool(has & _EMAIL), "email"),
        (bool(has & _HOUSE) or (bool(number) and bool(has & {"house", "street", "haus"})), "house_number"),
        (bool(has & _PHONE), "phone"),
        (bool(has & _POSTCODE), "postcode"),
        (bool(has & _BIRTH), "birth_date"),
        (bool(has & _NATIONAL) or {"soc", "sec"} <= has or {"national", "id"} <= has, "national_id"),
        (bool(has & _ORGANISATION), "organisation"),
        (bool(has & _GIVEN), "given_name"),
        (bool(has & _FAMILY), "family_name"),
        (bool(has & _CITY), "city"),
        ("country" in has or "land" in has, "country"),
        (bool(has & _STREET) and not has & {"2", "3", "line2", "line3", "ip"}, "street"),
        (bool(has & _WHOLE) and not has & {"id", "at", "date", "count", "type"}, "full_name"),
    ]
    return next((role for holds, role in checks if holds), None)
