"""Errors of identity: what is wrong with a model, a side or a call, and what to do. No data value stands in any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError

if TYPE_CHECKING:
    from meshkit._diagnostics import Diagnostic

__all__ = [
    "BadIds",
    "BadLabels",
    "DoubtsNotAccepted",
    "FitMismatch",
    "IdIsPersonal",
    "LinkageModelError",
    "LinkageUsage",
    "NotInThisRelease",
    "SideProblem",
    "SourceProblem",
    "TooLittleMemory",
    "TooManyPairs",
]


class LinkageUsage(UsageError):
    """The call is wrong: one side given twice, a threshold out of range, an unknown row."""

    code = "identity.usage"


class NotInThisRelease(UsageError):
    """A documented part of identity that this release does not have; it is refused, never half done."""

    code = "identity.not_in_this_release"

    def __init__(self, what: str, instead: str) -> None:
        self.what = what
        super().__init__(f"{what} is not in this release. {instead}")


class LinkageModelError(UsageError):
    """The linkage model can't be used; `diagnostics` has every problem with its place."""

    code = "identity.model"

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(str(d) for d in self.diagnostics))


class SideProblem(UsageError):
    """A side has no such column, a column of the wrong type, two columns for one role. All problems at once."""

    code = "identity.side"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class BadIds(MeshkitError):
    """Ids are missing or not unique: a link could not say which row it means."""

    code = "identity.bad_ids"

    def __init__(self, side: str, column: str, *, nulls: Sequence[int], repeated: Sequence[int]) -> None:
        self.side, self.nulls, self.repeated = side, tuple(nulls), tuple(repeated)
        parts = []
        if nulls:
            parts.append(f"{len(nulls):,} rows without id (rows {_rows(nulls)})")
        if repeated:
            parts.append(f"{len(repeated):,} rows repeat an earlier id (rows {_rows(repeated)})")
        super().__init__(f"{side}.{column} has {' and '.join(parts)}. Give every row its own id.")


def _rows(rows: Sequence[int]) -> str:
    shown = ", ".join(str(r) for r in rows[:5])
    return shown + (", ..." if len(rows) > 5 else "")


class IdIsPersonal(UsageError):
    """The id column identifies a person by itself; the map would publish personal data."""

    code = "identity.id_is_personal"

    def __init__(self, side: str, column: str, why: str) -> None:
        super().__init__(f"{side}.{column} can't be the id of a link: {why}. Use a technical key.")


class FitMismatch(UsageError):
    """The fit belongs to another model."""

    code = "identity.fit_mismatch"

    def __init__(self, model: str, fit: str) -> None:
        super().__init__(
            f"the fit was estimated for model {fit[:19]}, this model is {model[:19]}. "
            "Estimate again: meshkit identity link ... --write-fit FILE"
        )


class TooManyPairs(MeshkitError):
    """Blocking would give more candidate pairs than the limit; nothing was compared."""

    code = "identity.too_many_pairs"

    def __init__(self, *, pairs: int, limit: int, rule: str, rule_pairs: int, largest: int, advice: str) -> None:
        self.pairs, self.limit, self.rule = pairs, limit, rule
        super().__init__(
            f"blocking gives {pairs:,} pairs, more than limits.pairs = {limit:,}; rule {rule} alone gives {rule_pairs:,}, "
            f"its largest block {largest:,}. {advice}"
        )


class BadLabels(MeshkitError):
    """Labels contradict each other or can't be read."""

    code = "identity.bad_labels"


class DoubtsNotAccepted(MeshkitError):
    """The result is doubtful; the codes say why. Accept them by code or mend the model."""

    code = "identity.doubts"

    def __init__(self, doubts: Sequence[tuple[str, str]]) -> None:
        self.doubts = tuple(code for code, _ in doubts)
        said = " ".join(f"{code}: {text}" for code, text in doubts)
        super().__init__(f"{said} Accept by code ({', '.join(self.doubts)}) or change the model.")


class SourceProblem(EnvironmentProblem):
    """A file of a side can't be read or the output can't be written."""

    code = "identity.source"


class TooLittleMemory(EnvironmentProblem):
    """The pairs would need more memory than the limit; nothing was compared. Spilling to disk comes in a later release."""

    code = "identity.too_little_memory"

    def __init__(self, needed_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the linkage needs about {needed_bytes / 2**30:.1f} GiB, the limit is {limit_bytes / 2**30:.1f} GiB. "
            "Lower the caps of the rules, drop a rule, or raise memory_limit_bytes."
        )
