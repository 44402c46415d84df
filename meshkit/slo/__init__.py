"""`meshkit.slo`: promises, evidence, budgets, trust. Unknown is a state, never a pass.

evaluate(manifest)                        measure now and judge every promise
score_trust(attainment, coverage)         the trust score with its breakdown
to_metrics(evaluations)                   Prometheus text
"""

from meshkit.slo.check import SloReport, evaluate
from meshkit.slo.collect import collect
from meshkit.slo.evaluate import judge, slice_spans, spend_budget
from meshkit.slo.evidence.publish import from_publish
from meshkit.slo.models import Budget, Evaluation, Evidence, IndicatorState, Judged, Promise, TrustLine, TrustScore
from meshkit.slo.prometheus import to_metrics
from meshkit.slo.promises import promises_of, unmonitored
from meshkit.slo.settings import SloSettings
from meshkit.slo.spell import block, spell_age, spell_limit
from meshkit.slo.store import EvidenceStore
from meshkit.slo.trust import score_trust, trust_of

__all__ = [
    "Budget",
    "Evaluation",
    "Evidence",
    "EvidenceStore",
    "IndicatorState",
    "Judged",
    "Promise",
    "SloReport",
    "SloSettings",
    "TrustLine",
    "TrustScore",
    "block",
    "collect",
    "evaluate",
    "from_publish",
    "judge",
    "promises_of",
    "score_trust",
    "slice_spans",
    "spell_age",
    "spell_limit",
    "spend_budget",
    "to_metrics",
    "trust_of",
    "unmonitored",
]
