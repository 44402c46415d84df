"""`DataProduct`: a manifest plus the code that makes its rows; `@data_product`, `@transform`, `@check`.

    @data_product("manifest.yaml")
    def orders(raw_orders: pl.LazyFrame) -> pl.LazyFrame:
        return raw_orders.select(order_id="id", total="amount", state="status")

Argument names of the function are input names of the manifest. The decorator keeps the function callable and typed, reads nothing at
import and registers nothing.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, update_wrapper
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from meshkit.errors import UsageError
from meshkit.manifest import Manifest

if TYPE_CHECKING:
    import polars as pl

    from meshkit.contracts.quality import QualityReport

__all__ = [
    "Check",
    "CodeError",
    "DataProduct",
    "FunctionProduct",
    "PublishReport",
    "check",
    "data_product",
    "transform",
]

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound="type[DataProduct]")


class CodeError(UsageError):
    """The code of a product does not fit its manifest."""

    code = "product.code"


class Publishes(Protocol):
    """What `publish` needs of a mesh."""

    def publish(self, ref: Any, *, principal: Any = None, until: Any = None) -> PublishReport:
        """Run a product and commit its rows."""


@dataclass(frozen=True, slots=True)
class Check:
    """A promise about rows written in code: `predicate` gives an expression that is true for good rows."""

    name: str
    predicate: Callable[..., Any]
    quarantine: bool = False
    object_name: str | None = None


def transform(method: Callable[P, R]) -> Callable[P, R]:
    """Mark the method of a `DataProduct` class that makes its rows."""
    method.__meshkit_transform__ = True  # type: ignore[attr-defined]
    return method


def check(
    name: str,
    *,
    quarantine: bool = False,
    object: str | None = None,  # noqa: A002  # the manifest's word
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a method as a check. It gets the rows as a LazyFrame and returns an expression that is true for good rows.

    A false row refuses the publish; with `quarantine=True` it is set aside. Null counts as true, as in SQL CHECK.
    """
    if not isinstance(name, str):
        raise CodeError('write @check("what holds"), with the promise as text')

    def mark(method: Callable[P, R]) -> Callable[P, R]:
        method.__meshkit_check__ = Check(name, method, quarantine, object)  # type: ignore[attr-defined]
        return method

    return mark


