"""Key sets of token issuers: fetched, checked, cached. Source: federation-and-masking section 5."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from meshkit.masking.errors import TokenRejected, TokensUnavailable

if TYPE_CHECKING:
    from jwt import PyJWK

__all__ = ["KeySet", "fetch_jwks", "strict_json"]

_TIMEOUT_SECONDS = 2.0
_MAX_BYTES = 64 << 10
_REFRESH_SECONDS = 600.0
_RETRY_SECONDS = 30.0  # also how long an unknown key id is believed to be unknown
_STALE_SECONDS = 86_400.0  # keys that can't be refreshed stay usable that long
_MIN_RSA_BITS = 2048


def fetch_jwks(url: str) -> bytes:
    """The document at `url`: 2 s, 64 kB, no redirects. Raises: `OSError`, `ValueError`."""
    import urllib.request  # heavy, and most processes verify no token

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        """A redirect could lead to plain http or another host."""

        def redirect_request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
            return None

    opener = urllib.request.build_opener(NoRedirect)
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    body = b""
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310  # settings allow https and loopback only
    with opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
        while chunk := response.read1(16 << 10):
            body += chunk
            if len(body) > _MAX_BYTES:
                raise ValueError("the key set is larger than 64 kB")
            if time.monotonic() > deadline:
                raise TimeoutError("the key set took longer than 2 s")
    return body


def strict_json(raw: bytes) -> dict[str, Any]:
    """A JSON object without duplicate keys and without NaN. Raises: `ValueError`."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):  # two readers would see two values
            raise ValueError("a key stands twice")
        return found

    def refuse(_: str) -> NoReturn:
        raise ValueError("no JSON number")

    value = json.loads(raw.decode("utf-8"), object_pairs_hook=pairs, parse_constant=refuse)
    if not isinstance(value, dict):
        raise ValueError("no JSON object")  # noqa: TRY004  # one error for all malformed content
    return value


class KeySet:
    """The keys of one issuer, by key id. Thread-safe; `clock` gives seconds."""

    def __init__(
        self,
        url: str,
        families: frozenset[str],
        *,
        fetch: Callable[[str], bytes] = fetch_jwks,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url, self.families = url, families
        self._fetch, self._clock = fetch, clock
        self._lock = threading.Lock()
        self._keys: Mapping[str | None, tuple[PyJWK, ...]] = {}
        self._fetched = self._tried = float("-inf")

    def find(self, key_id: str | None, algorithm: str) -> PyJWK:
        """The key that a token names, for its algorithm; without a name, the only one that fits.

        Raises: `TokenRejected`; `TokensUnavailable` if there are no keys and none can be fetched.
        """
        now = self._clock()
        if now - self._fetched >= _REFRESH_SECONDS:
            self._refresh(now)
        if now - self._fetched > _STALE_SECONDS:
            raise TokensUnavailable(
                "the key set of the token's issuer can't be fetched. Check `jwks` in `auth.issuers` and the network"
            )
        candidates = self._usable(key_id, algorithm)
        if not candidates and self._refresh(now):
            candidates = self._usable(key_id, algorithm)
        if len(candidates) != 1:
            raise TokenRejected("unknown_key", "Get a new token; the issuer's key set has no such key.")
        return candidates[0]

    def _usable(self, key_id: str | None, algorithm: str) -> list[PyJWK]:
        named = self._keys.get(key_id, ()) if key_id is not None else [k for keys in self._keys.values() for k in keys]
        return [k for k in named if k.algorithm_name == algorithm or _alternative(k, algorithm)]

    def _refresh(self, now: float) -> bool:
        """Fetch again unless that was tried less than 30 s ago; a failure keeps what is there."""
        with self._lock:
            if now - self._tried < _RETRY_SECONDS:
                return False
            self._tried = now
            try:
                self._keys = _keys(strict_json(self._fetch(self.url)), self.families)
            except (OSError, ValueError):  # URLError is an OSError
                return False
            self._fetched = now
            return True


def _alternative(key: PyJWK, algorithm: str) -> bool:
    """A key that does not say its algorithm serves every one of its type (RSA: RS and PS)."""
    declared = key._jwk_data.get("alg")  # noqa: SLF001  # PyJWK fills a default in, and only the raw value tells
    if declared is not None:
        return False
    if key.key_type == "EC":
        curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}.get(algorithm)
        return curve is not None and key._jwk_data.get("crv") == curve  # noqa: SLF001
    return {"RSA": algorithm[:2] in {"RS", "PS"}, "OKP": algorithm == "EdDSA"}.get(str(key.key_type), False)


def _keys(document: dict[str, Any], families: frozenset[str]) -> dict[str | None, tuple[PyJWK, ...]]:
    """Signature keys of the wanted types; others and malformed ones are left out. Raises: `ValueError` if it is no key set."""
    from jwt import PyJWK
    from jwt.exceptions import InvalidKeyError, PyJWKError

    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ValueError("no key set")  # noqa: TRY004
    found: dict[str | None, tuple[PyJWK, ...]] = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("kty") not in families or entry.get("use", "sig") != "sig":
            continue
        try:
            key = PyJWK(entry)
        except (PyJWKError, InvalidKeyError, ValueError, TypeError, KeyError):
            continue
        if entry["kty"] == "RSA" and getattr(key.key, "key_size", 0) < _MIN_RSA_BITS:
            continue
        name = entry.get("kid")
        name = name if isinstance(name, str) else None
        found[name] = (*found.get(name, ()), key)
    return found
