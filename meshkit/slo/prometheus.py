"""Metrics of evaluations in Prometheus' text format. Labels are `domain, product, port, sli` only; unknown is absent, never 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshkit.slo.models import Evaluation, IndicatorState

__all__ = ["to_metrics"]

_HELP = {
    "meshkit_sli_ratio": "Attainment of the promise over the window, 0..1.",
    "meshkit_sli_badness": "How bad the promise is kept now, 0..1.",
    "meshkit_sli_bad": "1 if the promise is broken now.",
    "meshkit_sli_measured": "1 if the promise is measured.",
    "meshkit_slo_target": "What is promised, 0..1.",
    "meshkit_error_budget_remaining_ratio": "Error budget left in the window; below 0 is overspent.",
    "meshkit_freshness_seconds": "Age of the newest data in seconds.",
    "meshkit_measurement_coverage_ratio": "Share of slices that were measured, 0..1.",
    "meshkit_trust_score": "Trust score, 0..100.",
}


def to_metrics(evaluations: Iterable[Evaluation]) -> str:
    """Text exposition of all products, ready to be scraped."""
    samples: dict[str, list[str]] = {name: [] for name in _HELP}
    for evaluation in evaluations:
        domain = evaluation.product.rpartition(".")[0]
        for state in evaluation.indicators:
            labels = _labels(domain=domain, product=evaluation.product, port=state.promise.port, sli=state.promise.sli)
            for name, value in _samples(state):
                line = f"{name}{labels} {value:.10g}"
                if line.partition(" ")[0] not in {s.partition(" ")[0] for s in samples[name]}:
                    samples[name].append(line)
        if evaluation.trust is not None and evaluation.trust.score is not None:
            labels = _labels(domain=domain, product=evaluation.product)
            samples["meshkit_trust_score"].append(f"meshkit_trust_score{labels} {evaluation.trust.score:.10g}")
    return "".join(_family(name, lines) for name, lines in samples.items() if lines)


def _family(name: str, lines: list[str]) -> str:
    return f"# HELP {name} {_HELP[name]}\n# TYPE {name} gauge\n" + "".join(f"{line}\n" for line in lines)


def _labels(**labels: str) -> str:
    escaped = (f'{k}="{_escape(v)}"' for k, v in labels.items())
    return "{" + ",".join(escaped) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _samples(state: IndicatorState) -> Iterator[tuple[str, float]]:
    judged, budget, promise = state.judged, state.budget, state.promise
    measured = judged.verdict != "not_measured"
    yield "meshkit_slo_target", promise.target_ratio
    yield "meshkit_sli_measured", float(measured)
    yield "meshkit_measurement_coverage_ratio", budget.coverage_ratio
    if budget.attainment_ratio is not None:
        yield "meshkit_sli_ratio", budget.attainment_ratio
        if budget.remaining_ratio is not None:
            yield "meshkit_error_budget_remaining_ratio", budget.remaining_ratio
    if not measured or judged.actual is None:
        return
    if promise.sli == "freshness":
        yield "meshkit_freshness_seconds", judged.actual
        yield "meshkit_sli_badness", float(judged.verdict == "fail")
    else:
        yield "meshkit_sli_badness", 1 - judged.actual
    yield "meshkit_sli_bad", float(judged.verdict == "fail")