class DataProduct:
    """Base of product classes: subclass it, decorate the class with `@data_product`, one method with `@transform`.

    An instance without arguments is the product: `Daily().publish(mesh)`. `manifest` is read from disk at first use.
    """

    _manifest_source: str | Path | Manifest | None = None
    _home: Path = Path()

    @cached_property
    def manifest(self) -> Manifest:
        """The product's manifest. Raises: `ManifestError`; `EnvironmentProblem` if it can't be read."""
        source = self._manifest_source
        if source is None:
            raise CodeError(
                f"{type(self).__name__} names no manifest. Decorate the class with @data_product('manifest.yaml')"
            )
        return source if isinstance(source, Manifest) else Manifest.load(self._home / source)

    @cached_property
    def transform(self) -> Callable[..., Any]:
        """The function that makes the rows. Raises: `CodeError` unless the class marks exactly one."""
        marked = [getattr(self, n) for n in _marked(type(self), "__meshkit_transform__")]
        if len(marked) != 1:
            raise CodeError(f"{type(self).__name__} has {len(marked)} methods marked @transform. Mark exactly one")
        found: Callable[..., Any] = marked[0]
        return found

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Checks of the code, in the order they are written."""
        found = []
        for name in _marked(type(self), "__meshkit_check__"):
            method = getattr(self, name)
            marked = method.__meshkit_check__
            found.append(Check(marked.name, method, marked.quarantine, marked.object_name))
        return tuple(sorted(found, key=lambda c: c.predicate.__code__.co_firstlineno))

    def wanted(self) -> Mapping[str, Any]:
        """Input name -> annotation of the transform's argument (None: none given).

        Raises: `CodeError` naming the arguments that are no inputs and the inputs that are no arguments.
        """
        function = self.transform
        hints = _hints(function)
        names = [
            n
            for n, p in inspect.signature(function).parameters.items()
            if p.kind not in {p.VAR_KEYWORD, p.VAR_POSITIONAL} and n != "self"
        ]
        manifest = self.manifest
        declared = {n for n, s in manifest.inputs.items() if s.product is not None}
        surplus, absent = [n for n in names if n not in declared], sorted(declared - set(names))
        if surplus or absent:
            parts = [f"argument {n} is no input of the manifest" for n in surplus] + [
                f"input {n} is no argument" for n in absent
            ]
            raise CodeError(
                f"{manifest.id}: {'; '.join(parts)}. Name the arguments of {function.__name__} as the inputs in {manifest.source_name}"
            )
        return {n: hints.get(n) for n in names}

    def test(self, frame: Any, *, object_name: str | None = None) -> QualityReport:
        """Check rows as `publish` would, without a mesh: contract and code checks."""
        from meshkit.contracts.quality import QualityReport

        name = object_name or self.manifest.main_object
        checks = ProductChecks(self, name)
        report: QualityReport = QualityReport(self.manifest.id, self.manifest.version)
        for batch in as_batches(frame):
            report = report.plus(checks.split(checks.conform(batch), first_row=report.rows + 1).report)
        return report

    def publish(self, mesh: Publishes, *, principal: Any = None) -> PublishReport:
        """Read inputs, transform, check, commit, record. See `Mesh.publish`."""
        return mesh.publish(self, principal=principal)

    def _repr_html_(self) -> str:
        return self.manifest._repr_html_()  # the notebook protocol


def _marked(owner: type, mark: str) -> list[str]:
    """Names of methods that carry a mark; looked up without running properties."""
    return [name for name, member in inspect.getmembers_static(owner) if hasattr(member, mark)]


class FunctionProduct(DataProduct, Generic[P, R]):
    """A product made of one function; still callable and typed as that function."""

    def __init__(self, function: Callable[P, R], source: str | Path | Manifest, home: Path) -> None:
        self._function, self._manifest_source, self._home = function, source, home
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself: no mesh, no checks."""
        return self._function(*args, **kwargs)

    @cached_property
    def transform(self) -> Callable[..., Any]:
        """The function that makes the rows."""
        return self._function

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Functions have none; use a class for checks in code."""
        return ()


class _Decorate(Protocol):
    @overload
    def __call__(self, target: C) -> C: ...  # type: ignore[overload-overlap]  # a class is callable too; the first match is meant
    @overload
    def __call__(self, target: Callable[P, R]) -> FunctionProduct[P, R]: ...


def data_product(manifest: str | Path | Manifest = "manifest.yaml") -> _Decorate:
    """Make a function or a `DataProduct` subclass the code of the product that `manifest` defines.

    A relative path starts at the folder of the module that has the code. Nothing is read until the product is used.
    """
    frame = sys._getframe(1)  # noqa: SLF001  # the only way to know the module's folder before its import ends
    home = Path(frame.f_globals.get("__file__", ".")).absolute().parent
    if callable(manifest):
        raise CodeError('write @data_product("manifest.yaml"), with the path of the manifest')

    def decorate(target: Any) -> Any:
        if isinstance(target, type):
            if not issubclass(target, DataProduct):
                raise CodeError(f"class {target.__name__} must derive from meshkit.DataProduct")
            target._manifest_source, target._home = manifest, home  # noqa: SLF001  # set once, at class creation
            return target
        if not callable(target):
            raise CodeError("@data_product goes on a function or a class")
        return FunctionProduct(target, manifest, home)

    return decorate


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations as objects; text that can't be resolved (names under TYPE_CHECKING) is matched by its words."""
    try:
        return typing.get_type_hints(function)
    except NameError:
        return dict(getattr(function, "__annotations__", {}))


# Rows -----------------------------------------------------------------------------------------------------------------------------

ROWS_PER_BATCH = 65_536


