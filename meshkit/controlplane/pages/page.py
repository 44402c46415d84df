"""`Page`: what a URL shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Page"]


@dataclass(frozen=True, slots=True)
class Page:
    """A page: template and title, its facts as JSON (`format` on top), and what the template needs beyond them."""

    template: str
    title: str
    nav: str
    facts: Mapping[str, Any]
    view: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
