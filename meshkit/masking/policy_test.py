"""`policy test`: the decisions that policy files promise in `tests`, checked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from meshkit.manifest import Manifest
from meshkit.masking.decide import compile_product, decide_compiled
from meshkit.masking.masks import load_mask
from meshkit.masking.policies import PolicySet
from meshkit.masking.policy_file import TestEntry
from meshkit.ports import ColumnDecision, Decision, Principal

__all__ = ["PolicyTestReport", "PolicyTestResult", "run_policy_tests"]


@dataclass(frozen=True, slots=True)
class PolicyTestResult:
    """One test: where it stands, for whom, and what came out otherwise."""

    place: str
    product: str
    roles: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the decision is as written."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class PolicyTestReport:
    """All tests of a policy set. Names that no manifest has are failures here."""

    results: tuple[PolicyTestResult, ...]
    unknown: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """Tests that failed and unknown names."""
        return sum(not r.ok for r in self.results) + len(self.unknown)

    @property
    def exit_code(self) -> int:
        """1 if anything failed; also if there is no test at all, as then nothing is known."""
        return 1 if self.failed or not self.results else 0

    def to_text(self) -> str:
        """For people."""
        lines = []
        for result in self.results:
            lines.append(
                f"{'ok    ' if result.ok else 'FAILED'}  {result.product} as {', '.join(result.roles) or 'nobody'}  ({result.place})"
            )
            lines += [f"        {problem}" for problem in result.problems]
        lines += [f"FAILED  {problem}" for problem in self.unknown]
        if not self.results:
            lines.append("no tests. Add `tests` to a policy file")
        else:
            good = sum(r.ok for r in self.results)
            lines.append(
                f"{good} of {len(self.results)} tests passed"
                + (f", {len(self.unknown)} unknown names" if self.unknown else "")
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.masking.policy_test/1`."""
        return {
            "format": "meshkit.masking.policy_test/1",
            "ok": self.exit_code == 0,
            "tests": [
                {
                    "place": r.place,
                    "product": r.product,
                    "roles": list(r.roles),
                    "ok": r.ok,
                    "problems": list(r.problems),
                }
                for r in self.results
            ],
            "unknown": list(self.unknown),
        }


def run_policy_tests(
    policies: PolicySet, manifests: Iterable[Manifest], *, combine: Any = "strictest", now: datetime | None = None
) -> PolicyTestReport:
    """Decide every test at `now` and compare."""
    now = now or datetime.now(UTC)
    known = {m.id: m for m in manifests}
    results = []
    for place, test in policies.tests:
        manifest = known.get(test.product)
        problems = (
            [f"unknown product {test.product}"]
            if manifest is None
            else list(_problems(test, manifest, policies, combine, now))
        )
        results.append(PolicyTestResult(place, test.product, tuple(test.reader.roles), tuple(problems)))
    return PolicyTestReport(tuple(results), tuple(str(w) for w in policies.warnings))


def _problems(test: TestEntry, manifest: Manifest, policies: PolicySet, combine: Any, now: datetime) -> Iterator[str]:
    principal = Principal(test.reader.subject, tuple(test.reader.roles), test.reader.attributes)
    compiled = compile_product(manifest, policies)
    decision = decide_compiled(compiled, principal, purpose=test.purpose, now=now, combine=combine)
    expect = test.expect
    if decision.allow != expect.allow:
        yield f"allow: expected {str(expect.allow).lower()}, got {str(decision.allow).lower()}" + (
            f" ({decision.code})" if decision.code else ""
        )
        return
    if (
        expect.code is not None
        and decision.code != expect.code
        and (decision.code or "").rpartition(".")[2] != expect.code
    ):
        yield f"code: expected {expect.code}, got {decision.code}"
    labels = {t.label for t in compiled.columns}
    for name, (mask, args) in expect.columns.items():
        if name not in labels:
            yield f"unknown column {name}"
            continue
        yield from _column(name, mask, args, decision)
    if expect.row_filters is not None:
        actual = sorted(f.rule for f in decision.row_filters)
        if actual != sorted(expect.row_filters):
            yield f"row_filters: expected {_listed(expect.row_filters)}, got {_listed(actual)}"


def _column(name: str, mask: str, args: dict[str, Any], decision: Decision) -> Iterator[str]:
    load_mask(mask)
    actual = decision.columns.get(name, ColumnDecision("clear"))
    if actual.mask != mask:
        yield f"{name}: expected {mask}, got {actual.mask}" + (f" by {actual.rule}" if actual.rule else "")
    elif args and any(actual.args.get(k) != v for k, v in args.items()):
        yield f"{name}: expected arguments {args}, got {dict(actual.args)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
