"""The table of expression classes is closed over the pinned sqlglot."""

from importlib.resources import files

import pytest
import sqlglot
from sqlglot import exp

from meshkit.lineage.sql import parse_sql
from meshkit.lineage.sql.adapter import CATEGORY


def _subclasses(cls):
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def _listed():
    lines = files("meshkit.lineage.sql").joinpath("classes.txt").read_text("utf-8").splitlines()
    return [name for line in lines if line and line[0] not in "#[" for name in line.split()]


def test_every_expression_class_of_the_pinned_sqlglot_is_listed():
    """A class that is not listed would lower statements to `table` unnoticed: classify it in classes.txt."""
    missing = {c.__name__ for c in _subclasses(exp.Expression)} - set(_listed())
    assert not missing, f"sqlglot {sqlglot.__version__} has unlisted classes: {sorted(missing)}"


def test_no_class_is_listed_twice_or_gone():
    """The table says one thing about each class, and only about classes that exist."""
    names = _listed()
    assert len(names) == len(set(names))
    assert set(names) - {c.__name__ for c in _subclasses(exp.Expression)} == set()


def test_an_unlisted_class_lowers_the_statement_to_table(monkeypatch):
    """What nobody classified is never read as having no inputs."""
    monkeypatch.delitem(CATEGORY, exp.Upper)
    read = parse_sql("select upper(name) as n from t", "duckdb", {"t": ["name"]})
    assert read.status == "table"
    assert read.outputs[0].inputs[0].column == "name"


@pytest.mark.parametrize("name", ["Sum", "ArrayAgg", "Max", "Stddev"])
def test_aggregates_are_aggregates(name):
    """A spot check of the classification."""
    assert CATEGORY[getattr(exp, name)] == "aggregate"
