"""The record of a published contract, and what every registry home promises."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from meshkit.errors import EnvironmentProblem, MeshkitError

if TYPE_CHECKING:
    from meshkit.manifest import Manifest

__all__ = ["ContractRegistry", "Record", "RegistryConflict", "RegistryTampered", "verify_chain"]

FORMAT = "meshkit.contracts.record/1"


class RegistryConflict(MeshkitError):
    """The version is published already, with other content."""

    code = "contracts.registry_conflict"


class RegistryTampered(EnvironmentProblem):
    """A record does not match its digest or its chain: it was edited after publication."""

    code = "contracts.registry_tampered"


@dataclass(frozen=True, slots=True)
class Record:
    """One published version. `digest` is that of the manifest, `previous` that of the version published before it."""

    product: str
    version: str
    digest: str
    manifest: str
    previous: str | None = None
    actor: str = ""
    time: str = ""
    commit: str | None = None
    step: str = "none"
    accepted: tuple[str, ...] = field(default_factory=tuple)
    retired: bool = False

    def to_text(self) -> str:
        """JSON, one key a line."""
        data = {"format": FORMAT, **{k: getattr(self, k) for k in self.__slots__}}
        data["accepted"] = list(self.accepted)
        return json.dumps(data, indent=1, ensure_ascii=False)

    @classmethod
    def parse(cls, text: str, *, place: str) -> Record:
        """Inverse of `to_text`. Raises: `RegistryTampered` if the text is no record or its digest is wrong."""
        try:
            data: Any = json.loads(text)
            if data.pop("format") != FORMAT:
                raise ValueError(text[:10])
            record = cls(**{**data, "accepted": tuple(data["accepted"])})
            intact = record.load().digest() == record.digest
        except (ValueError, KeyError, TypeError, AttributeError, MeshkitError):
            raise RegistryTampered(f"record {place} is damaged. Restore it from a clone, then run again") from None
        if not intact:
            raise RegistryTampered(
                f"record {place} was edited after publication. Restore it from a clone, then run again"
            )
        return record

    def load(self) -> Manifest:
        """The manifest of this version."""
        from meshkit.manifest import Manifest

        return Manifest.parse(self.manifest, source=f"{self.product}@{self.version}")


class ContractRegistry(Protocol):
    """Append-only: the same version and digest is success without a write, another digest a `RegistryConflict`."""

    def versions(self, product: str) -> tuple[str, ...]:
        """Published, not retired versions, rising. Raises: `EnvironmentProblem` if the home can't be read."""

    def get(self, product: str, version: str) -> Record:
        """One record. Raises: `MeshkitError` if absent; `RegistryTampered`."""

    def publish(self, record: Record) -> bool:
        """Append; False if it was there already with equal content. Raises: `RegistryConflict`."""

    def retire(self, product: str, version: str) -> None:
        """Take a version out of the baselines; the record stays."""


def verify_chain(records: list[Record]) -> None:
    """Each record names the digest before it. Raises: `RegistryTampered`."""
    by_digest = {r.digest for r in records}
    for record in records:
        if record.previous is not None and record.previous not in by_digest:
            raise RegistryTampered(
                f"record {record.product} {record.version} follows a version that is gone. Restore it from a clone"
            )
