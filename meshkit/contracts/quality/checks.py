"""What is checked: the schema's promises and the quality rules of one object as a flat list of `Check` values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from meshkit.types import DataType

if TYPE_CHECKING:
    from meshkit.manifest import FieldSchema, Manifest, QualityRule
    from meshkit.types.quantities import Threshold

__all__ = ["FORMATS", "ROW_KINDS", "Check", "compile_checks_of", "portable_pattern"]

Kind = Literal[
    "required", "enum", "min", "max", "exclusive_min", "exclusive_max", "multiple_of", "min_length", "max_length", "min_items", "max_items",
    "unique_items", "pattern", "format", "unique", "key", "references", "metric", "sql",
]  # fmt: skip
ROW_KINDS = frozenset(
    ["required", "enum", "min", "max", "exclusive_min", "exclusive_max", "multiple_of", "min_length", "max_length", "min_items", "max_items",
     "unique_items", "pattern", "format"]
)  # fmt: skip

# Formats by pattern; what is not here is reported as unsupported, never skipped.
FORMATS: Mapping[str, str] = {
    "email": r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
    "uuid": r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
    "uri": r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s]+$",
    "hostname": r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$",
    "ipv4": r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$",
    "date": r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
    "time": r"^([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
    "date-time": (
        r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
        r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
    ),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One promise about the rows of an object.

    `id` is `schema.<object>.<field>.<check>` or `quality.<object>.<name>`; `steps` is the way to the field, `[]` and `{}` stand for
    list items and map values. Row kinds decide row by row; all others over the whole publish.
    """

    id: str
    kind: Kind
    steps: tuple[str, ...] = ()
    data_type: DataType | None = None
    argument: Any = None
    severity: Literal["error", "warning"] = "error"
    must: Threshold | None = None
    fields: tuple[str, ...] = ()
    path: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def is_row_check(self) -> bool:
        """Whether single rows can break it (then they can be set aside)."""
        return self.kind in ROW_KINDS

    @property
    def name(self) -> str:
        """The field as people write it: `lines[].sku`."""
        return "".join(s if s in {"[]", "{}"} or i == 0 else f".{s}" for i, s in enumerate(self.steps))


def compile_checks_of(manifest: Manifest, object_name: str) -> tuple[Check, ...]:
    """All checks of one object, schema first, in the order of the file."""
    item = manifest.objects[object_name]
    checks: list[Check] = []
    for steps, declared in item.walk():
        checks += _of_field(object_name, steps, declared)
    if item.key:
        path = (("object", object_name), ("check", "key"))
        checks.append(Check(f"schema.{object_name}.key", "key", fields=item.key, path=path))
    checks += [_of_rule(object_name, name, rule) for name, rule in item.quality.items()]
    return tuple(checks)


def _of_field(object_name: str, steps: tuple[str, ...], declared: FieldSchema) -> Iterator[Check]:
    name = "".join(s if s in {"[]", "{}"} or i == 0 else f".{s}" for i, s in enumerate(steps))

    def check(kind: Kind, argument: Any = None, **more: Any) -> Check:
        path = (("object", object_name), ("field", name), ("check", kind))
        return Check(
            f"schema.{object_name}.{name}.{kind}", kind, steps, declared.data_type, argument, path=path, **more
        )

    if declared.required:
        yield check("required")
    for kind in (
        "min",
        "max",
        "exclusive_min",
        "exclusive_max",
        "multiple_of",
        "min_length",
        "max_length",
        "min_items",
        "max_items",
    ):
        argument = getattr(declared, kind)
        if argument is not None:
            yield check(kind, argument)
    if declared.unique_items:
        yield check("unique_items")
    if declared.enum is not None and not declared.open_enum:
        yield check("enum", tuple(declared.enum))
    if declared.pattern is not None:
        yield check("pattern", declared.pattern)
    if declared.format is not None and declared.data_type.is_nested is False:
        yield check("format", declared.format)
    if len(steps) == 1:
        if declared.unique:
            yield check("unique", fields=(steps[0],))
        if declared.references is not None:
            yield check("references", declared.references)


def _of_rule(object_name: str, name: str, rule: QualityRule) -> Check:
    path = (("object", object_name), ("quality", name))
    if rule.sql is not None:
        return Check(
            f"quality.{object_name}.{name}", "sql", argument=rule.sql, severity=rule.severity, must=rule.must, path=path
        )
    listed = rule.args.get("fields")
    fields = (rule.field,) if rule.field else tuple(map(str, listed)) if isinstance(listed, list) else ()
    argument = (rule.metric, {k: v for k, v in rule.args.items() if k != "fields"})
    return Check(
        f"quality.{object_name}.{name}",
        "metric",
        argument=argument,
        severity=rule.severity,
        must=rule.must,
        fields=fields,
        path=path,
    )


_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": r" \t\n\r\f\v"}


def portable_pattern(pattern: str, *, engine: Literal["re2", "rust"]) -> str:
    r"""A pattern that means the same in RE2 and Rust: `\d \w \s` are ASCII sets, word boundaries ASCII.

    Raises: `ValueError` for a negated class inside a set, which RE2 can't express.
    """
    out: list[str] = []
    in_set, index = False, 0
    while index < len(pattern):
        char = pattern[index]
        if char == "\\" and index + 1 < len(pattern):
            out.append(_escape(pattern[index + 1], in_set=in_set, engine=engine))
            index += 2
            continue
        if char == "[" and not in_set:
            in_set = True
        elif char == "[" and in_set:
            char = r"\["  # Rust reads a nested set here, RE2 a bracket
        elif char == "]" and in_set and not re.search(r"\[\^?$", "".join(out)):
            in_set = False
        elif in_set and char in "&~" and pattern[index + 1 : index + 2] == char:
            char = "\\" + char  # Rust has set operations
        out.append(char)
        index += 1
    return "".join(out)


def _escape(char: str, *, in_set: bool, engine: str) -> str:
    lower = char.lower()
    if lower in _CLASSES:
        if char.islower():
            return _CLASSES[lower] if in_set else f"[{_CLASSES[lower]}]"
        if in_set:
            raise ValueError("a negated class inside a set")
        return f"[^{_CLASSES[lower]}]"
    if char in "bB" and engine == "rust" and not in_set:
        return rf"(?-u:\{char})"
    if char == "/":
        return "/"
    return "\\" + char
