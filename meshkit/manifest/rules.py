"""Rules that no single value can tell: names, references between parts, what must be there. Pure; findings name the path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from meshkit.errors import MeshkitError
from meshkit.manifest.patterns import pattern_problem
from meshkit.manifest.ports import SLO_KINDS
from meshkit.types import List, Map, Primitive, Struct
from meshkit.types.quantities import parse_version

if TYPE_CHECKING:
    from meshkit.manifest.model import Manifest
    from meshkit.manifest.schema import DataObject, FieldSchema

__all__ = ["Finding", "check_rules"]

_SEGMENT = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*$")
_VERSION_NAME = re.compile(r"v\d+$")
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}")
PLACEHOLDER = "TODO:"

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a manifest breaks, at `path`; `at_key` points to the key instead of the value."""

    path: Path
    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"
    at_key: bool = False


def check_rules(manifest: Manifest) -> list[Finding]:
    """All findings, in no particular order."""
    checks = (_names, _mandatory, _schema, _ports, _slos, _inputs, _lifecycle, _texts, _docs)
    return [finding for check in checks for finding in check(manifest)]


def _names(m: Manifest) -> Iterator[Finding]:
    segments = m.domain.split(".")
    if len(segments) > 3 or not all(
        _SEGMENT.match(s) and len(s) <= 63 and not _VERSION_NAME.match(s) for s in segments
    ):
        hint = "Use 1 to 3 dotted segments of lower-case letters, digits and single underscores, for example sales or sales.emea."
        yield Finding(("domain",), "manifest.name", "`domain` is no valid domain name", hint)
    if not _SEGMENT.match(m.name) or len(m.name) > 63 or _VERSION_NAME.match(m.name):
        hint = "Use lower-case letters, digits and single underscores, starting with a letter, for example customer_orders."
        yield Finding(("name",), "manifest.name", "`name` is no valid product name", hint)
    if len(m.id) > 120:
        yield Finding(
            ("name",), "manifest.name", "domain and name together have more than 120 characters", "Shorten one."
        )
    try:
        parse_version(m.version)
    except MeshkitError as error:
        yield Finding(("version",), "manifest.version", *_split(error))
    for section, names in (("schema", m.objects), ("ports", m.ports), ("slos", m.slos), ("inputs", m.inputs)):
        for name in names:
            if not _printable(name):
                yield Finding(
                    (section, name),
                    "manifest.name",
                    "a name holds a control character or is empty",
                    "Rename it.",
                    at_key=True,
                )
    for name in m.inputs:
        if not name.isidentifier():
            hint = "Use letters, digits and underscores: it is the argument name of the transform function."
            yield Finding(
                ("inputs", name), "manifest.name", "the name of an input is no argument name", hint, at_key=True
            )


def _printable(name: str) -> bool:
    return bool(name) and all(ord(c) >= 32 and ord(c) != 127 for c in name) and len(name) <= 255


def _split(error: MeshkitError) -> tuple[str, str]:
    message, _, hint = error.message.partition(". ")
    return message, hint + "." if hint and hint[-1] not in ".?" else hint


def _mandatory(m: Manifest) -> Iterator[Finding]:
    needs: tuple[tuple[str, Any, str, str], ...] = (
        (
            "schema",
            m.objects,
            "an object with a field",
            "schema: {orders: {fields: {order_id: {type: int64, required: true, key: 1}}}}",
        ),
        ("ports", m.ports, "a port", 'ports: {lake: {kind: file, location: "data/*.parquet", format: parquet}}'),
        ("slos", m.slos, "an SLO", "slos: {freshness: {within: 1h, target: 99.9%}}"),
        ("support", m.support, "a support channel", 'support: [{channel: "#sales-data", tool: slack}]'),
    )
    for key, value, what, example in needs:
        if not value:
            yield Finding((key,), "manifest.missing", f"`{key}` needs at least {what}", f"For example {example}")
    for name, item in m.objects.items():
        if not item.fields:
            yield Finding(
                ("schema", name),
                "manifest.missing",
                "an object needs at least one typed field",
                "Add it below `fields`.",
                at_key=True,
            )
    for key, text in (("team", m.owner.team), ("contact", m.owner.contact)):
        if not text.strip():
            yield Finding(
                ("owner", key), "manifest.missing", f"`owner.{key}` is empty", "Say who answers for this product."
            )
    if not m.description.purpose.strip():
        yield Finding(
            ("description", "purpose"),
            "manifest.missing",
            "`description.purpose` is empty",
            "Say what the product is for.",
        )


