"""Headers, host and form checks. Pure but for the secret that lives as long as the process. Source: section 5."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from meshkit.controlplane.errors import FormRefused

__all__ = ["COOKIE", "HEADERS", "LOOPBACK", "Forms", "check_origin", "host_of"]

COOKIE = "meshkit_session"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # not no-referrer: browsers then send `Origin: null` with forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def host_of(header: str) -> str:
    """Host without port: `127.0.0.1:8400` -> `127.0.0.1`, `[::1]:8400` -> `::1`."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def check_origin(headers: Mapping[str, str]) -> None:
    """A browser's call comes from this site. Raises: `FormRefused`."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise FormRefused
    if origin is None and headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise FormRefused


class Forms:
    """CSRF tokens: an HMAC of the session cookie under a secret of this process."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def new_session(self) -> str:
        """A fresh session id."""
        return secrets.token_urlsafe(24)

    def token(self, session: str) -> str:
        """The token that forms of this session carry."""
        return hmac.new(self._secret, session.encode(), hashlib.sha256).hexdigest()

    def check(self, session: str | None, token: str, headers: Mapping[str, str]) -> None:
        """Raises: `FormRefused` unless the form came from a page of this session and site."""
        check_origin(headers)
        if not session or not hmac.compare_digest(self.token(session).encode(), token.encode()):
            raise FormRefused
