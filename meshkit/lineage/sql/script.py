"""A script as one session: temporary tables, and tables made and dropped in it, are composed away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshkit.lineage.sql.models import RUNGS, ColumnInput, IndirectInput, OutputColumn, StatementLineage

if TYPE_CHECKING:
    from meshkit.lineage.sql.flow import Schema

__all__ = ["compose", "fold_session", "learn"]

_STRENGTH = {"IDENTITY": 1, "TRANSFORMATION": 2, "AGGREGATION": 3}


def learn(schema: Schema, statement: StatementLineage, tree: Any) -> None:
    """Tell `schema` what a statement made, renamed or dropped, for the statements after it."""
    from meshkit.lineage.sql.adapter import exp

    for name in statement.drops:
        schema.forget(name)
    for old, new in statement.renames:
        columns = schema.table(schema.grammar.schema_key(old))[1]
        schema.forget(old)
        if columns is not None:
            schema.add(new, [shown for shown, _ in columns.values()])
    if not statement.kind.startswith("create_") or not statement.targets:
        return
    target = statement.targets[0]
    if statement.kind == "create_table" and tree is not None and isinstance(tree.this, exp.Schema):
        schema.add(
            target, [schema.grammar.shown(c.this) for c in tree.this.expressions if isinstance(c, exp.ColumnDef)]
        )
    elif statement.outputs and all(o.name != "*" for o in statement.outputs):
        schema.add(target, [o.name for o in statement.outputs])
    else:
        schema.forget(target)


def fold_session(statements: Sequence[StatementLineage]) -> tuple[StatementLineage, ...]:
    """Statements that outlive the session, each in terms of tables that outlive it too."""
    made = {t for s in statements if s.kind.startswith("create_") for t in s.targets}
    dropped = {name for s in statements for name in s.drops}
    passing = {t for s in statements if s.temporary for t in s.targets} | (made & dropped)
    if not passing:
        return tuple(s for s in statements if s.targets or s.kind == "select")
    known: dict[str, list[StatementLineage]] = {}
    folded: list[StatementLineage] = []
    for statement in statements:
        now = statement
        for table in [t for t in statement.sources if t in passing]:
            now = compose(now, table, known.get(table, []))
        if statement.targets and statement.targets[0] in passing:
            if statement.kind.startswith("create_"):
                known[statement.targets[0]] = [now]
            elif statement.effect != "delete":
                known.setdefault(statement.targets[0], []).append(now)
        elif statement.targets or statement.kind == "select":
            folded.append(now)
    return tuple(folded)


def compose(after: StatementLineage, table: str, before: Iterable[StatementLineage]) -> StatementLineage:
    """`after` with its reads of `table` replaced by what the statements `before` wrote into it. Associative."""
    writers = list(before)
    sources = {s for s in after.sources if s != table} | {s for w in writers for s in w.sources}
    outputs = tuple(OutputColumn(o.name, _through(o.inputs, table, writers)) for o in after.outputs)
    indirect = {i for i in after.indirect if i.table != table} | {i for w in writers for i in w.indirect}
    for item in after.indirect:
        if item.table == table:
            indirect |= {IndirectInput(i.table, i.column, item.subtype) for i in _written(writers, item.column)}
    worst = max([after.status, *(w.status for w in writers)], key=RUNGS.index)
    return replace(
        after, sources=tuple(sorted(sources)), outputs=outputs, indirect=tuple(sorted(indirect)), status=worst
    )


def _written(writers: list[StatementLineage], column: str) -> list[ColumnInput]:
    if column == "*":
        return [ColumnInput(s, "*", "DIRECT", "IDENTITY") for w in writers for s in w.sources]
    return [i for w in writers for o in w.outputs if o.name in {column, "*"} for i in o.inputs]


def _through(inputs: tuple[ColumnInput, ...], table: str, writers: list[StatementLineage]) -> tuple[ColumnInput, ...]:
    best: dict[tuple[str, str, str, str], ColumnInput] = {}
    for item in inputs:
        for step in [item] if item.table != table else [_step(i, item) for i in _written(writers, item.column)]:
            group = "" if step.kind == "DIRECT" else step.subtype
            key = (step.table, step.column, step.kind, group)
            old = best.get(key)
            if old is None or _STRENGTH.get(step.subtype, 0) > _STRENGTH.get(old.subtype, 0):
                best[key] = step
    return tuple(sorted(best.values()))


def _step(first: ColumnInput, then: ColumnInput) -> ColumnInput:
    """DIRECT after DIRECT = the stronger; with any INDIRECT = INDIRECT, subtype of the last indirect step."""
    doubt = next((c for c in (then.confidence, first.confidence) if c != "exact"), "exact")
    if then.kind == "INDIRECT":
        return ColumnInput(first.table, first.column, "INDIRECT", then.subtype, doubt)
    if first.kind == "INDIRECT":
        return ColumnInput(first.table, first.column, "INDIRECT", first.subtype, doubt)
    subtype = max(first.subtype, then.subtype, key=lambda s: _STRENGTH[s])
    return ColumnInput(first.table, first.column, "DIRECT", subtype, doubt)
