"""Differences of objects and fields at any depth: pairing, types, keys, bounds, enums, tags. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from meshkit.contracts.intervals import Interval, compare, of_bounds
from meshkit.contracts.models import Change, Effect, Path, show_path
from meshkit.types import List, Map, Primitive, Struct, Temporal
from meshkit.types.relation import relation

if TYPE_CHECKING:
    from meshkit.manifest import DataObject, FieldSchema, Manifest

__all__ = ["object_changes"]

_CLASSES = ("public", "internal", "confidential", "restricted")


def _change(
    rule: str, effect: str, path: Path, message: str, before: Any = None, after: Any = None, **more: Any
) -> Change:
    columns: tuple[str, ...] = ()
    steps = [name for kind, name in path if kind in {"object", "field"}]
    if len(steps) > 1:
        columns = (f"{steps[0]}.{steps[1]}",)
    return Change(
        rule, "patch", cast(Effect, effect), path, before, after, message, columns=more.pop("columns", columns), **more
    )


def _facts(field: FieldSchema) -> dict[str, Any]:
    """What a removal or addition shows of a field."""
    return {"type": str(field.data_type), **({"required": True} if field.required else {})}


# Objects --------------------------------------------------------------------------------------------------------------------------


def object_changes(old: Manifest, new: Manifest) -> Iterator[Change]:
    """Changes of all objects and their fields."""
    renamed = {
        o.renamed_from: name
        for name, o in new.objects.items()
        if o.renamed_from in old.objects and name not in old.objects
    }
    for name, before in old.objects.items():
        path: Path = (("object", name),)
        if name in new.objects:
            yield from _object(path, before, new.objects[name])
        elif name in renamed:
            text = f"Object '{name}' was renamed to '{renamed[name]}'."
            yield _change("object.renamed", "both", path, text, name, renamed[name], removed_name=name)
            yield from _object((("object", renamed[name]),), before, new.objects[renamed[name]])
        else:
            yield _change("object.removed", "loosens", path, f"Object '{name}' was removed.", removed_name=name)
    for name in new.objects:
        if name not in old.objects and name not in renamed.values():
            yield _change("object.added", "tightens", (("object", name),), f"Object '{name}' was added.")


def _object(path: Path, before: DataObject, after: DataObject) -> Iterator[Change]:
    name = path[0][1]
    if before.kind != after.kind:
        yield _change(
            "object.kind_changed",
            "undecidable",
            path,
            f"Object '{name}' was a {before.kind}, is a {after.kind}.",
            before.kind,
            after.kind,
        )
    if before.physical_name != after.physical_name:
        yield _change(
            "object.physical_name_changed",
            "both",
            path,
            f"The physical name of object '{name}' changed.",
            before.physical_name,
            after.physical_name,
        )
    if before.grain != after.grain:
        yield _change(
            "object.grain_changed",
            "undecidable",
            path,
            f"The grain of object '{name}' changed.",
            before.grain,
            after.grain,
        )
    if before.deprecated is None and after.deprecated is not None:
        yield _change("object.deprecated", "documents", path, f"Object '{name}' is deprecated.")
    yield from _key(path, before, after)
    yield from _fields(path, before.fields, after.fields, moved_to=_homes(after))
    yield from _pii(path, before.tags, after.tags, f"object '{name}'")


def _homes(after: DataObject) -> dict[tuple[str, str], str]:
    """(name, type) of every new field -> where it stands, to find fields that moved."""
    found: dict[tuple[str, str], str] = {}
    for steps, field in after.walk():
        found.setdefault((steps[-1], str(field.data_type)), ".".join(steps))
    return found


def _key(path: Path, before: DataObject, after: DataObject) -> Iterator[Change]:
    """A composite key is one value."""
    old, new = before.key, after.key
    if old == new:
        return
    columns = tuple(f"{path[0][1]}.{c}" for c in sorted({*old, *new}))
    at: Path = (*path, ("key", ""))
    shown = f"The key of '{path[0][1]}'"
    if not new:
        yield _change("key.dropped", "loosens", at, f"{shown} was dropped.", list(old), [], columns=columns)
    elif not old:
        yield _change("key.added", "tightens", at, f"{shown} was added.", [], list(new), columns=columns)
    elif set(old) < set(new):
        yield _change(
            "key.widened",
            "loosens",
            at,
            f"{shown} has more fields: ({', '.join(old)}) -> ({', '.join(new)}).",
            list(old),
            list(new),
            columns=columns,
        )
    elif set(new) < set(old):
        yield _change(
            "key.narrowed",
            "both",
            at,
            f"{shown} has fewer fields: ({', '.join(old)}) -> ({', '.join(new)}).",
            list(old),
            list(new),
            columns=columns,
        )
    else:
        yield _change(
            "key.moved",
            "both",
            at,
            f"{shown} moved: ({', '.join(old)}) -> ({', '.join(new)}).",
            list(old),
            list(new),
            columns=columns,
        )


# Fields ---------------------------------------------------------------------------------------------------------------------------


def _fields(
    parent: Path,
    old: Mapping[str, FieldSchema],
    new: Mapping[str, FieldSchema],
    *,
    moved_to: dict[tuple[str, str], str] | None = None,
) -> Iterator[Change]:
    renamed = {f.renamed_from: n for n, f in new.items() if f.renamed_from in old and n not in old}
    by_id = {f.id: n for n, f in new.items() if f.id and n not in old}
    removed = [n for n in old if n not in new and n not in renamed and (old[n].id not in by_id)]
    added = [
        n
        for n in new
        if n not in old
        and n not in renamed.values()
        and not (new[n].id and any(o.id == new[n].id for o in old.values()))
    ]
    for name, before in old.items():
        partner = name if name in new else renamed.get(name) or by_id.get(before.id or "")
        path: Path = (*parent, ("field", name))
        if partner is None:
            yield _removal(path, name, before, removed, added, new, moved_to or {})
            continue
        if partner != name:
            rule = "field.case_changed" if partner.lower() == name.lower() else "field.renamed"
            yield _change(
                rule,
                "both",
                path,
                f"Field '{show_path(path[1:])}' was renamed to '{partner}'.",
                name,
                partner,
                removed_name=show_path(path),
            )
        yield from _field((*parent, ("field", partner)), before, new[partner])
    for name in added:
        path = (*parent, ("field", name))
        rest = f"Field '{show_path(path[1:])}' was added."
        yield _change("field.added", "tightens", path, rest, None, _facts(new[name]))


def _removal(
    path: Path,
    name: str,
    before: FieldSchema,
    removed: list[str],
    added: list[str],
    new: Mapping[str, FieldSchema],
    moved_to: dict[tuple[str, str], str],
) -> Change:
    """A removal, with what it may have been: another case, a rename, a move."""
    shown = show_path(path[1:])
    twin = next((n for n in added if n.lower() == name.lower()), None)
    if twin is not None:
        text = f"Field '{shown}' was removed; '{twin}' differs only in case."
        return _change("field.case_changed", "both", path, text, name, twin, removed_name=show_path(path))
    elsewhere = moved_to.get((name, str(before.data_type)))
    own = ".".join(n for _, n in path[1:])
    if elsewhere is not None and elsewhere != own:
        text = f"Field '{shown}' was removed (moved to '{elsewhere}'?)."
        return _change("field.moved", "both", path, text, _facts(before), elsewhere, removed_name=show_path(path))
    similar = [n for n in added if str(new[n].data_type) == str(before.data_type)]
    hint = f" (renamed to '{similar[0]}'? then say renamed_from)" if len(similar) == 1 and len(removed) == 1 else ""
    return _change(
        "field.removed",
        "loosens",
        path,
        f"Field '{shown}' was removed{hint}.",
        _facts(before),
        None,
        removed_name=show_path(path),
    )


def _field(path: Path, old: FieldSchema, new: FieldSchema) -> Iterator[Change]:
    shown = show_path(path[1:])
    yield from _type(path, old, new, shown)
    if old.required != new.required:
        word, effect = ("added", "tightens") if new.required else ("dropped", "loosens")
        text = f"Field '{shown}' is {'now' if new.required else 'no longer'} required."
        yield _change(f"required.{word}", effect, path, text, old.required, new.required)
    if old.unique != new.unique:
        word, effect = ("added", "tightens") if new.unique else ("dropped", "loosens")
        text = f"Field '{shown}' is {'now' if new.unique else 'no longer'} unique."
        yield _change(f"unique.{word}", effect, path, text, old.unique, new.unique)
    yield from _reference(path, old, new, shown)
    yield from _bounds(path, old, new, shown)
    yield from _pattern(path, old, new, shown)
    yield from _enum(path, old, new, shown)
    yield from _words(path, old, new, shown)
    yield from _governance(path, old, new, shown)
    yield from _nested(path, old, new)


def _nested(path: Path, old: FieldSchema, new: FieldSchema) -> Iterator[Change]:
    if old.fields and new.fields:
        yield from _fields(path, old.fields, new.fields)
    if old.items and new.items:
        yield from _field((*path, ("items", "")), old.items, new.items)
    if old.values and new.values:
        yield from _field((*path, ("values", "")), old.values, new.values)


def _type(path: Path, old: FieldSchema, new: FieldSchema, shown: str) -> Iterator[Change]:
    a, b = old.data_type, new.data_type
    before, after = str(a), str(b)
    text = f"Field '{shown}' changed its type: {before} -> {after}."
    if type(a) is not type(b) and (a.is_nested or b.is_nested):
        yield _change("type.container_changed", "both", path, text, before, after)
        return
    if (old.items and new.items) or (old.values and new.values):
        if isinstance(a, Map) and isinstance(b, Map) and relation(a.key, b.key) != "equal":
            yield _change("type.item_changed", "both", path, text, before, after)
        return  # items and values are compared as fields of their own
    if isinstance(a, Struct) and isinstance(b, Struct) and old.fields and new.fields:
        return
    found = relation(a, b)
    if found == "equal":
        if old.timezone != new.timezone:
            yield _change(
                "type.timezone_changed",
                "both",
                path,
                f"Field '{shown}' changed its time zone.",
                old.timezone,
                new.timezone,
            )
        if old.format != new.format:
            effect: Effect = "both" if old.format else "tightens"
            rule = "type.format_changed" if old.format else "type.declared"
            yield _change(rule, effect, path, f"Field '{shown}' changed its format.", old.format, new.format)
    elif isinstance(a, Temporal) and isinstance(b, Temporal) and {a.name, b.name} == {"timestamp", "timestamptz"}:
        yield _change("type.timezone_changed", "both", path, text, before, after)
    elif isinstance(a, List | Map):
        yield _change(
            "type.widened" if found == "widened" else "type.item_changed",
            "loosens" if found == "widened" else "both",
            path,
            text,
            before,
            after,
        )
    else:
        effects: dict[str, Effect] = {"widened": "loosens", "narrowed": "tightens", "changed": "both"}
        yield _change(f"type.{found}", effects[found], path, text, before, after)


def _reference(path: Path, old: FieldSchema, new: FieldSchema, shown: str) -> Iterator[Change]:
    if old.references == new.references:
        return
    if old.references is None:
        yield _change(
            "reference.added",
            "tightens",
            path,
            f"Field '{shown}' now references {new.references}.",
            None,
            new.references,
        )
    elif new.references is None:
        yield _change(
            "reference.removed",
            "loosens",
            path,
            f"Field '{shown}' no longer references {old.references}.",
            old.references,
        )
    else:
        yield _change(
            "reference.retargeted",
            "both",
            path,
            f"Field '{shown}' references another field.",
            old.references,
            new.references,
        )


def _bounds(path: Path, old: FieldSchema, new: FieldSchema, shown: str) -> Iterator[Change]:
    integer = isinstance(old.data_type, Primitive) and old.data_type.is_integer
    for names, what in (
        (("min", "max", "exclusive_min", "exclusive_max"), "bounds"),
        (("min_length", "max_length"), "length"),
        (("min_items", "max_items"), "number of items"),
    ):
        before, after = ({n: getattr(f, n) for n in names if getattr(f, n) is not None} for f in (old, new))
        if before == after:
            continue
        found = _relation_of_bounds(names, old, new, integer=integer)
        if found == "equal":
            continue
        rule = (
            "bound.removed"
            if before and not after
            else "bound.added"
            if after and not before
            else f"bound.{'tightened' if found == 'tightened' else 'loosened'}"
        )
        effect: dict[str, Effect] = {"loosened": "loosens", "tightened": "tightens", "both": "both"}
        yield _change(
            rule,
            effect[found],
            (*path, ("part", names[0])),
            f"The {what} of field '{shown}' changed.",
            _text(before),
            _text(after),
        )
    if old.multiple_of != new.multiple_of:
        yield from _multiple(path, old, new, shown)
    if old.unique_items != new.unique_items:
        word, effect_ = ("tightened", "tightens") if new.unique_items else ("loosened", "loosens")
        yield _change(
            f"bound.{word}",
            effect_,
            path,
            f"Items of field '{shown}' are {'now' if new.unique_items else 'no longer'} unique.",
        )


def _relation_of_bounds(names: tuple[str, ...], old: FieldSchema, new: FieldSchema, *, integer: bool) -> str:
    try:
        if names[0] == "min":
            a = of_bounds(old.min, old.max, old.exclusive_min, old.exclusive_max, integer=integer)
            b = of_bounds(new.min, new.max, new.exclusive_min, new.exclusive_max, integer=integer)
        else:
            a, b = (Interval(getattr(f, names[0]), getattr(f, names[1])) for f in (old, new))
        return compare([a], [b])
    except TypeError:
        return "both"  # the type changed, so old and new bounds can't be compared


def _multiple(path: Path, old: FieldSchema, new: FieldSchema, shown: str) -> Iterator[Change]:
    before, after = old.multiple_of, new.multiple_of
    text, at = f"`multiple_of` of field '{shown}' changed.", (*path, ("part", "multiple_of"))
    if before is None:
        yield _change("bound.added", "tightens", at, text, None, str(after))
    elif after is None:
        yield _change("bound.removed", "loosens", at, text, str(before))
    elif before % after == 0:
        yield _change("bound.loosened", "loosens", at, text, str(before), str(after))
    elif after % before == 0:
        yield _change("bound.tightened", "tightens", at, text, str(before), str(after))
    else:
        yield _change("bound.loosened", "both", at, text, str(before), str(after))


def _text(bounds: dict[str, Any]) -> dict[str, str] | None:
    return {k: str(v) for k, v in bounds.items()} or None


def _pattern(path: Path, old: FieldSchema, new: FieldSchema, shown: str) -> Iterator[Change]:
    if old.pattern == new.pattern:
        return
    at: Path = (*path, ("part", "pattern"))
    if old.pattern is None:
        yield _change("pattern.added", "tightens", at, f"Field '{shown}' now has a pattern.", None, new.pattern)
    elif new.pattern is None:
        yield _change("pattern.removed", "loosens", at, f"The pattern of field '{shown}' was removed.", old.pattern)
    else:
        yield _change(
            "pattern.changed", "undecidable", at, f"The pattern of field '{shown}' changed.", old.pattern, new.pattern
        )


def _enum(path: Path, old: FieldSchema, new: FieldSchema, shown: str) -> Iterator[Change]:
    before, after = (None if f.enum is None else [str(v) for v in f.enum] for f in (old, new))
    at: Path = (*path, ("part", "enum"))
    if before is None or after is None:
        if before is None and after is not None:
            yield _change("enum.introduced", "tightens", at, f"Field '{shown}' now has a list of values.", None, after)
        elif after is None and before is not None:
            yield _change("enum.dropped", "loosens", at, f"The list of values of field '{shown}' was dropped.", before)
        return
    if old.open_enum != new.open_enum:
        word, effect = ("opened", "loosens") if new.open_enum else ("closed", "tightens")
        yield _change(f"enum.{word}", effect, at, f"The list of values of field '{shown}' was {word}.")
    added, removed = sorted(set(after) - set(before)), sorted(set(before) - set(after))
    if added:
        change = _change(
            "enum.value_added",
            "loosens",
            at,
            f"Field '{shown}' may have {len(added)} more value{'s' if len(added) > 1 else ''}.",
            None,
            added,
        )
        yield replace(change, change_class="minor") if old.open_enum else change
    if removed:
        yield _change(
            "enum.value_removed",
            "tightens",
            at,
            f"Field '{shown}' has {len(removed)} value{'s' if len(removed) > 1 else ''} less.",
            removed,
        )


_WORDS = ("eur", "usd", "gbp", "euro", "dollar", "cent", "cents", "gross", "net", "utc", "local", "inclusive", "exclusive", "km", "miles", "kg", "lb", "celsius", "fahrenheit", "percent", "ratio")  # fmt: skip


def _words(path: Path, old: FieldSchema, new: FieldSchema, shown: str) -> Iterator[Change]:
    if old.unit != new.unit:
        yield _change(
            "unit.changed",
            "both",
            (*path, ("part", "unit")),
            f"The unit of field '{shown}' changed.",
            old.unit,
            new.unit,
        )
    if old.physical_name != new.physical_name:
        text = f"The physical name of field '{shown}' changed."
        yield _change("field.physical_name_changed", "both", path, text, old.physical_name, new.physical_name)
    if old.partition != new.partition:
        yield _change(
            "partition.changed",
            "documents",
            path,
            f"The partition position of field '{shown}' changed.",
            old.partition,
            new.partition,
        )
    if old.deprecated is None and new.deprecated is not None:
        yield _change("field.deprecated", "documents", path, f"Field '{shown}' is deprecated.")
        if new.deprecated.sunset is None:
            yield _change(
                "deprecation.no_sunset", "governance", path, f"Field '{shown}' is deprecated without a sunset date."
            )
    if old.description != new.description:
        before, after = (
            {w for w in (f.description or "").lower().replace(".", " ").replace(",", " ").split() if w in _WORDS}
            for f in (old, new)
        )
        at: Path = (*path, ("part", "description"))
        if before != after:
            yield _change(
                "semantics.word_changed",
                "undecidable",
                at,
                f"The description of field '{shown}' swaps a unit or basis.",
                sorted(before),
                sorted(after),
            )
        else:
            yield _change("docs.changed", "documents", at, f"The description of field '{shown}' changed.")


def _governance(path: Path, old: FieldSchema, new: FieldSchema, shown: str) -> Iterator[Change]:
    yield from _pii(path, old.tags, new.tags, f"field '{shown}'")
    if old.classification != new.classification:
        yield _classification(path, old, new, shown)
    if old.critical and not new.critical:
        yield _change("critical.dropped", "governance", path, f"Field '{shown}' is no longer critical.")
    if old.encrypted_name != new.encrypted_name:
        text = f"The encrypted name of field '{shown}' changed."
        yield _change("encrypted_name.changed", "both", path, text, old.encrypted_name, new.encrypted_name)


def _pii(path: Path, old: list[str], new: list[str], what: str) -> Iterator[Change]:
    def personal(tags: list[str]) -> set[str]:
        return {t.replace(".", ":", 1) for t in tags if t == "pii" or t.startswith(("pii:", "pii."))}

    for tag in sorted(personal(old) - personal(new)):
        yield _change(
            "pii.tag_removed", "governance", (*path, ("tag", tag)), f"Tag '{tag}' was removed from {what}.", tag
        )


def _classification(path: Path, old: FieldSchema, new: FieldSchema, shown: str) -> Change:
    before, after = old.classification, new.classification
    if after is None:
        return _change(
            "classification.removed", "governance", path, f"The classification of field '{shown}' was removed.", before
        )
    if before is None or _CLASSES.index(after) > _CLASSES.index(before):
        return _change(
            "classification.raised",
            "tightens",
            path,
            f"The classification of field '{shown}' was raised to {after}.",
            before,
            after,
        )
    return _change(
        "classification.lowered",
        "governance",
        path,
        f"The classification of field '{shown}' was lowered from {before} to {after}.",
        before,
        after,
    )
