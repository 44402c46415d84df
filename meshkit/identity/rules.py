"""Rules of a linkage: which rows are compared, how, and the defaults for the roles that both sides have (2.1, 2.5)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

from meshkit.identity.roles import PROVIDES, ROLES

__all__ = [
    "DERIVED",
    "KINDS",
    "BlockingRule",
    "Comparison",
    "Level",
    "Origin",
    "available",
    "default_comparisons",
    "default_rules",
]

Origin = Literal["chance", "household"]

DERIVED: Mapping[str, str] = {
    "initial": "given_name", "birth_year": "birth_date", "mail_user": "email", "mail_domain": "email", "house_number": "street",
}  # fmt: skip
_KEYS = tuple(r for r in ROLES if r not in {"id", "full_name", "address"}) + tuple(DERIVED)
_PLACES = {"postcode", "street", "house_number", "city", "country"}
_PERSONAL = {"given_name", "initial", "birth_date", "birth_year", "email", "phone", "national_id", "mail_user"}
MAX_RULES = 31


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BlockingRule(_Model):
    """Rows are compared if all `keys` are present and equal. A list of keys in YAML.

    `origin`: why non-matches agree on the keys; `cap`: pairs of one key value above which it is refined or skipped.
    """

    keys: tuple[str, ...]
    origin: Origin | None = None
    cap: int = Field(default=20_000, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"keys": value} if isinstance(value, list | tuple) else value

    @field_validator("keys")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [k for k in value if k not in _KEYS]
        if unknown or not value or len(set(value)) != len(value):
            raise ValueError(f"keys must be distinct roles out of {', '.join(_KEYS)}")
        return value

    @property
    def name(self) -> str:
        """`postcode+family_name`."""
        return "+".join(self.keys)

    @property
    def household(self) -> bool:
        """Non-matches of this rule live together, so that one family name is no chance."""
        if self.origin is not None:
            return self.origin == "household"
        return bool(_PLACES & set(self.keys)) and not _PERSONAL & set(self.keys)

    @model_serializer
    def _short(self) -> Any:
        more: dict[str, Any] = {} if self.origin is None else {"origin": self.origin}
        if self.cap != 20_000:
            more["cap"] = self.cap
        return {"keys": list(self.keys), **more} if more else list(self.keys)


class Level(_Model):
    """One degree of agreement: a test, `at` a similarity where the test has one. `exact` or `{jaro_winkler: 0.92}` in YAML."""

    test: str
    at: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"test": value}
        if isinstance(value, dict) and len(value) == 1 and "test" not in value:
            ((test, at),) = value.items()
            return {"test": test, "at": at}
        return value

    @property
    def name(self) -> str:
        """`jaro_winkler 0.92`."""
        return self.test if self.at is None else f"{self.test} {self.at:g}"

    @model_serializer
    def _short(self) -> Any:
        return self.test if self.at is None else {self.test: self.at}


def _levels(*said: str | tuple[str, float]) -> tuple[Level, ...]:
    return tuple(Level(test=s) if isinstance(s, str) else Level(test=s[0], at=s[1]) for s in said)


# Levels of section 2.5, top first; `else` is what remains.
KINDS: Mapping[str, tuple[Level, ...]] = {
    "given_name": _levels("exact", "swapped", ("jaro_winkler", 0.90), "initial", ("jaro_winkler", 0.80)),
    "family_name": _levels("exact", "swapped", ("jaro_winkler", 0.92), ("jaro_winkler", 0.85)),
    "email": _levels("exact", "same_user", ("user_and_domain", 0.88), ("user", 0.88)),
    "phone": _levels("exact", "one_digit"),
    "address": _levels("street_and_area", ("street_and_area", 0.90), "street", "postcode", "city"),
    "date": _levels("exact", "one_digit_or_swapped", "two_parts", "year"),
    "id": _levels("exact", "one_character"),
    "organisation": _levels("exact", "same_words", ("jaro_winkler", 0.92), ("jaro_winkler", 0.85)),
    "text": _levels("exact", "same_words", ("jaro_winkler", 0.92), ("jaro_winkler", 0.85)),
}
_LATER_KINDS = {"number", "set", "token", "bloom"}
_SCORED = {"jaro_winkler", "user_and_domain", "user", "street_and_area"}
_KIND_OF_ROLE = {"birth_date": "date", "national_id": "id", "street": "address", "house_number": "id", "postcode": "id", "city": "text", "country": "text"}  # fmt: skip
_ROLES_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "given_name": ("given_name",), "family_name": ("family_name",), "email": ("email",), "phone": ("phone",),
    "address": ("street", "postcode", "city"), "date": ("birth_date",), "id": ("national_id",), "organisation": ("organisation",),
}  # fmt: skip


class Comparison(_Model):
    """How one aspect of two rows is compared. A bare role in YAML means its kind with default levels.

    `individual`: true people agree here, so that a match class that disagrees is refused (anchors); `frequency`: agreement on a
    rare value counts more.
    """

    kind: str
    columns: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    frequency: bool | None = None
    individual: bool | None = None
    name: str = ""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        kind = _KIND_OF_ROLE.get(value, value)
        roles = _ROLES_OF_KIND.get(kind, (value,))
        return {"kind": kind, "name": value, "columns": roles if value in roles or value == kind else (value,)}

    @model_validator(mode="after")
    def _complete(self) -> Comparison:
        if self.kind in _LATER_KINDS:
            raise ValueError(f"kind {self.kind!r} is not in this release; kinds are {', '.join(KINDS)}")
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}; kinds are {', '.join(KINDS)}")
        columns = self.columns or _ROLES_OF_KIND.get(self.kind, ())
        if not columns or any(c not in ROLES for c in columns) or (len(columns) > 1 and self.kind != "address"):
            raise ValueError("columns must name the role that is compared")
        levels = self.levels or KINDS[self.kind]
        _check_levels(self.kind, levels)
        facts: dict[str, Any] = {
            "columns": columns,
            "levels": levels,
            "name": self.name or (columns[0] if len(columns) == 1 else self.kind),
            "frequency": self.kind in {"given_name", "family_name"} if self.frequency is None else self.frequency,
            "individual": self.individual,
        }
        if self.individual is None:
            facts["individual"] = self.kind == "given_name" or columns in {("birth_date",), ("national_id",)}
        for key, value in facts.items():
            object.__setattr__(self, key, value)
        return self

    @property
    def level_names(self) -> tuple[str, ...]:
        """Names by level number: `else` is 0, the strongest is last."""
        return ("else", *(level.name for level in reversed(self.levels)))


def _check_levels(kind: str, levels: tuple[Level, ...]) -> None:
    tests = {level.test for level in KINDS[kind]}
    lowest: dict[str, float] = {}
    seen: set[str] = set()
    for level in levels:
        if level.test not in tests:
            raise ValueError(f"kind {kind} has no level {level.test!r}; it has {', '.join(sorted(tests))}")
        if (level.at is not None and level.test not in _SCORED) or (
            level.at is None and level.test in {"jaro_winkler", "user", "user_and_domain"}
        ):
            raise ValueError(f"level {level.test!r} {'takes no' if level.at is not None else 'needs a'} similarity")
        if level.name in seen or (level.at is not None and level.at >= lowest.get(level.test, 1)):
            raise ValueError(f"level {level.name!r} can never be reached: a level above it takes all its pairs")
        seen.add(level.name)
        if level.at is not None:
            lowest[level.test] = level.at


def default_comparisons(shared: Collection[str]) -> tuple[Comparison, ...]:
    """One comparison for each aspect that both sides know."""
    found = [r for r in ("given_name", "family_name", "email", "phone") if r in shared]
    if {"street", "postcode", "city"} & set(shared):
        found.append("address")
    found += [r for r in ("birth_date", "national_id", "organisation") if r in shared]
    return tuple(Comparison.model_validate(r) for r in found)


def default_rules(shared: Collection[str]) -> tuple[BlockingRule, ...]:
    """The rules of 2.1 whose keys both sides have."""
    wanted = [
        ["email"], ["phone"], ["national_id"], ["given_name", "family_name"], ["birth_date", "initial"],
        ["postcode", "family_name"], ["postcode", "given_name"], ["postcode", "house_number"], ["birth_date", "city"],
        ["family_name", "initial", "house_number"],
    ]  # fmt: skip
    if "postcode" not in shared:
        wanted += [["street", "initial"], ["street", "family_name"], ["birth_date", "family_name"]]
    return tuple(BlockingRule(keys=tuple(keys)) for keys in wanted if set(keys) <= set(shared))


def available(roles: Collection[str]) -> frozenset[str]:
    """Roles that columns of these roles give, with the derived ones."""
    given = {r for role in roles for r in PROVIDES.get(role, (role,))}
    return frozenset(given | {name for name, source in DERIVED.items() if source in given})
