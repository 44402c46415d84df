"""`compile_checks(manifest, object).split(batch)`: good rows, quarantined rows and a report, batch by batch. This is how `publish` checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from meshkit.contracts.quality import frame
from meshkit.contracts.quality.checks import Check, compile_checks_of
from meshkit.contracts.quality.data import is_lossless
from meshkit.contracts.quality.duck import Unsupported
from meshkit.contracts.quality.report import CheckResult, ContractViolation, QualityReport
from meshkit.errors import MissingExtra, UsageError
from meshkit.types import DataType, Decimal, Temporal
from meshkit.types.arrow import from_arrow

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
    """The compiled checks of one object. `split` may run in several threads."""

    def __init__(self, manifest: Manifest, object_name: str) -> None:
        self.product, self.version, self.object_name = manifest.id, manifest.version, object_name
        self._manifest, self._item = manifest, manifest.objects[object_name]
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

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of the contract. Columns are nullable: `required` is a check, so that bad rows can be set aside."""
        import pyarrow as pa

        from meshkit.types.arrow import schema_of

        return pa.schema([f.with_nullable(True) for f in schema_of(self._item.data_type)])

    def conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with exactly the contract's columns and types, cast where every value survives.

        Raises: `ContractViolation` for absent and undeclared columns, other types, values that don't fit.
        """
        results = [*self._column_problems(batch.schema)]
        columns = []
        for field in self.schema if not results else ():
            cast, problem = _cast(batch.column(field.name), field.type)
            columns.append(cast)
            if problem:
                results.append(self._type_problem(field.name, problem))
        if results:
            report = QualityReport(self.product, self.version, tuple(results), batch.num_rows)
            raise ContractViolation(product=self.product, report=report)
        import pyarrow as pa

        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _column_problems(self, schema: pa.Schema) -> Iterator[CheckResult]:
        for name in self.schema.names:
            if name not in schema.names:
                yield self._type_problem(name, "the column is absent", kind="absent")
        for name in schema.names:
            if name not in self.schema.names:
                yield self._type_problem(
                    name, "the column is not in the contract. Drop it, or declare it", kind="undeclared"
                )

    def _type_problem(self, name: str, message: str, *, kind: str = "type") -> CheckResult:
        path = (("object", self.object_name), ("field", name), ("check", kind))
        return CheckResult(f"schema.{self.object_name}.{name}.{kind}", "fail", path, message=message)

    def judge(self, paths: Sequence[str], *, others: Mapping[str, Sequence[str]] | None = None) -> QualityReport:
        """The checks over the whole publish (unique, key, references, `quality`) on Parquet files of this object and the others."""
        from meshkit.contracts.quality.run import judge_files

        return judge_files(self._manifest, self.object_name, {self.object_name: list(paths), **(others or {})})

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


def _cast(column: pa.Array, target: pa.DataType) -> tuple[pa.Array, str | None]:
    """The column in the contract's type, or what keeps it from being that. Never text to numbers: that would guess."""
    import pyarrow as pa

    if column.type.equals(target):
        return column, None
    found, wanted = from_arrow(column.type) if not pa.types.is_null(column.type) else None, from_arrow(target)
    if found is not None and not _castable(found, wanted):
        return column, f"the column is {found}, the contract says {wanted}. Cast it in the transform"
    try:
        return column.cast(target, safe=True), None
    except pa.ArrowInvalid:
        return column, f"a value of type {found} does not fit {wanted}. Round or cast it in the transform"
    except pa.ArrowNotImplementedError:
        return column, f"the column is {found}, the contract says {wanted}. Cast it in the transform"


def _castable(found: DataType, wanted: DataType) -> bool:
    """Same family, so that a cast keeps the meaning; whether each value fits is seen by casting."""
    if is_lossless(found, wanted) or (found.is_nested and type(found) is type(wanted)):
        return True
    exact = (found.is_integer or isinstance(found, Decimal), wanted.is_integer or isinstance(wanted, Decimal))
    if all(exact):
        return True
    names = {str(found), str(wanted)}
    both_float = names <= {"float32", "float64"}
    both_time = isinstance(found, Temporal) and isinstance(wanted, Temporal) and found.name == wanted.name
    return both_float or both_time or names <= {"string", "uuid", "json"}


def _result(check: Check, total: int, numbers: tuple[int, ...]) -> CheckResult:
    state: Any = "fail" if total else "pass"
    expected = "no violation" if check.argument is None else check.kind
    return CheckResult(
        check.id, state, check.path, check.severity, total, "rows", expected, total, numbers, sets_aside=True
    )


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