def _schema(m: Manifest) -> Iterator[Finding]:
    for object_name, item in m.objects.items():
        base: Path = ("schema", object_name, "fields")
        yield from _key(item, ("schema", object_name))
        for steps, field in item.walk():
            path = base + _text_path(steps)
            if not _printable(steps[-1]):
                yield Finding(
                    path,
                    "manifest.name",
                    "a field name holds a control character or is empty",
                    "Rename it.",
                    at_key=True,
                )
            yield from _field(m, field, path, top=len(steps) == 1)
        for name, rule in item.quality.items():
            if rule.field is not None and m_field(m, object_name, rule.field) is None:
                yield _unknown_field(("schema", object_name, "quality", name, "field"), rule.field, item.fields)


def _text_path(steps: tuple[str, ...]) -> Path:
    """Steps of a field as the file has them: members stand below `fields`, items below `items`, map values below `values`."""
    path: list[str | int] = [steps[0]]
    for step in steps[1:]:
        path += {"[]": ["items"], "{}": ["values"]}.get(step, ["fields", step])
    return tuple(path)


def _key(item: DataObject, path: Path) -> Iterator[Finding]:
    positions = sorted(f.key for f in item.fields.values() if f.key is not None)
    if positions and positions != list(range(1, len(positions) + 1)):
        yield Finding(
            (*path, "fields"),
            "manifest.key",
            "`key` positions must be 1, 2, 3, ... without gap or repeat",
            "Number the key fields.",
        )
    for name, field in item.fields.items():
        if field.key is not None and not field.required:
            hint = "Add required: true."
            yield Finding(
                (*path, "fields", name), "manifest.key", f"key field `{name}` is not required", hint, at_key=True
            )


def _field(m: Manifest, field: FieldSchema, path: Path, *, top: bool) -> Iterator[Finding]:
    data_type = field.data_type
    text = isinstance(data_type, Primitive) and data_type.name in {"string", "bytes"}
    container = isinstance(data_type, List | Map)
    for names, fits, what in (
        (("min_length", "max_length"), text, "string or bytes"),
        (("pattern", "format"), isinstance(data_type, Primitive) and data_type.name == "string", "string"),
        (("min_items", "max_items"), container, "list or map"),
        (("unique_items",), isinstance(data_type, List), "list"),
        (("enum",), not data_type.is_nested, "scalar"),
    ):
        for name in names:
            if getattr(field, name) not in (None, False) and not fits:
                yield Finding(
                    (*path, name),
                    "manifest.bound",
                    f"`{name}` goes with type {what}, not {data_type}",
                    "Remove it.",
                    at_key=True,
                )
    yield from _bounds(field, path)
    if field.pattern is not None and (problem := pattern_problem(field.pattern)):
        yield Finding(
            (*path, "pattern"), "manifest.pattern", f"`pattern` {problem}", "Use the common subset of ECMA-262 and RE2."
        )
    if field.enum is not None and (not field.enum or len(set(map(str, field.enum))) != len(field.enum)):
        yield Finding(
            (*path, "enum"), "manifest.bound", "`enum` is empty or names a value twice", "List each value once."
        )
    if field.key is not None and not top:
        yield Finding(
            (*path, "key"),
            "manifest.key",
            "`key` stands on a nested field",
            "Only top-level fields can be a key.",
            at_key=True,
        )
    if isinstance(data_type, Struct) and not data_type.fields:
        yield Finding(path, "manifest.type", "a struct needs `fields`", "Add its members.", at_key=True)
    if field.references is not None and top:
        yield from _reference(m, field.references, (*path, "references"))


