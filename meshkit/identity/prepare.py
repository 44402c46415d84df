"""From sides and a model to codes: roles settled, ids checked, columns read and encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from meshkit.identity.encode import Records, encode
from meshkit.identity.errors import BadIds, IdIsPersonal, LinkageUsage, SideProblem
from meshkit.identity.model import LinkageModel, SideModel
from meshkit.identity.roles import ColumnRole, doubled, infer_roles
from meshkit.identity.rules import available
from meshkit.identity.side import Side, column_names, read_table

__all__ = ["Prepared", "Resolved", "prepare", "resolve"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """Sides with the roles of their columns and the complete model; no row is read yet. `right` None: duplicates in left."""

    left: Side
    right: Side | None
    left_roles: tuple[ColumnRole, ...]
    right_roles: tuple[ColumnRole, ...]
    model: LinkageModel


@dataclass(frozen=True, slots=True)
class Prepared:
    """Ids of both sides in row order, and the codes of every role."""

    resolved: Resolved
    left_ids: pl.Series
    right_ids: pl.Series
    records: Records

    @property
    def id_ranks(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Order of the ids, which decides ties whatever the order of rows."""
        return _ranks(self.left_ids), _ranks(self.right_ids)

    def row(self, side: str, value: object) -> int:
        """Row number of an id. Raises: `LinkageUsage` if the side has no such id."""
        ids = self.left_ids if side == "left" else self.right_ids
        found = ids.cast(pl.String).index_of(str(value))
        if found is None:
            name = self.resolved.left.name if side == "left" else (self.resolved.right or self.resolved.left).name
            raise LinkageUsage(f"{name} has no row with that id. Give an id that the {side} side has.")
        return int(found)


def _ranks(ids: pl.Series) -> npt.NDArray[np.int64]:
    ranks = np.empty(len(ids), np.int64)
    ranks[ids.arg_sort().to_numpy()] = np.arange(len(ids))
    return ranks


def resolve(left: Side, right: Side | None, model: LinkageModel) -> Resolved:
    """Settle roles and rules. Raises: `SideProblem` with all problems of both sides, `LinkageModelError`, `LinkageUsage`."""
    if right is not None and _same_rows(left, right):
        raise LinkageUsage(
            "left and right are the same rows. To find duplicates leave right out: Linker(left), meshkit identity link LEFT"
        )
    problems: list[str] = []
    left_roles = _roles(left, model.left, problems)
    right_roles = left_roles if right is None else _roles(right, model.right or SideModel(), problems)
    if problems:
        raise SideProblem(problems)
    shared = available([r.role for r in left_roles]) & available([r.role for r in right_roles])
    complete = model.completed(shared)
    if right is None and model.cardinality != "many-to-many":
        complete = complete.model_copy(update={"cardinality": "many-to-many"})
    return Resolved(left, right, left_roles, right_roles, _with_columns(complete, left, right, left_roles, right_roles))


def _same_rows(left: Side, right: Side) -> bool:
    if isinstance(left.frame, str | Path) and isinstance(right.frame, str | Path):
        return Path(left.frame).resolve() == Path(right.frame).resolve()
    return left.frame is right.frame


def _roles(side: Side, said: SideModel, problems: list[str]) -> tuple[ColumnRole, ...]:
    """The model's roles where it names any column of the side, else inferred ones."""
    names = column_names(side.frame)
    if side.id not in names:
        problems.append(f"{side.name} has no id column {side.id}; it has {', '.join(names)}")
    try:
        if said.columns:
            found = tuple(ColumnRole(c, s.role, "model", s.country, s.format) for c, s in said.columns.items())
            problems += [
                f"{side.name} has no column {c.column} (role {c.role})" for c in found if c.column not in names
            ]
            problems += doubled(found, side.name)
            return found
        return infer_roles([n for n in names if n != side.id], side.tags, side=side.name)
    except SideProblem as error:
        problems += error.problems
        return ()


def _with_columns(
    model: LinkageModel,
    left: Side,
    right: Side | None,
    left_roles: Sequence[ColumnRole],
    right_roles: Sequence[ColumnRole],
) -> LinkageModel:
    """The model with ids and roles written out, so that it can be saved and reviewed."""

    def side_model(side: Side, said: SideModel, roles: Sequence[ColumnRole]) -> SideModel:
        columns: Mapping[str, Any] = said.columns or {r.column: r.role for r in roles}
        return SideModel.model_validate({"id": side.id, "updated": said.updated, "columns": columns})

    return model.model_copy(
        update={
            "left": side_model(left, model.left, left_roles),
            "right": None if right is None else side_model(right, model.right or SideModel(), right_roles),
        }
    )


def prepare(resolved: Resolved, *, last_year: int) -> Prepared:
    """Read the model's columns of both sides, check ids, standardise and encode.

    Raises: `BadIds`, `IdIsPersonal`, `SideProblem`, `SourceProblem`.
    """
    left_ids, left = _read(resolved.left, resolved.left_roles)
    if resolved.right is None:
        records = encode(
            (resolved.left.name, left, resolved.left_roles, resolved.left.standardised), None, last_year=last_year
        )
        return Prepared(resolved, left_ids, left_ids, records)
    right_ids, right = _read(resolved.right, resolved.right_roles)
    records = encode(
        (resolved.left.name, left, resolved.left_roles, resolved.left.standardised),
        (resolved.right.name, right, resolved.right_roles, resolved.right.standardised),
        last_year=last_year,
    )
    return Prepared(resolved, left_ids, right_ids, records)


def _read(side: Side, roles: Sequence[ColumnRole]) -> tuple[pl.Series, pl.DataFrame]:
    wanted = list(dict.fromkeys([side.id, *(r.column for r in roles)]))
    frame = read_table(side, wanted)
    wrong = [
        f"{side.name}.{r.column} is {frame.schema[r.column]}, no text, number or date for role {r.role}"
        for r in roles
        if frame.schema[r.column].is_nested() or frame.schema[r.column] in {pl.Binary, pl.Boolean, pl.Object}
    ]
    if wrong:
        raise SideProblem(wrong)
    ids = frame[side.id]
    _check_ids(side, ids)
    return ids, frame


def _check_ids(side: Side, ids: pl.Series) -> None:
    numbered = pl.DataFrame({"id": ids}).with_row_index("row", offset=1)
    nulls = numbered.filter(pl.col("id").is_null())["row"].to_list()
    repeated = numbered.filter(pl.col("id").is_not_null() & ~pl.col("id").is_first_distinct())["row"].to_list()
    if nulls or repeated:
        raise BadIds(side.name, side.id, nulls=nulls, repeated=repeated)
    _refuse_personal(side.name, side.id, side.tags, ids)


def _refuse_personal(name: str, column: str, tags: Mapping[str, Sequence[str]], ids: pl.Series) -> None:
    tagged = next((t for t in tags.get(column, ()) if t.startswith("pii")), None)
    if tagged is not None:
        raise IdIsPersonal(name, column, f"it is tagged {tagged}")
    if ids.dtype == pl.String and len(ids):
        some = ids.head(1000)
        if some.str.contains(r"^[^@\s]+@[^@\s]+\.[^@\s]+$").mean() > 0.5:  # type: ignore[operator]  # a mean of booleans
            raise IdIsPersonal(name, column, "its values look like e-mail addresses")
        if some.str.contains(r"^\+\d[\d\s()/-]{6,}$").mean() > 0.5:  # type: ignore[operator]
            raise IdIsPersonal(name, column, "its values look like phone numbers")
