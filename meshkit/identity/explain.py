"""Why a pair has its confidence: a waterfall of bits that adds up, classes in words, competitors, failed rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import factorial
from typing import Any

import numpy as np
import numpy.typing as npt

from meshkit.identity.compare import compare_pairs
from meshkit.identity.errors import LinkageUsage
from meshkit.identity.estimate import Compared, positions
from meshkit.identity.model import Fit
from meshkit.identity.predict import Scored, frequency_terms
from meshkit.identity.prepare import Prepared
from meshkit.identity.rules import BlockingRule
from meshkit.identity.score import LN2, MAX_WEIGHT, class_joint, pattern_table

__all__ = ["Competitor", "Contribution", "Explanation", "FailedRule", "explain_pair", "shapley"]

_EXACT_UP_TO = 12


@dataclass(frozen=True, slots=True)
class Contribution:
    """Bits for (positive) or against a match from one comparison; `level` None: missing on a side. `values` only if asked for."""

    comparison: str
    level: str | None
    bits: float
    values: tuple[str | None, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Competitor:
    """Another candidate of one of the two rows. `side` is the side that it is on."""

    side: str
    id: Any
    weight_bits: float


@dataclass(frozen=True, slots=True)
class FailedRule:
    """A blocking rule that did not find the pair, and its keys that are missing or differ."""

    rule: str
    missing: tuple[str, ...]
    different: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All of a pair's confidence in bits: prior + contributions + frequency = weight; weight + competition = log-odds of confidence."""

    left: str
    right: str
    left_id: Any
    right_id: Any
    rules: tuple[str, ...]
    prior_bits: float
    contributions: tuple[Contribution, ...]
    frequency_bits: float
    weight_bits: float
    probability: float
    competition_bits: float
    confidence_score: float
    linked: bool
    classes: tuple[tuple[str, float], ...]
    competitors: tuple[Competitor, ...]
    failed: tuple[FailedRule, ...] = ()

    @property
    def candidate(self) -> bool:
        """Whether any rule found the pair."""
        return bool(self.rules)

    def steps(self) -> list[tuple[str, float]]:
        """The waterfall from prior to the log-odds of the confidence, in bits."""
        parts = [("prior", self.prior_bits)]
        parts += [(f"{c.comparison}: {c.level or 'missing'}", c.bits) for c in self.contributions]
        return [*parts, ("frequency of the values", self.frequency_bits), ("competition", self.competition_bits)]

    def to_json(self) -> dict[str, Any]:
        """As `meshkit.identity.explain/1`."""
        return {
            "format": "meshkit.identity.explain/1",
            "left_id": self.left_id, "right_id": self.right_id, "rules": list(self.rules), "prior_bits": self.prior_bits,
            "contributions": [
                {"comparison": c.comparison, "level": c.level, "bits": c.bits, **({} if c.values is None else {"values": list(c.values)})}
                for c in self.contributions
            ],
            "frequency_bits": self.frequency_bits, "weight_bits": self.weight_bits, "probability": self.probability,
            "competition_bits": self.competition_bits, "confidence_score": self.confidence_score, "linked": self.linked,
            "classes": [{"name": n, "probability": p} for n, p in self.classes],
            "competitors": [{"side": c.side, "id": c.id, "weight_bits": c.weight_bits} for c in self.competitors],
            "failed": [{"rule": f.rule, "missing": list(f.missing), "different": list(f.different)} for f in self.failed],
        }  # fmt: skip

    def to_text(self) -> str:
        """For people."""
        verdict = "linked" if self.linked else "not linked"
        head = f"{self.left} {self.left_id} and {self.right} {self.right_id}: {verdict}, confidence {self.confidence_score:.4f}"
        lines = [head, f"found by {', '.join(self.rules)}" if self.rules else "no rule found this pair:"]
        for fail in self.failed if not self.rules else ():
            why = [f"{k} missing" for k in fail.missing] + [f"{k} differs" for k in fail.different]
            lines.append(f"  {fail.rule}: {', '.join(why)}")
        lines += [f"  {name:<44}{bits:>+9.2f} bits" for name, bits in self.steps()]
        lines.append(f"  {'confidence as log-odds':<44}{sum(b for _, b in self.steps()):>+9.2f} bits")
        lines += [
            f"  {c.comparison}: {c.values[0] or '-'} | {c.values[1] or '-'}" for c in self.contributions if c.values
        ]
        lines.append("it looks like " + ", ".join(f"{_in_words(n)} {p:.1%}" for n, p in self.classes if p >= 0.001))
        lines += [f"competes with {c.id} of {c.side} ({c.weight_bits:+.1f} bits)" for c in self.competitors]
        return "\n".join(lines)

    def to_svg(self) -> str:
        """The waterfall as SVG, light and dark; no values."""
        steps = self.steps()
        level, spans = 0.0, []
        for name, bits in steps:
            spans.append((name, level, level + bits, bits))
            level += bits
        low = min(0.0, *(min(a, b) for _, a, b, _ in spans))
        high = max(0.0, *(max(a, b) for _, a, b, _ in spans))
        scale = 360 / max(high - low, 1e-9)
        rows = [
            f'<text x="8" y="{24 * n + 20}">{escape(name)}</text><rect class="{"for" if bits >= 0 else "against"}" '
            f'x="{290 + (min(a, b) - low) * scale:.1f}" y="{24 * n + 8}" width="{max(abs(b - a) * scale, 1):.1f}" height="16"/>'
            f'<text x="{662}" y="{24 * n + 20}">{bits:+.2f}</text>'
            for n, (name, a, b, bits) in enumerate(spans)
        ]
        style = (
            "text{font:12px sans-serif;fill:#222}.for{fill:#2a7f62}.against{fill:#b5483a}"
            "@media(prefers-color-scheme:dark){text{fill:#ddd}.for{fill:#58b894}.against{fill:#e07a6c}}"
        )
        size = f'viewBox="0 0 720 {24 * len(steps) + 16}"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="bits for and against a match"><style>{style}</style>{"".join(rows)}</svg>'

    def _repr_html_(self) -> str:
        return f"{self.to_svg()}<pre>{escape(self.to_text())}</pre>"


