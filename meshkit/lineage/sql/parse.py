"""`parse_sql` and `parse_script`: text to lineage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshkit.lineage.errors import ManyStatements
from meshkit.lineage.sql.models import Problem, ScriptLineage, StatementLineage

if TYPE_CHECKING:
    from meshkit.lineage.sql.flow import Schema

__all__ = ["parse_script", "parse_sql", "prepare_schema"]


def prepare_schema(tables: Mapping[str, Mapping[str, Any] | Sequence[str]] | None, dialect: str) -> Schema:
    """Fold the names of a schema once, to parse many statements with it. Raises: `BadSchema`, `UnknownDialect`."""
    from meshkit.lineage.sql.adapter import grammar
    from meshkit.lineage.sql.flow import Schema

    return Schema(tables, grammar(dialect))


def parse_sql(
    sql: str,
    dialect: str,
    schema: Mapping[str, Mapping[str, Any] | Sequence[str]] | Schema | None = None,
    *,
    default_namespace: str = "",
    lateral_aliases: bool | None = None,
) -> StatementLineage:
    """Lineage of one statement. `dialect` is a sqlglot name or `ansi`; `schema` lists columns of tables in order.

    What can't be read is said by `status` and `problems`, never by an exception.
    Raises: `ManyStatements`, `UnknownDialect`, `BadSchema`, `MissingExtra`.
    """
    from meshkit.lineage.sql.adapter import grammar
    from meshkit.lineage.sql.flow import Schema
    from meshkit.lineage.sql.statements import read_statement

    rules = grammar(dialect)
    prepared = schema if isinstance(schema, Schema) else Schema(schema, rules)
    statements = rules.split(sql)
    if len(statements) > 1:
        raise ManyStatements(len(statements))
    if not statements:
        problem = Problem("sql.empty", "there is no statement. Give one")
        return StatementLineage("empty", "unparsed", problems=(problem,))
    return read_statement(statements[0], rules, prepared, namespace=default_namespace, lateral_aliases=lateral_aliases)


def parse_script(
    sql: str,
    dialect: str,
    schema: Mapping[str, Mapping[str, Any] | Sequence[str]] | Schema | None = None,
    *,
    default_namespace: str = "",
    lateral_aliases: bool | None = None,
) -> ScriptLineage:
    """Lineage of each statement of a script, and of the script as one session.

    Tables made in the script are known to the statements after it. Raises: as `parse_sql`, except `ManyStatements`.
    """
    from meshkit.lineage.sql.adapter import grammar
    from meshkit.lineage.sql.flow import Schema
    from meshkit.lineage.sql.script import fold_session, learn
    from meshkit.lineage.sql.statements import read_statement

    rules = grammar(dialect)
    known = (schema if isinstance(schema, Schema) else Schema(schema, rules)).copy()
    read: list[StatementLineage] = []
    for index, statement in enumerate(rules.split(sql)):
        lineage = read_statement(statement, rules, known, namespace=default_namespace, lateral_aliases=lateral_aliases)
        read.append(lineage.at(index))
        learn(known, lineage, statement.tree)
    return ScriptLineage(dialect, tuple(read), fold_session(read))
