"""`apply`: a frame as a principal may see it. Trust mode `advisory`: the caller has the raw rows; this protects against accidents."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from meshkit.errors import UsageError
from meshkit.manifest import DataObject, Manifest
from meshkit.masking.compile import Masks
from meshkit.masking.condition import Condition
from meshkit.masking.decide import ProductPolicies, compile_product, decide_compiled
from meshkit.masking.errors import AccessDenied
from meshkit.masking.extra import require
from meshkit.masking.policies import PolicySet
from meshkit.ports import ColumnDecision, Decision, Principal
from meshkit.types import STRING, DataType, Decimal, Temporal

if TYPE_CHECKING:
    import polars as pl

    from meshkit.masking.keys import KeyRing

__all__ = ["apply"]

F = TypeVar("F")


def apply(
    frame: F,
    manifest: Manifest,
    principal: Principal,
    *,
    policies: PolicySet | None = None,
    purpose: str | None = None,
    keys: KeyRing | None = None,
    now: datetime | None = None,
) -> F:
    """`frame` (polars, lazy or not, pyarrow Table, pandas) of the product's main object, masked and filtered for `principal`.

    Without `policies` the default masks of the tags apply and nobody is refused. Columns outside the contract drop; a sensitive
    column of another type than promised is NULL, others are cast. Trust mode: advisory.

    Raises: `AccessDenied`; `MissingKey` if a column needs one.
    """
    compiled = compile_product(manifest, policies if policies is not None else PolicySet())
    decision = decide_compiled(
        compiled, principal, purpose=purpose, now=now or datetime.now(UTC), open_access=policies is None
    )
    if not decision.allow:
        raise AccessDenied(manifest.id, decision_code=decision.code or "masking.denied")
    item = manifest.objects[manifest.main_object]
    conditions = _conditions(policies, compiled)

    def masked(lazy: pl.LazyFrame) -> pl.LazyFrame:
        return _masked(lazy, item, compiled, decision, conditions, principal, Masks(keys))

    return cast(F, _through_polars(frame, masked))


def _through_polars(frame: Any, masked: Callable[[pl.LazyFrame], pl.LazyFrame]) -> Any:
    """Apply to any kind of frame and come back to it."""
    require("polars", purpose="masking frames")
    import polars as pl

    if isinstance(frame, pl.LazyFrame):
        return masked(frame)
    if isinstance(frame, pl.DataFrame):
        return masked(frame.lazy()).collect()
    kind = type(frame).__module__.partition(".")[0]
    if kind == "pyarrow" and type(frame).__name__ == "Table":
        table = masked(pl.DataFrame(pl.from_arrow(frame)).lazy()).collect().to_arrow()
        target = [frame.schema.field(n) for n in table.column_names]
        plain = [
            f.with_type(f.type.value_type)
            if hasattr(f.type, "value_type") and str(f.type).startswith("dictionary")
            else f
            for f in target
        ]
        import pyarrow as pa

        # nullable and without metadata of the source: statistics in it could tell hidden values
        fields = [
            pa.field(f.name, f.type)
            if _castable(table.schema.field(f.name).type, f.type)
            else table.schema.field(f.name)
            for f in plain
        ]
        return table.cast(pa.schema(fields))
    if kind == "pandas" and type(frame).__name__ == "DataFrame":
        return masked(pl.from_pandas(frame).lazy()).collect().to_pandas()
    raise UsageError(f"{type(frame).__qualname__} can't be masked. Pass a polars, pyarrow or pandas frame")


def _castable(actual: Any, wanted: Any) -> bool:
    import pyarrow as pa

    text = (pa.string(), pa.large_string(), pa.string_view())
    return actual == wanted or (actual in text and wanted in text)


def _conditions(policies: PolicySet | None, compiled: ProductPolicies) -> dict[str, Condition | None]:
    """Conditions by id of row filter and, for `only_rows`, by their rendered SQL; decisions carry SQL only."""
    return {f.id: f.condition for f in compiled.filters} if policies is not None else {}


def _masked(
    lazy: pl.LazyFrame,
    item: DataObject,
    compiled: ProductPolicies,
    decision: Decision,
    conditions: dict[str, Condition | None],
    principal: Principal,
    masks: Masks,
) -> pl.LazyFrame:
    import polars as pl

    schema = lazy.collect_schema()
    kinds = {name: item.fields[name].data_type for name in schema if name in item.fields}
    lazy = lazy.select(
        [
            _as_promised(pl.col(n), schema[n], kind, clear=_is_clear(decision.columns.get(n)))
            for n, kind in kinds.items()
        ]
    )
    for row_filter in decision.row_filters:
        condition = conditions.get(row_filter.rule)
        if row_filter.sql == "TRUE":
            continue
        expression = condition.polars(compiled.row, principal.attributes) if condition is not None else None
        _needs(condition, kinds, compiled)
        lazy = lazy.filter(expression if expression is not None else pl.lit(value=False))
    columns = []
    for name, kind in kinds.items():
        column = decision.columns.get(name)
        if column is None:
            columns.append(pl.col(name))
            continue
        only_rows = _only_rows(column, compiled, principal, kinds)
        columns.append(masks.polars(pl.col(name), kind, column, only_rows=only_rows).alias(name))
    return lazy.select(columns)


def _is_clear(column: ColumnDecision | None) -> bool:
    return column is None or (column.mask == "clear" and column.only_rows is None)


def _needs(condition: Condition | None, kinds: dict[str, DataType], compiled: ProductPolicies) -> None:
    """A filter over a column that the frame lacks can't be answered: deny."""
    lower = {n.lower() for n in kinds}
    if condition is not None and any(c.lower() not in lower for c in condition.columns):
        raise AccessDenied(compiled.product, decision_code="masking.schema_drift")


def _only_rows(
    column: ColumnDecision, compiled: ProductPolicies, principal: Principal, kinds: dict[str, DataType]
) -> pl.Expr | None:
    if column.only_rows is None:
        return None
    rules = [r for found in compiled.sensitive.values() for s in found for r in s.rules]
    rendered = (
        (r.only_rows, r.only_rows.sql(compiled.row, principal.attributes)) for r in rules if r.only_rows is not None
    )
    condition = next(c for c, sql in rendered if sql == column.only_rows)
    _needs(condition, kinds, compiled)
    return condition.polars(compiled.row, principal.attributes)


def _as_promised(column: pl.Expr, actual: Any, promised: DataType, *, clear: bool) -> pl.Expr:
    """The column in its promised type; NULL if it is sensitive and of another type, where a mask would mean something else."""
    import polars as pl

    from meshkit.types.arrow import TypeConversionError
    from meshkit.types.polars import from_polars, to_polars

    target = to_polars(promised)
    if actual == target:
        return column
    try:
        kind = from_polars(actual)
    except TypeConversionError:
        kind = None
    if clear or _alike(kind, promised):
        return column.cast(target)
    return pl.when(column.is_null()).then(None).otherwise(None).cast(target).alias(column.meta.output_name())


def _alike(actual: DataType | None, promised: DataType) -> bool:
    if actual == STRING and str(promised) in {"string", "json", "uuid"}:
        return True
    if isinstance(actual, Temporal) and isinstance(promised, Temporal):
        return actual.name == promised.name
    if isinstance(actual, Decimal) and isinstance(promised, Decimal):
        return actual.scale == promised.scale
    return actual is not None and actual.is_integer and promised.is_integer
