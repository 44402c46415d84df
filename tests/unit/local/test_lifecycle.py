"""Decisions about a service's state, on a clock of numbers."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.local import lifecycle as life
from meshkit.local.lifecycle import State, Track


def ready(now: float = 1.0) -> Track:
    return life.answered(life.begun(Track("s3"), pid=7, now=0.0), now=now)


def test_ready_seconds_run_from_the_first_start_to_the_first_answer():
    """Setup and server are one start: the clock is not set back when the setup's process gives way to the server's."""
    setup = life.begun(Track("postgres"), pid=None, now=10.0)
    server = life.begun(setup, pid=5, now=10.4)
    assert life.answered(server, now=10.9).ready_seconds == 10.9 - 10.0
    assert life.answered(server, now=10.9).pid == 5


def test_a_missed_probe_while_starting_is_only_remembered():
    """A server that does not answer yet is starting, not degraded."""
    track = life.begun(Track("s3"), pid=7, now=0.0)
    for _ in range(10):
        track = life.missed(track, "no answer")
    assert (track.state, track.last_error) == (State.STARTING, "no answer")


def test_three_missed_probes_mean_degraded_and_one_answer_heals():
    """Two misses are noise; an answer sets the count back."""
    track = ready()
    track = life.missed(life.missed(track, "e"), "e")
    assert track.state is State.READY
    degraded = life.missed(track, "e")
    assert degraded.state is State.DEGRADED
    healed = life.answered(degraded, now=99.0)
    assert (healed.state, healed.misses, healed.last_error) == (State.READY, 0, None)
    assert healed.ready_seconds == ready().ready_seconds


def test_restarts_wait_longer_each_time_and_the_fifth_exit_in_a_minute_fails():
    """0.5, 1, 2, 4 seconds, then failed."""
    track, delays = ready(), []
    for second in range(4):
        track = life.exited(track, "killed", now=float(second))
        delays.append(track.restart_after_seconds)
        assert track.state is State.BACKOFF
    assert delays == [0.5, 1.0, 2.0, 4.0]
    assert life.exited(track, "killed", now=5.0).state is State.FAILED


def test_exits_further_apart_than_the_window_never_fail():
    """A crash every 20 seconds is restarted for ever."""
    track = ready()
    for turn in range(50):
        track = life.exited(track, "killed", now=turn * 20.0)
        assert track.state is State.BACKOFF


def test_a_service_whose_need_failed_has_failed_and_says_by_whom():
    """`up` ends instead of waiting for ever."""
    track = life.blocked(Track("broker"), "s3")
    assert (track.state, track.last_error) == (State.FAILED, "needs s3, which failed")
    assert life.settled([track])


EVENTS = st.lists(st.sampled_from(["begun", "answered", "missed", "exited", "stopped"]), max_size=40)


@given(EVENTS, st.floats(0.01, 30))
@settings(deadline=None, max_examples=200)
def test_no_history_leaves_a_dead_service_with_a_process(events, step):
    """Whatever happens: only living states have a pid, a wait stands only in backoff, failed needs five exits in the window."""
    track, now = Track("x"), 0.0
    for event in events:
        now += step
        match event:
            case "begun":
                track = life.begun(track, pid=9, now=now)
            case "answered" if track.pid is not None:
                track = life.answered(track, now=now)
            case "missed":
                track = life.missed(track, "e")
            case "exited" if track.pid is not None:
                track = life.exited(track, "e", now=now)
            case "stopped":
                track = life.stopped(track)
        assert (track.pid is not None) == (track.state in {State.STARTING, State.READY, State.DEGRADED})
        assert (track.restart_after_seconds is not None) == (track.state is State.BACKOFF)
        if track.state is State.FAILED:
            assert len([t for t in track.crashes if now - t < 60]) >= 5


def test_the_whole_is_as_good_as_its_worst_part():
    """One degraded service makes a degraded stack; stopped ones don't count; none is down."""
    good = ready()
    assert life.overall([good, replace(good, name="b")]) == "ready"
    assert life.overall([good, replace(good, state=State.DEGRADED)]) == "degraded"
    assert life.overall([good, replace(good, state=State.STARTING)]) == "starting"
    assert life.overall([good, replace(good, state=State.FAILED)]) == "degraded"
    assert life.overall([replace(good, state=State.STOPPED)]) == "down"
    assert life.overall([]) == "down"