_PAIRS = (("min", "max"), ("min_length", "max_length"), ("min_items", "max_items"), ("exclusive_min", "exclusive_max"))


def _bounds(field: FieldSchema, path: Path) -> Iterator[Finding]:
    for low, high in _PAIRS:
        first, second = getattr(field, low), getattr(field, high)
        if first is not None and second is not None and first > second:
            yield Finding((*path, low), "manifest.bound", f"`{low}` is above `{high}`: no value fits", "Swap them.")
    for name in ("min_length", "max_length", "min_items", "max_items"):
        value = getattr(field, name)
        if value is not None and value < 0:
            yield Finding((*path, name), "manifest.bound", f"`{name}` is negative", "Use 0 or more.")
    if field.multiple_of is not None and field.multiple_of <= 0:
        yield Finding(
            (*path, "multiple_of"), "manifest.bound", "`multiple_of` must be above 0", "Use a positive number."
        )


def _reference(m: Manifest, text: str, path: Path) -> Iterator[Finding]:
    if "#" in text:
        return  # another product: `validate --resolve` looks there
    object_name, _, field_name = text.partition(".")
    if object_name not in m.objects or field_name not in m.objects[object_name].fields:
        yield Finding(
            path,
            "manifest.reference",
            "`references` names no field of this product",
            "Write object.field, or domain.product#object.field.",
        )


def m_field(m: Manifest, object_name: str, path: str) -> FieldSchema | None:
    """A top-level field of an object by name, also written as `object.field` or quoted."""
    item = m.objects.get(object_name)
    name = path.strip('"')
    if item is None:
        return None
    if name in item.fields:
        return item.fields[name]
    head, _, rest = path.partition(".")
    field = item.fields.get(head)
    for step in rest.replace("[]", ".[]").split(".") if field and rest else ():
        field = field.children().get(step) if field and step else field
    return field


def resolve_field(m: Manifest, path: str) -> tuple[str, FieldSchema] | None:
    """Object and field of `orders.created_at`, or of `created_at` where there is one object."""
    head, _, rest = path.partition(".")
    if head in m.objects and rest:
        field = m_field(m, head, rest)
        return (head, field) if field else None
    if len(m.objects) == 1:
        object_name = next(iter(m.objects))
        field = m_field(m, object_name, path)
        return (object_name, field) if field else None
    return None


def _unknown_field(path: Path, name: str, known: Iterable[str]) -> Finding:
    from difflib import get_close_matches

    near = get_close_matches(name.rpartition(".")[2], list(known), n=1, cutoff=0.6)
    return Finding(
        path,
        "manifest.reference",
        "this names no field",
        f"Did you mean `{near[0]}`?" if near else "Use a field of the schema.",
    )


def _ports(m: Manifest) -> Iterator[Finding]:
    for name, port in m.ports.items():
        for object_name in port.objects:
            if object_name not in m.objects:
                yield Finding(
                    ("ports", name, "object"),
                    "manifest.reference",
                    "`object` names no object of the schema",
                    f"Known: {', '.join(m.objects)}.",
                )
        left = _VARIABLE.sub("", port.location)
        for word in re.findall(r"\{[^}]*\}?", left):
            if word not in {"{domain}", "{name}", "{major}", "{object}"}:
                hint = "Only {domain} {name} {major} {object} are filled in."
                yield Finding(
                    ("ports", name, "location"), "manifest.location", "`location` has an unknown placeholder", hint
                )
        if port.location.startswith(("/", "~")) or ".." in port.location.split("/"):
            hint = "Use a path relative to the manifest without `..`, or a URL such as s3:// or file://."
            yield Finding(
                ("ports", name, "location"), "manifest.location", "`location` leaves the folder of the manifest", hint
            )


