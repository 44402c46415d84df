"""The `source` section of a manifest as frozen models; the same models are what `TableMapping` and `col` make in Python."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

__all__ = ["FieldSource", "OutboxSource", "SourceSection", "TableSource"]


class Part(BaseModel):
    """A part of the section: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldSource(Part):
    """Where one product field comes from: exactly one of `column`, `const`, `expr`, `nest`. Source: publisher section 2."""

    column: tuple[str, ...] | None = None
    const: Any = None
    expr: str | None = None
    nest: dict[str, FieldSource] | None = None
    cast: str | None = None
    values: dict[str, Any] | None = None
    otherwise: Any = None
    unrepresentable: Literal["dead_letter", "null", "string"] = "dead_letter"

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """`order_id: id` and `state: [new_name, old_name]` name columns."""
        return {"column": value} if isinstance(value, str | list | tuple) else value

    @field_validator("column", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_kind(self) -> FieldSource:
        given = [n for n in ("column", "const", "expr", "nest") if n in self.model_fields_set]
        if len(given) != 1 or self.column == ():
            raise PydanticCustomError("input", "a field needs exactly one of `column`, `const`, `expr` and `nest`")
        extra = self.model_fields_set & {"cast", "values", "otherwise", "unrepresentable"}
        if given[0] in {"const", "nest"} and extra:
            raise PydanticCustomError("input", "`{extra}` goes with `column` or `expr`", {"extra": min(extra)})
        if "otherwise" in extra and self.values is None:
            raise PydanticCustomError("input", "`otherwise` goes with `values`")
        return self

    @property
    def kind(self) -> str:
        """`column`, `const`, `expr` or `nest`."""
        return next(n for n in ("column", "const", "expr", "nest") if n in self.model_fields_set)


def _qualified(value: str) -> str:
    if value.count(".") != 1 or not all(value.split(".")):
        raise PydanticCustomError("text", "write a table with its schema, such as public.orders")
    return value


class TableSource(Part):
    """One table and how its rows become public records."""

    table: str
    map: dict[str, FieldSource]
    where: str | None = None
    deletes: Literal["tombstone", "ignore"] = "tombstone"
    truncate: Literal["halt", "tombstone_keys", "control_event"] = "halt"

    _check = field_validator("table")(_qualified)


class OutboxColumns(Part):
    """Names of an outbox table's columns."""

    key: str = "key"
    payload: str = "payload"
    traceparent: str | None = None
    type: str | None = None


class OutboxSource(Part):
    """A table of ready-made events; only its inserts count."""

    table: str
    columns: OutboxColumns = OutboxColumns()
    types: tuple[str, ...] = ()
    map: dict[str, str] | None = None

    _check = field_validator("table")(_qualified)


class SourceSection(Part):
    """Exactly one of `tables`, `outbox`, `messages`."""

    database: str | None = None
    emit: Literal["every_update", "state_changes"] = "every_update"
    tables: list[TableSource] = Field(default_factory=list)
    outbox: OutboxSource | None = None
    messages: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> SourceSection:
        if self.messages is not None:
            raise PydanticCustomError("input", "`messages` is not in this release. Use `tables` or `outbox`")
        if bool(self.tables) == (self.outbox is not None):
            raise PydanticCustomError("input", "exactly one of `tables` and `outbox` is needed")
        return self
