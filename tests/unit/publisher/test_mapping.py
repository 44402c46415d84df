"""Mappings: every problem at once with its place, private columns, expressions, fingerprints."""

import pytest
from publishing import manifest

from meshkit.publisher import (
    MappingInvalid,
    NotInThisRelease,
    PostgresSource,
    TableMapping,
    col,
    compile_mapping,
    const,
    nest,
)
from meshkit.publisher.expressions import ExpressionError, parse_expression


def problems(product, *tables, **options):
    with pytest.raises(MappingInvalid) as caught:
        compile_mapping(product, tables or None, **options)
    return caught.value.diagnostics


def test_a_good_mapping_reads_only_what_it_names():
    mapping = compile_mapping(manifest(table_options="where: \"flag = 'x'\""))
    assert mapping.tables[0].columns() == (("id",), ("amount",), ("status",), ("flag",))
    assert mapping.key == ("order_id",)
    assert mapping.fingerprint.startswith("sha256:")


def test_all_problems_come_at_once_with_line_and_column():
    found = problems(
        manifest(
            fields="placed: {type: date, required: true}",
            state="{expr: 'now()'}",
            map="totl: amount",
            table_options="where: 'a +'",
        )
    )
    assert [d.code for d in found] == ["publisher.mapping_invalid"] * 4
    text = "\n".join(map(str, found))
    assert "`totl` is no field of the product" in text
    assert "Did you mean `total`?" in text
    assert "required field `placed` is missing" in text
    assert "CURRENTTIMESTAMP is not part of the expressions" in text
    assert all(d.place.startswith("manifest.yaml:") and d.line > 20 and d.column > 1 for d in found)


def test_unknown_keys_and_what_is_not_in_this_release_are_refused():
    assert "unknown key" in str(problems(manifest(table_options="deletez: ignore"))[0])
    assert problems(manifest(table_options="truncate: tombstone_keys"))[0].code == "publisher.not_in_this_release"
    with pytest.raises(NotInThisRelease):
        PostgresSource("postgresql://x", failover=True)


def test_personal_data_without_guard_is_refused_unless_marked_clear():
    class Guard:
        covers = frozenset({"email"})

    fields = "email: {type: string, tags: ['pii:email']}"
    (found,) = problems(manifest(fields=fields, map="email: mail"))
    assert found.code == "publisher.unguarded_field"
    assert compile_mapping(manifest(fields=fields, map="email: mail"), guards=[Guard()])
    assert compile_mapping(
        manifest(fields=fields.replace("type: string", "type: string, publish: clear"), map="email: mail")
    )


def test_a_key_field_is_never_computed():
    table = TableMapping("public.orders", order_id=col("id", cast="int64"), total="amount")
    assert "key field `order_id` is translated" in problems(manifest(), table)[0].message


def test_mappings_in_python_equal_those_in_yaml():
    table = TableMapping("public.orders", order_id=col("id"), total=col("amount"), state="status")
    assert compile_mapping(manifest(), [table]).tables[0].columns() == compile_mapping(manifest()).tables[0].columns()
    changed = TableMapping("public.orders", order_id=col("id"), total=col("amount"), state=const("x"))
    assert compile_mapping(manifest(), [changed]).fingerprint != compile_mapping(manifest(), [table]).fingerprint


def test_structs_are_nested_and_consts_are_checked():
    fields = "who: {type: struct, fields: {id: int64, region: string}}\nrate: decimal(4,2)"
    good = TableMapping("public.orders", order_id="id", who=nest(id="customer", region="code"), rate=const("1.5"))
    assert ("customer",) in compile_mapping(manifest(fields=fields), [good]).tables[0].columns()
    bad = TableMapping("public.orders", order_id="id", rate=const("x"))
    assert "value of `rate` does not fit" in problems(manifest(fields=fields), bad)[0].message


@pytest.mark.parametrize(
    "text", ["a, b", "sum(a)", "(select 1)", "a as b", "a from t", "t.a", "a ~ 'x'", "1 = any(b)", "a limit 1"]
)
def test_sql_outside_the_subset_is_refused(text):
    with pytest.raises(ExpressionError):
        parse_expression(text)
