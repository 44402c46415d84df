"""Who asks: bearer tokens (JWT) to principals, and static principals of local meshes. Source: federation-and-masking section 5."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
import time
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import SecretStr

from meshkit.errors import UsageError
from meshkit.masking.errors import TokenRejected
from meshkit.masking.extra import require
from meshkit.masking.jwks import KeySet, fetch_jwks, strict_json
from meshkit.masking.settings import AuthSettings, IssuerSettings
from meshkit.ports import Principal

__all__ = ["Tokens"]

_MAX_BYTES = 16 << 10
_MAX_CACHED = 10_000
_CACHE_SECONDS = 300.0
# headers that would let a token choose its own key, or demand what is not understood
_REFUSED_HEADERS = ("jku", "x5u", "jwk", "x5c", "crit", "b64")
_FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")


class Tokens:
    """Verifies bearer tokens of the configured issuers. Thread-safe.

    `is_local` allows dev principals; elsewhere a configuration that has some is refused. Nothing in a request but the token says who
    asks.
    """

    def __init__(
        self,
        settings: AuthSettings,
        *,
        is_local: bool,
        fetch: Callable[[str], bytes] = fetch_jwks,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if settings.dev_principals and not is_local:
            raise UsageError(
                "`auth.dev_principals` are for local meshes only. Remove them, or set `environment: local`",
                code="masking.dev_principals",
            )
        self.settings, self._clock = settings, clock
        self._issuers = {
            i.issuer: (i, KeySet(i.jwks, _families(i), fetch=fetch, clock=clock)) for i in settings.issuers
        }
        self._verified: dict[bytes, tuple[Principal, float]] = {}
        self._lock = threading.Lock()

    def dev(self, name: str) -> Principal:
        """The static principal of that name. Raises: `UsageError` with the nearest name."""
        found = self.settings.dev_principals.get(name)
        if found is None:
            known = sorted(self.settings.dev_principals)
            near = get_close_matches(name, known, n=1)
            hint = (
                f"Did you mean {near[0]!r}?"
                if near
                else f"`auth.dev_principals` of mesh.yaml has {', '.join(known) or 'none'}"
            )
            raise UsageError(f"there is no dev principal {name!r}. {hint}", code="masking.unknown_principal")
        return Principal(found.subject or name, tuple(found.roles), found.attributes, "dev")

    def verify(self, token: SecretStr | str) -> Principal:
        """The principal that a token proves.

        Raises: `TokenRejected` with a reason that never holds the token; `TokensUnavailable` if the issuer's keys can't be had.
        """
        text = token.get_secret_value() if isinstance(token, SecretStr) else token
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        now = self._clock()
        cached = self._verified.get(digest)
        if cached is not None and now < cached[1]:
            return cached[0]
        principal, expires = self._verify(text)
        with self._lock:
            if len(self._verified) >= _MAX_CACHED:
                self._verified.clear()
            self._verified[digest] = (principal, min(expires, now + _CACHE_SECONDS))
        return principal

    def _verify(self, text: str) -> tuple[Principal, float]:
        require("jwt", purpose="verifying tokens")
        header, claims = _parts(text)
        refused = next((name for name in _REFUSED_HEADERS if name in header), None)
        if refused is not None:
            raise TokenRejected("header", f"A token must not have the header {refused}.")
        issuer = claims.get("iss")
        found = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if found is None:
            raise TokenRejected("issuer", "Its issuer is not in `auth.issuers` of mesh.yaml.")
        settings, keys = found
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in settings.algorithms:
            raise TokenRejected("algorithm", f"This issuer signs with {', '.join(settings.algorithms)}.")
        if key_id is not None and not isinstance(key_id, str):
            raise TokenRejected("malformed", "`kid` is a text.")
        verified = self._decode(text, keys.find(key_id, algorithm), algorithm, settings)
        return _principal(verified, settings), float(verified["exp"])

    def _decode(self, text: str, key: Any, algorithm: str, settings: IssuerSettings) -> dict[str, Any]:
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(
                text,
                key.key,
                algorithms=[algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=self.settings.leeway_seconds,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenRejected("expired", "Get a new token.") from None
        except jwt.InvalidAudienceError:
            raise TokenRejected("audience", f"It is not meant for {settings.audience}.") from None
        except jwt.MissingRequiredClaimError:
            raise TokenRejected("claims", "It needs exp, iss, aud and sub.") from None
        except jwt.InvalidTokenError as error:
            raise TokenRejected(
                "signature" if isinstance(error, jwt.InvalidSignatureError) else "claims", "Get a new token."
            ) from None
        return claims


def _families(settings: IssuerSettings) -> frozenset[str]:
    return frozenset(_FAMILIES[a[:2]] for a in settings.algorithms)


def _parts(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, strictly read: what the verifier checks and what is used can't differ."""
    parts = text.split(".")
    if len(text) > _MAX_BYTES or len(parts) != 3 or not all(_SEGMENT.fullmatch(p) for p in parts):
        raise TokenRejected("malformed", "A bearer token is a signed JWT of three parts.")
    try:
        header, claims = (strict_json(base64.urlsafe_b64decode(p + "=" * (-len(p) % 4))) for p in parts[:2])
    except (ValueError, binascii.Error, RecursionError):
        raise TokenRejected("malformed", "Its header or claims are no JSON object with distinct keys.") from None
    return header, claims


def _principal(claims: Mapping[str, Any], settings: IssuerSettings) -> Principal:
    subject = _claim(claims, settings.subject)
    if not isinstance(subject, str) or not subject or len(subject) > 255 or not subject.isprintable():
        raise TokenRejected("subject", f"The claim {settings.subject} is a text of 1 to 255 printable characters.")
    if subject.startswith("product:"):
        raise TokenRejected("subject", "Products are identified by the mesh, not by tokens.")
    attributes = {
        name: value
        for name, path in settings.attributes.items()
        if (value := _attribute(_claim(claims, path))) is not None
    }
    return Principal(subject, _roles(claims, settings), attributes, settings.issuer)


def _roles(claims: Mapping[str, Any], settings: IssuerSettings) -> tuple[str, ...]:
    """Roles as written: no trim, no case folding. A token without the claim has none."""
    found = _claim(claims, settings.roles, missing=[])
    if not isinstance(found, list) or not all(isinstance(r, str) for r in found):
        raise TokenRejected("roles", f"The claim {settings.roles} is a list of texts.")
    if settings.map_roles is not None:
        found = [settings.map_roles[r] for r in found if r in settings.map_roles]
    # roles of products are given by the mesh alone
    return tuple(dict.fromkeys(r for r in found if r != "product" and not r.startswith("product:")))


def _claim(claims: Mapping[str, Any], path: str, *, missing: Any = None) -> Any:
    """The claim of that very name, else the value at the dotted path."""
    if path in claims:
        return claims[path]
    node: Any = claims
    for step in path.split("."):
        if not isinstance(node, Mapping) or step not in node:
            return missing
        node = node[step]
    return node


def _attribute(value: Any) -> Any:
    """A scalar or a list of scalars; all else is no attribute, and filters that need it are false."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, list) and all(isinstance(v, str | int | float) for v in value):
        return tuple(value)
    return None
