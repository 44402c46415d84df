"""The sections `auth`, `policies`, `masking` and `audit` of mesh.yaml. Source: surface section 1."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from meshkit import _yaml
from meshkit.config import Secret, Section
from meshkit.masking.keys import KeyRing

__all__ = [
    "AuditSettings",
    "AuthSettings",
    "DevPrincipal",
    "IssuerSettings",
    "KeySettings",
    "MaskingSettings",
    "PolicySettings",
]

_FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10 else value


Whole = Annotated[int, BeforeValidator(_whole), Field(ge=0)]
Attributes = Annotated[dict[str, Any], BeforeValidator(_yaml.resolve)]


def _optional(value: Any) -> Any:
    return None if isinstance(value, _yaml.Null) else value


class IssuerSettings(Section):
    """Who issues tokens, and where a token says who somebody is. Claims are dotted paths."""

    issuer: str
    jwks: str
    audience: str
    algorithms: list[str] = Field(default_factory=lambda: ["RS256"], min_length=1)
    subject: str = "sub"
    roles: str = "roles"
    attributes: dict[str, str] = Field(default_factory=dict)
    map_roles: dict[str, str] | None = None

    @field_validator("algorithms")
    @classmethod
    def _one_family(cls, names: list[str]) -> list[str]:
        unknown = [n for n in names if n not in _ALGORITHMS]
        if unknown:  # also HS256: a shared secret lets every reader of the configuration issue tokens
            raise PydanticCustomError(
                "text", "unknown algorithm. Use one of {known}", {"known": ", ".join(_ALGORITHMS)}
            )
        if len({_FAMILIES[n[:2]] for n in names}) > 1:
            raise PydanticCustomError("text", "algorithms are of one key family. Keep RS and PS, or ES, or EdDSA")
        return names

    @field_validator("jwks")
    @classmethod
    def _secure(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname)):
            return url
        raise PydanticCustomError("text", "`jwks` is an https address, or http on loopback")


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


class DevPrincipal(Section):
    """A static principal of a local mesh."""

    roles: list[str] = Field(default_factory=list)
    attributes: Attributes = Field(default_factory=dict)
    subject: str | None = None


class AuthSettings(Section):
    """`auth:`. Dev principals are refused unless `environment: local`."""

    issuers: list[IssuerSettings] = Field(default_factory=list)
    dev_principals: dict[str, DevPrincipal] = Field(default_factory=dict)
    leeway_seconds: Whole = 10

    @model_validator(mode="after")
    def _distinct(self) -> AuthSettings:
        if len({i.issuer for i in self.issuers}) != len(self.issuers):
            raise PydanticCustomError("text", "two issuers have the same `issuer`. Keep one")
        return self


class PolicySettings(Section):
    """`policies:`. `combine`: what counts when several roles have rules."""

    paths: list[Path] = Field(default_factory=list)
    engine: Literal["builtin", "rego", "opa"] = "builtin"
    url: Annotated[str | None, BeforeValidator(_optional)] = None
    combine: Literal["strictest", "least"] = "strictest"

    @field_validator("engine")
    @classmethod
    def _in_this_release(cls, engine: str) -> str:
        if engine != "builtin":
            raise PydanticCustomError(
                "text", "policy engine {engine} is not in this release. Use builtin", {"engine": engine}
            )
        return engine


class KeySettings(Section):
    """`masking.keys`: secrets by id, and the one that makes new tokens."""

    active: str
    ring: dict[str, Secret]


class MaskingSettings(Section):
    """`masking:`."""

    keys: Annotated[KeySettings | None, BeforeValidator(_optional)] = None

    def key_ring(self) -> KeyRing | None:
        """The ring, or None if there are no keys. Raises: `MissingKey` if it is inconsistent."""
        return KeyRing(self.keys.active, self.keys.ring) if self.keys is not None else None


class AuditSettings(Section):
    """`audit:`. `path` is a folder; queries are denied while it can't be written, unless `buffer_records` wait in memory."""

    path: Path = Path(".mesh/audit")
    signing_key: Annotated[Secret | None, BeforeValidator(_optional)] = None
    buffer_records: Whole = 0
    rotate_bytes: Whole = 64 << 20

    @model_validator(mode="after")
    def _in_this_release(self) -> AuditSettings:
        if self.buffer_records:
            raise PydanticCustomError("text", "`buffer_records` above 0 is not in this release. Use 0")
        if self.signing_key is not None:
            raise PydanticCustomError("text", "`signing_key` is not in this release. Remove it")
        return self