def _in_words(name: str) -> str:
    if name in {"match", "chance"}:
        return {"match": "the same person", "chance": "chance"}[name]
    keys = set(name.split("+"))
    if {"given_name", "family_name"} <= keys:
        return "namesakes"
    if keys & {"postcode", "street", "house_number", "city"} and not keys & {"given_name", "birth_date", "initial"}:
        return f"the same household ({name})"
    return f"others with the same {name.replace('+', ' and ')}"


def explain_pair(
    prepared: Prepared,
    compared: Compared,
    fit: Fit,
    scored: Scored,
    pair: tuple[int, int],
    chosen: npt.NDArray[np.int64],
    *,
    show_values: bool,
) -> Explanation:
    """Explain one pair by row numbers; it need not be a candidate."""
    if prepared.records.duplicates:
        if pair[0] == pair[1]:
            raise LinkageUsage("both ids are the same row. Give two different rows.")
        pair = (min(pair), max(pair))
    left, right = np.array([pair[0]], np.int32), np.array([pair[1]], np.int32)
    levels = compared.layout.decode(compare_pairs(prepared.records, compared.comparers, left, right, compared.layout))
    table = pattern_table(levels, fit, compared.names, compared.layout.sizes)
    given, family = frequency_terms(prepared.records, compared.comparers, levels, left)
    weight = float(table.corrected(np.zeros(1, np.int32), given, family)[0])
    prior, parts = _waterfall(levels[0], fit, compared)
    competition = _competition(prepared, scored, pair, weight)
    log_odds = weight + competition
    at = int(positions(compared.candidates, left, right, prepared.records.rows_right)[0])
    mask = int(compared.candidates.rules[at]) if at >= 0 else 0
    rules = [c.rule for c in compared.blocked.counts]
    right_side = prepared.resolved.right or prepared.resolved.left
    return Explanation(
        left=prepared.resolved.left.name,
        right=right_side.name,
        left_id=prepared.left_ids[pair[0]],
        right_id=prepared.right_ids[pair[1]],
        rules=tuple(r.name for k, r in enumerate(rules) if mask >> k & 1),
        prior_bits=prior / LN2,
        contributions=_contributions(prepared, compared, levels[0], parts, pair, show_values=show_values),
        frequency_bits=(weight - float(table.weight[0])) / LN2,
        weight_bits=weight / LN2,
        probability=_sigmoid(weight),
        competition_bits=competition / LN2,
        confidence_score=_sigmoid(log_odds),
        linked=bool(((scored.left[chosen] == pair[0]) & (scored.right[chosen] == pair[1])).any()),
        classes=_classes(levels, fit, compared, float(given[0]), float(family[0])),
        competitors=_competitors(prepared, scored, pair),
        failed=tuple(_failed(prepared, r, pair) for k, r in enumerate(rules) if not mask >> k & 1),
    )


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x))) if x >= 0 else float(np.exp(x) / (1 + np.exp(x)))


