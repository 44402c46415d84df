"""`Manifest`: the frozen value of one `manifest.yaml`. Source: manifest-and-contracts sections 1 and 2."""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime, time
from decimal import Decimal as Number
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, field_validator

from meshkit import _yaml
from meshkit.manifest.ports import InputPort, OutputPort, Slo
from meshkit.manifest.scalars import Day, Free, Identifier, Tag, Text
from meshkit.manifest.schema import DataObject, Deprecation, Part
from meshkit.types.quantities import Version, parse_version

__all__ = ["Description", "Lifecycle", "Manifest", "Member", "Owner", "PreviousMajor", "Removed", "Role", "Support"]

Status = Literal["proposed", "draft", "active", "deprecated", "retired"]


class Member(Part):
    """A person of the owning team."""

    name: Text
    handle: Text | None = None
    role: Text | None = None
    email: Text | None = None


class Owner(Part):
    """The team that answers for the product."""

    team: Text
    contact: Text
    members: list[Member] = Field(default_factory=list)


class Description(Part):
    """What the product is for, how to use it, what it does not do."""

    purpose: Text
    usage: Text | None = None
    limitations: Text | None = None


class Support(Part):
    """Where consumers get help."""

    channel: Text
    tool: Identifier | None = None
    url: Text | None = None
    description: Text | None = None


class Role(Part):
    """A role consumers can have on the product."""

    access: Literal["read", "write"] = "read"
    description: Text | None = None


class PreviousMajor(Part):
    """Until when an older major version stays, and how to leave it."""

    sunset: Day | None = None
    migration: Text | None = None


class Removed(Part):
    """A tombstone: a field, object or port that was removed and whose name is not reused."""

    field: Identifier | None = None
    object: Identifier | None = None
    port: Identifier | None = None
    since: Identifier
    replacement: Identifier | None = None


class Lifecycle(Part):
    """How versions come and go."""

    previous: dict[str, PreviousMajor] = Field(default_factory=dict)
    removed: list[Removed] = Field(default_factory=list)
    deprecated: Deprecation | None = None
    sunset: Day | None = None
    replacement: Identifier | None = None


class Manifest(Part):
    """One data product, as its `manifest.yaml` promises it: identity, owner, schema, ports, SLOs, inputs, lifecycle.

    Frozen and complete: made by `load`, `parse` or `from_model`, which report every problem at once.
    """

    api_version: Literal["meshkit/v1"] = Field(alias="apiVersion", default="meshkit/v1")
    kind: Literal["DataProduct"] = "DataProduct"
    domain: Identifier
    name: Identifier
    version: Identifier
    title: Text | None = None
    type: Literal["source-aligned", "aggregate", "consumer-aligned"] | None = None
    status: Status
    owner: Owner
    description: Description
    docs: Text | None = None
    support: list[Support]
    inputs: dict[str, InputPort] = Field(default_factory=dict)
    objects: dict[str, DataObject] = Field(alias="schema")
    ports: dict[str, OutputPort]
    slos: dict[str, Slo]
    source: Free | None = None
    lifecycle: Lifecycle = Lifecycle()
    tags: list[Tag] = Field(default_factory=list)
    roles: dict[str, Role] = Field(default_factory=dict)
    policies: list[Text] = Field(default_factory=list)
    custom: Free = Field(default_factory=dict)

    _document: _yaml.Document | None = PrivateAttr(default=None)
    _path: Path | None = PrivateAttr(default=None)

    @field_validator("slos")
    @classmethod
    def _kinds(cls, slos: dict[str, Slo]) -> dict[str, Slo]:
        """The kind of an SLO is its name unless given: readers always find it set."""
        return {name: slo if slo.kind else slo.model_copy(update={"kind": name}) for name, slo in slos.items()}

    # Identity

    @property
    def id(self) -> str:
        """`sales.orders`."""
        return f"{self.domain}.{self.name}"

    @property
    def semver(self) -> Version:
        """The version, comparable."""
        return parse_version(self.version)

    @property
    def major(self) -> int:
        """Major number of the version."""
        return self.semver.major

    @property
    def urn(self) -> str:
        """`urn:mesh:sales:orders`: the product, whatever its version."""
        return f"urn:mesh:{self.domain}:{self.name}"

    @property
    def versioned_urn(self) -> str:
        """`urn:mesh:sales:orders:v1`: one major version."""
        return f"{self.urn}:v{self.major}"

    @property
    def main_object(self) -> str:
        """The object that a table named like the product shows: the namesake, else the first."""
        return self.name if self.name in self.objects else next(iter(self.objects))

    @property
    def folder(self) -> Path:
        """Where relative paths of this manifest start: its folder, else the working directory."""
        return self._path.parent if self._path is not None else Path.cwd()

    @property
    def source_name(self) -> str:
        """The file or text this manifest was read from, for messages."""
        return self._document.source if self._document is not None else f"<{self.id}>"

    def location(self, port: str, *, object_name: str | None = None) -> str:
        """`location` of a port with `{domain} {name} {major} {object}` filled in; `${VAR}` stays for the mesh to resolve."""
        text = self.ports[port].location
        names = {
            "domain": self.domain.replace(".", "/"),
            "name": self.name,
            "major": str(self.major),
            "object": object_name or self.main_object,
        }
        for key, value in names.items():
            text = text.replace("{" + key + "}", value)
        return text

    # Reading and writing

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read and check a file. Raises: `ManifestError` with every diagnostic; `EnvironmentProblem` if it can't be read."""
        from meshkit.manifest.load import load_manifest

        return load_manifest(path)  # type: ignore[return-value]

    @classmethod
    def parse(cls, text: str | bytes, *, source: str = "<text>") -> Self:
        """Read and check a text. Raises: `ManifestError` with every diagnostic."""
        from meshkit.manifest.load import parse_manifest

        return parse_manifest(text, source=source)  # type: ignore[return-value]

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema (draft 2020-12) of the file format, for editors."""
        from meshkit.manifest.json_schema import manifest_schema

        return manifest_schema()

    def dump(self, *, format: str = "yaml") -> str:  # noqa: A002  # documented name
        """The manifest as text, `yaml` or `json`, without defaults. `Manifest.parse(m.dump()) == m`."""
        from meshkit.manifest.dump import dump_manifest

        return dump_manifest(self, form=format)

    def digest(self) -> str:
        """`sha256:<hex>` over the canonical JSON of the content: equal for equal manifests, whatever their spelling."""
        text = json.dumps(self.plain(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def plain(self) -> dict[str, Any]:
        """JSON-like content without defaults, keys as in the file."""
        data = self.model_dump(by_alias=True, exclude_defaults=True)
        for name, slo in data["slos"].items():
            if slo.get("kind") == name:
                del slo["kind"]
        plain: dict[str, Any] = _plain({"apiVersion": "meshkit/v1", "kind": "DataProduct", **data})
        return plain

    def span(self, *path: str | int) -> _yaml.Span | None:
        """Place of a part in the text it was read from; None if it was made in Python."""
        return self._document.span(path) if self._document is not None else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Manifest) and self.plain() == other.plain()

    def __hash__(self) -> int:
        return hash(self.digest())

    def _repr_html_(self) -> str:
        from meshkit.manifest.render import manifest_html

        return manifest_html(self)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return value
