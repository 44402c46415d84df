"""Scripts are sessions: what passes inside is composed away."""

from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.lineage.sql import parse_script
from meshkit.lineage.sql.models import ColumnInput, OutputColumn, StatementLineage
from meshkit.lineage.sql.script import compose


def test_a_temporary_table_is_composed_away():
    """Its reader reads what the temporary table was made of."""
    script = parse_script(
        "create temp table x as select a + 1 as k, b from s.t where c = 1; create table s.out as select sum(k) as total from x where b > 0",
        "duckdb",
        {"s.t": ["a", "b", "c"]},
    )
    (out,) = script.session
    assert (out.sources, out.targets) == (("s.t",), ("s.out",))
    assert [(i.column, i.subtype) for i in out.outputs[0].inputs] == [("a", "AGGREGATION")]
    assert {(i.column, i.subtype) for i in out.indirect} == {("b", "FILTER"), ("c", "FILTER")}


def test_a_table_made_and_dropped_in_the_script_is_composed_away():
    """Whether or not it is called temporary."""
    script = parse_script(
        "create table w.x as select * from s.t; insert into s.out (k) select b from w.x; drop table w.x",
        "duckdb",
        {"s.t": ["a", "b"]},
    )
    assert [(s.sources, s.targets) for s in script.session] == [(("s.t",), ("s.out",))]
    assert script.statements[1].status == "exact"


def test_later_statements_know_the_columns_of_earlier_ones():
    """CREATE TABLE with columns, CTAS and views teach the schema."""
    script = parse_script(
        "create table m.a (x int, y int); create view m.b as select x, y + 1 as z from m.a; select * from m.b", "duckdb"
    )
    assert [o.name for o in script.statements[2].outputs] == ["x", "z"]
    assert {s.status for s in script.statements} == {"exact"}


SUBTYPES = st.sampled_from(
    [("DIRECT", s) for s in ("IDENTITY", "TRANSFORMATION", "AGGREGATION")]
    + [("INDIRECT", s) for s in ("CONDITIONAL", "WINDOW")]
)


def _statements(target, source):
    item = st.builds(
        lambda column, kind: ColumnInput(source, column, *kind), st.sampled_from(["a", "b", "c"]), SUBTYPES
    )
    inputs = st.lists(item, max_size=3, unique_by=lambda i: (i.column, i.kind)).map(lambda v: tuple(sorted(v)))
    outs = st.tuples(inputs, inputs, inputs).map(
        lambda i: tuple(OutputColumn(n, x) for n, x in zip("abc", i, strict=True))
    )
    return outs.map(
        lambda o: StatementLineage("create_table_as", "exact", sources=(source,), targets=(target,), outputs=o)
    )


@settings(deadline=None, max_examples=60)
@given(_statements("x", "base"), _statements("y", "x"), _statements("z", "y"))
def test_composition_is_associative(first, second, third):
    """Composing from the left or from the right gives one lineage."""
    left = compose(third, "y", [compose(second, "x", [first])])
    right = compose(compose(third, "y", [second]), "x", [first])
    assert left == right
