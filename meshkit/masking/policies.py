"""`PolicySet`: compiled policies, and `load_policies`, which reads them with every problem at once. Source: section 3."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

from meshkit._diagnostics import Diagnostic
from meshkit.errors import EnvironmentProblem
from meshkit.manifest import Manifest
from meshkit.masking.condition import Condition
from meshkit.masking.errors import PolicyError
from meshkit.masking.policy_file import TestEntry
from meshkit.ports import Principal

__all__ = ["Applies", "Filter", "Grant", "PolicySet", "Rule", "load_policies"]


@dataclass(frozen=True, slots=True)
class Applies:
    """To whom, for what and until when an entry applies; `roles=None`: everyone."""

    roles: frozenset[str] | None = None
    purposes: frozenset[str] | None = None
    until: date | None = None
    where: tuple[tuple[str, Any], ...] = ()  # all must hold

    @property
    def ends(self) -> datetime | None:
        """First instant at which it no longer applies: `until` counts the named day (UTC)."""
        return (
            None
            if self.until is None
            else datetime(self.until.year, self.until.month, self.until.day, tzinfo=UTC) + timedelta(days=1)
        )

    def is_live(self, now: datetime) -> bool:
        """Whether it has not ended."""
        return self.ends is None or now < self.ends

    def concerns(self, principal: Principal) -> bool:
        """Whether the principal has the attributes of `where_attributes`; a list of wanted values: any of them."""
        return all(_has(principal.attributes.get(name), wanted) for name, wanted in self.where)

    def under(self, purpose: str | None) -> bool:
        """Whether it counts under that purpose."""
        return self.purposes is None or purpose in self.purposes


def _has(actual: Any, wanted: Any) -> bool:
    actual_values = list(actual) if isinstance(actual, list | tuple | set | frozenset) else [actual]
    wanted_values = wanted if isinstance(wanted, list) else [wanted]
    return any(a == w and type(a) is type(w) for a in actual_values for w in wanted_values if w is not None)


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant or, with `deny`, its contrary."""

    id: str
    products: tuple[str, ...]
    applies: Applies
    deny: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """How chosen columns look."""

    id: str
    tags: tuple[str, ...]
    columns: tuple[str, ...]
    classification: str | None
    mask: str
    args: Mapping[str, Any]
    applies: Applies
    reason: str = ""
    lookup: bool = False
    only_rows: Condition | None = None
    otherwise: str = "null"
    overrides: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are visible; `condition=None` shows all."""

    id: str
    products: tuple[str, ...]
    condition: Condition | None
    applies: Applies


@dataclass(frozen=True)
class PolicySet:
    """All policies of a mesh as one value. `revision` changes with the compiled form, not with comments or layout."""

    grants: tuple[Grant, ...] = ()
    rules: tuple[Rule, ...] = ()
    filters: tuple[Filter, ...] = ()
    tests: tuple[tuple[str, TestEntry], ...] = ()  # place, test
    warnings: tuple[Diagnostic, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def revision(self) -> str:
        """First 16 hex digits of the SHA-256 of the compiled form."""
        found = self.__dict__.get("_revision")
        if found is None:
            parts = [self.grants, self.rules, self.filters]
            text = json.dumps(parts, default=_plain, sort_keys=True, separators=(",", ":"))
            found = self.__dict__["_revision"] = hashlib.sha256(text.encode()).hexdigest()[:16]
        return str(found)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that could allow, mask or filter."""
        return not (self.grants or self.rules or self.filters)

    def _repr_html_(self) -> str:
        rows = [("grant", g.id, ", ".join(g.products), "deny" if g.deny else "allow", g.applies) for g in self.grants]
        rows += [
            ("rule", r.id, ", ".join(r.tags or r.columns) or str(r.classification), r.mask, r.applies)
            for r in self.rules
        ]
        rows += [
            ("row filter", f.id, ", ".join(f.products), f.condition.text if f.condition else "all", f.applies)
            for f in self.filters
        ]
        cells = "".join(
            f"<tr><td>{kind}</td><td>{escape(i)}</td><td>{escape(what)}</td><td>{escape(', '.join(sorted(a.roles)) if a.roles else 'everyone')}</td>"
            f"<td>{escape(effect)}</td></tr>"
            for kind, i, what, effect, a in rows
        )
        head = "<tr><th>kind</th><th>id</th><th>applies to</th><th>roles</th><th>effect</th></tr>"
        return f"<table><caption>policies {self.revision}</caption>{head}{cells}</table>"


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Condition):
        return repr(value.root)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "__dataclass_fields__"):
        return {n: getattr(value, n) for n in value.__dataclass_fields__}
    return str(value)


def load_policies(*paths: str | PathLike[str], manifests: Iterable[Manifest] = ()) -> PolicySet:
    """Read policy files; a folder stands for all `*.yaml` and `*.yml` below it.

    With `manifests`, masks and conditions are checked against their contracts, and names that no manifest has become `warnings`.

    Raises: `PolicyError` with every problem of every file; `EnvironmentProblem` if a path can't be read.
    """
    from meshkit.masking.policy_reader import read_policies

    texts = [(str(path), _read(path)) for path in _files(paths)]
    policies, diagnostics = read_policies(texts, tuple(manifests))
    errors = [d for d in diagnostics if d.severity == "error"]
    if errors:
        raise PolicyError(errors)
    return policies


def _files(paths: Iterable[str | PathLike[str]]) -> Iterable[Path]:
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix in {".yaml", ".yml"} and p.is_file())
        else:
            yield path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EnvironmentProblem(
            f"policy file {path} can't be read: {error.strerror}. Check `policies.paths` of mesh.yaml",
            code="masking.policy_unreadable",
        ) from None
