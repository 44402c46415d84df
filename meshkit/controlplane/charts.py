"""Charts as SVG: attributes and classes only, hidden from assistive technology; the same facts stand in words beside them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from meshkit.controlplane import words

if TYPE_CHECKING:
    from meshkit.slo.models import Evidence, IndicatorState

__all__ = ["age_line", "bar", "budget_line", "burn_down", "day_states", "strip"]

_DAY = timedelta(days=1)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def bar(remaining: float | None, state: str) -> str:
    """Error budget left as a bar; empty when overspent, nothing when unknown."""
    if remaining is None:
        return ""
    width = 56 * min(1.0, max(0.0, remaining))
    return (
        f'<svg class="bar {words.glyph(state)}" viewBox="0 0 56 6" aria-hidden="true">'
        f'<rect width="56" height="6"/><rect class="v" width="{_n(width)}" height="6"/></svg>'
    )


def _left(
    state: IndicatorState, start: datetime, end: datetime
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Budget left as points (share of the window, ratio), and the bad stretches as shares of the window."""
    size, allowed = state.promise.slice_seconds, state.budget.allowed
    begin, whole = start.timestamp(), (end - start).total_seconds()
    used, points, bad = 0.0, [(0.0, 1.0)], []
    for first, last, badness in state.spans:
        x1 = min(1.0, max(0.0, (first * size - begin) / whole))
        x2 = min(1.0, max(0.0, (last * size - begin) / whole))
        points.append((x1, 1 - used / allowed))
        used += (last - first) * badness
        points.append((x2, 1 - used / allowed))
        if badness:
            bad.append((x1, x2))
    points.append((1.0, 1 - used / allowed))
    return points, bad


def budget_line(state: IndicatorState, *, end: datetime, window: timedelta) -> str:
    """Budget left over the window as a line, broken time as marks below; empty where there is no budget or no evidence."""
    if state.budget.allowed <= 0 or not state.spans:
        return ""
    points, bad = _left(state, end - window, end)
    xy = [(475.5 * x, 4 + 36 * (1 - min(1.0, max(0.0, y)))) for x, y in points]
    line = "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in xy)
    rug = "".join(f'<path class="rug" d="M{_n(475.5 * a)} 45H{_n(max(475.5 * b, 475.5 * a + 2))}"/>' for a, b in bad)
    x, y = xy[-1]
    return (
        f'<svg class="chart {words.glyph(state.state)}" viewBox="0 0 480 48" aria-hidden="true"><path class="area" d="{line}V40H0z"/>'
        f'<path class="base" d="M0 40H480"/><path class="line" d="{line}"/>{rug}<circle cx="{_n(x)}" cy="{_n(y)}" r="3"/></svg>'
    )


def burn_down(state: IndicatorState, *, end: datetime, window: timedelta) -> str:
    """The budget of an incident with its scale: 100 %, 50 %, 25 % (at risk), 0."""
    if state.budget.allowed <= 0 or not state.spans:
        return ""
    points, bad = _left(state, end - window, end)
    at = [(48 + 492 * x, 8 + 200 * (1 - min(1.0, max(0.0, y)))) for x, y in points]
    parts = [f'<svg class="chart {words.glyph(state.state)} big" viewBox="0 0 620 232" aria-hidden="true">']
    for level, kind, text in ((8, "grid", "100 %"), (108, "grid", "50 %"), (158, "goal", "25 %"), (208, "base", "0")):
        parts.append(
            f'<path class="{kind}" d="M48 {level}H540"/><text x="42" y="{level + 4}" text-anchor="end">{text}</text>'
        )
    for a, b in bad:
        x1, x2 = 48 + 492 * a, max(48 + 492 * b, 48 + 492 * a + 1)
        parts.append(f'<path class="late" d="M{_n(x1)} 8H{_n(x2)}V208H{_n(x1)}z"/>')
    x, y = at[-1]
    left = words.budget(state.budget.remaining_ratio)
    said = "overspent" if left.startswith("over") else f"{left} left"
    low = 162 if abs(y - 158) > 14 else 142
    parts.append(
        f'<path class="line" d="M{"L".join(f"{_n(px)} {_n(py)}" for px, py in at)}"/><circle cx="{_n(x)}" cy="{_n(y)}" r="4"/>'
    )
    parts.append(f'<text class="v" x="548" y="{_n(y + 4)}">{said}</text><text x="548" y="{low}">at risk</text>')
    for weeks in range(1, 5):
        moment = end - timedelta(days=7 * weeks)
        share = 1 - timedelta(days=7 * weeks) / window
        if 0.03 < share < 0.97:
            parts.append(
                f'<text x="{_n(48 + 492 * share)}" y="226" text-anchor="middle">{words.day(moment, end)}</text>'
            )
    return "".join([*parts, "</svg>"])


