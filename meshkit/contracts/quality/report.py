"""What came of the checks: counts and row numbers, never a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Literal

from meshkit.errors import MeshkitError

__all__ = ["CheckResult", "ContractViolation", "QualityReport", "State"]

State = Literal["pass", "fail", "error", "unsupported", "waived"]


class ContractViolation(MeshkitError):
    """The data breaks its contract; nothing was committed."""

    code = "contract.violation"

    def __init__(self, *, product: str, report: QualityReport) -> None:
        self.product, self.report = product, report
        worst = ", ".join(r.rule for r in report.results if r.fails)[:300]
        super().__init__(
            f"{product}: {report.failed} of {report.total} rules failed ({worst}); nothing was committed. "
            "See report.results, or run: meshkit contract test"
        )


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One rule's outcome. `sets_aside`: its failing rows are quarantined and don't stop a publish. `measured` is rows or a ratio (`unit`), `row_numbers` are up to ten failing rows, from 1 in data order."""

    rule: str
    state: State
    path: tuple[tuple[str, str], ...] = ()
    severity: Literal["error", "warning"] = "error"
    measured: float | None = None
    unit: Literal["rows", "ratio"] = "rows"
    expected: str = ""
    failing_rows: int = 0
    row_numbers: tuple[int, ...] = ()
    message: str = ""
    sets_aside: bool = False

    def plus(self, other: CheckResult) -> CheckResult:
        """The same rule over two batches."""
        worse = self if self.state != "pass" else other
        numbers = (self.row_numbers + other.row_numbers)[:10]
        measured = (self.measured or 0) + (other.measured or 0) if self.unit == "rows" else worse.measured
        return replace(
            worse, measured=measured, failing_rows=self.failing_rows + other.failing_rows, row_numbers=numbers
        )

    @property
    def fails(self) -> bool:
        """Whether this alone fails the report."""
        return self.state not in {"pass", "waived"} and self.severity == "error"

    def to_json(self) -> dict[str, Any]:
        """One entry of `results`."""
        return {
            "rule": self.rule, "path": [list(step) for step in self.path], "state": self.state, "severity": self.severity,
            "measured": self.measured, "unit": self.unit, "expected": self.expected, "failing_rows": self.failing_rows,
            "row_numbers": list(self.row_numbers), "message": self.message,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class QualityReport:
    """All rules over one set of data. `exit_code` is 1 if it fails."""

    product: str
    version: str
    results: tuple[CheckResult, ...] = ()
    rows: int = 0
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """Rules that fail the report."""
        return sum(r.fails for r in self.results)

    @property
    def total(self) -> int:
        """Rules checked."""
        return len(self.results)

    @property
    def ok(self) -> bool:
        """Whether the data keeps its contract."""
        return self.failed == 0

    @property
    def exit_code(self) -> int:
        """0 or 1."""
        return 0 if self.ok else 1

    def raise_for_violations(self) -> None:
        """Raises: `ContractViolation` if a rule fails."""
        if not self.ok:
            raise ContractViolation(product=self.product, report=self)

    def to_text(self) -> str:
        """A line per rule that is not passed, then the sum."""
        lines = [f"{self.product} {self.version}: {self.rows:,} rows, {self.total} rules"]
        for r in self.results:
            if r.state != "pass":
                rows = f", first rows {', '.join(map(str, r.row_numbers))}" if r.row_numbers else ""
                detail = f" {r.message}" if r.message else f" {r.failing_rows:,} rows{rows}"
                lines.append(f"  [{r.state.upper() if r.severity == 'error' else 'WARN'}] {r.rule}:{detail}")
        lines += [f"  note: {note}" for note in self.notes]
        lines.append("All rules hold." if self.ok else f"{self.failed} of {self.total} rules failed.")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.contracts.quality/1`."""
        return {
            "format": "meshkit.contracts.quality/1", "product": self.product, "version": self.version, "ok": self.ok, "rows": self.rows,
            "failed": self.failed, "total": self.total, "results": [r.to_json() for r in self.results], "notes": list(self.notes),
        }  # fmt: skip

    @property
    def publishable(self) -> bool:
        """Whether a publish may commit: rows that break row rules are set aside, everything else must hold."""
        return not any(r.fails and not r.sets_aside for r in self.results)

    def plus(self, other: QualityReport) -> QualityReport:
        """Results of two batches under the same rules, counted together; row numbers stay the first ten."""
        added = {r.rule: r for r in other.results}
        results = tuple(r.plus(added.pop(r.rule)) if r.rule in added else r for r in self.results) + tuple(
            added.values()
        )
        return QualityReport(self.product, self.version, results, self.rows + other.rows, self.notes)

    def merged(self, other: QualityReport) -> QualityReport:
        """Results of both, in order."""
        return QualityReport(
            self.product,
            self.version,
            self.results + other.results,
            max(self.rows, other.rows),
            self.notes + other.notes,
        )

    def _repr_html_(self) -> str:
        rows: Sequence[str] = [
            f"<tr><td>{escape(r.state)}</td><td><code>{escape(r.rule)}</code></td><td>{r.failing_rows:,}</td><td>{escape(r.message or r.expected)}</td></tr>"
            for r in self.results
        ]
        head = "<thead><tr><th>state</th><th>rule</th><th>rows</th><th></th></tr></thead>"
        verdict = "keeps its contract" if self.ok else f"breaks {self.failed} of {self.total} rules"
        return f"<div><strong>{escape(self.product)}</strong> {escape(self.version)} {verdict}<table>{head}<tbody>{''.join(rows)}</tbody></table></div>"
