"""Where manifests are read from: a folder, or a git repository's objects (no checkout, no hooks, no prompts)."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshkit.catalog.settings import SourceSettings
from meshkit.errors import EnvironmentProblem

__all__ = ["ManifestFile", "read_source"]

MAX_BYTES = 4 << 20
_SKIPPED = {".git", ".venv", ".nox", "node_modules", "__pycache__", ".mesh"}


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file as found: path inside its source, text, digest, and the commit it was read from."""

    path: str
    content: bytes
    sha256: str
    commit: str | None = None
    folder: Path | None = None


def read_source(settings: SourceSettings, *, folder: Path) -> Iterator[ManifestFile]:
    """All manifest files of a source. Raises: `EnvironmentProblem` if it can't be reached."""
    if settings.dir is not None:
        yield from _read_dir(folder / settings.dir, settings.paths)
    else:
        assert settings.git is not None
        assert settings.branches is not None
        yield from _read_git(_repository(settings.git, folder), settings.branches.get("publish", []), settings.paths)


def _read_dir(root: Path, patterns: Sequence[str]) -> Iterator[ManifestFile]:
    if not root.is_dir():
        raise EnvironmentProblem(
            f"catalog source {root} is no folder. Check `catalog.sources` of mesh.yaml",
            code="catalog.source_unreachable",
        )
    paths = {
        p
        for pattern in patterns
        for p in root.glob(pattern)
        if p.is_file() and not _SKIPPED & set(p.relative_to(root).parts)
    }
    for path in sorted(paths):
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        yield ManifestFile(
            str(path.relative_to(root)), content, hashlib.sha256(content).hexdigest(), folder=path.parent
        )


def _repository(place: str, folder: Path) -> Path:
    local = folder / place.removeprefix("file://")
    if local.exists():
        return local
    raise EnvironmentProblem(
        f"git source {place} is no repository on this machine. Clone it and name the clone; remote URLs follow in a later release",
        code="catalog.source_unreachable",
    )


def _git(repository: Path, *arguments: str, data: bytes | None = None) -> bytes:
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        "HOME": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    safe = ["-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
    try:
        done = subprocess.run(
            ["git", *safe, "-C", str(repository), *arguments],
            input=data,
            capture_output=True,
            check=False,
            env=environment,
            timeout=120,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise EnvironmentProblem(
            f"git can't read {repository} ({type(error).__name__}). Install git, or check the repository",
            code="catalog.source_unreachable",
        ) from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[:1]
        raise EnvironmentProblem(
            f"git can't read {repository}: {reason[0] if reason else 'failed'}", code="catalog.source_unreachable"
        )
    return done.stdout


def _read_git(repository: Path, branches: Sequence[str], patterns: Sequence[str]) -> Iterator[ManifestFile]:
    for branch in branches:
        revision = "HEAD" if branch == "HEAD" else f"refs/heads/{branch}"
        commit = (
            _git(repository, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").decode().strip()
        )
        listed = (
            _git(repository, "ls-tree", "-r", "-z", "--full-tree", commit).decode(errors="surrogateescape").split("\0")
        )
        wanted = []
        for entry in filter(None, listed):
            meta, _, path = entry.partition("\t")
            mode, kind, blob = meta.split()
            if kind == "blob" and mode != "120000" and any(_matches(path, pattern) for pattern in patterns):
                wanted.append((path, blob))
        contents = _blobs(repository, [blob for _, blob in wanted])
        for (path, _), content in zip(wanted, contents, strict=True):
            yield ManifestFile(path, content, hashlib.sha256(content).hexdigest(), commit)


def _matches(path: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    tail = pattern.removeprefix("**/")
    return fnmatchcase(path, pattern) or (
        pattern.startswith("**/") and (fnmatchcase(path, tail) or fnmatchcase(path.rpartition("/")[2], tail))
    )


def _blobs(repository: Path, ids: Sequence[str]) -> list[bytes]:
    """Contents in order, by one `cat-file --batch`."""
    if not ids:
        return []
    out = _git(repository, "cat-file", "--batch", data="".join(f"{i}\n" for i in ids).encode())
    contents, at = [], 0
    for _ in ids:
        end = out.index(b"\n", at)
        size = int(out[at:end].split()[2])
        contents.append(out[end + 1 : end + 1 + size])
        at = end + 2 + size
    return contents
