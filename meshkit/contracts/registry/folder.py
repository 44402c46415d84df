"""Registry in a folder: `<domain>/<name>/<version>.json`, created exclusively."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from meshkit.contracts.registry.record import Record, RegistryConflict
from meshkit.errors import EnvironmentProblem, MeshkitError
from meshkit.types.quantities import parse_version

__all__ = ["FolderRegistry"]


class FolderRegistry:
    """Records as files. Safe with several writers: a record appears whole or not at all."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def _folder(self, product: str) -> Path:
        domain, _, name = product.rpartition(".")
        return self.path / domain / name

    def versions(self, product: str) -> tuple[str, ...]:
        """See `ContractRegistry`."""
        if not self.path.is_dir():
            hint = "Create the folder, or name another registry"
            raise EnvironmentProblem(
                f"registry {self.path} is not there. {hint}", code="contracts.registry_unreachable"
            )
        folder = self._folder(product)
        try:
            names = [
                p.stem
                for p in folder.glob("*.json")
                if not p.name.startswith(".") and not (folder / f"{p.stem}.retired").exists()
            ]
        except OSError as error:
            raise EnvironmentProblem(
                f"registry {folder} can't be read: {error.strerror}", code="contracts.registry_unreachable"
            ) from None
        return tuple(sorted(names, key=parse_version))

    def get(self, product: str, version: str) -> Record:
        """See `ContractRegistry`."""
        path = self._folder(product) / f"{version}.json"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise MeshkitError(
                f"{product} {version} was never published. Known: {', '.join(self.versions(product)) or 'none'}",
                code="contracts.not_published",
            ) from None
        except OSError as error:
            raise EnvironmentProblem(
                f"record {path} can't be read: {error.strerror}", code="contracts.registry_unreachable"
            ) from None
        return Record.parse(text, place=str(path))

    def publish(self, record: Record) -> bool:
        """See `ContractRegistry`."""
        target = self._folder(record.product) / f"{record.version}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        beside.write_text(record.to_text(), encoding="utf-8")
        try:
            os.link(beside, target)
        except FileExistsError:
            if self.get(record.product, record.version).digest == record.digest:
                return False
            raise RegistryConflict(
                f"{record.product} {record.version} is published with other content. Raise the version"
            ) from None
        finally:
            beside.unlink()
        return True

    def retire(self, product: str, version: str) -> None:
        """See `ContractRegistry`."""
        self.get(product, version)
        (self._folder(product) / f"{version}.retired").touch()
