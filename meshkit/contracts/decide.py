"""`gate(diff)`: the verdict over a change of contract. Pure; the façade supplies the date. Source: manifest-and-contracts section 6."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

from meshkit.contracts.consumers import Impact, impact_of, lookup
from meshkit.contracts.models import Change, ContractDiff, Finding, show_path
from meshkit.contracts.waivers import Waiver, apply_waivers
from meshkit.ports import Consumer, ConsumerLookup, ConsumerSet
from meshkit.types.quantities import Version, parse_version

if TYPE_CHECKING:
    from meshkit.manifest import Manifest

__all__ = ["GateSettings", "Judged", "State", "Verdict", "gate"]

State = Literal["ok", "waived", "excused", "needs_bump", "needs_path", "needs_ack", "blocked"]
_STEPS = {"major": 3, "minor": 2, "patch": 1, "none": 0}


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Knobs of the gate: how many days a sunset must lie ahead."""

    sunset_days: int = 90


@dataclass(frozen=True, slots=True)
class Judged:
    """One change with its state, its consumers and what to do."""

    change: Change
    state: State
    impact: Impact
    action: str = ""
    clashes_with: tuple[str, ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether it fails the gate."""
        return self.state in {"needs_bump", "needs_path", "needs_ack", "blocked"}

    def to_json(self) -> dict[str, Any]:
        """One entry of `changes`."""
        consumers = {
            "affected": list(self.impact.affected),
            "not_affected": list(self.impact.not_affected),
            "unknown": list(self.impact.unknown),
        }
        extra = {
            "state": self.state,
            "action": self.action,
            "clashes_with": list(self.clashes_with),
            "consumers": consumers,
            "introduced": True,
        }
        return self.change.to_json() | extra


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a version may be published. `exit_code` is 1 if not."""

    product: str
    new_version: str
    baselines: tuple[str, ...]
    judged: tuple[Judged, ...] = ()
    findings: tuple[Finding, ...] = ()
    required_step: str = "none"
    declared_step: str = "none"
    consumers: ConsumerSet = field(default_factory=ConsumerSet)
    waivers: tuple[Waiver, ...] = ()

    @property
    def passed(self) -> bool:
        """No change blocks and no finding is an error."""
        return not any(j.blocks for j in self.judged) and not any(f.severity == "error" for f in self.findings)

    @property
    def first_publication(self) -> bool:
        """Nothing was published before."""
        return not self.baselines

    @property
    def exit_code(self) -> int:
        """0 or 1."""
        return 0 if self.passed else 1

    def to_text(self) -> str:
        """The block of a failing gate, or one line."""
        from meshkit.contracts.render import verdict_text

        return verdict_text(self)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.contracts.verdict/1`."""
        as_of = self.consumers.as_of.isoformat() if self.consumers.as_of else None
        return {
            "format": "meshkit.contracts.verdict/1", "product": self.product, "passed": self.passed, "baselines": list(self.baselines),
            "new_version": self.new_version, "first_publication": self.first_publication, "required_step": self.required_step,
            "declared_step": self.declared_step, "findings": [f.to_json() for f in self.findings],
            "waivers": [w.fingerprint for w in self.waivers],
            "consumers": {"source": self.consumers.source, "complete": self.consumers.complete, "as_of": as_of},
            "changes": [j.to_json() for j in self.judged],
        }  # fmt: skip

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><td>{j.state}</td><td><code>{j.change.rule}</code></td><td>{escape(j.change.message)}</td><td>{escape(', '.join(j.impact.affected))}</td></tr>"
            for j in self.judged
        )
        head = "<thead><tr><th>state</th><th>rule</th><th></th><th>consumers</th></tr></thead>"
        word = "may be published" if self.passed else "breaks its contract"
        return f"<div><strong>{escape(self.product)}</strong> {escape(self.new_version)} {word}<table>{head}<tbody>{rows}</tbody></table></div>"


def gate(
    diffs: ContractDiff | Sequence[ContractDiff],
    *,
    new: Manifest,
    consumers: ConsumerLookup | Iterable[Consumer] | None = None,
    waivers: Iterable[Waiver] = (),
    accepted: Iterable[str] = (),
    findings: Iterable[Finding] = (),
    settings: GateSettings | None = None,
    today: date,
) -> Verdict:
    """Judge `new` against every published version it must stay compatible with (`diffs`, one each; none: first publication).

    `accepted` are fingerprints that a later published record already accepted.
    """
    listed = [diffs] if isinstance(diffs, ContractDiff) else list(diffs)
    known = lookup(consumers, new.id)
    found = list(findings)
    merged, clashes = _merged(listed)
    valid, problems = apply_waivers(merged, waivers, product=new.id, today=today)
    found += problems
    judge = _Judge(new, known, valid, frozenset(accepted), settings or GateSettings(), today, listed)
    judged = [judge.first(change, clashes[change.fingerprint]) for change in merged]
    baselines = tuple(d.old_version for d in listed)
    required = _required(judged)
    declared, step_findings = _declared(baselines, new.version, required)
    found += step_findings
    judged = [judge.second(j, declared=declared) for j in judged]
    return Verdict(
        new.id, new.version, baselines, tuple(judged), tuple(found), required, declared, known, tuple(valid.values())
    )


def _merged(diffs: Sequence[ContractDiff]) -> tuple[list[Change], dict[str, tuple[str, ...]]]:
    """Each change once, with the versions it clashes with."""
    changes: dict[str, Change] = {}
    clashes: dict[str, tuple[str, ...]] = {}
    for diff in diffs:
        for change in diff.changes:
            changes.setdefault(change.fingerprint, change)
            clashes[change.fingerprint] = (*clashes.get(change.fingerprint, ()), diff.old_version)
    return list(changes.values()), clashes


@dataclass(frozen=True, slots=True)
class _Judge:
    new: Manifest
    consumers: ConsumerSet
    waivers: dict[str, Waiver]
    accepted: frozenset[str]
    settings: GateSettings
    today: date
    diffs: list[ContractDiff]

    def first(self, change: Change, clashes: tuple[str, ...]) -> Judged:
        """Waived, excused, review and policy: what the step does not decide."""
        impact = impact_of(change, self.consumers, old_version=clashes[0])
        if change.change_class == "policy":
            return Judged(
                change, "blocked", impact, "Restore it: a loss of governance can't be published or waived.", clashes
            )
        if change.fingerprint in self.waivers or change.fingerprint in self.accepted:
            return Judged(change, "waived", impact, "", clashes)
        if change.change_class == "review":
            return Judged(change, "needs_ack", impact, f"Review, then waive {change.fingerprint} --kind ack.", clashes)
        if self._is_excused(change, impact):
            return Judged(change, "excused", impact, "", clashes)
        return Judged(change, "ok", impact, "", clashes)

    def _is_excused(self, change: Change, impact: Impact) -> bool:
        """A removal that the baseline announced, whose day has come, and that hurts nobody."""
        if change.removed_name is None or not change.rule.endswith(".removed") or impact.hurts:
            return False
        return any(
            (announced := diff.deprecated.get(change.removed_name)) is not None
            and announced.sunset is not None
            and announced.sunset <= self.today
            for diff in self.diffs
        )

    def second(self, judged: Judged, *, declared: str) -> Judged:
        """Breaks need the step, then a migration path."""
        change = judged.change
        if judged.state != "ok":
            return judged
        if _STEPS[declared] < _step(judged):
            return self._needs_bump(judged)
        if change.change_class == "major":
            return self._path(judged)
        return judged

    def _needs_bump(self, judged: Judged) -> Judged:
        change, old, clashes = judged.change, judged.clashes_with[0], judged.clashes_with
        version = parse_version(old)
        if change.change_class == "major" and version.major > 0:
            subject = change.rule.partition(".")[0]
            purpose = f"provide a migration path to {f'remove this {subject}' if change.rule.endswith('.removed') else 'make this change'}"
            action = f"You must increment the major version (v{version.major} -> v{version.major + 1}) and {purpose}."
        elif change.change_class == "major":
            action = f"You must increment the minor version ({old} -> 0.{version.minor + 1}.0) to make this change."
        else:
            target = _next(version, change.change_class)
            word = {"minor": "minor", "patch": "patch"}[change.change_class]
            action = f"You must increment the {word} version ({old} -> {target})."
        return Judged(change, "needs_bump", judged.impact, action, clashes)

    def _path(self, judged: Judged) -> Judged:
        """With a sufficient step a break still needs a way for readers to follow."""
        change = judged.change
        old_major = parse_version(judged.clashes_with[0]).major
        if old_major == 0:
            return judged
        previous = self.new.lifecycle.previous.get(str(old_major))
        if not (change.removed_name is not None and self._has_tombstone(change)) and (
            previous is None or previous.migration is None
        ):
            name = show_path(change.path)
            if change.removed_name is not None:
                action = f"Add {name} to lifecycle.removed, or a migration file to lifecycle.previous."
            else:
                action = f"Name a migration file in lifecycle.previous.{old_major}.migration."
            return Judged(change, "needs_path", judged.impact, action, judged.clashes_with)
        if judged.impact.hurts:
            earliest = self.today + timedelta(days=self.settings.sunset_days)
            if previous is None or previous.sunset is None or previous.sunset < earliest:
                action = f"Keep v{old_major} until {earliest.isoformat()} or later: set lifecycle.previous.{old_major}.sunset."
                return Judged(change, "needs_path", judged.impact, action, judged.clashes_with)
        return judged

    def _has_tombstone(self, change: Change) -> bool:
        kind = change.rule.partition(".")[0]
        for removed in self.new.lifecycle.removed:
            named = removed.field if kind == "field" else removed.object if kind == "object" else removed.port
            if named is not None and change.removed_name in {named, f"port {named}"}:
                return True
        return False


def _step(judged: Judged) -> int:
    """The step a change needs; below 1.0.0 the minor number carries breaks, the patch number the rest."""
    step = _STEPS[
        "minor"
        if judged.state == "excused"
        else judged.change.change_class
        if judged.change.change_class in _STEPS
        else "none"
    ]
    if parse_version(judged.clashes_with[0]).major == 0:
        step = {3: 2, 2: 1}.get(step, step)
    return step


def _required(judged: Sequence[Judged]) -> str:
    steps = [_step(j) for j in judged if j.state in {"ok", "excused"}]
    worst = max(steps, default=0)
    return next(name for name, value in _STEPS.items() if value == worst)


def _declared(baselines: tuple[str, ...], new: str, required: str) -> tuple[str, list[Finding]]:
    """The step from the highest baseline, and what is wrong with it."""
    if not baselines:
        return "none", []
    old, version = max(parse_version(b) for b in baselines), parse_version(new)
    if version < old:
        return "none", [Finding("version.decreased", "error", f"Version {new} is below the published {old}. Raise it.")]
    if version == old:
        if required == "none":
            return "none", []
        return "none", [
            Finding(
                "version.not_bumped",
                "error",
                f"The contract changed but the version is still {old}. Publish it as {_next(old, required)}.",
            )
        ]
    declared = "major" if version.major > old.major else "minor" if version.minor > old.minor else "patch"
    if old.pre and (version.major, version.minor, version.patch) == (old.major, old.minor, old.patch):
        return "major", []  # between pre-releases of one target any increase will do
    if _STEPS[declared] < _STEPS[required]:
        return declared, [
            Finding(
                "version.bump_too_small",
                "error",
                f"{old} -> {new} is a {declared} step, the changes need a {required} one.",
            )
        ]
    if _STEPS[declared] > _STEPS[required] and required != "none":
        return declared, [
            Finding(
                "version.bump_larger_than_needed",
                "info",
                f"{old} -> {new} is a {declared} step, a {required} one is enough.",
            )
        ]
    return declared, []


def _next(version: Version, step: str) -> Version:
    if step == "major":
        return Version(version.major + 1, 0, 0)
    if step == "minor":
        return Version(version.major, version.minor + 1, 0)
    return Version(version.major, version.minor, version.patch + 1)
