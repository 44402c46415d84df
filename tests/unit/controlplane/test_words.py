"""Spelling of pages, by hand-computed values."""

from datetime import UTC, datetime, timedelta

import pytest

from meshkit.controlplane import words

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def plain(text):
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("seconds", "promised", "text"),
    [
        (145 * 60, 1800, "145 min"),
        (720, 3600, "12 min"),
        (5 * 3600 + 900, 86400, "5 h"),
        (2.5 * 86400, 7 * 86400, "2 d"),
        (30, 3600, "30 s"),
        (None, 3600, "unknown"),
        (-5, None, "0 s"),
        (26 * 3600, 30 * 3600, "26 h"),
    ],
)
def test_ages_are_in_the_unit_of_their_promise(seconds, promised, text):
    """Or a smaller one."""
    assert plain(words.age(seconds, promised=promised)) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.99, "99 %"), (0.99996, "99.99 %"), (0.9925, "99.25 %"), (1.0, "100 %"), (None, "unknown"), (0.0, "0 %")],
)
def test_percents_never_round_up(ratio, text):
    """A broken promise never reads as kept."""
    assert plain(words.percent(ratio)) == text


@pytest.mark.parametrize(
    ("left", "text"), [(0.3199, "31 %"), (-0.4, "overspent by 40 %"), (None, "unknown"), (1.0, "100 %"), (0.0, "0 %")]
)
def test_budgets_are_whole_and_rounded_down(left, text):
    """Unknown is a word."""
    assert plain(words.budget(left)) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOW - timedelta(hours=1), "Today 08:00"),
        (NOW - timedelta(days=1), "Mon 09:00"),
        (datetime(2026, 11, 3, 1, 55, tzinfo=UTC), "3 Nov 01:55"),
        (datetime(2027, 2, 14, tzinfo=UTC), "14 Feb 2027 00:00"),
    ],
)
def test_times_say_the_day_as_people_do(moment, text):
    """UTC."""
    assert plain(words.when(moment, NOW)) == text


def test_spans_have_two_units():
    """`1 h 55 min`."""
    assert plain(words.span(6900)) == "1 h 55 min"
    assert plain(words.span(90 * 86400)) == "90 d"


def test_a_budget_line_ends_where_the_budget_is():
    """A day of 30 that was bad, at a target of 90 %: 3 d may be bad, two thirds are left."""
    from meshkit.controlplane import charts
    from meshkit.slo.evaluate import spend_budget
    from meshkit.slo.models import IndicatorState, Judged, Promise

    end, size = NOW, 300
    last = int(end.timestamp() // size)
    spans = ((last - 30 * 288, last - 288, 0.0), (last - 288, last, 1.0))
    promise = Promise("a.b", "freshness", "freshness", "p", 0.9, within=timedelta(hours=1), slice_seconds=size)
    budget = spend_budget(spans, target_ratio=0.9, expected=30 * 288, window_slices=30 * 288)
    state = IndicatorState(Judged(promise, "fail", 7200.0), budget, "breaching", spans)
    svg = charts.budget_line(state, end=end, window=timedelta(days=30))
    assert 'cy="16"' in svg  # 4 + 36 x 1/3
    assert charts.day_states([state], end=end)[-2:] == ["bad", "bad"]
    assert (
        charts.budget_line(
            IndicatorState(Judged(promise, "not_measured"), budget, "not measured", ()),
            end=end,
            window=timedelta(days=30),
        )
        == ""
    )
