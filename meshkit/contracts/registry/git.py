"""Registry in git: annotated tags `contract/<domain>/<name>/<version>` whose message is the record. Never forced."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from meshkit.contracts.registry.record import Record, RegistryConflict
from meshkit.errors import EnvironmentProblem, MeshkitError
from meshkit.types.quantities import parse_version

__all__ = ["GitRegistry", "git_show", "run_git"]


def run_git(folder: str | Path, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """Output of a git command in `folder`. Raises: `EnvironmentProblem` if git is missing or the command fails."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=60,
        )
    except FileNotFoundError:
        raise EnvironmentProblem(
            "git is not installed. Install it, or use --registry FOLDER", code="contracts.no_git"
        ) from None
    except subprocess.TimeoutExpired:
        raise EnvironmentProblem(f"git {arguments[0]} did not end within 60 s", code="contracts.git_failed") from None
    if done.returncode and check:
        reason = done.stderr.strip().splitlines()[0] if done.stderr.strip() else f"exit {done.returncode}"
        raise EnvironmentProblem(f"git {arguments[0]} failed: {reason}", code="contracts.git_failed")
    return done.stdout


def git_show(folder: str | Path, revision: str, path: str) -> str:
    """Content of a file at a revision; `path` is relative to `folder`. Raises: `EnvironmentProblem`."""
    resolved = run_git(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    return run_git(folder, "show", f"{resolved}:./{path}")


class GitRegistry:
    """Records as annotated tags of the repository that holds `folder`. `git push --tags` shares them."""

    def __init__(self, folder: str | Path = ".") -> None:
        self.folder = Path(folder)

    def _prefix(self, product: str) -> str:
        domain, _, name = product.rpartition(".")
        return f"contract/{domain}/{name}/"

    def versions(self, product: str) -> tuple[str, ...]:
        """See `ContractRegistry`. A shallow clone has not all tags: refused."""
        if run_git(self.folder, "rev-parse", "--is-shallow-repository").strip() == "true":
            raise EnvironmentProblem(
                "the clone is shallow, so published contracts may be missing. Fetch all: fetch-depth: 0",
                code="contracts.shallow_clone",
            )
        prefix = self._prefix(product)
        names = [t.removeprefix(prefix) for t in run_git(self.folder, "tag", "--list", f"{prefix}*").split()]
        gone = {n.removesuffix(".retired") for n in names if n.endswith(".retired")}
        return tuple(sorted((n for n in names if not n.endswith(".retired") and n not in gone), key=parse_version))

    def get(self, product: str, version: str) -> Record:
        """See `ContractRegistry`."""
        tag = f"{self._prefix(product)}{version}"
        kind = run_git(self.folder, "cat-file", "-t", f"refs/tags/{tag}", check=False).strip()
        if not kind:
            raise MeshkitError(
                f"{product} {version} was never published. Known: {', '.join(self.versions(product)) or 'none'}",
                code="contracts.not_published",
            )
        text = run_git(self.folder, "cat-file", "-p", f"refs/tags/{tag}") if kind == "tag" else ""
        return Record.parse(text.partition("\n\n")[2], place=f"tag {tag}")

    def publish(self, record: Record) -> bool:
        """See `ContractRegistry`."""
        tag = f"{self._prefix(record.product)}{record.version}"
        # verbatim: the message is the record. An identity is set for machines that have none; it is not the actor.
        identity = ["-c", "user.name=meshkit", "-c", "user.email=meshkit@localhost", "-c", "tag.gpgSign=false"]
        try:
            run_git(self.folder, *identity, "tag", "--cleanup=verbatim", "-a", tag, "-F", "-", stdin=record.to_text())
        except EnvironmentProblem as error:
            if "already exists" not in error.message:
                raise
            if self.get(record.product, record.version).digest == record.digest:
                return False
            raise RegistryConflict(
                f"{record.product} {record.version} is published with other content. Raise the version"
            ) from None
        return True

    def retire(self, product: str, version: str) -> None:
        """See `ContractRegistry`."""
        self.get(product, version)
        run_git(
            self.folder,
            "tag",
            f"{self._prefix(product)}{version}.retired",
            f"{self._prefix(product)}{version}^{{commit}}",
            check=False,
        )

    def push(self, product: str, *, remote: str = "origin") -> None:
        """Share the product's tags; tags that differ at the remote are refused by git, never overwritten."""
        run_git(self.folder, "push", remote, f"refs/tags/{self._prefix(product)}*:refs/tags/{self._prefix(product)}*")
