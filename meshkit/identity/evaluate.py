"""Quality against labels, with exact binomial intervals, and where true pairs were lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from math import exp, lgamma, log, log1p
from typing import Any

import numpy as np
import numpy.typing as npt

from meshkit.identity.doubts import estimate_blocking_recall
from meshkit.identity.estimate import Compared, positions
from meshkit.identity.labels import Labels
from meshkit.identity.predict import Scored
from meshkit.identity.prepare import Prepared

__all__ = ["Evaluation", "Ratio", "evaluate_labels", "exact_interval"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A measured share with its exact (Clopper-Pearson) 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, total: int) -> Ratio | None:
        """None without a case: not measured."""
        return None if total == 0 else cls(hits / total, *exact_interval(hits, total))

    def to_json(self) -> list[float]:
        """`[value, low, high]`."""
        return [self.value, self.low, self.high]

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def exact_interval(hits: int, total: int, *, level: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson: the shares that make `hits` or fewer, or more, not too unlikely."""
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else _solve(lambda p: _beta(p, hits, total - hits + 1) - tail)
    high = 1.0 if hits == total else _solve(lambda p: _beta(p, hits + 1, total - hits) - (1 - tail))
    return low, high


def _solve(rising: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


def _beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta by Lentz's continued fraction (Numerical Recipes 6.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or 1e-300)
    result = d
    for m in range(1, 10_000):
        for top in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + top * d or 1e-300)
            c = 1 + top / c or 1e-300
            step = c * d
            result *= step
        if abs(step - 1) < 1e-14:
            break
    return front * result


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`precision` None means not measured: there are no negatives and the labels are not complete. `lost` counts true pairs."""

    positive: int
    negative: int
    unknown: int
    complete: bool
    threshold: float
    precision: Ratio | None
    recall: Ratio | None
    f1: float | None
    curve: tuple[tuple[float, float | None, float | None], ...]
    not_blocked: int
    below_threshold: int
    assigned_elsewhere: int
    blocking_recall: float | None
    blocking_recall_estimate: float | None
    calibration_error: float | None
    failures: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 if a required precision or recall is not reached."""
        return 1 if self.failures else 0

    def require(self, *, precision: float | None = None, recall: float | None = None) -> Evaluation:
        """The same evaluation, failed where a share is below what is asked or was not measured."""
        failed = []
        for name, wanted, got in (("precision", precision, self.precision), ("recall", recall, self.recall)):
            if wanted is not None and (got is None or got.value < wanted):
                failed.append(f"{name} {'not measured' if got is None else f'{got.value:.4f}'}, asked for {wanted:g}")
        return replace(self, failures=tuple(failed))

    def to_json(self) -> dict[str, Any]:
        """As `meshkit.identity.evaluate/1`."""
        return {
            "format": "meshkit.identity.evaluate/1",
            "labels": {"positive": self.positive, "negative": self.negative, "unknown": self.unknown, "complete": self.complete},
            "at": {
                "threshold": self.threshold,
                "precision": None if self.precision is None else self.precision.to_json(),
                "recall": None if self.recall is None else self.recall.to_json(),
                "f1": self.f1,
            },
            "curve": [{"threshold": t, "precision": p, "recall": r} for t, p, r in self.curve],
            "lost": {
                "not_blocked": self.not_blocked, "below_threshold": self.below_threshold, "assigned_elsewhere": self.assigned_elsewhere,
            },
            "blocking_recall": {"labels": self.blocking_recall, "estimate": self.blocking_recall_estimate},
            "calibration_error": self.calibration_error,
            "failures": list(self.failures),
        }  # fmt: skip

    def to_text(self) -> str:
        """For people."""
        lines = [
            f"{self.positive:,} positive and {self.negative:,} negative labels{', complete' if self.complete else ''}"
            + (f"; {self.unknown:,} name unknown ids and are left out" if self.unknown else ""),
            f"precision {self.precision or 'not measured (no negatives; say --complete if every other pair is false)'}",
            f"recall    {self.recall or 'not measured'}",
            (
                f"lost: {self.not_blocked:,} not found by any rule, {self.below_threshold:,} below {self.threshold:g}, "
                f"{self.assigned_elsewhere:,} linked elsewhere"
            ),
        ]
        if self.f1 is not None:
            lines.insert(3, f"F1        {self.f1:.4f} at {self.threshold:g}")
        if self.calibration_error is not None:
            lines.append(f"calibration error {self.calibration_error:.4f}")
        return "\n".join(lines + [f"failed: {f}" for f in self.failures])

    def to_svg(self) -> str:
        """Precision and recall by threshold as SVG, light and dark."""
        lines = []
        for place, name in ((1, "precision"), (2, "recall")):
            points = " ".join(
                f"{60 + 480 * float(p[0] or 0):.1f},{320 - 300 * float(p[place] or 0):.1f}"
                for p in self.curve
                if p[place] is not None
            )
            lines.append(
                f'<polyline class="{name}" points="{points}"/><text class="{name}" x="60" y="{344 + 18 * place}">{name}</text>'
            )
        marks = "".join(
            f'<text x="8" y="{324 - 300 * t:.0f}">{t:.1f}</text><text x="{52 + 480 * t:.0f}" y="340">{t:.1f}</text>'
            for t in (0.0, 0.5, 1.0)
        )
        style = (
            "text{font:12px sans-serif;fill:#222}polyline{fill:none;stroke-width:2}polyline.precision{stroke:#2a7f62}"
            "polyline.recall{stroke:#3a62b5}@media(prefers-color-scheme:dark){text{fill:#ddd}}"
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 390" role="img" aria-label="precision and recall by threshold">'
            f"<style>{style}</style>{marks}{''.join(lines)}</svg>"
        )

    def _repr_html_(self) -> str:
        return f"{self.to_svg()}<pre>{escape(self.to_text())}</pre>"


