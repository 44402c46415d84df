"""Lineage of statements as frozen values with their JSON form `meshkit.lineage.parse/1`. Source: catalog-lineage-slo section 3."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = [
    "RUNGS",
    "ColumnInput",
    "IndirectInput",
    "OutputColumn",
    "Problem",
    "ScriptLineage",
    "StatementLineage",
    "Status",
]

Status = Literal["exact", "ambiguous", "table", "unparsed"]
RUNGS: tuple[Status, ...] = ("exact", "ambiguous", "table", "unparsed")  # from best to worst


@dataclass(frozen=True, slots=True, order=True)
class ColumnInput:
    """One input of one output. DIRECT: IDENTITY, TRANSFORMATION, AGGREGATION; INDIRECT: CONDITIONAL, WINDOW, or a sub-query's predicate."""

    table: str
    column: str
    kind: str
    subtype: str
    confidence: str = "exact"

    def to_json(self) -> dict[str, Any]:
        """Part of `meshkit.lineage.parse/1`."""
        return {
            "table": self.table,
            "column": self.column,
            "kind": self.kind,
            "subtype": self.subtype,
            "confidence": self.confidence,
        }


@dataclass(frozen=True, slots=True, order=True)
class IndirectInput:
    """An input that decides which rows there are, for every output: JOIN, FILTER, GROUP_BY, SORT."""

    table: str
    column: str
    subtype: str

    def to_json(self) -> dict[str, Any]:
        """Part of `meshkit.lineage.parse/1`."""
        return {"table": self.table, "column": self.column, "subtype": self.subtype}


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """One output column of a statement, `*` where a star can't be expanded."""

    name: str
    inputs: tuple[ColumnInput, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Part of `meshkit.lineage.parse/1`."""
        return {"name": self.name, "inputs": [i.to_json() for i in self.inputs]}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a statement is not read exactly; `line` and `column` count from 1, 0 where unknown. Never holds statement text."""

    code: str
    message: str
    line: int = 0
    column: int = 0

    def to_json(self) -> dict[str, Any]:
        """Place and reason; part of `meshkit.lineage.parse/1`."""
        return {"code": self.code, "message": self.message, "line": self.line, "column": self.column}


@dataclass(frozen=True, slots=True)
class StatementLineage:
    """What one statement reads and writes, on the ladder exact, ambiguous, table, unparsed.

    `effect` is `delete` for statements that remove rows. `renames` are (old, new) tables.
    """

    kind: str
    status: Status
    index: int = 0
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    outputs: tuple[OutputColumn, ...] = ()
    indirect: tuple[IndirectInput, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    drops: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    fingerprint: str = ""
    effect: str | None = None
    temporary: bool = False

    def at(self, index: int) -> StatementLineage:
        """The same at another place of a script."""
        return replace(self, index=index)

    def output(self, name: str) -> OutputColumn:
        """An output by name. Raises: `KeyError`."""
        for output in self.outputs:
            if output.name == name:
                return output
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """One entry of `statements` in `meshkit.lineage.parse/1`."""
        value: dict[str, Any] = {
            "index": self.index,
            "kind": self.kind,
            "status": self.status,
            "sources": list(self.sources),
            "targets": list(self.targets),
            "outputs": [o.to_json() for o in self.outputs],
            "indirect": [i.to_json() for i in self.indirect],
            "renames": [list(r) for r in self.renames],
            "drops": list(self.drops),
            "problems": [p.to_json() for p in self.problems],
            "fingerprint": self.fingerprint,
        }
        if self.effect:
            value["effect"] = self.effect
        return value

    def to_text(self) -> str:
        """A line for the statement, one per output, one per problem."""
        head = f"{self.index + 1}. {self.kind.replace('_', ' ')}: {self.status}"
        if self.targets:
            head += f"  {', '.join(self.sources) or 'nothing'} -> {', '.join(self.targets)}"
        elif self.sources:
            head += f"  reads {', '.join(self.sources)}"
        lines = [head]
        for output in self.outputs:
            inputs = ", ".join(f"{i.table}.{i.column} ({_words(i)})" for i in output.inputs)
            lines.append(f"   {output.name} <- {inputs or 'no column'}")
        for subtype in sorted({i.subtype for i in self.indirect}):
            named = ", ".join(f"{i.table}.{i.column}" for i in self.indirect if i.subtype == subtype)
            lines.append(f"   {subtype.lower().replace('_', ' ')}: {named}")
        for problem in self.problems:
            place = f" (line {problem.line}, column {problem.column})" if problem.line else ""
            lines.append(f"   {problem.code}: {problem.message}{place}")
        return "\n".join(lines)


def _words(item: ColumnInput) -> str:
    doubt = "" if item.confidence == "exact" else f", {item.confidence}"
    return item.subtype.lower() + doubt


@dataclass(frozen=True, slots=True)
class ScriptLineage:
    """Statements of one script. `session` is the script as a whole: temporary tables, and tables made and dropped in it, composed away."""

    dialect: str
    statements: tuple[StatementLineage, ...]
    session: tuple[StatementLineage, ...] = ()
    fail_at: Status = "unparsed"

    @property
    def coverage(self) -> dict[str, int]:
        """How many statements stand on each rung of the ladder."""
        counts = Counter(s.status for s in self.statements)
        return {"statements": len(self.statements), **{rung: counts.get(rung, 0) for rung in RUNGS}}

    @property
    def exit_code(self) -> int:
        """1 if a statement is at or below the rung `fail_at`."""
        bad = set(RUNGS[RUNGS.index(self.fail_at) :])
        return 1 if any(s.status in bad for s in self.statements) else 0

    def to_json(self) -> dict[str, Any]:
        """`meshkit.lineage.parse/1`."""
        return {
            "format": "meshkit.lineage.parse/1",
            "dialect": self.dialect,
            "coverage": self.coverage,
            "statements": [s.to_json() for s in self.statements],
        }

    def to_text(self) -> str:
        """The statements one after the other, then the coverage."""
        c = self.coverage
        total = ", ".join(f"{c[rung]} {rung}" for rung in RUNGS if c[rung]) or "none"
        plural = "" if c["statements"] == 1 else "s"
        return "\n".join([*(s.to_text() for s in self.statements), f"{c['statements']} statement{plural}: {total}"])
