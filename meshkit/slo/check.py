"""`evaluate` a product and `slo check` many: façades over the pure parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from meshkit.slo.collect import Sources, collect
from meshkit.slo.evaluate import indicator_state
from meshkit.slo.models import Evaluation, Evidence, IndicatorState
from meshkit.slo.promises import promises_of, unmonitored
from meshkit.slo.spell import block
from meshkit.slo.trust import trust_of

if TYPE_CHECKING:
    from meshkit.manifest import Manifest

__all__ = ["SloReport", "evaluate"]


def evaluate(
    product: Manifest, *, evidence: Iterable[Evidence] | None = None, sources: Sources | None = None, at: datetime | None = None,
    window: timedelta = timedelta(days=30), upstream_bad: bool = False,
) -> Evaluation:  # fmt: skip
    """All promises of a product at `at` (default now). Without `evidence` it is measured now, through `sources`."""
    now = at or datetime.now(UTC)
    seen: Sequence[Evidence] = collect(product, sources, now=now) if evidence is None else list(evidence)
    states = tuple(
        indicator_state(p, seen, now=now, window=window, upstream_bad=upstream_bad) for p in promises_of(product)
    )
    return Evaluation(product.id, now, states, trust_of(product.id, states), unmonitored(product))


@dataclass(frozen=True, slots=True)
class SloReport:
    """`slo check`: a block per promise. `exit_code` is 1 if one fails, or is not measured unless that is allowed."""

    evaluations: tuple[Evaluation, ...]
    allow_unmeasured: bool = False

    @property
    def indicators(self) -> tuple[IndicatorState, ...]:
        """All promises, in order."""
        return tuple(i for e in self.evaluations for i in e.indicators)

    @property
    def exit_code(self) -> int:
        """0 or 1."""
        bad = {"fail"} if self.allow_unmeasured else {"fail", "not_measured"}
        return int(any(i.judged.verdict in bad for i in self.indicators))

    def to_text(self) -> str:
        """The documented blocks, one blank line between them."""
        return "\n\n".join(block(i.judged) for i in self.indicators)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.slo.check/1`."""
        return {
            "format": "meshkit.slo.check/1",
            "as_of": self.evaluations[0].at.isoformat() if self.evaluations else None,
            "results": [_result(i) for i in self.indicators],
            "trust": [
                {k: v for k, v in e.trust.to_json().items() if k != "format"}
                for e in self.evaluations
                if e.trust is not None
            ],
        }

    def worst_first(self) -> SloReport:
        """The same, products ordered by state and score."""
        order = ("breaching", "not measured", "at risk", "healthy")
        key = {
            e.product: (
                order.index(e.state),
                e.trust.score if e.trust and e.trust.score is not None else -1.0,
                e.product,
            )
            for e in self.evaluations
        }
        return SloReport(tuple(sorted(self.evaluations, key=lambda e: key[e.product])), self.allow_unmeasured)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.to_text())}</pre>"


def _result(state: IndicatorState) -> dict[str, Any]:
    judged, promise, budget = state.judged, state.promise, state.budget
    threshold = promise.within.total_seconds() if promise.within is not None else promise.target_ratio
    return {
        "product": promise.product, "port": promise.port, "indicator": promise.sli, "name": promise.name, "threshold": threshold,
        "actual": judged.actual, "verdict": judged.verdict, "reason": judged.reason, "method": judged.method, "n": judged.n,
        "low": judged.actual, "high": judged.actual, "attainment_ratio": budget.attainment_ratio, "coverage_ratio": budget.coverage_ratio,
        "budget_remaining_ratio": budget.remaining_ratio, "state": state.state, "incident": None,
    }  # fmt: skip
