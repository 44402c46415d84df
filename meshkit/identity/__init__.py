"""`meshkit.identity`: which records of two products are the same person or organisation, with a calibrated probability.

    Linker(left, right).link().to_polars()      ids of both sides and confidence_score; no labels needed
    Linker(left, right).explain(a, b)           why, in bits that add up
    LinkageModel.load("model.yaml")             the rules as a file

Names load on first use, so that `import meshkit.identity` brings no numpy and no polars.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshkit.identity.cluster import EntityTable
    from meshkit.identity.doubts import Doubt
    from meshkit.identity.errors import (
        BadIds,
        BadLabels,
        DoubtsNotAccepted,
        FitMismatch,
        IdIsPersonal,
        LinkageModelError,
        LinkageUsage,
        NotInThisRelease,
        SideProblem,
        SourceProblem,
        TooLittleMemory,
        TooManyPairs,
    )
    from meshkit.identity.evaluate import Evaluation
    from meshkit.identity.explain import Explanation
    from meshkit.identity.linker import Linker
    from meshkit.identity.model import Fit, LinkageModel
    from meshkit.identity.plan import LinkPlan
    from meshkit.identity.predict import Predictions
    from meshkit.identity.side import FrameLike, Side
    from meshkit.identity.table import ColumnLineage, LinkageTable, LinkReport

__all__ = [
    "BadIds",
    "BadLabels",
    "ColumnLineage",
    "Doubt",
    "DoubtsNotAccepted",
    "EntityTable",
    "Evaluation",
    "Explanation",
    "Fit",
    "FitMismatch",
    "FrameLike",
    "IdIsPersonal",
    "LinkPlan",
    "LinkReport",
    "LinkageModel",
    "LinkageModelError",
    "LinkageTable",
    "LinkageUsage",
    "Linker",
    "NotInThisRelease",
    "Predictions",
    "Side",
    "SideProblem",
    "SourceProblem",
    "TooLittleMemory",
    "TooManyPairs",
]

_HOMES = {
    "cluster": ("EntityTable",),
    "doubts": ("Doubt",),
    "errors": (
        "BadIds", "BadLabels", "DoubtsNotAccepted", "FitMismatch", "IdIsPersonal", "LinkageModelError", "LinkageUsage",
        "NotInThisRelease", "SideProblem", "SourceProblem", "TooLittleMemory", "TooManyPairs",
    ),
    "evaluate": ("Evaluation",),
    "explain": ("Explanation",),
    "linker": ("Linker",),
    "model": ("Fit", "LinkageModel"),
    "plan": ("LinkPlan",),
    "predict": ("Predictions",),
    "side": ("FrameLike", "Side"),
    "table": ("ColumnLineage", "LinkReport", "LinkageTable"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    except ModuleNotFoundError as error:
        from meshkit.errors import MissingExtra

        raise MissingExtra("identity", package=error.name or "numpy", purpose="linking records") from error
    globals()[name] = value
    return value
