"""Scored pairs before any choice: weights, probabilities, confidences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from meshkit.identity.compare import Comparer
from meshkit.identity.encode import Records
from meshkit.identity.estimate import Compared
from meshkit.identity.model import Fit
from meshkit.identity.prepare import Prepared
from meshkit.identity.score import LN2, confidences, corrections, pattern_table

__all__ = ["Predictions", "Scored", "frequency_terms", "rule_names", "score_candidates"]

Floats = npt.NDArray[np.float64]
_SLACK_BITS = 10.0  # a rare name can lift a pair by this much at most before it is worth scoring


@dataclass(frozen=True, slots=True)
class Scored:
    """Pairs above the least weight, by row number; `at` is their position among the candidates. Weights in nats."""

    at: npt.NDArray[np.int64]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    weight: Floats
    probability: Floats
    confidence: Floats

    def __len__(self) -> int:
        return len(self.at)


def score_candidates(prepared: Prepared, compared: Compared, fit: Fit, *, min_weight_bits: float) -> Scored:
    """Weights by table and frequencies, and posteriors under the model's cardinality."""
    counts, candidates = compared.counts, compared.candidates
    table = pattern_table(counts.levels, fit, compared.names, compared.layout.sizes)
    worth = table.weight >= (min_weight_bits - _SLACK_BITS) * LN2
    at = np.flatnonzero(worth[counts.of_pair])
    left, right, of_pair = candidates.left[at], candidates.right[at], counts.of_pair[at]
    given, family = frequency_terms(prepared.records, compared.comparers, counts.levels[of_pair], left)
    weight = table.corrected(of_pair, given, family)
    keep = weight >= min_weight_bits * LN2
    at, left, right, weight = at[keep], left[keep], right[keep], weight[keep]
    confidence = confidences(left, right, weight, prepared.resolved.model.cardinality)
    return Scored(at, left, right, weight, 1 / (1 + np.exp(-weight)), confidence)


def frequency_terms(
    records: Records, comparers: Sequence[Comparer], levels: npt.NDArray[np.int8], left: npt.NDArray[np.int32]
) -> tuple[Floats, Floats]:
    """Corrections of pairs on exact levels: what counts in every non-match class, and what does not count in households."""
    everywhere, family = np.zeros(len(left)), np.zeros(len(left))
    for number, comparer in enumerate(comparers):
        role = comparer.exact_role
        if not comparer.comparison.frequency or role is None:
            continue
        exact = np.flatnonzero(levels[:, number] == comparer.size - 1)
        terms = corrections(records.roles[role], duplicates=records.duplicates)
        target = family if comparer.comparison.kind == "family_name" else everywhere
        target[exact] += terms[records.roles[role].left[left[exact]]]
    return everywhere, family


def rule_names(compared: Compared, masks: npt.NDArray[np.uint32]) -> pa.Array:
    """Rules that found each pair, as text like `email, postcode+family_name`."""
    distinct, codes = np.unique(masks, return_inverse=True)
    names = [c.rule.name for c in compared.blocked.counts]
    said = [", ".join(n for k, n in enumerate(names) if int(mask) >> k & 1) for mask in distinct]
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(said, pa.string()))


@dataclass(frozen=True, slots=True)
class Predictions:
    """Arrow table `left_id right_id weight_bits probability confidence_score pattern rules`, in order of rows."""

    table: pa.Table = field(repr=False)

    @classmethod
    def of(cls, prepared: Prepared, compared: Compared, scored: Scored) -> Predictions:
        """Predictions with the sides' own ids."""
        patterns = compared.counts.patterns[compared.counts.of_pair[scored.at]]
        return cls(
            pa.table(
                {
                    "left_id": prepared.left_ids.gather(scored.left).to_arrow(compat_level=pl.CompatLevel.oldest()),
                    "right_id": prepared.right_ids.gather(scored.right).to_arrow(compat_level=pl.CompatLevel.oldest()),
                    "weight_bits": pa.array(scored.weight / LN2),
                    "probability": pa.array(scored.probability),
                    "confidence_score": pa.array(scored.confidence),
                    "pattern": pa.array(patterns),
                    "rules": rule_names(compared, compared.candidates.rules[scored.at]),
                }
            )
        )

    def to_arrow(self) -> pa.Table:
        """As an Arrow table."""
        return self.table

    def to_polars(self) -> pl.DataFrame:
        """As a polars frame."""
        frame = pl.from_arrow(self.table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)