def as_argument(reader: Any, annotation: Any) -> Any:
    """Rows of an input as the transform asks: LazyFrame (default), DataFrame, pa.Table, RecordBatchReader, DuckDB relation.

    `reader` is a `pyarrow.RecordBatchReader`. Raises: `CodeError` for an annotation that isn't one of these.
    """
    word = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    word = word.rpartition(".")[2] if annotation is not None else "LazyFrame"
    if word == "RecordBatchReader":
        return reader
    table = reader.read_all()
    if word == "Table":
        return table
    if word == "DuckDBPyRelation":
        import duckdb

        return duckdb.from_arrow(table)
    import polars as pl

    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    if word == "DataFrame":
        return frame
    if word == "LazyFrame":
        return frame.lazy()
    raise CodeError(
        f"an input can't be given as {word}. Annotate it as pl.LazyFrame, pl.DataFrame, pa.Table, pa.RecordBatchReader or duckdb.DuckDBPyRelation"
    )


def as_batches(rows: Any) -> Iterator[Any]:
    """What a transform returned as Arrow record batches of at most 65,536 rows."""
    import pyarrow as pa

    if hasattr(rows, "collect_schema") and hasattr(rows, "collect"):
        rows = rows.collect(engine="streaming")
    elif hasattr(rows, "to_arrow") and not isinstance(rows, pa.Table | pa.RecordBatch):
        rows = rows.to_arrow()
    if hasattr(rows, "to_arrow_reader"):
        rows = rows.to_arrow_reader(ROWS_PER_BATCH)
    if isinstance(rows, pa.RecordBatchReader):
        yield from rows
    elif isinstance(rows, pa.RecordBatch):
        yield rows
    elif hasattr(rows, "__arrow_c_stream__"):
        table = rows if isinstance(rows, pa.Table) else pa.table(rows)
        # a table without rows still has columns that must fit
        yield from table.to_batches(max_chunksize=ROWS_PER_BATCH) or [
            pa.RecordBatch.from_pylist([], schema=table.schema)
        ]
    elif isinstance(rows, Iterator):
        for part in rows:
            yield from as_batches(part)
    else:
        raise CodeError(
            f"the transform returned {type(rows).__name__}. Return a polars frame, an Arrow table, a DuckDB relation or a generator of batches"
        )


def by_object(product: DataProduct, returned: Any) -> Mapping[str, Any]:
    """What a transform returned, by object: a mapping as it is, anything else is the main object."""
    manifest = product.manifest
    result: Mapping[str, Any] = returned if isinstance(returned, Mapping) else {manifest.main_object: returned}
    unknown = [n for n in result if n not in manifest.objects]
    absent = [n for n in manifest.objects if n not in result]
    if unknown or absent:
        raise CodeError(
            f"{manifest.id}: the transform must return rows for {', '.join(manifest.objects)}; unknown: {unknown or 'none'}, absent: {absent or 'none'}"
        )
    return result


