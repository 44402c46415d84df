"""Values of SLOs: promises, evidence, verdicts, budgets, trust. Frozen, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

__all__ = [
    "SCORED",
    "Budget",
    "Evaluation",
    "Evidence",
    "IndicatorState",
    "Judged",
    "Promise",
    "Sli",
    "State",
    "TrustLine",
    "TrustScore",
    "VerdictWord",
]

Sli = Literal["freshness", "completeness", "availability", "quality"]
SCORED: tuple[Sli, ...] = ("freshness", "availability", "completeness", "quality")
VerdictWord = Literal["pass", "fail", "not_measured"]
State = Literal["breaching", "not measured", "at risk", "healthy"]


@dataclass(frozen=True, slots=True)
class Promise:
    """One SLO of a product that has an indicator.

    `within` is the age that freshness never exceeds; `target_ratio` (0..1) is the share of slices, or of rows and reads, that keep it.
    `field` is `object.field` of the event time; `not_null` the columns of completeness. `slice_seconds` is the length of a slice.
    """

    product: str
    name: str
    sli: Sli
    port: str
    target_ratio: float
    within: timedelta | None = None
    field: str | None = None
    object_name: str | None = None
    not_null: tuple[str, ...] = ()
    slice_seconds: int = 300


@dataclass(frozen=True, slots=True)
class Evidence:
    """One measurement. Freshness: `value` is the newest event time (or commit time) in seconds since 1970. Others: `bad` of `n`.

    `method` says how it was measured: publish, footers, scan, reads, probe, demo.
    """

    product: str
    port: str
    sli: Sli
    observed_at: datetime
    method: str
    value: float | None = None
    n: int | None = None
    bad: int | None = None
    field: str | None = None
    bytes_read: int = 0
    run_id: str | None = None

    @property
    def ratio(self) -> float | None:
        """Good share, 0..1; None where nothing was counted."""
        return None if not self.n or self.bad is None else 1 - self.bad / self.n


@dataclass(frozen=True, slots=True)
class Budget:
    """Error budget over a window. Source: catalog-lineage-slo section 4.

    `attainment_ratio` = 1 - mean badness of measured slices, None if nothing was measured; `remaining_ratio` None at target 100 %.
    """

    attainment_ratio: float | None
    coverage_ratio: float
    allowed: float
    used: float
    remaining_ratio: float | None


@dataclass(frozen=True, slots=True)
class Judged:
    """A promise held against evidence now. `actual` is an age in seconds for freshness, a ratio for the others."""

    promise: Promise
    verdict: VerdictWord
    actual: float | None = None
    reason: str = ""
    method: str | None = None
    n: int | None = None
    measured_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class IndicatorState:
    """A promise with its history: verdict now, budget, state."""

    judged: Judged
    budget: Budget
    state: State
    spans: tuple[tuple[int, int, float], ...] = ()  # (first slice, end slice, badness), run-length

    @property
    def promise(self) -> Promise:
        """The promise itself."""
        return self.judged.promise


@dataclass(frozen=True, slots=True)
class TrustLine:
    """What one indicator, or a cap, costs; points add up to 100 - score."""

    indicator: str
    points: float
    reason: str


@dataclass(frozen=True, slots=True)
class TrustScore:
    """0..100 with a letter and the breakdown; `score=None`: not measured, never shown as green."""

    product: str
    score: float | None
    grade: str | None
    lines: tuple[TrustLine, ...] = ()
    version: str = "trust/v1"

    def to_text(self) -> str:
        """`sales.orders  trust 97.2 A`, then a line per loss."""
        head = (
            f"{self.product}  trust {self.score:.1f} {self.grade}"
            if self.score is not None
            else f"{self.product}  trust not measured"
        )
        return "\n".join([head, *(f"  -{line.points:.1f} {line.indicator}: {line.reason}" for line in self.lines)])

    def to_json(self) -> dict[str, Any]:
        """One entry of `trust`."""
        lines = [{"indicator": x.indicator, "points": x.points, "reason": x.reason} for x in self.lines]
        return {
            "format": "meshkit.slo.trust/1",
            "product": self.product,
            "score": self.score,
            "grade": self.grade,
            "lines": lines,
        }

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.to_text())}</pre>"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All promises of a product at one instant, with its state and trust."""

    product: str
    at: datetime
    indicators: tuple[IndicatorState, ...] = ()
    trust: TrustScore | None = None
    unmonitored: tuple[str, ...] = ()  # SLOs whose kind has no indicator
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """The worst state any indicator has; without indicators `not measured`."""
        order: tuple[State, ...] = ("breaching", "not measured", "at risk", "healthy")
        found = {i.state for i in self.indicators}
        return next((s for s in order if s in found), "not measured")

    def indicator(self, sli: Sli) -> IndicatorState | None:
        """The first promise of a kind."""
        return next((i for i in self.indicators if i.promise.sli == sli), None)
