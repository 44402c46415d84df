"""Section `lineage` of mesh.yaml."""

from __future__ import annotations

from pydantic import Field, field_validator

from meshkit.config import Section
from meshkit.lineage.build import OBSERVE_DAYS

__all__ = ["LineageSettings"]


class LineageSettings(Section):
    """How long a read counts as current, and which tables are products under another name."""

    observe_days: int = Field(default=OBSERVE_DAYS, ge=1, le=400)
    aliases: dict[str, str] = Field(default_factory=dict)  # table as written in SQL -> product id
    transports: list[dict[str, object]] = Field(default_factory=list)

    @field_validator("transports")
    @classmethod
    def _none_yet(cls, value: list[dict[str, object]]) -> list[dict[str, object]]:
        if value:
            raise ValueError("OpenLineage transports are not in this version of meshkit. Leave `transports` empty")
        return value