class ProductChecks:
    """Contract checks of one object joined with the checks of the product's code; what `publish_batch` runs."""

    def __init__(self, product: DataProduct, object_name: str) -> None:
        from meshkit.contracts.quality import compile_checks

        manifest = product.manifest
        self.plan = compile_checks(manifest, object_name)
        main = manifest.main_object
        self.own = tuple(c for c in product.checks if (c.object_name or main) == object_name)

    @property
    def schema(self) -> Any:
        """Arrow schema of the contract."""
        return self.plan.schema

    def conform(self, batch: Any) -> Any:
        """See `CheckPlan.conform`."""
        return self.plan.conform(batch)

    def judge(self, paths: Sequence[str], *, others: Mapping[str, Sequence[str]]) -> Any:
        """See `CheckPlan.judge`."""
        return self.plan.judge(paths, others=others)

    def split(self, batch: Any, *, first_row: int = 1) -> Any:
        """Contract rules first; code checks then look at the rows that keep them."""
        found = self.plan.split(batch, first_row=first_row)
        if not self.own or not found.good.num_rows:
            return found
        return self._with_own(found, first_row)

    def _with_own(self, found: Any, first_row: int) -> Any:
        import polars as pl
        import pyarrow as pa
        import pyarrow.compute as pc

        from meshkit.contracts.quality import CheckResult, QualityReport, Split

        frame = pl.from_arrow(found.good)
        assert isinstance(frame, pl.DataFrame)
        bad = pl.Series([False]).new_from_index(0, frame.height)
        results = []
        for own in self.own:
            holds = frame.lazy().select(ok=_expression(own, frame).fill_null(value=True)).collect()["ok"]
            broken = ~(holds.new_from_index(0, frame.height) if len(holds) == 1 else holds)
            count = int(broken.sum())
            numbers = tuple(int(n) + first_row for n in broken.arg_true().head(10))
            path = (("object", self.plan.object_name), ("check", own.name))
            rule = f"code.{self.plan.object_name}.{own.name}"
            results.append(
                CheckResult(
                    rule,
                    "fail" if count else "pass",
                    path,
                    "error",
                    count,
                    "rows",
                    "0 rows",
                    count,
                    numbers,
                    sets_aside=own.quarantine,
                )
            )
            if own.quarantine:
                bad = bad | broken
        report = found.report.merged(
            QualityReport(self.plan.product, self.plan.version, tuple(results), found.good.num_rows)
        )
        if not bad.any():
            return Split(found.good, found.quarantined, report)
        mask = bad.to_arrow()
        aside = pa.concat_batches([found.quarantined, found.good.filter(mask)])
        return Split(found.good.filter(pc.invert(mask)), aside, report)


def _expression(own: Check, frame: pl.DataFrame) -> pl.Expr:
    import polars as pl

    expression = own.predicate(frame.lazy())
    if not isinstance(expression, pl.Expr):
        raise CodeError(
            f"check {own.name!r} returned {type(expression).__name__}. Return a polars expression that is true for good rows"
        )
    return expression


# The report -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What a publish did. `run_id` is the same over retries of the same state; `position` is the commit sequence per port."""

    product: str
    version: str
    run_id: str
    committed: bool
    rows_in: int = 0
    rows_good: int = 0
    rows_quarantined: int = 0
    quality: Any = None
    files: int = 0
    bytes: int = 0
    position: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    lineage: tuple[str, ...] = ()  # products read
    evidence: tuple[Any, ...] = ()  # SLO evidence recorded
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 if the contract refused the publish."""
        return 0 if self.committed else 1

    def raise_for_violations(self) -> None:
        """Raises: `ContractViolation` if the publish was refused. Quarantined rows don't raise: they are in the report."""
        if not self.committed:
            from meshkit.contracts.quality import ContractViolation

            raise ContractViolation(product=self.product, report=self.quality)

    def to_text(self) -> str:
        """A few lines: what was read, committed, set aside, refused."""
        if not self.committed:
            return f"{self.product} {self.version}: refused, nothing was committed\n{self.quality.to_text()}"
        aside = f", {self.rows_quarantined:,} quarantined" if self.rows_quarantined else ""
        ports = ", ".join(f"{port} #{sequence}" for port, sequence in self.position.items())
        lines = [
            f"{self.product} {self.version}: {self.rows_good:,} rows published{aside} to {ports} in {self.seconds:.1f} s"
        ]
        if self.rows_quarantined:
            lines += [f"  {r.rule}: {r.failing_rows:,} rows" for r in self.quality.results if r.state == "fail"]
        return "\n".join(lines + [f"  note: {n}" for n in self.notes])

    def to_json(self) -> dict[str, Any]:
        """`meshkit.publish.report/1`."""
        return {
            "format": "meshkit.publish.report/1", "product": self.product, "version": self.version, "run_id": self.run_id,
            "committed": self.committed, "rows_in": self.rows_in, "rows_good": self.rows_good, "rows_quarantined": self.rows_quarantined,
            "files": self.files, "bytes": self.bytes, "position": dict(self.position), "seconds": round(self.seconds, 3),
            "lineage": list(self.lineage), "quality": self.quality.to_json() if self.quality is not None else None, "notes": list(self.notes),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        quality = self.quality._repr_html_() if self.quality is not None else ""  # the notebook protocol
        return f"<div><p>{escape(self.to_text().splitlines()[0])}</p>{quality}</div>"