def _waterfall(levels: npt.NDArray[np.int8], fit: Fit, compared: Compared) -> tuple[float, list[float]]:
    """Prior weight and the Shapley value of each comparison: weights of all subsets, a comparison left out being missing."""
    number = len(levels)
    present = [n for n in range(number) if levels[n] >= 0]
    if len(present) > _EXACT_UP_TO:
        raise LinkageUsage(f"{len(present)} comparisons are too many to explain exactly; at most {_EXACT_UP_TO} are")
    subsets = np.full((1 << len(present), number), -1, np.int8)
    for bit, column in enumerate(present):
        subsets[(np.arange(1 << len(present)) >> bit & 1).astype(bool), column] = levels[column]
    weights = pattern_table(subsets, fit, compared.names, compared.layout.sizes).weight
    values = shapley(weights, len(present))
    by_column = dict(zip(present, values, strict=True))
    return float(weights[0]), [by_column.get(n, 0.0) for n in range(number)]


def shapley(worth: npt.NDArray[np.float64], players: int) -> list[float]:
    """Shapley values of a game given by the worth of each subset (bit k set: player k takes part); they add up exactly."""
    subsets = np.arange(1 << players)
    size = np.bitwise_count(subsets)
    share = np.array([factorial(s) * factorial(players - s - 1) / factorial(players) for s in range(players)])
    found = []
    for player in range(players):
        without = subsets[(subsets >> player & 1) == 0]
        found.append(float((share[size[without]] * (worth[without | 1 << player] - worth[without])).sum()))
    return found


def _competition(prepared: Prepared, scored: Scored, pair: tuple[int, int], weight: float) -> float:
    """Log-odds of the confidence against the weight: what the other candidates of both rows take away."""
    cardinality = prepared.resolved.model.cardinality
    other = 0.0
    if cardinality != "many-to-many":
        rival = (scored.right == pair[1]) & (scored.left != pair[0])
        if cardinality == "one-to-one":
            rival |= (scored.left == pair[0]) & (scored.right != pair[1])
        other = float(np.exp(np.minimum(scored.weight[rival], MAX_WEIGHT)).sum())
    return -float(np.log1p(other)) + min(weight, MAX_WEIGHT) - weight


def _contributions(
    prepared: Prepared,
    compared: Compared,
    levels: npt.NDArray[np.int8],
    bits: Sequence[float],
    pair: tuple[int, int],
    *,
    show_values: bool,
) -> tuple[Contribution, ...]:
    found = []
    for number, comparer in enumerate(compared.comparers):
        level = None if levels[number] < 0 else comparer.level_names[levels[number]]
        values = None
        if show_values:
            values = tuple(
                " ".join(v for v in side if v) or None
                for side in zip(*(_values(prepared, r, pair) for r in comparer.roles), strict=True)
            )
        found.append(Contribution(comparer.name, level, bits[number] / LN2, values))  # type: ignore[arg-type]  # two sides
    return tuple(found)


def _values(prepared: Prepared, role: str, pair: tuple[int, int]) -> tuple[str | None, str | None]:
    one = prepared.records.roles[role]
    codes = int(one.left[pair[0]]), int(one.right[pair[1]])
    a, b = (None if c < 0 else str(one.vocabulary.values[c].as_py()) for c in codes)
    return a, b


def _classes(
    levels: npt.NDArray[np.int8], fit: Fit, compared: Compared, given: float, family: float
) -> tuple[tuple[str, float], ...]:
    joint = class_joint(levels, fit, compared.names, compared.layout.sizes)[0].copy()
    for k, one in enumerate(fit.classes):
        if k:
            joint[k] += given + (0 if one.origin == "household" else family)
    share = np.exp(joint - np.logaddexp.reduce(joint))
    order = np.argsort(-share, kind="stable")
    return tuple((fit.classes[k].name, float(share[k])) for k in order)


def _competitors(prepared: Prepared, scored: Scored, pair: tuple[int, int]) -> tuple[Competitor, ...]:
    found = []
    for side, same, other, rows, ids in (
        ("left", scored.right == pair[1], scored.left != pair[0], scored.left, prepared.left_ids),
        ("right", scored.left == pair[0], scored.right != pair[1], scored.right, prepared.right_ids),
    ):
        found += [
            Competitor(side, ids[int(rows[at])], float(scored.weight[at]) / LN2) for at in np.flatnonzero(same & other)
        ]
    return tuple(sorted(found, key=lambda c: -c.weight_bits)[:10])


def _failed(prepared: Prepared, rule: BlockingRule, pair: tuple[int, int]) -> FailedRule:
    missing, different = [], []
    for key in rule.keys:
        one = prepared.records.roles[key]
        a, b = int(one.left[pair[0]]), int(one.right[pair[1]])
        if a < 0 or b < 0:
            missing.append(key)
        elif a != b or (one.no_key is not None and one.no_key[a]):
            different.append(key)
    return FailedRule(rule.name, tuple(missing), tuple(different))
