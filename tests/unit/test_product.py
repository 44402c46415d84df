"""Products in code: callable and typed, nothing read at import, arguments matched with inputs, checks that refuse or set aside."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from meshkit import DataProduct, Manifest, MeshkitError, check, data_product, transform
from meshkit.product import ProductChecks, as_argument, as_batches, by_object

TEXT = (Path(__file__).parent / "publisher" / "orders.yaml").read_text()
M = Manifest.parse(TEXT)


@data_product(M)
def orders(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Orders."""
    return raw.select(id="order", total=pl.col("amount").cast(pl.Decimal(12, 2)))


@data_product(M)
class Orders(DataProduct):
    """Orders, with checks."""

    @transform
    def build(self, raw: pl.LazyFrame) -> pl.LazyFrame:
        return raw

    @check("totals are below a hundred")
    def small(self, rows: pl.LazyFrame) -> pl.Expr:
        return pl.col("total") < 100

    @check("ids are even", quarantine=True)
    def even(self, rows: pl.LazyFrame) -> pl.Expr:
        return pl.col("id") % 2 == 0


def rows(ids, totals):
    return pl.DataFrame({"id": ids, "total": totals}, schema={"id": pl.Int64, "total": pl.Decimal(12, 2)})


def test_a_function_stays_callable_and_is_a_product():
    assert orders(pl.LazyFrame({"order": [1], "amount": [2]})).collect().rows()[0][0] == 1
    assert orders.__doc__ == "Orders."
    assert orders.manifest.id == "sales.orders"
    assert orders.wanted() == {"raw": pl.LazyFrame}


def test_the_manifest_is_read_at_first_use_beside_the_module(tmp_path):
    (tmp_path / "product.py").write_text(
        "from meshkit import data_product\n@data_product('manifest.yaml')\ndef orders(raw): return raw\n"
    )
    scope = {"__file__": str(tmp_path / "product.py")}
    exec(compile((tmp_path / "product.py").read_text(), str(tmp_path / "product.py"), "exec"), scope)
    with pytest.raises(MeshkitError, match="can't be read"):
        _ = scope["orders"].manifest
    (tmp_path / "manifest.yaml").write_text(TEXT)
    assert scope["orders"].manifest.id == "sales.orders"


def test_arguments_that_are_no_inputs_are_named():
    @data_product(M)
    def wrong(raws):
        return raws

    with pytest.raises(MeshkitError, match="argument raws is no input.*input raw is no argument"):
        wrong.wanted()


def test_a_class_needs_exactly_one_transform():
    @data_product(M)
    class Empty(DataProduct):
        pass

    with pytest.raises(MeshkitError, match="0 methods marked @transform"):
        _ = Empty().transform


def test_code_checks_refuse_or_set_aside():
    report = Orders().test(rows([1, 2, 4], [1, 2, 100]))
    states = {r.rule: (r.state, r.failing_rows, r.row_numbers) for r in report.results if r.state != "pass"}
    assert states == {
        "code.orders.totals are below a hundred": ("fail", 1, (3,)),
        "code.orders.ids are even": ("fail", 1, (1,)),
    }
    assert not report.publishable
    aside = Orders().test(rows([1, 2], [1, 2]))
    assert aside.publishable
    checks = ProductChecks(Orders(), "orders")
    split = checks.split(checks.conform(next(as_batches(rows([1, 2], [1, 2])))))
    assert (split.good.num_rows, split.quarantined.num_rows) == (1, 1)


@pytest.mark.parametrize(
    "annotation, kind",
    [
        (None, pl.LazyFrame),
        (pl.DataFrame, pl.DataFrame),
        (pa.Table, pa.Table),
        ("pa.RecordBatchReader", pa.RecordBatchReader),
        ("duckdb.DuckDBPyRelation", None),
    ],
)
def test_inputs_arrive_as_the_annotation_asks(annotation, kind):
    reader = pa.table({"a": [1]}).to_reader()
    given = as_argument(reader, annotation)
    assert kind is None or isinstance(given, kind)
    assert sum(b.num_rows for b in as_batches(given)) == 1


def test_rows_come_as_batches_from_every_form():
    frame = rows([1], [1])
    for form in (frame, frame.lazy(), frame.to_arrow(), frame.to_arrow().to_batches()[0], iter([frame, frame.lazy()])):
        assert sum(b.num_rows for b in as_batches(form)) in {1, 2}
    with pytest.raises(MeshkitError, match="returned int"):
        list(as_batches(3))
    with pytest.raises(MeshkitError, match="unknown: \\['x'\\]"):
        by_object(orders, {"x": frame})
