"""Waivers: changes that someone took responsibility for, by fingerprint, with an owner and an end. File `.meshkit/waivers.yaml`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from os import PathLike
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from meshkit import _yaml
from meshkit._diagnostics import Diagnostic, diagnostic_at, from_validation, from_yaml
from meshkit.contracts.models import Change, Finding
from meshkit.errors import EnvironmentProblem, MeshkitError

__all__ = ["Waiver", "WaiverError", "append_waiver", "apply_waivers", "load_waivers"]

LONGEST_DAYS = 90


class WaiverError(MeshkitError):
    """The file of waivers is wrong; `diagnostics` has everything that was found."""

    code = "contracts.waivers_invalid"

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(str(d) for d in diagnostics))


class Waiver(BaseModel):
    """One accepted change. `waive` lets a break pass until `expires`; `ack` acknowledges a review and may stay."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str = Field(pattern=r"^[0-9a-f]{12}$")
    product: str
    rule: str
    kind: Literal["waive", "ack"] = "waive"
    reason: str = Field(min_length=3)
    owner: str = Field(min_length=1)
    expires: date | None = None


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    apiVersion: Literal["meshkit/v1"]  # noqa: N815  # the file's own key
    kind: Literal["Waivers"]
    waivers: list[Waiver] = Field(default_factory=list)


def load_waivers(path: str | PathLike[str]) -> tuple[Waiver, ...]:
    """Read a file of waivers; an absent file has none. Raises: `WaiverError` with places; `EnvironmentProblem`."""
    file = Path(path)
    if not file.exists():
        return ()
    try:
        document = _yaml.parse(file.read_bytes(), source=str(path))
    except OSError as error:
        raise EnvironmentProblem(
            f"{path} can't be read: {error.strerror}. Check its permissions", code="contracts.unreadable"
        ) from None
    except _yaml.YamlSyntaxError as error:
        raise WaiverError(from_yaml(error)) from None
    if not isinstance(document.data, dict):
        raise WaiverError(
            [
                diagnostic_at(
                    document,
                    (),
                    "contracts.not_a_mapping",
                    "a file of waivers is a mapping",
                    "Write apiVersion, kind, waivers.",
                )
            ]
        )
    try:
        return tuple(_File.model_validate(document.data).waivers)
    except ValidationError as error:
        raise WaiverError(from_validation(document, error, _File, module="contracts")) from None


def append_waiver(path: str | PathLike[str], waiver: Waiver) -> None:
    """Add one waiver to the file, creating it; the rest of the file stays as written."""
    file = Path(path)
    load_waivers(file)
    expires = f", expires: {waiver.expires.isoformat()}" if waiver.expires else ""
    import json

    entry = (
        f"  - {{fingerprint: {json.dumps(waiver.fingerprint)}, product: {waiver.product}, rule: {waiver.rule}, kind: {waiver.kind}, "
        f"reason: {json.dumps(waiver.reason)}, owner: {json.dumps(waiver.owner)}{expires}}}\n"
    )
    text = file.read_text(encoding="utf-8") if file.exists() else "apiVersion: meshkit/v1\nkind: Waivers\nwaivers:\n"
    if text.rstrip().endswith("waivers: []"):
        text = text.rstrip().removesuffix("[]").rstrip() + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(file.name + ".new")
    beside.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    with beside.open("a", encoding="utf-8") as out:
        out.write(entry)
    beside.replace(file)
    load_waivers(file)


def apply_waivers(
    changes: Iterable[Change], waivers: Iterable[Waiver], *, product: str, today: date
) -> tuple[dict[str, Waiver], list[Finding]]:
    """Waivers that count, by fingerprint, and what is wrong with the others."""
    by_print = {c.fingerprint: c for c in changes}
    valid: dict[str, Waiver] = {}
    findings: list[Finding] = []
    for waiver in waivers:
        if waiver.product != product:
            continue
        change = by_print.get(waiver.fingerprint)
        if change is None:
            findings.append(
                Finding("waiver.unused", "warning", f"Waiver {waiver.fingerprint} matches no change. Remove it.")
            )
            continue
        problem = _problem(waiver, change, today)
        if problem:
            findings.append(Finding("waiver.invalid", "error", f"Waiver {waiver.fingerprint}: {problem}"))
        else:
            valid[waiver.fingerprint] = waiver
    return valid, findings


def _problem(waiver: Waiver, change: Change, today: date) -> str | None:
    if waiver.rule != change.rule:
        return f"it names rule {waiver.rule}, the change is {change.rule}."
    if change.change_class == "policy":
        return "a change of policy can't be waived. Restore the tag or classification."
    if waiver.kind == "ack" and change.change_class != "review":
        return "`ack` acknowledges reviews only. Use kind: waive."
    if waiver.kind == "waive" and waiver.expires is None:
        return "a waiver needs `expires`."
    if waiver.expires is not None and waiver.expires < today:
        return f"it expired on {waiver.expires.isoformat()}."
    if waiver.kind == "waive" and waiver.expires is not None and (waiver.expires - today).days > LONGEST_DAYS:
        return f"it lasts more than {LONGEST_DAYS} days."
    return None
