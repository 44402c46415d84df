"""What a linkage would do: roles and where they came from, exact pairs per rule, memory, columns read. Compares nothing."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from meshkit.identity.block import Blocked, RuleCount
from meshkit.identity.encode import Frequent
from meshkit.identity.prepare import Prepared
from meshkit.identity.roles import ColumnRole

__all__ = ["LinkPlan", "plan_of"]

BYTES_PER_PAIR = 72  # packed pair while sorting, its twins, pattern and scores: measured at 1M x 1M


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """A plan is a value: print it, or read its parts. `pairs` counts a pair once for each rule that finds it."""

    left: tuple[str, int, tuple[ColumnRole, ...]]
    right: tuple[str, int, tuple[ColumnRole, ...]]
    rules: tuple[RuleCount, ...]
    comparisons: tuple[str, ...]
    pairs: int
    limit: int
    memory_bytes: int
    frequent: tuple[Frequent, ...] = ()
    warnings: tuple[str, ...] = ()
    new_pairs: tuple[int, ...] | None = None

    @property
    def exit_code(self) -> int:
        """1 if there are more pairs than the limit."""
        return 1 if self.pairs > self.limit else 0

    def to_json(self) -> dict[str, Any]:
        """As `meshkit.identity.profile/1`."""
        return {
            "format": "meshkit.identity.profile/1",
            "roles": [
                {"side": side, "column": r.column, "role": r.role, "from": r.source}
                for side, (_, _, roles) in (("left", self.left), ("right", self.right)) for r in roles
            ],
            "rules": [
                {
                    "keys": list(c.rule.keys), "origin": "household" if c.rule.household else "chance", "pairs": c.pairs,
                    "new_pairs": None if self.new_pairs is None else self.new_pairs[n], "without_key": list(c.without_key),
                    "largest": c.largest,
                    "capped": None if c.capped is None else {
                        "keys": c.capped.keys, "rows": c.capped.rows, "pairs_refined": c.capped.pairs_refined, "pairs_skipped": c.capped.pairs_skipped,
                    },
                } for n, c in enumerate(self.rules)
            ],
            "comparisons": list(self.comparisons), "pairs": self.pairs, "limit": self.limit, "memory_bytes": self.memory_bytes,
            "frequent": [{"side": f.side, "role": f.role, "values": f.values, "rows": f.rows} for f in self.frequent],
            "warnings": list(self.warnings),
        }  # fmt: skip

    def to_text(self) -> str:
        """For people."""
        lines = []
        for name, rows, roles in (self.left, self.right):
            lines.append(f"{name}: {rows:,} rows")
            lines += [f"  {r.column:<20} {r.role:<14} from its {r.source}" for r in roles]
        lines.append(f"{'rule':<34}{'pairs':>14}{'largest':>10}{'without key':>22}")
        for count in self.rules:
            without = f"{count.without_key[0]:,} / {count.without_key[1]:,}"
            lines.append(f"  {count.rule.name:<32}{count.pairs:>14,}{count.largest:>10,}{without:>22}")
            if count.capped is not None:
                lines.append(f"    capped: {count.capped.keys:,} keys, {count.capped.pairs_skipped:,} pairs skipped")
        lines.append(f"compares {', '.join(self.comparisons)}")
        lines.append(f"{self.pairs:,} pairs at most (limit {self.limit:,}), about {self.memory_bytes / 2**20:,.0f} MiB")
        lines += [
            f"frequent: {f.values:,} values of {f.role} in {f.rows:,} rows of {f.side} are no blocking key"
            for f in self.frequent
        ]
        return "\n".join(lines + [f"warning: {w}" for w in self.warnings])

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"


def plan_of(prepared: Prepared, blocked: Blocked, new_pairs: tuple[int, ...] | None = None) -> LinkPlan:
    """The plan of prepared sides."""
    resolved, records = prepared.resolved, prepared.records
    right = resolved.right or resolved.left
    rows = records.rows_left + records.rows_right
    return LinkPlan(
        (resolved.left.name, records.rows_left, resolved.left_roles),
        (right.name, records.rows_right, resolved.right_roles),
        blocked.counts,
        tuple(c.name for c in resolved.model.comparisons),
        blocked.pairs,
        resolved.model.limits.pairs,
        blocked.pairs * BYTES_PER_PAIR + rows * (16 * len(records.roles) + 200),
        records.frequent,
        records.warnings,
        new_pairs,
    )
