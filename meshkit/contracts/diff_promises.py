"""Differences of the product itself, its ports, SLOs and quality rules. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from meshkit.contracts.intervals import compare, of_threshold
from meshkit.contracts.models import Change, Effect, Path

if TYPE_CHECKING:
    from meshkit.manifest import Manifest, OutputPort, QualityRule, Slo

__all__ = ["port_changes", "product_changes", "quality_changes", "slo_changes"]

_WAY = ("proposed", "draft", "active", "deprecated", "retired")


def _change(
    rule: str, effect: str, path: Path, message: str, before: Any = None, after: Any = None, **more: Any
) -> Change:
    return Change(rule, "patch", cast(Effect, effect), path, before, after, message, **more)


def product_changes(old: Manifest, new: Manifest) -> Iterator[Change]:
    """Identity, status, owner, support, docs, inputs, roles."""
    if old.id != new.id:
        yield _change(
            "contract.id_changed", "both", (("part", "name"),), f"The product {old.id} became {new.id}.", old.id, new.id
        )
    if old.status != new.status:
        yield _status(old.status, new.status)
    if old.owner != new.owner:
        yield _change("owner.changed", "documents", (("part", "owner"),), "The owner changed.")
    if len(new.support) < len(old.support):
        yield _change("support.removed", "documents", (("part", "support"),), "A support channel was removed.")
    for name in old.roles:
        if name not in new.roles:
            yield _change("role.removed", "loosens", (("part", "roles"),), f"Role '{name}' was removed.", name)
    if (old.description, old.docs, old.title) != (new.description, new.docs, new.title):
        yield _change("docs.changed", "documents", (("part", "description"),), "The description changed.")
    if old.inputs != new.inputs:
        yield _change(
            "input.changed",
            "documents",
            (("part", "inputs"),),
            "The inputs changed.",
            sorted(old.inputs),
            sorted(new.inputs),
        )
    gone = {t for t in old.tags if t == "pii" or t.startswith(("pii:", "pii."))} - set(new.tags)
    for tag in sorted(gone):
        yield _change(
            "pii.tag_removed",
            "governance",
            (("part", "tags"), ("tag", tag)),
            f"Tag '{tag}' was removed from the product.",
            tag,
        )


def _status(before: str, after: str) -> Change:
    path: Path = (("part", "status"),)
    text = f"The status changed: {before} -> {after}."
    if before == "retired":
        return _change("status.retired_changed", "governance", path, text, before, after)
    if after == "retired" or (before in {"active", "deprecated"} and after in {"draft", "proposed"}):
        return _change("status.withdrawn", "loosens", path, text, before, after)
    rule = "status.deprecated" if after == "deprecated" else "status.promoted"
    return _change(rule, "documents", path, text, before, after)


def port_changes(old: Manifest, new: Manifest) -> Iterator[Change]:
    """Ports by name, then by kind and location (a rename)."""
    free = {n: p for n, p in new.ports.items() if n not in old.ports}
    for name, before in old.ports.items():
        path: Path = (("port", name),)
        if name in new.ports:
            yield from _port(path, name, before, new.ports[name], old, new)
            continue
        twin = next((n for n, p in free.items() if (p.kind, p.location) == (before.kind, before.location)), None)
        if twin is not None:
            free.pop(twin)
            yield _change(
                "port.renamed",
                "both",
                path,
                f"Port '{name}' was renamed to '{twin}'.",
                name,
                twin,
                ports=(name,),
                removed_name=f"port {name}",
            )
        else:
            yield _change(
                "port.removed",
                "loosens",
                path,
                f"Port '{name}' was removed.",
                before.title_text,
                ports=(name,),
                removed_name=f"port {name}",
            )
    for name in free:
        yield _change(
            "port.added",
            "tightens",
            (("port", name),),
            f"Port '{name}' was added.",
            None,
            new.ports[name].title_text,
            ports=(name,),
        )


def _port(
    path: Path, name: str, before: OutputPort, after: OutputPort, old: Manifest, new: Manifest
) -> Iterator[Change]:
    if before.kind != after.kind:
        yield _change(
            "port.kind_changed",
            "both",
            path,
            f"Port '{name}' changed its kind.",
            before.kind,
            after.kind,
            ports=(name,),
        )
    elif before.format != after.format or before.csv != after.csv:
        yield _change(
            "port.format_changed",
            "both",
            path,
            f"Port '{name}' changed its format.",
            before.format,
            after.format,
            ports=(name,),
        )
    # `{major}` moves with the version: compare what stands in the file
    if before.location != after.location and before.kind == after.kind:
        yield _change(
            "port.location_changed",
            "both",
            path,
            f"Port '{name}' moved.",
            before.location,
            after.location,
            ports=(name,),
        )
    served = [set(m.ports[name].objects or m.objects) & set(old.objects) & set(new.objects) for m in (old, new)]
    if served[0] - served[1]:
        gone = ", ".join(sorted(served[0] - served[1]))
        yield _change(
            "port.removed",
            "loosens",
            (*path, ("part", "object")),
            f"Port '{name}' no longer serves {gone}.",
            gone,
            ports=(name,),
        )
    if before.deprecated is None and after.deprecated is not None:
        yield _change("port.deprecated", "documents", path, f"Port '{name}' is deprecated.", ports=(name,))


_SMALLER = {"freshness", "latency", "time_to_detect", "time_to_notify", "time_to_repair", "frequency", "error_rate"}


def slo_changes(old: Manifest, new: Manifest) -> Iterator[Change]:
    """SLOs by name, then by kind, port and field."""
    free = {n: s for n, s in new.slos.items() if n not in old.slos}
    for name, before in old.slos.items():
        path: Path = (("slo", name),)
        after = new.slos.get(name)
        if after is None:
            twin = next(
                (n for n, s in free.items() if (s.kind, s.port, s.field) == (before.kind, before.port, before.field)),
                None,
            )
            after = free.pop(twin) if twin is not None else None
        if after is None:
            yield _change("slo.removed", "loosens", path, f"SLO '{name}' was removed.", _promise(before))
            continue
        found = _compare_slo(before, after)
        effects: dict[str, tuple[str, Effect]] = {
            "worse": ("slo.worsened", "loosens"), "better": ("slo.improved", "tightens"), "both": ("slo.worsened", "both"),
            "undecided": ("slo.undecided", "undecidable"),
        }  # fmt: skip
        if found in effects:
            rule, effect = effects[found]
            yield _change(
                rule,
                effect,
                path,
                f"SLO '{name}' changed: {_promise(before)} -> {_promise(after)}.",
                _promise(before),
                _promise(after),
            )
    for name, slo in free.items():
        yield _change("slo.added", "tightens", (("slo", name),), f"SLO '{name}' was added.", None, _promise(slo))


def _promise(slo: Slo) -> str:
    parts = [str(v) for v in (slo.within, slo.every, slo.at_least, slo.by, slo.on) if v is not None]
    return " ".join([f"{slo.target_ratio * 100:.10g}%", *parts])


def _compare_slo(before: Slo, after: Slo) -> str:
    """equal, better, worse, both or undecided."""
    if (before.kind, before.port, before.field) != (after.kind, after.port, after.field):
        return "undecided"
    signs = [_sign(after.target_ratio - before.target_ratio)]
    for name in ("within", "every"):
        a, b = getattr(before, name), getattr(after, name)
        if (a is None) != (b is None):
            return "undecided"
        if a is not None and a != b:
            (low_a, high_a), (low_b, high_b) = a.bounds_seconds(), b.bounds_seconds()
            if low_a <= high_b and low_b <= high_a:
                return "undecided"
            signs.append(_sign(low_a - low_b))
    if before.at_most != after.at_most:
        signs.append(_sign((before.at_most or 0) - (after.at_most or 0)))
    if (before.at_least, before.by, before.on, before.rows, before.not_null) != (
        after.at_least,
        after.by,
        after.on,
        after.rows,
        after.not_null,
    ):
        return "undecided"
    if min(signs) < 0 < max(signs):
        return "both"
    return "worse" if min(signs) < 0 else "better" if max(signs) > 0 else "equal"


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def quality_changes(old: Manifest, new: Manifest) -> Iterator[Change]:
    """Rules by name, then by body, per object."""
    for object_name, item in old.objects.items():
        if object_name not in new.objects:
            continue
        target = new.objects[object_name].quality
        free = {n: r for n, r in target.items() if n not in item.quality}
        for name, before in item.quality.items():
            path: Path = (("object", object_name), ("quality", name))
            after = target.get(name)
            if after is None:
                twin = next((n for n, r in free.items() if _body(r) == _body(before)), None)
                after = free.pop(twin) if twin is not None else None
            if after is None:
                yield _change("quality.removed", "loosens", path, f"Quality rule '{name}' was removed.")
            else:
                yield from _quality(path, name, before, after)
        for name in free:
            yield _change(
                "quality.added",
                "tightens",
                (("object", object_name), ("quality", name)),
                f"Quality rule '{name}' was added.",
            )


def _body(rule: QualityRule) -> Any:
    return rule.metric, rule.sql, rule.field, rule.args


def _quality(path: Path, name: str, before: QualityRule, after: QualityRule) -> Iterator[Change]:
    if before.severity != after.severity:
        rule, effect = (
            ("severity_lowered", "loosens") if after.severity == "warning" else ("severity_raised", "tightens")
        )
        yield _change(
            f"quality.{rule}",
            effect,
            path,
            f"The severity of quality rule '{name}' changed.",
            before.severity,
            after.severity,
        )
    if before.sql is not None or after.sql is not None:
        if " ".join((before.sql or "").split()) != " ".join((after.sql or "").split()):
            yield _change(
                "quality.sql_changed", "undecidable", path, f"The statement of quality rule '{name}' changed."
            )
            return
    elif _body(before) != _body(after):
        yield _change("quality.custom_changed", "undecidable", path, f"What quality rule '{name}' measures changed.")
        return
    if before.must.is_percent != after.must.is_percent:
        yield _change(
            "quality.unit_changed",
            "undecidable",
            path,
            f"The unit of quality rule '{name}' changed.",
            str(before.must),
            str(after.must),
        )
        return
    found = compare(of_threshold(before.must), of_threshold(after.must))
    if found != "equal":
        effects: dict[str, Effect] = {"loosened": "loosens", "tightened": "tightens", "both": "both"}
        rule = "quality.tightened" if found == "tightened" else "quality.loosened"
        yield _change(
            rule,
            effects[found],
            path,
            f"The threshold of quality rule '{name}' changed: {before.must} -> {after.must}.",
            str(before.must),
            str(after.must),
        )
