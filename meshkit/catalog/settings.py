"""Sections `catalog` and `access` of mesh.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["AccessSettings", "CatalogSettings", "SourceSettings"]


class SourceSettings(BaseModel):
    """One place that manifests come from: a folder, or branches of a git repository."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    dir: str | None = None
    git: str | None = None
    branches: dict[Literal["publish"], list[str]] | None = None
    paths: list[str] = Field(default_factory=lambda: ["**/manifest.yaml"])

    @model_validator(mode="after")
    def _one_place(self) -> SourceSettings:
        if (self.dir is None) == (self.git is None):
            raise ValueError("exactly one of `dir` and `git` is needed")
        if self.git is not None and not self.branches:
            raise ValueError("a git source needs `branches`, for example {publish: [main]}")
        return self


class CatalogSettings(BaseModel):
    """What is crawled; `restricted` products are seen by owners, grantees and requesters only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: list[SourceSettings] = Field(default_factory=list)
    restricted: list[str] = Field(default_factory=list)
    stale_after_seconds: int = 86_400


class AccessSettings(BaseModel):
    """How access is recorded, and who decides by the highest classification asked for: `owner` (the owning team) or a role."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: Literal["store"] = "store"
    approvals: dict[str, list[str]] = Field(default_factory=lambda: {"default": ["owner"]})
    longest_days: int = Field(default=365, ge=1, le=365)
