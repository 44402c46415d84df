"""What a demo run shows: a result per step with its facts, and whether it is what was promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DemoReport", "StepFailed", "StepResult"]


class StepFailed(Exception):  # control flow of the demo; shown as a step that is not ok
    """A step saw something else than promised."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step: what it showed (`lines`), what it measured (`facts`), the call that did it."""

    name: str
    ok: bool
    seconds: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    call: str = ""
    problem: str = ""

    def to_text(self) -> str:
        """The step as printed when it ends."""
        mark = "ok" if self.ok else "FAILED"
        head = f"{self.name:<9} {mark}  {self.seconds:5.1f} s   {self.call}"
        return "\n".join(
            [head, *(f"    {line}" for line in self.lines), *([f"    {self.problem}"] if self.problem else [])]
        )


@dataclass(frozen=True, slots=True)
class DemoReport:
    """All steps. `exit_code` is 1 if one failed."""

    steps: tuple[StepResult, ...]
    seconds: float
    peak_pss_bytes: int
    url: str | None = None

    @property
    def ok(self) -> bool:
        """Every step did what it promises."""
        return all(s.ok for s in self.steps)

    @property
    def exit_code(self) -> int:
        """0 or 1."""
        return 0 if self.ok else 1

    def to_text(self) -> str:
        """The sum; the steps were printed as they ended."""
        done = sum(s.ok for s in self.steps)
        return f"{done} of {len(self.steps)} steps did what they promise, in {self.seconds:.1f} s with at most {self.peak_pss_bytes / 1e6:.0f} MB."

    def to_json(self) -> dict[str, Any]:
        """`meshkit.demo/1`."""
        steps = [
            {"name": s.name, "ok": s.ok, "seconds": round(s.seconds, 3), "facts": dict(s.facts), "problem": s.problem}
            for s in self.steps
        ]
        return {
            "format": "meshkit.demo/1", "ok": self.ok, "seconds": round(self.seconds, 3), "peak_pss_bytes": self.peak_pss_bytes, "steps": steps,
            "url": self.url,
        }  # fmt: skip
