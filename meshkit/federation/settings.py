"""The section `engine` of mesh.yaml: limits of the engines that run queries."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from meshkit.config import Section

__all__ = ["EngineSettings"]

_SIZE = re.compile(r"\d{1,9}(\.\d{1,3})? ?([KMGT]i?B)", re.IGNORECASE)


class EngineSettings(Section):
    """`engine: {kind: duckdb, memory: 1GiB, threads: 2, spill: 4GiB}`. Sizes are DuckDB's: `512MiB`, `1GiB`.

    `memory` bounds the sandbox of one query and, once more, the engine that reads the sources. `spill` bounds what either puts on disk.
    """

    kind: Literal["duckdb"] = "duckdb"
    memory: str = "1GiB"
    threads: int = Field(default=2, ge=1, le=256, strict=False)
    spill: str = "4GiB"

    @field_validator("memory", "spill")
    @classmethod
    def _size(cls, value: str) -> str:
        if not _SIZE.fullmatch(value):
            raise ValueError("write a size like 512MiB or 1GiB")
        return value
