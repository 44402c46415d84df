"""The linkage model: roles, blocking rules, comparisons and their levels, thresholds and, once estimated, the fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_serializer, model_validator

from meshkit import _yaml
from meshkit._diagnostics import Diagnostic, from_validation, from_yaml
from meshkit.identity.errors import LinkageModelError, SourceProblem
from meshkit.identity.roles import ROLES
from meshkit.identity.rules import (
    KINDS,
    MAX_RULES,
    BlockingRule,
    Comparison,
    Level,
    Origin,
    default_comparisons,
    default_rules,
)
from meshkit.identity.standardise import VERSIONS, known

if TYPE_CHECKING:
    import pyarrow as pa

    from meshkit.identity.side import Side

__all__ = [
    "BlockingRule",
    "ColumnSpec",
    "Comparison",
    "Fit",
    "FitClass",
    "Level",
    "LinkageModel",
    "SideModel",
    "Thresholds",
]

Cardinality = Literal["one-to-one", "one-to-many", "many-to-many"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnSpec(_Model):
    """What a column means: its role; for phones the country, for dates the format. A bare role in YAML."""

    role: str
    country: str | None = None
    format: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"role": value} if isinstance(value, str) else value

    @field_validator("role")
    @classmethod
    def _role(cls, value: str) -> str:
        if value not in ROLES or value == "id":
            raise ValueError(f"no role {value!r}; roles are {', '.join(r for r in ROLES if r != 'id')}")
        return value

    @field_validator("country")
    @classmethod
    def _country(cls, value: str | None) -> str | None:
        if value is not None and not known(value):
            raise ValueError(f"the calling code of country {value!r} is not known here; write numbers with +")
        return value

    @model_serializer
    def _short(self) -> Any:
        more = {k: v for k, v in (("country", self.country), ("format", self.format)) if v is not None}
        return {"role": self.role, **more} if more else self.role


class SideModel(_Model):
    """Id, time of change and roles of one side's columns. Roles left out are inferred."""

    id: str | None = None
    updated: str | None = None
    columns: Mapping[str, ColumnSpec] = Field(default_factory=dict)


class Thresholds(_Model):
    """`link`: confidence from which a pair is a link; `review`: the band that people should look at."""

    link: float = Field(default=0.5, ge=0.2, le=1)
    review: tuple[float, float] = (0.2, 0.9)


class Limits(_Model):
    """More candidate pairs than `pairs` are refused; `churn` bounds what a publish may rewire."""

    pairs: int = Field(default=200_000_000, ge=1)
    churn: str = Field(default="5%", pattern=r"^\d+(\.\d+)?%$")


class FitClass(_Model):
    """A class of pairs: `match`, `chance`, or the non-matches of one rule. `levels`: probability by level number, 0 = else."""

    name: str
    origin: Origin | None = None
    rule: int | None = None
    weight: float
    levels: Mapping[str, tuple[float, ...]]


