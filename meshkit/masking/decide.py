"""`decide`: what a principal may see of a product. Pure: values in, a `Decision` out. Source: federation-and-masking section 3.

Compiled once per product (`compile_product`), decided per principal. Numbers in comments are those of the document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

from meshkit.errors import UsageError
from meshkit.manifest import Manifest, is_personal
from meshkit.masking.errors import MaskMisfit
from meshkit.masking.looks import Look, strictest, weakest
from meshkit.masking.masks import load_mask
from meshkit.masking.policies import Filter, Grant, PolicySet, Rule
from meshkit.masking.targets import (
    Target,
    default_look,
    matches_class,
    matches_column,
    matches_product,
    matches_tag,
    row_type,
    targets,
)
from meshkit.ports import ColumnDecision, Decision, Principal, RowFilter
from meshkit.ports import Grant as CatalogGrant
from meshkit.types import DataType, Struct

__all__ = ["Combine", "ProductPolicies", "compile_product", "decide", "decide_compiled", "decision_json"]

Combine = Literal["strictest", "least"]
E = TypeVar("E", Grant, Rule, Filter)
NO_ROWS = RowFilter("none", "FALSE")


@dataclass(frozen=True, slots=True)
class Sensitive:
    """A sensitive column or path and the rules that choose it."""

    target: Target
    tag: str | None  # the one that made it sensitive, for reports
    rules: tuple[Rule, ...]
    default: Look  # where no rule speaks


@dataclass(frozen=True, slots=True)
class ProductPolicies:
    """The part of a policy set that concerns one product."""

    product: str
    product_revision: str
    policy_revision: str
    domain: str
    main_object: str
    row: Struct
    columns: tuple[Target, ...]
    types: Mapping[str, DataType]
    sensitive: Mapping[str, tuple[Sensitive, ...]]  # by label of the column: the column itself and its nested paths
    grants: tuple[Grant, ...]
    filters: tuple[Filter, ...]

    @property
    def attributes(self) -> frozenset[str]:
        """Attributes of a principal that can change a decision."""
        entries: list[Any] = [
            *self.grants,
            *self.filters,
            *(r for found in self.sensitive.values() for s in found for r in s.rules),
        ]
        names = {name for e in entries for name, _ in e.applies.where}
        for entry in entries:
            condition = getattr(entry, "condition", None) or getattr(entry, "only_rows", None)
            names |= condition.attributes if condition is not None else frozenset()
        return frozenset(names)


def decide(
    manifest: Manifest,
    principal: Principal,
    policies: PolicySet,
    *,
    purpose: str | None,
    now: datetime,
    combine: Combine = "strictest",
    catalog_grants: Sequence[CatalogGrant] = (),
) -> Decision:
    """The decision of the built-in engine. `catalog_grants` are live grants of the principal on the product from elsewhere.

    Raises: `UsageError` for a `now` without zone.
    """
    compiled = compile_product(manifest, policies)
    return decide_compiled(
        compiled, principal, purpose=purpose, now=now, combine=combine, catalog_grants=catalog_grants
    )


def compile_product(manifest: Manifest, policies: PolicySet) -> ProductPolicies:
    """Choose the entries that concern a product, once per revision."""
    found = list(targets(manifest))
    tops = tuple(t for t in found if not t.is_nested)
    sensitive: dict[str, tuple[Sensitive, ...]] = {}
    for target in found:
        one = _sensitive(target, policies, manifest.domain)
        if one is not None:
            sensitive[target.column] = (*sensitive.get(target.column, ()), one)
    return ProductPolicies(
        manifest.id,
        f"{manifest.version}+{manifest.digest().removeprefix('sha256:')[:8]}",
        policies.revision,
        manifest.domain,
        manifest.main_object,
        row_type(manifest),
        tops,
        {t.label: t.data_type for t in tops},
        sensitive,
        tuple(g for g in policies.grants if any(matches_product(p, manifest) for p in g.products)),
        tuple(f for f in policies.filters if any(matches_product(p, manifest) for p in f.products)),
    )


def _sensitive(target: Target, policies: PolicySet, domain: str) -> Sensitive | None:
    """2: tagged as personal, or tagged, classified or named as a policy says."""
    rules = tuple(r for r in policies.rules if _chooses(r, target))
    named = next((t for r in rules for p in r.tags for t in target.tags if matches_tag(p, t)), None)
    personal = next((t for t in target.tags if is_personal(t)), None)
    if personal is None and not rules:
        return None
    return Sensitive(target, personal or named, rules, _default(target, personal or named, domain))


def _chooses(rule: Rule, target: Target) -> bool:
    if rule.tags:
        return any(matches_tag(p, t) for p in rule.tags for t in target.tags)
    if rule.columns:
        return any(matches_column(p, target) for p in rule.columns)
    return rule.classification is not None and matches_class(rule.classification, target.classification)


def decide_compiled(
    compiled: ProductPolicies,
    principal: Principal,
    *,
    purpose: str | None,
    now: datetime,
    combine: Combine = "strictest",
    catalog_grants: Sequence[CatalogGrant] = (),
    open_access: bool = False,
) -> Decision:
    """Decide over a compiled product. `open_access` skips the grants: for data that the caller holds already."""
    if now.tzinfo is None:
        raise UsageError("`now` has no zone. Pass an aware time, for example datetime.now(UTC)", code="time.naive")
    ends: list[datetime] = []
    allowed: frozenset[str] | None = None
    if not open_access:
        code, allowed = _granted(compiled, principal, purpose, now, catalog_grants, ends)
        if code is not None:
            return _decision(compiled, principal, purpose, allow=False, code=code, ends=ends)
    columns: dict[str, ColumnDecision] = {}
    hidden: set[str] = set()
    for target in compiled.columns:
        label = target.label
        if allowed is not None and label not in allowed and f"{compiled.main_object}.{label}" not in allowed:
            columns[label] = ColumnDecision("null", reason="not granted")  # for readers that can't leave a column out
            hidden.add(label)
        elif label in compiled.sensitive:
            found = compiled.sensitive[label]
            columns[label] = _column(compiled, found, target, principal, purpose, now, combine, ends)
    filters = _filters(compiled, principal, purpose, now, combine, ends)
    return _decision(
        compiled,
        principal,
        purpose,
        allow=True,
        code=None,
        ends=ends,
        columns=columns,
        filters=filters,
        hidden=frozenset(hidden),
    )


# 1. Grants ----------------------------------------------------------------------------------------------------------------------------


def _granted(
    compiled: ProductPolicies,
    principal: Principal,
    purpose: str | None,
    now: datetime,
    catalog_grants: Sequence[CatalogGrant],
    ends: list[datetime],
) -> tuple[str | None, frozenset[str] | None]:
    """Code of a refusal or None, and the granted columns (None: all)."""
    live = _live(compiled.grants, principal, now, ends)
    if any(g.deny and g.applies.under(purpose) for g in live):
        return "masking.denied", None
    allows = [g for g in live if not g.deny]
    approved = [g for g in catalog_grants if g.valid_from <= now and (g.valid_until is None or now < g.valid_until)]
    ends += [g.valid_until for g in approved if g.valid_until is not None]
    usable = [g for g in allows if g.applies.under(purpose)]
    usable_approved = [g for g in approved if g.purpose is None or g.purpose == purpose]
    if not usable and not usable_approved:
        return ("masking.purpose_required" if allows or approved else "masking.not_granted"), None
    if usable or any(g.columns is None for g in usable_approved):
        return None, None
    return None, frozenset(c for g in usable_approved for c in g.columns or ())


def _live(entries: Iterable[E], principal: Principal, now: datetime, ends: list[datetime]) -> list[E]:
    """Entries that have not ended and concern one of the roles, or everyone; notes when they end (7)."""
    roles = frozenset(principal.roles)
    found = []
    for entry in entries:
        applies = entry.applies
        if applies.is_live(now) and (applies.roles is None or applies.roles & roles) and applies.concerns(principal):
            found.append(entry)
            if applies.ends is not None:
                ends.append(applies.ends)
    return found


# 3. Columns ---------------------------------------------------------------------------------------------------------------------------


def _column(
    compiled: ProductPolicies,
    found: Sequence[Sensitive],
    target: Target,
    principal: Principal,
    purpose: str | None,
    now: datetime,
    combine: Combine,
    ends: list[datetime],
) -> ColumnDecision:
    own = next((s for s in found if not s.target.is_nested), None)
    nested = [s for s in found if s.target.is_nested]
    look = Look("clear") if own is None else column_look(compiled, own, principal, purpose, now, combine, ends)
    for part in nested:
        inner = column_look(compiled, part, principal, purpose, now, combine, ends)
        if inner.mask != "clear" or inner.only_rows is not None:
            # values with sensitive parts are not rebuilt in this release: the whole value is hidden
            return ColumnDecision("null", tag=part.tag, rule=inner.rule, reason=f"{part.target.label} is sensitive")
    return _rendered(look, compiled, target, principal)


def column_look(
    compiled: ProductPolicies,
    found: Sensitive,
    principal: Principal,
    purpose: str | None,
    now: datetime,
    combine: Combine,
    ends: list[datetime],
) -> Look:
    """3: per role its rules, else those for everyone, else the default of the tag."""
    live = [r for r in _live(found.rules, principal, now, ends) if r.applies.under(purpose)]
    data_type = found.target.data_type
    looks = [strictest((_look(r, found, compiled) for r in rules), data_type) for rules in by_role(live, principal)]
    if not looks:
        return found.default
    return weakest(looks, data_type) if combine == "least" else strictest(looks, data_type)


def by_role(live: Sequence[E], principal: Principal) -> list[list[E]]:
    """Candidates of each role that has some; else, as one group, those for everyone. Overridden rules are dropped."""
    if not live:
        return []
    overridden = {name for e in live for name in getattr(e, "overrides", ())}
    kept = [e for e in live if e.id not in overridden] if overridden else list(live)
    groups = [
        [e for e in kept if e.applies.roles is not None and role in e.applies.roles]
        for role in dict.fromkeys(principal.roles)
    ]
    groups = [g for g in groups if g]
    if not groups:
        everyone = [e for e in kept if e.applies.roles is None]
        groups = [everyone] if everyone else []
    return groups


def _look(rule: Rule, found: Sensitive, compiled: ProductPolicies) -> Look:
    mask, data_type = load_mask(rule.mask), found.target.data_type
    reason = rule.reason or ("baseline" if rule.applies.roles is None else "")
    try:  # policies that were loaded without this manifest were not checked against it
        args = mask.arguments(rule.args, data_type) if mask.fits(data_type) else None
    except MaskMisfit:
        args = None
    if args is None:
        return Look("null", {}, rule.id, found.tag, f"{rule.mask} does not fit {data_type}")
    return Look(
        rule.mask,
        _scoped(mask.keyed, args, compiled.domain),
        rule.id,
        found.tag,
        reason,
        rule.only_rows,
        rule.otherwise,
    )


def _scoped(keyed: bool, args: Mapping[str, Any], domain: str) -> Mapping[str, Any]:
    return {"scope": domain, **args} if keyed else args


def _default(target: Target, tag: str | None, domain: str) -> Look:
    """The strictest default of the personal tags; `null` where there is none or it does not fit."""
    looks = []
    for personal in filter(is_personal, target.tags):
        name, args = default_look(personal)
        mask = load_mask(name)
        if mask.fits(target.data_type):
            shown = _scoped(mask.keyed, mask.arguments(args, None), domain)
            looks.append(Look(name, shown, None, personal, f"default of {personal}"))
        else:
            reason = f"default of {personal}: {name} does not fit {target.data_type}"
            looks.append(Look("null", {}, None, personal, reason))
    if not looks:
        return Look("null", {}, None, tag, "sensitive, and no rule shows it")
    return strictest(looks, target.data_type)


def _rendered(look: Look, compiled: ProductPolicies, target: Target, principal: Principal) -> ColumnDecision:
    """5: attributes bound; a condition that can't be bound is false for every row."""
    mask, args, only_rows, otherwise = look.mask, look.args, None, "null"
    if look.only_rows is not None:
        # conditions name columns of the main object; rows of other objects do not have them
        is_main = any(t is target for t in compiled.columns) and target.label in {f.name for f in compiled.row.fields}
        only_rows = look.only_rows.sql(compiled.row, principal.attributes) if is_main else None
        if only_rows is None:
            mask, args = look.otherwise, load_mask(look.otherwise).arguments({}, None)
            if not load_mask(mask).fits(target.data_type):
                mask, args = "null", {}
        else:
            otherwise = look.otherwise
    return ColumnDecision(mask, dict(args), look.tag, look.rule, look.reason, only_rows, otherwise)


