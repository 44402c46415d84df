"""Section `slo` of mesh.yaml."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from meshkit.types.quantities import Duration, parse_duration

__all__ = ["SloSettings"]


def _window(value: object) -> object:
    if isinstance(value, Duration):
        return value.timedelta()
    return parse_duration(value).timedelta() if isinstance(value, str) else value


class SloSettings(BaseModel):
    """`window`: what budgets and trust look back on. `scan_limit_bytes`: how much a scan may read of one port."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: Annotated[timedelta, BeforeValidator(_window)] = timedelta(days=30)
    scan_limit_bytes: int = 1 << 30
