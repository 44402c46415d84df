"""The guardrail as one call: a manifest against its published versions, or one of them; then publishing."""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from meshkit.contracts.decide import GateSettings, Verdict, gate
from meshkit.contracts.diff import diff
from meshkit.contracts.models import Finding
from meshkit.contracts.registry import ContractRegistry, GitRegistry, Record
from meshkit.contracts.registry.git import git_show, run_git
from meshkit.contracts.waivers import Waiver
from meshkit.errors import EnvironmentProblem
from meshkit.manifest import Manifest
from meshkit.ports import Consumer, ConsumerLookup
from meshkit.types.quantities import parse_version

__all__ = ["Published", "baselines", "check_contract", "load_baseline", "publish_contract"]


def load_baseline(reference: str, path: str | Path) -> Manifest:
    """A manifest to compare with: `git:REF` (the same file at that revision), `git:REF:PATH`, or a path.

    Raises: `ManifestError`; `EnvironmentProblem` if it can't be read: a gate never passes because of that.
    """
    if not reference.startswith("git:"):
        return Manifest.load(reference)
    revision, _, other = reference.removeprefix("git:").partition(":")
    file = Path(other or path).absolute()
    return Manifest.parse(
        git_show(file.parent, revision, file.name), source=f"{reference.removeprefix('git:')}:{file.name}"
    )


def baselines(registry: ContractRegistry, manifest: Manifest, *, latest_only: bool = False) -> list[Record]:
    """Published versions that `manifest` must stay compatible with.

    Every live version of the same major below the new one; for a new major the highest published.
    """
    published = [v for v in registry.versions(manifest.id) if parse_version(v) <= manifest.semver]
    same = [v for v in published if parse_version(v).major == manifest.major]
    chosen = same or published[-1:]
    return [registry.get(manifest.id, v) for v in (chosen[-1:] if latest_only else chosen)]


def check_contract(
    manifest: Manifest,
    against: ContractRegistry | Manifest | Iterable[Manifest],
    *,
    consumers: ConsumerLookup | Iterable[Consumer] | None = None,
    waivers: Iterable[Waiver] = (),
    findings: Iterable[Finding] = (),
    settings: GateSettings | None = None,
    latest_only: bool = False,
    today: date | None = None,
) -> Verdict:
    """The gate for one manifest. `today` defaults to the current day in UTC.

    Raises: `EnvironmentProblem` if a registry can't be read; `RegistryTampered`.
    """
    accepted: frozenset[str] = frozenset()
    higher: list[Finding] = []
    if isinstance(against, Manifest):
        old = [against]
    elif not isinstance(against, Iterable):
        records = baselines(against, manifest, latest_only=latest_only)
        accepted = frozenset(f for r in records for f in r.accepted)
        old = [r.load() for r in records]
        higher = _decreased(against, manifest)
    else:
        old = list(against)
    diffs = [diff(o, manifest) for o in old]
    day = today or datetime.now(UTC).date()
    return gate(
        diffs, new=manifest, consumers=consumers, waivers=waivers, accepted=accepted, findings=[*findings, *higher], settings=settings, today=day
    )  # fmt: skip


def _decreased(registry: ContractRegistry, manifest: Manifest) -> list[Finding]:
    """A version below one of its major that is out already."""
    above = [
        v
        for v in registry.versions(manifest.id)
        if parse_version(v) > manifest.semver and parse_version(v).major == manifest.major
    ]
    if not above:
        return []
    return [
        Finding(
            "version.decreased", "error", f"Version {manifest.version} is below the published {above[-1]}. Raise it."
        )
    ]


@dataclass(frozen=True, slots=True)
class Published:
    """What `contract publish` did."""

    verdict: Verdict
    written: bool
    dry_run: bool = False

    @property
    def exit_code(self) -> int:
        """1 if the gate failed."""
        return self.verdict.exit_code

    def to_text(self) -> str:
        """The verdict, and whether a record was written."""
        if not self.verdict.passed:
            return self.verdict.to_text()
        name = f"{self.verdict.product} {self.verdict.new_version}"
        if self.dry_run:
            return f"{self.verdict.to_text()}\nWould publish {name}."
        return f"{self.verdict.to_text()}\n" + (
            f"Published {name}." if self.written else f"{name} was published already."
        )

    def to_json(self) -> dict[str, Any]:
        """`meshkit.contracts.published/1`."""
        return {
            "format": "meshkit.contracts.published/1",
            "written": self.written,
            "dry_run": self.dry_run,
            "verdict": self.verdict.to_json(),
        }


def publish_contract(
    manifest: Manifest,
    registry: ContractRegistry,
    *,
    dry_run: bool = False,
    now: datetime | None = None,
    **gate_options: Any,
) -> Published:
    """Gate, then append a record. Publishing equal content again is success without a write.

    Raises: `RegistryConflict` if the version is out with other content.
    """
    moment = now or datetime.now(UTC)
    verdict = check_contract(manifest, registry, today=moment.date(), **gate_options)
    if not verdict.passed or dry_run:
        return Published(verdict, written=False, dry_run=dry_run)
    earlier = registry.versions(manifest.id)
    previous = registry.get(manifest.id, earlier[-1]).digest if earlier and earlier[-1] != manifest.version else None
    record = Record(
        manifest.id, manifest.version, manifest.digest(), manifest.dump(), previous, _actor(), moment.isoformat(), _commit(registry),
        verdict.declared_step, tuple(j.change.fingerprint for j in verdict.judged if j.state in {"waived", "excused"}),
    )  # fmt: skip
    return Published(verdict, registry.publish(record))


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _commit(registry: ContractRegistry) -> str | None:
    if not isinstance(registry, GitRegistry):
        return None
    try:
        return run_git(registry.folder, "rev-parse", "HEAD").strip()
    except EnvironmentProblem:
        return None