def _slos(m: Manifest) -> Iterator[Finding]:
    from difflib import get_close_matches

    for name, slo in m.slos.items():
        path: Path = ("slos", name)
        kind = slo.kind or name
        if kind not in SLO_KINDS:
            near = get_close_matches(kind, list(SLO_KINDS), n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Kinds are {', '.join(SLO_KINDS)}."
            yield Finding(path, "manifest.slo", f"`{kind}` is no kind of SLO", hint, at_key=True)
            continue
        for key in SLO_KINDS[kind]:
            if getattr(slo, key) is None:
                yield Finding(path, "manifest.slo", f"an SLO of kind {kind} needs `{key}`", f"Add {key}.", at_key=True)
        if slo.port is not None and slo.port not in m.ports:
            yield Finding(
                (*path, "port"), "manifest.reference", "`port` names no port", f"Known: {', '.join(m.ports)}."
            )
        if slo.field is not None:
            found = resolve_field(m, slo.field)
            if found is None:
                fields = [f for item in m.objects.values() for f in item.fields]
                yield _unknown_field((*path, "field"), slo.field, fields)
            elif kind == "freshness" and not found[1].data_type.is_temporal:
                yield Finding(
                    (*path, "field"),
                    "manifest.slo",
                    "`field` of a freshness SLO is no time",
                    "Name a date or timestamp field.",
                )


def _inputs(m: Manifest) -> Iterator[Finding]:
    for name, source in m.inputs.items():
        if source.product is None:
            continue
        segments = source.product.split(".")
        if len(segments) < 2 or not all(_SEGMENT.match(s) for s in segments):
            yield Finding(
                ("inputs", name, "product"), "manifest.reference", "`product` is no product id", "Write domain.product."
            )
        elif source.product == m.id:
            yield Finding(
                ("inputs", name, "product"), "manifest.reference", "a product can't be its own input", "Remove it."
            )


def _lifecycle(m: Manifest) -> Iterator[Finding]:
    for major in m.lifecycle.previous:
        if not major.isdigit():
            yield Finding(
                ("lifecycle", "previous", major),
                "manifest.version",
                "keys of `previous` are major numbers",
                "Write 0, 1, 2.",
                at_key=True,
            )
    for index, removed in enumerate(m.lifecycle.removed):
        path: Path = ("lifecycle", "removed", index)
        if sum(x is not None for x in (removed.field, removed.object, removed.port)) != 1:
            yield Finding(
                path, "manifest.lifecycle", "a tombstone names exactly one of `field`, `object`, `port`", "Keep one."
            )
        live = (
            (removed.field is not None and resolve_field(m, removed.field) is not None)
            or (removed.object is not None and removed.object in m.objects)
            or (removed.port is not None and removed.port in m.ports)
        )
        if live:
            yield Finding(
                path,
                "tombstone.reused",
                "a removed name is used again",
                "Choose another name: readers of old data would misread it.",
            )


def _texts(m: Manifest) -> Iterator[Finding]:
    """Scaffold placeholders, and variables outside `location`."""
    for path, text in _walk_text(m.plain(), ()):
        if PLACEHOLDER in text and m.status != "draft":
            yield Finding(
                path,
                "manifest.placeholder",
                "a placeholder of `meshkit init` is left",
                "Replace it, or keep status: draft.",
            )
        if "${" in text and path[-1] != "location" and _VARIABLE.search(text) and path[0] != "custom":
            yield Finding(
                path,
                "manifest.variable",
                "`${...}` stands outside `location`",
                "Write the value: a manifest is the same everywhere.",
            )


def _walk_text(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk_text(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk_text(item, (*path, index))
    elif isinstance(value, str):
        yield path, value


def _docs(m: Manifest) -> Iterator[Finding]:
    if m.docs is None:
        return
    if m.docs.startswith(("/", "~")) or ".." in m.docs.split("/") or "://" in m.docs:
        yield Finding(
            ("docs",), "manifest.docs", "`docs` is no relative path", "Name a file beside the manifest, without `..`."
        )
    elif m._path is not None and not (m._path.parent / m.docs).is_file():  # noqa: SLF001  # the place on disk is not part of the value
        yield Finding(
            ("docs",), "manifest.docs", "`docs` names a file that is not there", "Create it, or remove `docs`."
        )
