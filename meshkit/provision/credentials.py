"""Secrets that provisioning makes: one file per product and role, 0600, written before the server learns the secret."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from meshkit.errors import EnvironmentProblem

__all__ = ["CredentialFiles", "SecretSink", "new_password"]


class SecretSink(Protocol):
    """Where made secrets are kept. Values are by system: `s3 {access_key, secret_key}`, `postgres {user, password}`."""

    def read(self, product: str, role: str, system: str) -> Mapping[str, str] | None:
        """What is stored, or None."""

    def write(self, product: str, role: str, system: str, values: Mapping[str, str]) -> None:
        """Store; other systems of the same role are kept."""


def new_password() -> str:
    """A password of 192 random bits."""
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True)
class CredentialFiles:
    """`<folder>/<domain>.<name>.<role>.json`; the folder is 0700, a file is replaced whole."""

    folder: Path

    def path(self, product: str, role: str) -> Path:
        """The file of one role."""
        return self.folder / f"{product}.{role}.json"

    def read(self, product: str, role: str, system: str) -> Mapping[str, str] | None:
        """What is stored. Raises: `EnvironmentProblem` for a file that can't be read or is no JSON."""
        values = self._load(self.path(product, role)).get(system)
        return values if isinstance(values, dict) else None

    def write(self, product: str, role: str, system: str, values: Mapping[str, str]) -> None:
        """Store durably: what follows on the server counts on it. Raises: `EnvironmentProblem`."""
        path = self.path(product, role)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            with (self.folder / ".lock").open("w") as lock:  # roles of one product are made by several threads
                fcntl.flock(lock, fcntl.LOCK_EX)
                _replace(path, json.dumps({**self._load(path), system: dict(values)}, indent=2))
        except OSError as error:
            raise EnvironmentProblem(
                f"{path} can't be written: {error.strerror}", code="provision.credentials"
            ) from None

    def _load(self, path: Path) -> dict[str, object]:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            data = None
        if not isinstance(data, dict):
            raise EnvironmentProblem(
                f"{path} is no readable file of credentials. Remove it: new ones are made", code="provision.credentials"
            )
        return data


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.chmod(0o600)
    temporary.replace(path)
