"""Signed S3 requests with the standard library: enough for probes and first buckets, without the half second that an SDK takes to load.

Signature Version 4, https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

__all__ = ["S3Wire", "sign"]


@dataclass(frozen=True, slots=True)
class S3Wire:
    """One S3 server on 127.0.0.1, addressed path-style."""

    port: int
    key: str = field(repr=False)
    secret: str = field(repr=False)
    region: str = "us-east-1"
    timeout_seconds: float = 5.0

    def call(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of one request. Raises: `OSError`, `http.client.HTTPException` when no server answers."""
        host = f"127.0.0.1:{self.port}"
        target = quote(path, safe="/-_.~")
        headers = sign(method, target, body, host=host, wire=self, now=datetime.now(UTC))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_seconds)
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def sign(method: str, target: str, body: bytes, *, host: str, wire: S3Wire, now: datetime) -> dict[str, str]:
    """Headers that authenticate a request without query string."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    canonical = "\n".join([method, target, "", *(f"{k}:{headers[k]}" for k in sorted(headers)), "", names, digest])
    scope = f"{stamp[:8]}/{wire.region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{wire.secret}".encode()
    for part in (stamp[:8], wire.region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"AWS4-HMAC-SHA256 Credential={wire.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": credential}
