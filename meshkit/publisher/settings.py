"""Settings of a publisher."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PublisherSettings"]


class PublisherSettings(BaseModel):
    """How a run cuts, retries and reacts. Sizes in bytes, times in seconds. Source: publisher section 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_chunk_bytes: int = Field(default=2 << 20, gt=0)
    max_chunk_rows: int = Field(default=10_000, gt=0)
    commit_interval_seconds: float = Field(default=0.05, ge=0)
    snapshot: Literal["initial", "never"] = "initial"
    snapshot_rows: int = Field(default=10_000, gt=0)
    on_poison: Literal["dead_letter", "halt"] = "dead_letter"
    max_dead_letter_ratio: float = Field(default=0.1, ge=0, le=1)
    stall_seconds: float = Field(default=60, gt=0)
    retry_for_seconds: float | None = Field(default=None, ge=0)
    idle_seconds: float = Field(default=60, gt=0)
    idle_bytes: int = Field(default=64 << 20, gt=0)
