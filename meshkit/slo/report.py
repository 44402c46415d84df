"""`slo report`: trust of products with the losses that make it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meshkit.slo.models import Evaluation

__all__ = ["TrustReport"]


@dataclass(frozen=True, slots=True)
class TrustReport:
    """Trust of several products. `exit_code` is 1 if one is breaching."""

    evaluations: tuple[Evaluation, ...]

    @property
    def exit_code(self) -> int:
        """0 or 1."""
        return int(any(e.state == "breaching" for e in self.evaluations))

    def to_text(self) -> str:
        """State, score and losses per product."""
        return "\n".join(f"{e.trust.to_text()}\n  state: {e.state}" for e in self.evaluations if e.trust is not None)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.slo.report/1`."""
        products = [
            {"product": e.product, "state": e.state, "trust": e.trust.to_json() if e.trust else None}
            for e in self.evaluations
        ]
        return {
            "format": "meshkit.slo.report/1",
            "as_of": self.evaluations[0].at.isoformat() if self.evaluations else None,
            "products": products,
        }
