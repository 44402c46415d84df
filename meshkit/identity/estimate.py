"""Candidates compared and counted, and the fit estimated from the counts; no labels needed, labels used where given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from meshkit._diagnostics import Diagnostic
from meshkit.identity.block import Blocked, Candidates, join_candidates, refuse_too_many
from meshkit.identity.compare import Comparer, Layout, compare_pairs, compile_comparisons
from meshkit.identity.em import EmResult, fit_classes
from meshkit.identity.errors import FitMismatch, LinkageModelError
from meshkit.identity.fit import PatternCounts, build_specs, count_patterns, random_agreement, rule_samples
from meshkit.identity.labels import Labels
from meshkit.identity.model import Fit, FitClass, LinkageModel
from meshkit.identity.prepare import Prepared
from meshkit.identity.standardise import VERSIONS

__all__ = ["Compared", "check_fit", "compare_candidates", "estimate_fit", "positions"]


@dataclass(frozen=True, slots=True)
class Compared:
    """Candidate pairs with their patterns."""

    blocked: Blocked
    candidates: Candidates
    comparers: tuple[Comparer, ...]
    layout: Layout
    counts: PatternCounts

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the comparisons in the order of levels."""
        return tuple(c.name for c in self.comparers)


def compare_candidates(prepared: Prepared, blocked: Blocked) -> Compared:
    """Join and compare all candidates. Raises: `TooManyPairs` before any pair is made."""
    model = prepared.resolved.model
    refuse_too_many(blocked, model.limits.pairs)
    comparers = compile_comparisons(prepared.records, model.comparisons)
    if not comparers:
        found = Diagnostic(
            "identity.model", "no comparison has values on both sides", "Give columns roles.", file=model.name
        )
        raise LinkageModelError([found])
    layout = Layout(tuple(c.size for c in comparers))
    candidates = join_candidates(blocked, prepared.records)
    patterns = compare_pairs(prepared.records, comparers, candidates.left, candidates.right, layout)
    return Compared(blocked, candidates, comparers, layout, count_patterns(patterns, layout))


def estimate_fit(prepared: Prepared, compared: Compared, *, seed: int, labels: Labels | None = None) -> Fit:
    """Estimate all classes by EM (2.6)."""
    rules = [c.rule for c in compared.blocked.counts]
    u = random_agreement(prepared.records, compared.comparers, compared.layout, seed)
    samples = {k: rule_samples(compared.candidates.rules, k, compared.counts) for k in range(len(rules))}
    specs = build_specs(prepared.records, compared.comparers, rules, u, samples)
    counts, levels = compared.counts.counts, compared.counts.levels
    positive = negative = None
    if labels is not None and len(labels.left):
        levels, counts, positive, negative = _with_labels(prepared, compared, labels)
    result = fit_classes(levels, counts, specs, positive=positive, negative=negative)
    return _fit(prepared, compared, result, seed)


def _with_labels(
    prepared: Prepared, compared: Compared, labels: Labels
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Counts without labelled candidates, and labelled pairs apart; labelled pairs outside the candidates join in."""
    said = compare_pairs(prepared.records, compared.comparers, labels.left, labels.right, compared.layout)
    patterns = np.union1d(compared.counts.patterns, said)
    counts = np.zeros(len(patterns))
    counts[np.searchsorted(patterns, compared.counts.patterns)] = compared.counts.counts
    place = np.searchsorted(patterns, said)
    candidate = positions(compared.candidates, labels.left, labels.right, prepared.records.rows_right) >= 0
    counts -= np.bincount(place[candidate], minlength=len(patterns))
    positive = np.bincount(place[labels.match], minlength=len(patterns)).astype(float)
    negative = np.bincount(place[~labels.match], minlength=len(patterns)).astype(float)
    return compared.layout.decode(patterns), counts, positive, negative


def positions(
    candidates: Candidates, left: npt.NDArray[np.int32], right: npt.NDArray[np.int32], rows_right: int
) -> npt.NDArray[np.int64]:
    """Where the pairs stand among the candidates; -1 for pairs that no rule found."""
    width = np.int64(max(rows_right, 1))
    have = candidates.left * width + candidates.right
    wanted = left * width + right
    if not len(have):
        return np.full(len(wanted), -1, np.int64)
    place = np.minimum(np.searchsorted(have, wanted), len(have) - 1)
    return np.where(have[place] == wanted, place, -1)


def _fit(prepared: Prepared, compared: Compared, result: EmResult, seed: int) -> Fit:
    rules = [c.rule for c in compared.blocked.counts]
    classes = []
    for k, theta in enumerate(result.theta):
        rule = k - 2 if k >= 2 else None
        classes.append(
            FitClass(
                name=("match", "chance")[k] if rule is None else rules[rule].name,
                origin=None if rule is None else ("household" if rules[rule].household else "chance"),
                rule=rule,
                weight=float(result.weights[k]),
                levels={n: tuple(float(v) for v in t) for n, t in zip(compared.names, theta, strict=True)},
            )
        )
    records = prepared.records
    anchors = [_anchor_name(a, compared.names) for a in result.active]
    doubts = ["not_converged"] if not result.converged and result.moved > 0.01 else []
    if _top_weight(result) < 0:
        doubts.append("match_not_credible")
    return Fit(
        model=prepared.resolved.model.digest(), standardisers=dict(VERSIONS), rows=(records.rows_left, records.rows_right),
        pairs=len(compared.candidates), seed=seed, classes=tuple(classes), log_likelihood=result.log_likelihood,
        iterations=result.iterations, converged=result.converged, anchors=tuple(anchors), doubts=tuple(doubts),
    )  # fmt: skip


def _top_weight(result: EmResult) -> float:
    """Weight of a pair that agrees on everything, in nats; below 0 the classes can't tell matches from agreement on a rule."""
    agree = np.array([sum(np.log(max(t[-1], 1e-300)) for t in theta) for theta in result.theta])
    joint = agree + np.log(np.maximum(result.weights, 1e-300))
    return float(joint[0] - np.logaddexp.reduce(joint[1:]))


def _anchor_name(anchor: str, names: tuple[str, ...]) -> str:
    head, _, number = anchor.rpartition(":")
    return f"{head}:{names[int(number)]}" if number.isdigit() else anchor


def check_fit(model: LinkageModel, fit: Fit, compared: Compared) -> None:
    """Raises: `FitMismatch` if the fit was estimated for other rules, standardisers or levels."""
    sizes = {name: len(levels) for name, levels in fit.classes[0].levels.items()}
    if fit.model != model.digest() or sizes != dict(zip(compared.names, compared.layout.sizes, strict=True)):
        raise FitMismatch(model.digest(), fit.model)