# 4. Rows ------------------------------------------------------------------------------------------------------------------------------


def _filters(
    compiled: ProductPolicies,
    principal: Principal,
    purpose: str | None,
    now: datetime,
    combine: Combine,
    ends: list[datetime],
) -> tuple[RowFilter, ...]:
    if not compiled.filters:
        return ()
    live = [f for f in _live(compiled.filters, principal, now, ends) if f.applies.under(purpose)]
    groups = by_role(live, principal)
    if not groups:
        return (NO_ROWS,)

    def bound(entry: Filter) -> str:
        if entry.condition is None:
            return "TRUE"
        return entry.condition.sql(compiled.row, principal.attributes) or "FALSE"

    if combine == "strictest" or len(groups) == 1:
        chosen = {f.id: f for group in groups for f in group}
        return tuple(RowFilter(name, bound(chosen[name])) for name in sorted(chosen))
    return (_any_of(groups, bound),)


def _any_of(groups: Sequence[Sequence[Filter]], bound: Callable[[Filter], str]) -> RowFilter:
    """OR across roles of AND within a role, as one filter."""
    names = "+".join(sorted({f.id for group in groups for f in group}))
    alternatives = sorted({" AND ".join(sorted({bound(f) for f in group})) for group in groups})
    return RowFilter(names, " OR ".join(f"({a})" for a in alternatives))