def evaluate_labels(
    prepared: Prepared,
    compared: Compared,
    scored: Scored,
    chosen: npt.NDArray[np.int64],
    labels: Labels,
    *,
    threshold: float,
    complete: bool,
) -> Evaluation:
    """Compare the chosen links with labels; recall includes what blocking lost."""
    width = np.int64(max(prepared.records.rows_right, 1))
    links = scored.left[chosen] * width + scored.right[chosen]
    confidence = scored.confidence[chosen]
    true = labels.left[labels.match] * width + labels.right[labels.match]
    false = labels.left[~labels.match] * width + labels.right[~labels.match]
    is_true = np.isin(links, true)
    is_false = np.isin(scored.left[chosen], labels.left) & ~is_true if complete else np.isin(links, false)
    measured = complete or len(false) > 0
    hits, wrong = int(is_true.sum()), int(is_false.sum())
    precision = Ratio.of(hits, hits + wrong) if measured else None
    recall = Ratio.of(hits, len(true))
    f1 = 2 * hits / (hits + wrong + len(true)) if measured and len(true) else None
    lost = _lost(prepared, compared, scored, labels, np.isin(true, links), threshold)
    curve = tuple(
        _curve_point(t, confidence, is_true, is_false, len(true), measured=measured)
        for t in np.arange(0.5, 1.0, 0.05)
        if t >= threshold
    )
    return Evaluation(
        labels.positive, labels.negative, labels.unknown, complete, threshold, precision, recall, f1, curve, *lost,
        blocking_recall=1 - lost[0] / len(true) if len(true) else None,
        blocking_recall_estimate=estimate_blocking_recall(
            compared.candidates.rules[scored.at], scored.probability, len(compared.blocked.counts)
        ),
        calibration_error=_calibration(confidence, is_true, is_false) if measured else None,
    )  # fmt: skip


def _lost(
    prepared: Prepared,
    compared: Compared,
    scored: Scored,
    labels: Labels,
    found: npt.NDArray[np.bool_],
    threshold: float,
) -> tuple[int, int, int]:
    left, right = labels.left[labels.match][~found], labels.right[labels.match][~found]
    at = positions(compared.candidates, left, right, prepared.records.rows_right)
    blocked = at >= 0
    place = np.searchsorted(scored.at, at[blocked])
    place_in = np.minimum(place, max(len(scored) - 1, 0))
    kept = scored.at[place_in] == at[blocked] if len(scored) else np.zeros(int(blocked.sum()), bool)
    # A pair above the threshold by its own evidence lost to another pair of one of its rows.
    own = scored.probability[place_in[kept]] >= threshold if len(scored) else np.zeros(0, bool)
    elsewhere = int(own.sum())
    return int((~blocked).sum()), int(blocked.sum()) - elsewhere, elsewhere


def _curve_point(
    threshold: float,
    confidence: npt.NDArray[np.float64],
    true: npt.NDArray[np.bool_],
    false: npt.NDArray[np.bool_],
    positives: int,
    *,
    measured: bool,
) -> tuple[float, float | None, float | None]:
    above = confidence >= threshold
    hits, wrong = int((above & true).sum()), int((above & false).sum())
    precision = hits / (hits + wrong) if measured and hits + wrong else None
    return round(float(threshold), 4), precision, hits / positives if positives else None


def _calibration(
    confidence: npt.NDArray[np.float64], true: npt.NDArray[np.bool_], false: npt.NDArray[np.bool_]
) -> float | None:
    """Mean distance of confidence and share of true links over ten bins, by links."""
    judged = true | false
    if not judged.any():
        return None
    bins = np.minimum((confidence[judged] * 10).astype(int), 9)
    error = 0.0
    for b in np.unique(bins):
        here = bins == b
        error += here.sum() * abs(confidence[judged][here].mean() - true[judged][here].mean())
    return float(error / judged.sum())
