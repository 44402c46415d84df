"""Section `gateway` of mesh.yaml."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["GatewaySettings"]


class GatewaySettings(BaseModel):
    """Where the gateway listens, and its limits: queries at once per subject and in all, seconds per request, bytes of a body."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8090, ge=0, le=65_535)
    per_subject: int = Field(default=8, ge=1)
    per_worker: int = Field(default=64, ge=1)
    timeout_seconds: float = Field(default=30, gt=0)
    body_bytes: int = Field(default=1 << 20, ge=1)
