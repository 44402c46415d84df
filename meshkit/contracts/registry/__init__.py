"""Published contracts: append-only records of versions. Homes: annotated git tags, or a folder."""

from meshkit.contracts.registry.folder import FolderRegistry
from meshkit.contracts.registry.git import GitRegistry
from meshkit.contracts.registry.record import ContractRegistry, Record, RegistryConflict, RegistryTampered

__all__ = [
    "ContractRegistry",
    "FolderRegistry",
    "GitRegistry",
    "Record",
    "RegistryConflict",
    "RegistryTampered",
    "open_registry",
]


def open_registry(home: str = "git", *, folder: str = ".") -> ContractRegistry:
    """The registry of a home: `git` (the repository of `folder`) or the path of a folder."""
    return GitRegistry(folder) if home == "git" else FolderRegistry(home)