class Fit(_Model):
    """What an estimate found; numbers only. Scores depend on it and on the frequencies of the data."""

    format: Literal["meshkit.identity.fit/1"] = "meshkit.identity.fit/1"
    model: str
    standardisers: Mapping[str, int]
    rows: tuple[int, int]
    pairs: int
    seed: int
    classes: tuple[FitClass, ...]
    log_likelihood: float
    iterations: int
    converged: bool
    anchors: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def to_text(self) -> str:
        """The fit file: JSON with stable order, to be committed and diffed."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"


class LinkageModel(_Model):
    """Rules of a linkage. Frozen; `load`, `parse` and `infer` make one; `with_fit` adds what an estimate found."""

    apiVersion: Literal["meshkit/v1"] = "meshkit/v1"  # noqa: N815  # the file's key
    kind: Literal["LinkageModel"] = "LinkageModel"
    name: str = "linkage"
    left: SideModel = SideModel()
    right: SideModel | None = None
    cardinality: Cardinality = "one-to-one"
    blocking: tuple[BlockingRule, ...] = Field(default=(), max_length=MAX_RULES)
    comparisons: tuple[Comparison, ...] = ()
    thresholds: Thresholds = Thresholds()
    limits: Limits = Limits()
    fit: Fit | str | None = None

    _STANDARD: ClassVar[Mapping[str, int]] = VERSIONS

    @field_validator("comparisons")
    @classmethod
    def _distinct(cls, value: tuple[Comparison, ...]) -> tuple[Comparison, ...]:
        names = [c.name for c in value]
        if len(set(names)) != len(names):
            raise ValueError("two comparisons have one name; give each its own `name`")
        return value

    @classmethod
    def load(cls, path: str | Path) -> LinkageModel:
        """A model file; a fit file that it names and that exists is read too. Raises: `LinkageModelError`, `SourceProblem`."""
        place = Path(path)
        try:
            model = cls.parse(place.read_text(encoding="utf-8"), source=str(place))
        except OSError as error:
            raise SourceProblem(f"the model {place} can't be read ({type(error).__name__}). Check the path.") from None
        fit = place.parent / model.fit if isinstance(model.fit, str) else None
        if fit is None or not fit.is_file():
            return model
        try:
            return model.with_fit(Fit.model_validate_json(fit.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise LinkageModelError([Diagnostic("identity.fit", f"no valid fit: {error.error_count()} problems", "Estimate again.", "error", str(fit))]) from None  # fmt: skip

    @classmethod
    def parse(cls, text: str, *, source: str = "<text>") -> LinkageModel:
        """A model from YAML. Raises: `LinkageModelError` with every problem as file:line:column."""
        try:
            document = _yaml.parse(text, source=source)
        except _yaml.YamlSyntaxError as error:
            raise LinkageModelError(from_yaml(error)) from None
        try:
            return cls.model_validate(document.data)
        except ValidationError as error:
            raise LinkageModelError(from_validation(document, error, cls, module="identity")) from None

    @classmethod
    def infer(cls, left: Side, right: Side | None = None) -> LinkageModel:
        """The model that the sides' tags and column names give, written out. Raises: `LinkageModelError`, `SideProblem`."""
        from meshkit.identity.prepare import resolve

        return resolve(left, right, cls()).model

    def dump(self) -> str:
        """YAML that `parse` reads back as an equal model."""
        facts = self.model_dump(mode="json", exclude_none=True)
        for comparison in facts["comparisons"]:
            if comparison["levels"] == [level.model_dump() for level in KINDS[comparison["kind"]]]:
                del comparison["levels"]
        facts = {k: v for k, v in facts.items() if v not in ([], {}, ())}
        text: str = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
        return text

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.dump())}</pre>"

    def digest(self) -> str:
        """`sha256:..` of what a fit depends on: roles, kinds, levels, blocking, standardisers; not names, thresholds, limits."""
        facts = {
            "blocking": [[list(r.keys), r.household, r.cap] for r in self.blocking],
            "comparisons": [[c.name, c.kind, list(c.columns), [lv.name for lv in c.levels], c.frequency, c.individual] for c in self.comparisons],
            "standardisers": dict(VERSIONS),
        }  # fmt: skip
        return "sha256:" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def with_fit(self, fit: Fit) -> LinkageModel:
        """The same rules with an estimate."""
        return self.model_copy(update={"fit": fit})

    def patterns(self) -> pa.Table:
        """Every pattern of levels with its weight in bits: the whole behaviour as a table. Needs a fit and at most 200,000 patterns."""
        from meshkit.identity.score import pattern_listing

        return pattern_listing(self)

    def completed(self, shared: Collection[str]) -> LinkageModel:
        """This model with default rules and comparisons (2.1) for the roles that both sides have, where it names none."""
        comparisons = self.comparisons or default_comparisons(shared)
        blocking = self.blocking or default_rules(shared)
        problems = [f"comparison {c.name} needs the role {r} on both sides" for c in self.comparisons for r in c.columns
                    if r not in shared and c.kind != "address"]  # fmt: skip
        problems += [
            f"rule {r.name} needs the role {k} on both sides" for r in self.blocking for k in r.keys if k not in shared
        ]
        if not comparisons or not shared:
            problems.append(
                "the sides share no role that can be compared; give columns their roles in the model or by tags"
            )
        elif len(blocking) < (1 if self.blocking else 2):
            problems.append("fewer than two blocking rules are possible; give more columns roles, or name the rules")
        if problems:
            raise LinkageModelError([Diagnostic("identity.model", p, file=self.name) for p in problems])
        return self.model_copy(update={"comparisons": comparisons, "blocking": blocking})
