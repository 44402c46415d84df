"""Clients of AWS and S3-compatible services, and the translation of their errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from meshkit.errors import MissingExtra
from meshkit.provision.errors import AlreadyExists, BackendRefused, PermissionMissing, Retryable

__all__ = ["Clients", "absent", "error_code", "translated"]

_EXISTS = {"BucketAlreadyOwnedByYou", "EntityAlreadyExists", "AlreadyExistsException", "PreconditionFailed"}
_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "403",
    "UnauthorizedOperation",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "AuthFailure",
}
_PASSING = {
    "Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown", "ServiceUnavailable",
    "InternalError", "InternalFailure", "RequestTimeout", "OperationAborted", "ConcurrentModification", "ConcurrentModificationException",
    "ConditionalRequestConflict",
}  # fmt: skip

_ABSENT = {
    "404", "NoSuchBucket", "NoSuchTagSet", "NoSuchBucketPolicy", "NoSuchPublicAccessBlockConfiguration", "NoSuchLifecycleConfiguration",
    "OwnershipControlsNotFoundError", "ServerSideEncryptionConfigurationNotFoundError", "NoSuchEntity", "EntityNotFoundException",
}  # fmt: skip


class Clients:
    """botocore clients, one per service; the library's own retries are off: the run decides what a failed call means."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.calls = 0

    def __call__(self, service: str) -> Any:
        """The client of a service. Raises: `MissingExtra`."""
        with self._lock:  # making clients is not thread-safe, using them is
            if service not in self._made:
                self._made[service] = self._make(service)
            return self._made[service]

    def _make(self, service: str) -> Any:
        try:
            from botocore.config import Config
            from botocore.session import Session
        except ImportError:
            raise MissingExtra("aws", package="boto3", purpose="deploying to S3 and AWS") from None
        config = Config(
            retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30, max_pool_connections=16,
            s3={"addressing_style": "path" if self._settings.get("endpoint_url") else "auto"},
        )  # fmt: skip
        session = Session()
        session.register_component("data_loader", _loader())
        client = session.create_client(service, config=config, **self._settings)
        client.meta.events.register("before-send", self._count)
        return client

    def _count(self, **_: Any) -> None:
        self.calls += 1

    def close(self) -> None:
        """Close connection pools."""
        with self._lock:
            for client in self._made.values():
                client.close()
            self._made.clear()


@cache
def _loader() -> Any:
    """Service descriptions, read once per process: a session of its own per deploy would parse them again, 0.2 s each."""
    from botocore.loaders import create_loader

    return create_loader()


def error_code(error: Any) -> str:
    """The service's code of a `ClientError`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def absent(call: Any, **arguments: Any) -> Any:
    """The call's answer; None if the thing it asks for is not there."""
    from botocore.exceptions import ClientError

    try:
        return call(**arguments)
    except ClientError as error:
        if error_code(error) in _ABSENT:
            return None
        raise


@contextmanager
def translated(action: str, resource: str) -> Iterator[None]:
    """Errors of botocore as errors of provisioning; `action` and `resource` are named as a policy would."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error_code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _EXISTS:
            raise AlreadyExists(f"{resource} exists already") from error
        if code in _DENIED or (status == 403 and not code):
            raise PermissionMissing(action=action, resource=resource) from error
        late = (
            code == "MalformedPolicyDocument" and "principal" in str(error).lower()
        )  # IAM has not seen a new role yet
        if code in _PASSING or status >= 500 or late:
            raise Retryable(f"{action} on {resource} failed in passing ({code})") from error
        raise BackendRefused(
            f"{action} on {resource} was refused ({code or status}). Read the service's log"
        ) from error
    except BotoCoreError as error:
        raise Retryable(f"{action} on {resource} got no answer ({type(error).__name__})") from error
