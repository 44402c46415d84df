"""Where things lie in `.mesh/`, and the files that meshkit writes there: whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from meshkit.local.errors import BadStackFile, DirectoryProblem

__all__ = ["Layout", "RuntimeName", "StackFile", "load_stack_file", "make_directory", "write_file"]

RuntimeName = Literal["embedded", "jvm", "docker"]
FORMAT: Literal["meshkit.local.stack/1"] = "meshkit.local.stack/1"


class StackFile(BaseModel, frozen=True, extra="forbid"):
    """`stack.json`: what survives restarts. `home` is a folder outside `.mesh/` that a service's user can reach, or None."""

    format: Literal["meshkit.local.stack/1"] = FORMAT
    id: str = Field(default_factory=lambda: secrets.token_hex(6), pattern=r"^[0-9a-f]{12}$")
    runtime: RuntimeName = "embedded"
    services: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    ports: dict[str, int] = {}
    durable: bool = False
    web: bool = False
    home: Path | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one local mesh; `root` is absolute."""

    root: Path

    @property
    def stack(self) -> Path:
        """Durable facts."""
        return self.root / "stack.json"

    @property
    def state(self) -> Path:
        """Live facts: process ids and start times."""
        return self.root / "state.json"

    @property
    def lock(self) -> Path:
        """Held by `flock` while a supervisor runs."""
        return self.root / "lock"

    @property
    def mesh(self) -> Path:
        """The generated `mesh.yaml`."""
        return self.root / "mesh.yaml"

    @property
    def credentials(self) -> Path:
        """Secrets, one a file, 0600."""
        return self.root / "credentials"

    @property
    def services(self) -> Path:
        """Folders of services."""
        return self.root / "services"

    @property
    def logs(self) -> Path:
        """`<service>.log` and two older ones each."""
        return self.root / "logs"

    def log(self, service: str) -> Path:
        """The current log of a service, or of `supervisor`."""
        return self.logs / f"{service}.log"

    def credential(self, name: str) -> Path:
        """A secret's file."""
        return self.credentials / name

    def secret(self, name: str) -> str:
        """The secret of that name; made at the first call, kept afterwards."""
        path = self.credential(name)
        if not path.exists():
            write_file(path, secrets.token_hex(20))
        return path.read_text()


def make_directory(layout: Layout) -> None:
    """Make `.mesh/` and its folders, 0700 and ignored by git. Raises: `DirectoryProblem`."""
    try:
        for folder in (layout.root, layout.credentials, layout.services, layout.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        layout.root.chmod(0o700)
        ignore = layout.root / ".gitignore"
        if not ignore.exists():
            write_file(ignore, "*\n")
    except OSError as error:
        raise DirectoryProblem(layout.root, f"the directory can't be used: {error.strerror}") from error


def write_file(path: Path, text: str, *, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Replace a file as a whole: readers see the old or the new text, a crash leaves no half."""
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(draft).chmod(mode)
        if owner is not None:
            os.chown(draft, *owner)
        Path(draft).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(draft).unlink()
        raise


def load_stack_file(layout: Layout) -> StackFile | None:
    """The durable facts, None when there is no stack yet.

    Raises: `BadStackFile` when the file is corrupt, from a newer version, or missing beside data.
    """
    try:
        raw: Any = json.loads(layout.stack.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if layout.services.is_dir() and any(layout.services.iterdir()):
            raise BadStackFile(layout.stack, "stack.json is missing but there is data of services") from None
        return None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        raise BadStackFile(layout.stack, "stack.json can't be read") from None
    found = raw.get("format") if isinstance(raw, dict) else None
    if found != FORMAT:
        raise BadStackFile(layout.stack, f"stack.json has format {str(found)[:40]!r}, this version reads {FORMAT!r}")
    try:
        return StackFile.model_validate(raw)
    except ValidationError as error:
        where = ", ".join(sorted({".".join(str(p) for p in e["loc"]) for e in error.errors()}))
        raise BadStackFile(layout.stack, f"stack.json is damaged at {where}") from None
