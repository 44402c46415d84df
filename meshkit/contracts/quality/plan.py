"""`compile_checks(manifest, object).split(batch)`: good rows, quarantined rows and a report, batch by batch. This is how `publish` checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshkit.contracts.quality import frame
from meshkit.contracts.quality.checks import Check, compile_checks_of
from meshkit.contracts.quality.duck import Unsupported
from meshkit.contracts.quality.report import CheckResult, QualityReport
from meshkit.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from meshkit.manifest import Manifest

__all__ = ["CheckPlan", "Split", "compile_checks"]

MAX_ROW_NUMBERS = 10


@dataclass(frozen=True, slots=True)
class Split:
    """One batch divided: rows that keep all row rules, rows that don't, and what was found (row numbers count within the batch)."""

    good: pa.RecordBatch
    quarantined: pa.RecordBatch
    report: QualityReport


class CheckPlan:
    """The compiled checks of one object. Immutable; `split` may run in several threads."""

    def __init__(self, manifest: Manifest, object_name: str) -> None:
        self.product, self.version, self.object_name = manifest.id, manifest.version, object_name
        self.checks = compile_checks_of(manifest, object_name)
        self._rows: list[tuple[Check, Any]] = []
        self._unsupported: list[CheckResult] = []
        for check in self.checks:
            if not check.is_row_check:
                continue
            try:
                self._rows.append((check, frame.violations(check)))
            except Unsupported as error:
                self._unsupported.append(
                    CheckResult(check.id, "unsupported", check.path, check.severity, message=str(error))
                )

    @property
    def whole_checks(self) -> tuple[Check, ...]:
        """Checks over the whole publish: unique, key, references, `quality`."""
        return tuple(c for c in self.checks if not c.is_row_check)

    def split(self, batch: pa.RecordBatch, *, first_row: int = 1) -> Split:
        """Divide a batch whose columns have the contract's types. `first_row` numbers its first row in the report."""
        import polars as pl

        data: pl.DataFrame = pl.from_arrow(batch)  # type: ignore[assignment]
        found = data.select(expression.alias(str(i)) for i, (_, expression) in enumerate(self._rows))
        sums = found.sum().row(0) if self._rows else ()
        results = [*self._unsupported]
        for index, (check, _) in enumerate(self._rows):
            total = int(sums[index] or 0)
            numbers: tuple[int, ...] = ()
            if total:
                numbers = tuple((found[str(index)] > 0).arg_true().head(MAX_ROW_NUMBERS).to_numpy() + first_row)
            results.append(_result(check, total, tuple(int(n) for n in numbers)))
        report = QualityReport(self.product, self.version, tuple(results), data.height)
        if not any(sums):
            return Split(batch, batch.slice(0, 0), report)
        bad = pl.any_horizontal(pl.col(str(i)) > 0 for i, (c, _) in enumerate(self._rows) if c.severity == "error")
        mask = found.select(bad=bad)["bad"].to_arrow()
        import pyarrow.compute as pc

        return Split(batch.filter(pc.invert(mask)), batch.filter(mask), report)


def _result(check: Check, total: int, numbers: tuple[int, ...]) -> CheckResult:
    state: Any = "fail" if total else "pass"
    expected = "no violation" if check.argument is None else check.kind
    return CheckResult(check.id, state, check.path, check.severity, total, "rows", expected, total, numbers)


def compile_checks(manifest: Manifest, object_name: str | None = None) -> CheckPlan:
    """The checks of an object (default: the main one), compiled once. Raises: `UsageError` for an unknown object; `MissingExtra`."""
    name = object_name or manifest.main_object
    if name not in manifest.objects:
        raise UsageError(
            f"{manifest.id} has no object {name!r}. Known: {', '.join(manifest.objects)}",
            code="contracts.unknown_object",
        )
    try:
        return CheckPlan(manifest, name)
    except ImportError:
        raise MissingExtra("quality", package="polars", purpose="checking data") from None