# The value ----------------------------------------------------------------------------------------------------------------------------


def _decision(
    compiled: ProductPolicies,
    principal: Principal,
    purpose: str | None,
    *,
    allow: bool,
    code: str | None,
    ends: list[datetime],
    columns: Mapping[str, ColumnDecision] | None = None,
    filters: tuple[RowFilter, ...] = (),
    hidden: frozenset[str] = frozenset(),
) -> Decision:
    until = min(ends, default=None)
    columns = columns or {}
    facts = [
        compiled.product, compiled.product_revision, compiled.policy_revision, sorted(principal.roles), purpose, allow, code, until,
        [(f.rule, f.sql) for f in filters],
        [(n, c.mask, sorted(c.args.items()), c.only_rows, c.otherwise) for n, c in sorted(columns.items())],
        sorted(hidden),
    ]  # fmt: skip
    # equal decisions have equal ids, so caches keyed by id never mix two, and no state is needed
    digest = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:20]
    return Decision(
        f"d-{digest}", compiled.product, compiled.product_revision, compiled.policy_revision, allow, code, filters, until, columns,
        hidden,
    )  # fmt: skip


def decision_json(decision: Decision) -> dict[str, Any]:
    """`meshkit.masking.decision/1`."""
    return {
        "format": "meshkit.masking.decision/1",
        "decision_id": decision.decision_id,
        "product": decision.product,
        "product_revision": decision.product_revision,
        "policy_revision": decision.policy_revision,
        "allow": decision.allow,
        "code": decision.code,
        "row_filters": [{"rule": f.rule, "sql": f.sql} for f in decision.row_filters],
        "valid_until": decision.valid_until.isoformat().replace("+00:00", "Z") if decision.valid_until else None,
        "columns": {name: _column_json(c) for name, c in decision.columns.items()},
    }


def _column_json(column: ColumnDecision) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "mask": column.mask,
        "args": dict(column.args),
        "tag": column.tag,
        "rule": column.rule,
        "reason": column.reason,
    }
    if column.only_rows is not None:
        shape |= {"only_rows": column.only_rows, "otherwise": column.otherwise}
    return shape
