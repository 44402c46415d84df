"""Files of products: filesystems by URL, and the commit log that makes a table of files change atomically.

A table lives below a root URL: `data/<sequence>-<n>.parquet` and `_commits/<20-digit sequence>.json`. A commit is one file created by
put-if-absent, so of two writers exactly one wins and readers see the old or the new list, never a mixture. Source: publisher section 4.
"""

from __future__ import annotations

import json
import os
import re
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from meshkit.errors import EnvironmentProblem, MeshkitError, MissingExtra

__all__ = [
    "Commit",
    "CommitConflict",
    "CommitLog",
    "DataFile",
    "StorageProblem",
    "fixed_part",
    "open_filesystem",
    "store_errors",
]

_MAGIC = re.compile(r"[*?\[{]")


class CommitConflict(MeshkitError):
    """Another writer committed this sequence first; nothing of ours is visible."""

    code = "storage.commit_conflict"


class StorageProblem(EnvironmentProblem):
    """A file system can't be reached, read or written."""

    code = "storage.unavailable"


def open_filesystem(url: str, options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """The fsspec filesystem of `url` and the path inside it. Relative paths are local. Listings are never cached.

    Raises: `MissingExtra` if the protocol's package is absent.
    """
    try:
        import fsspec
    except ImportError:
        raise MissingExtra("sql", package="fsspec", purpose="reading files of products") from None
    protocol = url.partition("://")[0] if "://" in url else "file"
    extra = {"s3": ("s3", "s3fs"), "gs": ("gcs", "gcsfs"), "abfss": ("azure", "adlfs")}.get(protocol)
    settings: dict[str, Any] = dict(options or {})
    if protocol == "s3":
        settings.setdefault("use_listings_cache", False)
    try:
        filesystem, path = fsspec.core.url_to_fs(url if "://" in url else str(Path(url).absolute()), **settings)
    except ImportError:
        name, package = extra or ("sql", protocol)
        raise MissingExtra(name, package=package, purpose=f"{protocol}:// locations") from None
    except ValueError as error:
        raise StorageProblem(f"no file system handles {protocol}:// ({error}). Check the location's scheme") from None
    return filesystem, path


def fixed_part(location: str) -> str:
    """The part of a location before its first glob: `s3://b/sales/orders/v1/*.parquet` -> `s3://b/sales/orders/v1`."""
    found = _MAGIC.search(location)
    head = location[: found.start()] if found else location
    folder = head.rpartition("/")[0] if found or head.rpartition("/")[2].count(".") else head.rstrip("/")
    return folder or "."


@dataclass(frozen=True, slots=True)
class DataFile:
    """One data file of a commit; `path` is relative to the table's root."""

    path: str
    rows: int
    bytes: int
    sha256: str
    object: str | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """One state of a table. `mode="snapshot"`: `files` are the whole table; `"changes"`: they add to the commits before.

    `facts` are small JSON values of the writer (run id, position, quality counts).
    """

    sequence: int
    version: str
    files: tuple[DataFile, ...]
    mode: Literal["snapshot", "changes"] = "snapshot"
    position: Mapping[str, Any] | None = None
    time: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.publisher.commit/1`."""
        return {"format": "meshkit.publisher.commit/1", **asdict(self)}

    @classmethod
    def parse(cls, text: str | bytes) -> Commit:
        """Inverse of `to_json`. Raises: `ValueError` for another format."""
        data = json.loads(text)
        if not isinstance(data, dict) or data.pop("format", None) != "meshkit.publisher.commit/1":
            raise ValueError("no meshkit commit")
        files = tuple(DataFile(**f) for f in data.pop("files"))
        known = {k: v for k, v in data.items() if k in cls.__dataclass_fields__}
        return cls(files=files, **known)


class CommitLog:
    """The commits below one root URL. `options` are fsspec storage options (endpoint, key, secret)."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        self.filesystem, root = open_filesystem(self.url, options)
        self.root = root.rstrip("/")
        self._is_s3 = url.startswith("s3://")

    def path(self, relative: str) -> str:
        """A path of the filesystem for one relative to the root."""
        return f"{self.root}/{relative}"

    def sequences(self) -> list[int]:
        """Sequence numbers of all commits, rising. Raises: `StorageProblem` if the place can't be listed."""
        try:
            names = (
                self.filesystem.ls(self.path("_commits"), detail=False, refresh=True)
                if self._is_s3
                else self._local_names()
            )
        except FileNotFoundError:
            return []
        except store_errors() as error:
            raise StorageProblem(
                f"{self.url} can't be listed ({type(error).__name__}). Check endpoint and credentials in `sources`"
            ) from None
        stems = (str(n).rpartition("/")[2] for n in names)
        return sorted(int(s[:20]) for s in stems if re.fullmatch(r"\d{20}\.json", s))

    def _local_names(self) -> list[str]:
        return [str(n) for n in self.filesystem.ls(self.path("_commits"), detail=False)]

    def read(self, sequence: int) -> Commit:
        """One commit. Raises: `StorageProblem` if it can't be read, `MeshkitError` if it is damaged."""
        try:
            text = self.filesystem.cat_file(self.path(f"_commits/{sequence:020d}.json"))
        except store_errors() as error:
            raise StorageProblem(
                f"commit {sequence} of {self.url} can't be read ({type(error).__name__}). Check the store"
            ) from None
        try:
            return Commit.parse(text)
        except (ValueError, TypeError, KeyError):
            raise MeshkitError(
                f"commit {sequence} of {self.url} is damaged. Restore it or publish again",
                code="storage.commit_damaged",
            ) from None

    def latest(self) -> Commit | None:
        """The newest commit, or None where nothing was ever committed."""
        sequences = self.sequences()
        return self.read(sequences[-1]) if sequences else None

    def since(self, after: int = 0) -> Iterator[Commit]:
        """Commits above `after`, in order."""
        for sequence in self.sequences():
            if sequence > after:
                yield self.read(sequence)

    def current_files(self) -> Sequence[DataFile]:
        """Files that make up the table now: those of the last snapshot and of the changes after it."""
        parts: list[tuple[DataFile, ...]] = []
        for sequence in reversed(self.sequences()):
            commit = self.read(sequence)
            parts.append(commit.files)
            if commit.mode == "snapshot":
                break
        return [f for part in reversed(parts) for f in part]

    def append(self, commit: Commit) -> None:
        """Make `commit` visible, exactly if no commit of that sequence is there. Its files must be in place.

        Raises: `CommitConflict` if another writer was first; `StorageProblem`.
        """
        path = self.path(f"_commits/{commit.sequence:020d}.json")
        body = json.dumps(commit.to_json(), separators=(",", ":")).encode()
        try:
            created = self._put_if_absent(path, body)
        except store_errors() as error:
            raise StorageProblem(
                f"{self.url} can't be written ({type(error).__name__}). Check endpoint, credentials and space"
            ) from None
        if not created:
            raise CommitConflict(
                f"commit {commit.sequence} of {self.url} exists already: another writer was first. Run again"
            )

    def _put_if_absent(self, path: str, body: bytes) -> bool:
        if self._is_s3:
            bucket, _, key = path.partition("/")
            return self._put_s3(bucket, key, body)
        if self.filesystem.protocol == "file" or "file" in self.filesystem.protocol:
            return _put_local(Path(path), body)
        if self.filesystem.protocol == "memory" or "memory" in self.filesystem.protocol:
            if self.filesystem.exists(path):
                return False
            self.filesystem.pipe_file(path, body)
            return True
        raise MeshkitError(
            f"{self.url}: this store can't create a file only if it is absent. Use local files or s3://",
            code="storage.no_put_if_absent",
        )

    def _put_s3(self, bucket: str, key: str, body: bytes) -> bool:
        try:
            self.filesystem.call_s3("put_object", Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
        except Exception as error:  # s3fs raises botocore's or its own translation, by version
            if (
                "PreconditionFailed" in repr(error)
                or "412" in str(error)
                or "pre-conditions" in str(error)
                or isinstance(error, FileExistsError)
            ):
                return False
            raise OSError(type(error).__name__) from error
        return True


def store_errors() -> tuple[type[Exception], ...]:
    """What a file system raises when it can't be used: botocore's connection errors are no OSError."""
    if "botocore" not in sys.modules:
        return (OSError,)
    from botocore.exceptions import BotoCoreError

    return (OSError, BotoCoreError)


def _put_local(target: Path, body: bytes) -> bool:
    """Write beside, flush to disk, link under the name: the link fails if the name is taken, and never shows half a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, target)
        except FileExistsError:
            return False
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True
    finally:
        beside.unlink(missing_ok=True)
