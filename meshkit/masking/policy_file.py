"""The format of a policy file, as pydantic models. Source: federation-and-masking section 3."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from meshkit import _yaml
from meshkit.manifest.scalars import Day, Flag, Free, Identifier, Text

__all__ = ["FilterEntry", "GrantEntry", "PolicyFile", "RuleEntry", "TestEntry"]


def _mask(value: Any) -> Any:
    """`email.partial` or `{last_n: {n: 2}}` as a pair of name and arguments."""
    if isinstance(value, str):
        return (str(value), {})
    value = _yaml.resolve(value)
    if isinstance(value, dict) and len(value) == 1:
        ((name, args),) = value.items()
        if args is None or isinstance(args, dict):
            return (name, args or {})
        if name == "sql":
            return (name, {"sql": args})
    if isinstance(value, tuple):
        return value
    raise PydanticCustomError("text", "a mask is needed here. Write its name, or {name: {argument: value}}")


def _some(value: Any) -> Any:
    """An empty list would mean everyone or no one: say which by leaving the key out or the entry away."""
    if isinstance(value, list) and not value:
        raise PydanticCustomError("text", "the list is empty. Remove the key, or the entry")
    return value


MaskText = Annotated[tuple[str, dict[str, Any]], BeforeValidator(_mask)]
Names = Annotated[list[Identifier], BeforeValidator(_some)]


class Part(BaseModel):
    """Frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Entry(Part):
    """What grants, rules and filters have in common: to whom, for what and until when they apply."""

    id: Identifier
    roles: Names | None = None
    purposes: Names | None = None
    until: Day | None = None
    where_attributes: Free = Field(default_factory=dict)
    reason: Text | None = None


class GrantEntry(Entry):
    """Who may read products."""

    products: Names
    effect: Literal["allow", "deny"] = "allow"


class RuleEntry(Entry):
    """How columns look that `tags`, `columns` or `classification` chooses."""

    tags: Names | None = None
    columns: Names | None = None
    classification: Literal["public", "internal", "confidential", "restricted"] | None = None
    mask: MaskText
    lookup: Flag = False
    only_rows: Text | None = None
    otherwise: Identifier = "null"
    overrides: list[Identifier] = Field(default_factory=list)


class FilterEntry(Entry):
    """Which rows of products are visible."""

    products: Names
    filter: Text


class Reader(Part):
    """The principal of a test."""

    roles: list[Identifier] = Field(default_factory=list)
    attributes: Free = Field(default_factory=dict)
    subject: Identifier = "test"


class Expectation(Part):
    """What a test expects; what it does not name is not compared."""

    allow: Flag = True
    code: Identifier | None = None
    columns: dict[str, MaskText] = Field(default_factory=dict)
    row_filters: list[Identifier] | None = None


class TestEntry(Part):
    """A decision that must come out as written."""

    __test__ = False  # not a test of pytest

    reader: Reader = Field(alias="as")
    purpose: Text | None = None
    product: Identifier
    expect: Expectation


class PolicyFile(Part):
    """One policy file."""

    version: Annotated[Literal["1"], BeforeValidator(lambda v: str(v) if isinstance(v, int | str) else v)]
    name: Text | None = None
    owner: Text | None = None
    description: Text | None = None
    where_attributes: Free = Field(default_factory=dict)
    grants: list[GrantEntry] = Field(default_factory=list)
    rules: list[RuleEntry] = Field(default_factory=list)
    row_filters: list[FilterEntry] = Field(default_factory=list)
    tests: list[TestEntry] = Field(default_factory=list)
