"""`why`: how a column looks for a principal, which rule says so, and why the others do not. Reads no data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from meshkit.masking.decide import ProductPolicies, Sensitive, by_role
from meshkit.masking.masks import load_mask
from meshkit.masking.policies import Rule
from meshkit.ports import ColumnDecision, Decision, Principal
from meshkit.types import STRING

__all__ = ["Explanation", "RuleVerdict", "explain_column"]

_SAMPLES = {
    "pii:email": "john.doe@gmail.com",
    "pii:phone": "+33123456789",
    "pii:card": "4111111111111111",
    "pii:name": "John Doe",
}


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """One rule that chooses the column, and what became of it."""

    rule: str
    mask: str
    verdict: str  # wins | beaten | overridden | ended | other roles | other purpose | other attributes | roles have own rules
    nested: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Answer of `why`. `sample` is a made-up value before and after."""

    address: str
    type: str
    tags: tuple[str, ...]
    classification: str | None
    roles: tuple[str, ...]
    allow: bool
    code: str | None
    column: ColumnDecision
    rules: tuple[RuleVerdict, ...]
    row_filters: tuple[tuple[str, str], ...]
    sample: tuple[str, str] | None

    @property
    def exit_code(self) -> int:
        """1 if the product may not be read at all."""
        return 0 if self.allow else 1

    def to_text(self) -> str:
        """For people."""
        facts = [self.type, *self.tags, *([self.classification] if self.classification else [])]
        lines = [f"{self.address}  {'  '.join(facts)}", f"roles   {', '.join(self.roles) or 'none'}"]
        if not self.allow:
            return "\n".join([*lines, f"denied  {self.code}"])
        by = f"  by {self.column.rule}" if self.column.rule else ""
        reason = f"  ({self.column.reason})" if self.column.reason else ""
        only = f"  where {self.column.only_rows}, else {self.column.otherwise}" if self.column.only_rows else ""
        lines.append(f"mask    {_shown(self.column)}{by}{reason}{only}")
        if self.sample:
            lines.append(f"sample  {self.sample[0]} -> {self.sample[1]}")
        lines += [
            f"rule    {v.rule}  {v.mask}  {v.verdict}{f'  on {v.nested}' if v.nested else ''}" for v in self.rules
        ]
        lines += [f"rows    {rule}  {sql}" for rule, sql in self.row_filters]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.masking.policy_why/1`."""
        return {
            "format": "meshkit.masking.policy_why/1",
            "column": self.address,
            "type": self.type,
            "tags": list(self.tags),
            "classification": self.classification,
            "roles": list(self.roles),
            "allow": self.allow,
            "code": self.code,
            "mask": self.column.mask,
            "args": dict(self.column.args),
            "rule": self.column.rule,
            "tag": self.column.tag,
            "reason": self.column.reason,
            "only_rows": self.column.only_rows,
            "otherwise": self.column.otherwise if self.column.only_rows else None,
            "rules": [{"rule": v.rule, "mask": v.mask, "verdict": v.verdict, "nested": v.nested} for v in self.rules],
            "row_filters": [{"rule": rule, "sql": sql} for rule, sql in self.row_filters],
            "sample": {"before": self.sample[0], "after": self.sample[1]} if self.sample else None,
        }

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"


def _shown(column: ColumnDecision) -> str:
    args = ", ".join(f"{k}={v}" for k, v in column.args.items())
    return f"{column.mask}({args})" if args else column.mask


def explain_column(
    compiled: ProductPolicies,
    label: str,
    principal: Principal,
    decision: Decision,
    *,
    purpose: str | None,
    now: datetime,
) -> Explanation:
    """Explain one top-level column of a decision already made."""
    target = next(t for t in compiled.columns if t.label == label)
    column = decision.columns.get(label, ColumnDecision("clear", reason="not sensitive" if decision.allow else ""))
    found = compiled.sensitive.get(label, ())
    verdicts = [v for s in found for v in _verdicts(s, principal, purpose, now, column)]
    tags = dict.fromkeys([*target.tags, *(t for s in found for t in s.target.tags)])
    filters = tuple((f.rule, f.sql) for f in decision.row_filters)
    return Explanation(
        target.address, str(target.data_type), tuple(tags), target.classification, tuple(principal.roles), decision.allow, decision.code,
        column, tuple(verdicts), filters, _sample(target.data_type, column) if decision.allow else None,
    )  # fmt: skip


def _verdicts(
    found: Sensitive, principal: Principal, purpose: str | None, now: datetime, column: ColumnDecision
) -> Sequence[RuleVerdict]:
    roles = set(principal.roles)
    live = [
        r
        for r in found.rules
        if r.applies.is_live(now)
        and (r.applies.roles is None or r.applies.roles & roles)
        and r.applies.concerns(principal)
        and r.applies.under(purpose)
    ]
    overridden = {name for r in live for name in r.overrides}
    candidates = {r.id for group in by_role(live, principal) for r in group}
    nested = found.target.label if found.target.is_nested else None
    winners = set((column.rule or "").split("+"))
    return [
        RuleVerdict(r.id, r.mask, _verdict(r, live, overridden, candidates, winners, roles, principal, now), nested)
        for r in found.rules
    ]


def _verdict(
    rule: Rule,
    live: Sequence[Rule],
    overridden: set[str],
    candidates: set[str],
    winners: set[str],
    roles: set[str],
    principal: Principal,
    now: datetime,
) -> str:
    if rule.id in candidates:
        return "wins" if rule.id in winners else "beaten"
    if rule.id in overridden:
        return "overridden"
    if rule in live:
        return "roles have own rules"
    if not rule.applies.is_live(now):
        return "ended"
    if rule.applies.roles is not None and not rule.applies.roles & roles:
        return "other roles"
    return "other purpose" if rule.applies.concerns(principal) else "other attributes"


def _sample(data_type: Any, column: ColumnDecision) -> tuple[str, str] | None:
    """A made-up text under the mask; tokens have none, as keys are not at hand here."""
    mask = load_mask(column.mask)
    if data_type != STRING or mask.keyed or column.only_rows is not None or not mask.fits(data_type):
        return None
    before = _SAMPLES.get(column.tag or "", "some text")
    after = mask.python(before, data_type, mask.arguments(column.args, data_type), None)
    return before, "NULL" if after is None else str(after)