def age_line(evidence: Iterable[Evidence], *, limit: float, end: datetime, hours: int = 8) -> str:
    """Age of the newest row over the last hours, against its promise; empty with fewer than two measurements in that time."""
    begin = end - timedelta(hours=hours)
    seen = sorted((e.observed_at, e.value) for e in evidence if e.value is not None and e.observed_at <= end)
    inside = [(at, value) for at, value in seen if at > begin]
    before = [value for at, value in seen if at <= begin]
    if len(inside) + bool(before) < 2:
        return ""
    newest = before[-1] if before else inside[0][1]
    points = [(begin if before else inside[0][0], newest)]
    for at, value in inside:
        points += [(at, newest), (at, max(newest, value))]
        newest = max(newest, value)
    points.append((end, newest))
    ages = [(at, max(0.0, at.timestamp() - value)) for at, value in points]
    top = max(*(a for _, a in ages), limit) or 1.0

    def xy(at: datetime, value: float) -> str:
        return f"{_n(260 * ((at - begin) / (end - begin)))} {_n(114 - 100.5 * value / top)}"

    goal, last = 114 - 100.5 * limit / top, ages[-1][1]
    y = 114 - 100.5 * last / top
    line = "L".join(xy(at, a) for at, a in ages)
    label = goal + 4 if abs(goal - y) > 16 else (y + 20 if y < goal else y - 12)
    return (
        f'<svg class="chart {"bad" if last > limit else "ok"}" viewBox="0 0 320 132" aria-hidden="true"><path class="goal" d="M0 {_n(goal)}H260"/>'
        f'<path class="base" d="M0 114H260"/><path class="line" d="M{line}"/><circle cx="260" cy="{_n(y)}" r="3.5"/>'
        f'<text class="v" x="320" y="{_n(y + 4)}" text-anchor="end">{words.age(last, promised=limit)}</text>'
        f'<text x="320" y="{_n(label)}" text-anchor="end">{words.length(limit)}</text><text x="0" y="128">{begin:%H:%M}</text>'
        f'<text x="260" y="128" text-anchor="end">now</text></svg>'
    )


def day_states(states: Iterable[IndicatorState], *, end: datetime, days: int = 30) -> list[str]:
    """Per day the worst of all promises: `none` where nothing was measured, `ok`, `risk` under 6 h bad, `bad`."""
    first_day = datetime(end.year, end.month, end.day, tzinfo=UTC) - _DAY * (days - 1)
    found: list[str] = ["none"] * days
    order = ("none", "ok", "risk", "bad")
    for state in states:
        size = state.promise.slice_seconds
        limit = 0.0 if state.promise.sli == "freshness" else 1 - state.promise.target_ratio + 1e-12
        seconds: list[float | None] = [None] * days
        for first, last, badness in state.spans:
            start, stop = first * size - first_day.timestamp(), last * size - first_day.timestamp()
            for index in range(max(0, int(start // 86400)), min(days - 1, int((stop - 1) // 86400)) + 1):
                part = min(stop, (index + 1) * 86400) - max(start, index * 86400)
                seconds[index] = (seconds[index] or 0.0) + (part if badness > limit else 0.0)
        for index, value in enumerate(seconds):
            mine = "none" if value is None else "ok" if value == 0 else "risk" if value < 6 * 3600 else "bad"
            found[index] = max(found[index], mine, key=order.index)
    return found


_SHAPES = {"ok": (20, 4), "risk": (12, 12), "bad": (0, 24)}


def strip(days: Sequence[str]) -> str:
    """A bar a day whose height is the state."""
    parts = [f'<svg class="strip" viewBox="0 0 {12 * len(days)} 24" preserveAspectRatio="none" aria-hidden="true">']
    for index, state in enumerate(days):
        if state == "none":
            parts.append(f'<rect class="none" x="{12 * index + 1.5}" y="1.5" width="8" height="21"/>')
        else:
            y, height = _SHAPES[state]
            parts.append(f'<rect class="{state}" x="{12 * index + 1}" y="{y}" width="9" height="{height}"/>')
    return "".join([*parts, "</svg>"])
