"""`Linker`: the steps of a linkage in order, each done once and kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa

from meshkit._diagnostics import Diagnostic
from meshkit.identity.block import Blocked, block
from meshkit.identity.cluster import EntityTable, entities_of_links
from meshkit.identity.doubts import Doubt, estimate_blocking_recall, find_doubts
from meshkit.identity.errors import LinkageModelError, LinkageUsage, NotInThisRelease, TooLittleMemory
from meshkit.identity.estimate import Compared, check_fit, compare_candidates, estimate_fit
from meshkit.identity.evaluate import Evaluation, evaluate_labels
from meshkit.identity.explain import Explanation, explain_pair
from meshkit.identity.labels import read_labels
from meshkit.identity.model import Fit, LinkageModel
from meshkit.identity.plan import LinkPlan, plan_of
from meshkit.identity.predict import Predictions, Scored, rule_names, score_candidates
from meshkit.identity.prepare import Prepared, Resolved, prepare, resolve
from meshkit.identity.rules import BlockingRule
from meshkit.identity.score import LN2, choose
from meshkit.identity.side import FrameLike, Side, as_side
from meshkit.identity.table import ColumnLineage, LinkageTable, LinkReport, id_names

if TYPE_CHECKING:
    from meshkit.identity.model import SideModel

__all__ = ["Linker"]

Positions: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
MIN_WEIGHT_BITS = -7.0
LEAST_THRESHOLD = 0.2


class Linker:
    """Finds rows of two sides (or of one: duplicates) that are the same person or organisation, with a probability.

    `rules` None: roles, blocking and comparisons are inferred from tags and column names. `seed` decides which random pairs the
    estimate looks at. `memory_limit_bytes`: default half of the memory; more is refused before anything is compared.

        Linker(Side.of(users, name="sales.users", id="user_id"),
               Side.of(customers, name="marketing.customers", id="customer_id")).link().to_polars()
    """

    def __init__(
        self,
        left: Side | FrameLike,
        right: Side | FrameLike | None = None,
        rules: LinkageModel | None = None,
        *,
        engine: str = "polars",
        memory_limit_bytes: int | None = None,
        seed: int = 0,
    ) -> None:
        if engine != "polars":
            raise NotInThisRelease(f"linkage engine {engine!r}", "Use engine='polars'.")
        rules = LinkageModel() if rules is None else rules
        left = as_side(left, "left", rules.left.id)
        right_model: SideModel | None = rules.right
        right = None if right is None else as_side(right, "right", right_model.id if right_model else None)
        self._resolved = resolve(left, right, rules)
        self._seed = seed
        self._memory_limit_bytes = memory_limit_bytes
        self._fit: Fit | None = rules.fit if isinstance(rules.fit, Fit) else None
        self._fitted = "model" if self._fit is not None else "now"
        self._prepared: Prepared | None = None
        self._blocked: Blocked | None = None
        self._compared: Compared | None = None
        self._checked = False
        self._scored: dict[float, Scored] = {}

    @property
    def model(self) -> LinkageModel:
        """The complete model: with inferred roles and rules, and the fit once there is one."""
        return (
            self._resolved.model.model_copy(update={"fit": self._fit})
            if self._fit is not None
            else self._resolved.model
        )

    def plan(self, *, union: bool = False) -> LinkPlan:
        """Roles, rules with exact pair counts, memory, columns read. Compares nothing; `union` joins, to count new pairs per rule."""
        prepared, blocked = self._read(), self._block()
        return plan_of(prepared, blocked, self._new_pairs(blocked) if union else None)

    def estimate(self, *, labels: FrameLike | None = None) -> LinkageModel:
        """The same rules with `fit`, kept for the calls below. Labels take part with certainty."""
        prepared, compared = self._read(), self._compare()
        said = None if labels is None else read_labels(labels, prepared)
        self._fit = estimate_fit(prepared, compared, seed=self._seed, labels=said)
        self._fitted, self._checked, self._scored = "now", True, {}
        return self.model

    def predict(self, *, min_weight_bits: float = MIN_WEIGHT_BITS) -> Predictions:
        """Scored pairs before any choice; estimates if there is no fit."""
        scored = self._score(min_weight_bits)
        return Predictions.of(self._read(), self._compare(), scored)

    def link(self, *, threshold: float | None = None) -> LinkageTable:
        """The links with a confidence of at least `threshold` (default: the model's). Doubts are in the report, not raised."""
        at_least = self._resolved.model.thresholds.link if threshold is None else threshold
        if not LEAST_THRESHOLD <= at_least <= 1:
            raise LinkageUsage(f"a threshold of {at_least:g} is outside {LEAST_THRESHOLD:g} to 1")
        prepared, compared, scored = self._read(), self._compare(), self._score(MIN_WEIGHT_BITS)
        chosen = choose(
            scored.left,
            scored.right,
            scored.weight,
            scored.confidence,
            self._resolved.model.cardinality,
            prepared.id_ranks,
        )
        links = chosen[scored.confidence[chosen] >= at_least]
        return self._table(prepared, compared, scored, links, chosen, at_least)

    def cluster(self, *, threshold: float | None = None) -> EntityTable:
        """Entities: connected links. `[entity_id, product, record_id, confidence_score]`; rows without link stand alone."""
        links = self.link(threshold=threshold)
        prepared = self._read()
        right = None if self._resolved.right is None else (self._resolved.right.name, prepared.right_ids)
        return entities_of_links(links, (self._resolved.left.name, prepared.left_ids), right)

    @classmethod
    def dedupe(
        cls, frame: Side | FrameLike, rules: LinkageModel | None = None, *, threshold: float = 0.5
    ) -> EntityTable:
        """Entities within one frame."""
        return cls(frame, None, rules).cluster(threshold=threshold)

    def explain(self, left_id: Any, right_id: Any, *, show_values: bool = False) -> Explanation:
        """Why a pair has its confidence, candidate or not. Levels only; `show_values` adds standardised values."""
        prepared, compared, scored = self._read(), self._compare(), self._score(MIN_WEIGHT_BITS)
        assert self._fit is not None
        pair = prepared.row("left", left_id), prepared.row("right", right_id)
        return explain_pair(prepared, compared, self._fit, scored, pair, self._chosen(scored), show_values=show_values)

    def evaluate(self, labels: FrameLike, *, complete: bool = False) -> Evaluation:
        """Precision and recall against labels with exact intervals, and where true pairs were lost.

        `complete`: every other pair of a labelled left row is false.
        """
        prepared, compared, scored = self._read(), self._compare(), self._score(MIN_WEIGHT_BITS)
        said = read_labels(labels, prepared)
        threshold = self._resolved.model.thresholds.link
        return evaluate_labels(
            prepared, compared, scored, self._chosen(scored), said, threshold=threshold, complete=complete
        )

    # Stages ------------------------------------------------------------------------------------------------------------

    def _read(self) -> Prepared:
        if self._prepared is None:
            self._prepared = prepare(self._resolved, last_year=datetime.now(UTC).year)
        return self._prepared

    def _block(self) -> Blocked:
        if self._blocked is None:
            records = self._read().records
            usable = [r for r in self._resolved.model.blocking if all(records.has(k) for k in r.keys)]
            if not usable:
                found = Diagnostic(
                    "identity.model",
                    "no blocking rule has values on both sides",
                    "Name other rules.",
                    file=self._resolved.model.name,
                )
                raise LinkageModelError([found])
            if tuple(usable) != self._resolved.model.blocking:  # a role without values on one side
                self._resolved = _without_rules(self._resolved, usable)
                self._prepared = Prepared(self._resolved, self._read().left_ids, self._read().right_ids, records)
            self._blocked = block(records, usable)
        return self._blocked

    def _compare(self) -> Compared:
        if self._compared is None:
            blocked = self._block()
            self._refuse_memory(plan_of(self._read(), blocked).memory_bytes)
            self._compared = compare_candidates(self._read(), blocked)
        return self._compared

    def _refuse_memory(self, needed: int) -> None:
        limit = self._memory_limit_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        if needed > limit:
            raise TooLittleMemory(needed, limit)

    def _score(self, min_weight_bits: float) -> Scored:
        compared = self._compare()
        if self._fit is None:
            self.estimate()
        assert self._fit is not None
        if not self._checked:
            check_fit(self._resolved.model, self._fit, compared)
            self._checked = True
        if min_weight_bits not in self._scored:
            self._scored = {
                min_weight_bits: score_candidates(self._read(), compared, self._fit, min_weight_bits=min_weight_bits)
            }
        return self._scored[min_weight_bits]

    def _chosen(self, scored: Scored) -> Positions:
        model = self._resolved.model
        chosen = choose(
            scored.left, scored.right, scored.weight, scored.confidence, model.cardinality, self._read().id_ranks
        )
        return chosen[scored.confidence[chosen] >= model.thresholds.link]

    def _new_pairs(self, blocked: Blocked) -> tuple[int, ...]:
        masks = self._compare().candidates.rules
        first = masks & (~masks + np.uint32(1))  # the first rule that found a pair
        return tuple(int((first == np.uint32(1 << k)).sum()) for k in range(len(blocked.counts)))

    def _table(
        self,
        prepared: Prepared,
        compared: Compared,
        scored: Scored,
        links: Positions,
        chosen: Positions,
        threshold: float,
    ) -> LinkageTable:
        left, right = self._resolved.left, self._resolved.right
        names = id_names(left, right)
        oldest = pl.CompatLevel.oldest()
        table = pa.table(
            {
                names[0]: prepared.left_ids.gather(scored.left[links]).to_arrow(compat_level=oldest),
                names[1]: prepared.right_ids.gather(scored.right[links]).to_arrow(compat_level=oldest),
                "confidence_score": pa.array(scored.confidence[links], pa.float64()),
            }
        )
        assert self._fit is not None

        def details() -> dict[str, Any]:
            at = scored.at[links]
            return {
                "weight_bits": pa.array(scored.weight[links] / LN2),
                "pattern": pa.array(compared.counts.patterns[compared.counts.of_pair[at]]),
                "rules": rule_names(compared, compared.candidates.rules[at]),
            }

        report = self._report(prepared, compared, scored, links, chosen, threshold)
        urns = (left.name, (right or left).name)
        return LinkageTable(table, report, self._lineage(names), details, urns)

    def _lineage(self, names: tuple[str, str]) -> tuple[ColumnLineage, ...]:
        resolved = self._resolved
        right = resolved.right or resolved.left
        found = [
            ColumnLineage(names[0], resolved.left.name, resolved.left.id, "DIRECT", "IDENTITY"),
            ColumnLineage(names[1], right.name, right.id, "DIRECT", "IDENTITY"),
        ]
        for side, roles in ((resolved.left, resolved.left_roles), (right, resolved.right_roles)):
            found += [ColumnLineage("*", side.name, r.column, "INDIRECT", "JOIN") for r in roles]
        return tuple(dict.fromkeys(found))

    def _report(
        self,
        prepared: Prepared,
        compared: Compared,
        scored: Scored,
        links: Positions,
        chosen: Positions,
        threshold: float,
    ) -> LinkReport:
        assert self._fit is not None
        fit, model, records = self._fit, self._resolved.model, prepared.records
        confidence = scored.confidence[links]
        everything = float(scored.confidence.sum())
        rows = (records.rows_left, records.rows_right)
        masks = compared.candidates.rules[scored.at]
        doubts: Sequence[Doubt] = find_doubts(fit, scored, chosen, model.cardinality, rows)
        right = self._resolved.right or self._resolved.left
        return LinkReport(
            left=self._resolved.left.name,
            right=right.name,
            rows=rows,
            linked=(len(np.unique(scored.left[links])), len(np.unique(scored.right[links]))),
            model=model.name,
            digest=model.digest(),
            fitted=self._fitted,
            iterations=fit.iterations,
            converged=fit.converged,
            candidates=len(compared.candidates),
            links=len(links),
            threshold=threshold,
            precision=float(confidence.mean()) if len(links) else None,
            recall_of_candidates=float(confidence.sum()) / everything if everything else None,
            blocking_recall=estimate_blocking_recall(masks, scored.probability, len(compared.blocked.counts)),
            classes=tuple((c.name, c.origin, c.weight * fit.pairs) for c in fit.classes),
            doubts=tuple(doubts),
            capped=tuple(c.capped for c in compared.blocked.counts if c.capped is not None),
            warnings=records.warnings,
        )


def _without_rules(resolved: Resolved, usable: Sequence[BlockingRule]) -> Resolved:
    return replace(resolved, model=resolved.model.model_copy(update={"blocking": tuple(usable)}))
