"""`/trust`: open incidents by root cause with their budget, all products worst first, days by domain, the breakdown of one score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from meshkit.controlplane import charts, words
from meshkit.controlplane.pages.page import Page
from meshkit.controlplane.standing import bad_since, promise_view

if TYPE_CHECKING:
    from meshkit.controlplane.reader import Reader
    from meshkit.controlplane.standing import Standing

__all__ = ["trust", "trust_json"]


def trust(reader: Reader, *, product: str | None = None) -> Page:
    """The trust board. `product` chooses whose breakdown is shown; default the worst with a score."""
    board = reader.board
    roots = [s for s in board if s.state == "breaching" and s.depth == 0]
    chosen = reader.standings.get(product or "") or next((s for s in board if s.trust is not None), None)
    view: dict[str, Any] = {
        "board": board, "incidents": [_incident(reader, s, large=n == 0) for n, s in enumerate(roots)], "head": _head(board, roots),
        "window_days": reader.mesh.config.section("slo").window.days, "heat": _heat(reader), "chosen": chosen,
        "chosen_trust": reader.evaluations[chosen.id].trust if chosen else None, "unmeasured": [s for s in board if s.state == "not measured"],
        "first_day": charts_first_day(reader),
    }  # fmt: skip
    return Page("trust.html", "Trust", "/trust", trust_json(reader), view)


def trust_json(reader: Reader) -> dict[str, Any]:
    """`meshkit.controlplane.trust/1`: the board in its order, with the lines of each score."""
    rows = []
    for s in reader.board:
        score = reader.evaluations[s.id].trust
        lines = (
            [{"indicator": x.indicator, "points": x.points, "reason": x.reason} for x in score.lines] if score else []
        )
        rows.append({**s.to_json(), "lines": lines})
    return {"format": "meshkit.controlplane.trust/1", "as_of": reader.moment.isoformat(), "products": rows}


def charts_first_day(reader: Reader) -> str:
    """The first day of the strips."""
    from datetime import timedelta

    return words.day(reader.moment - timedelta(days=29), reader.moment)


def _head(board: Sequence[Standing], roots: Sequence[Standing]) -> str:
    need = [s for s in board if s.state in {"breaching", "at risk", "not measured"}]
    if not board:
        return "There is nothing to trust yet: this mesh has no products."
    if roots:
        explained = sum(s.state == "breaching" or s.cause is not None for s in board)
        many = f"{len(roots)} open {'incident explains' if len(roots) == 1 else 'incidents explain'}"
        return (
            f"{many} {explained} of the {len(need)} products that need attention."
            if len(need) > 1
            else f"{many} the one product that needs attention."
        )
    unknown = sum(s.state == "not measured" for s in board)
    if unknown:
        return f"No promise is known to be broken; {unknown} of {len(board)} products {'is' if unknown == 1 else 'are'} not measured."
    if need:
        return (
            f"No promise is broken; {len(need)} of {len(board)} products {'is' if len(need) == 1 else 'are'} at risk."
        )
    return (
        f"All {len(board)} products keep their promises." if len(board) > 1 else "The one product keeps its promises."
    )


def _incident(reader: Reader, standing: Standing, *, large: bool) -> dict[str, Any]:
    """What is broken, since when, whom it hurts."""
    evaluation = reader.evaluations[standing.id]
    failing = [i for i in evaluation.indicators if i.judged.verdict == "fail"] or [
        i for i in evaluation.indicators if i.state == "breaching"
    ]
    state = failing[0]
    since = bad_since(state)
    window = reader.mesh.config.section("slo").window
    hurt = [s for s in reader.board if s.cause == standing.id]
    graph = reader.graph
    readers = [graph.nodes[e.dst].label for e in graph.downstream(standing.urn) if graph.nodes[e.dst].kind != "product"]
    upstream = [
        reader.standings[p]
        for p in (s.product for s in standing.manifest.inputs.values())
        if p is not None and p in reader.standings
    ]
    late = [s for s in upstream if s.state in {"breaching", "not measured"}]
    slices = state.budget.allowed * state.promise.slice_seconds
    return {
        "s": standing, "promise": promise_view(state), "since": since, "span": words.span((reader.moment - since).total_seconds()) if since else "",
        "hurt": hurt, "readers": readers, "late": late, "chart": charts.burn_down(state, end=reader.moment, window=window) if large else "",
        "allowed": words.span(slices) if slices else "", "window": words.length(window.total_seconds()), "support": standing.manifest.support,
    }  # fmt: skip


def _heat(reader: Reader) -> list[dict[str, Any]]:
    """Thirty days of each domain; the worst product is the one with most bad time."""
    domains: dict[str, list[str]] = {}
    for name, manifest in reader.manifests.items():
        domains.setdefault(manifest.domain, []).append(name)
    rows = []
    for domain, names in domains.items():
        per = {n: charts.day_states(reader.evaluations[n].indicators, end=reader.moment) for n in names}
        days = [max((per[n][i] for n in names), key=("none", "ok", "risk", "bad").index) for i in range(30)]
        bad = sum(d in {"risk", "bad"} for d in days)
        worst = max(names, key=lambda n: (sum(d in {"risk", "bad"} for d in per[n]), n))
        rows.append({"domain": domain, "strip": charts.strip(days), "bad": bad, "unknown": days.count("none"),
                     "worst": worst if any(d in {"risk", "bad"} for d in per[worst]) else None})  # fmt: skip
    return sorted(rows, key=lambda r: (-int(r["bad"]), str(r["domain"])))
