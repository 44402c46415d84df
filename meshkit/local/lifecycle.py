"""What state a service is in after what happened to it. Pure: the clock is an argument.

waiting -> starting -> ready <-> degraded         three missed probes; its dependents stay up
              |          |          |
              +----- exited --------+--> backoff (0.5, 1, 2, 4, 8 s) -> starting
                                    +--> failed  (5 exits in 60 s); the others go on
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = [
    "State",
    "Track",
    "answered",
    "begun",
    "blocked",
    "exited",
    "missed",
    "overall",
    "restarted",
    "settled",
    "stopped",
]

BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
CRASHES_TO_FAIL = 5
CRASH_WINDOW_SECONDS = 60.0
MISSES_TO_DEGRADE = 3


class State(StrEnum):
    """Where a service is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    BACKOFF = "backoff"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Track:
    """The history of one service, as far as decisions need it. Times are seconds of one monotonic clock."""

    name: str
    state: State = State.WAITING
    pid: int | None = None
    begun_at: float | None = None
    ready_seconds: float | None = None
    restarts: int = 0
    misses: int = 0
    crashes: tuple[float, ...] = ()
    restart_after_seconds: float | None = None
    last_error: str | None = None


def begun(track: Track, *, pid: int | None, now: float) -> Track:
    """Its process (or its setup) runs."""
    first = now if track.state is not State.STARTING else track.begun_at
    return replace(track, state=State.STARTING, pid=pid, begun_at=first, misses=0, restart_after_seconds=None)


def answered(track: Track, *, now: float) -> Track:
    """A probe succeeded."""
    if track.state in {State.READY, State.DEGRADED}:
        return replace(track, state=State.READY, misses=0, last_error=None)
    began = track.begun_at if track.begun_at is not None else now
    return replace(track, state=State.READY, ready_seconds=now - began, misses=0, last_error=None)


def missed(track: Track, error: str) -> Track:
    """A probe failed. While starting that is normal; later, three in a row mean degraded."""
    if track.state is State.STARTING:
        return replace(track, last_error=error)
    if track.state not in {State.READY, State.DEGRADED}:
        return track
    misses = track.misses + 1
    state = State.DEGRADED if misses >= MISSES_TO_DEGRADE else track.state
    return replace(track, state=state, misses=misses, last_error=error)


def exited(track: Track, reason: str, *, now: float) -> Track:
    """Its process ended unasked: wait and restart, or give up after five times in a minute."""
    recent = (*(t for t in track.crashes if now - t < CRASH_WINDOW_SECONDS), now)
    if len(recent) >= CRASHES_TO_FAIL:
        return replace(
            track, state=State.FAILED, pid=None, crashes=recent, restart_after_seconds=None, last_error=reason
        )
    delay = BACKOFF_SECONDS[min(len(recent), len(BACKOFF_SECONDS)) - 1]
    return replace(track, state=State.BACKOFF, pid=None, crashes=recent, restart_after_seconds=delay, last_error=reason)


def restarted(track: Track) -> Track:
    """Its backoff is over and it is being started again."""
    return replace(track, restarts=track.restarts + 1)


def blocked(track: Track, by: str) -> Track:
    """A service that it needs has failed, so it can't start."""
    return replace(track, state=State.FAILED, pid=None, last_error=f"needs {by}, which failed")


def stopped(track: Track) -> Track:
    """It ended because it was asked to."""
    return replace(track, state=State.STOPPED, pid=None, restart_after_seconds=None)


def settled(tracks: Iterable[Track]) -> bool:
    """Whether nothing is under way: each service runs or has failed for good."""
    return all(t.state in {State.READY, State.DEGRADED, State.FAILED, State.STOPPED} for t in tracks)


def overall(tracks: Iterable[Track]) -> str:
    """`ready`, `starting`, `degraded` or `down` for the whole stack."""
    states = {t.state for t in tracks} - {State.STOPPED}
    if not states:
        return "down"
    if states == {State.READY}:
        return "ready"
    if states & {State.DEGRADED, State.FAILED, State.BACKOFF}:
        return "degraded"
    return "starting"
