"""Finding the products of a mesh: folders with manifests, modules, objects. Code is imported only when a product runs."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError
from meshkit.manifest import Manifest, validate
from meshkit.product import DataProduct

__all__ = ["Found", "find_products", "load_code"]


@dataclass(frozen=True, slots=True)
class Found:
    """One product of a mesh: its manifest, and where its code may be (`object`, else a module or `product.py`)."""

    manifest: Manifest
    object: DataProduct | None = None
    module: str | None = None
    attribute: str | None = None


def find_products(entries: Iterable[str], objects: Iterable[Any], *, folder: Path) -> Mapping[str, Found]:
    """Products by id (the newest major of each). `entries` as in mesh.yaml: folders, `package.module`, `package.module:object`.

    Raises: `ManifestError` with every problem of every file; `UsageError` for an entry that names nothing.
    """
    found: list[Found] = [_of_object(o) for o in objects]
    for entry in entries:
        found += _of_entry(entry, folder)
    newest: dict[str, Found] = {}
    for item in found:
        known = newest.get(item.manifest.id)
        if (
            known is None
            or known.manifest.semver < item.manifest.semver
            or (known.manifest == item.manifest and item.object is not None)
        ):
            newest[item.manifest.id] = item
    return newest


def _of_object(given: Any) -> Found:
    if isinstance(given, type) and issubclass(given, DataProduct):
        given = given()
    if isinstance(given, DataProduct):
        return Found(given.manifest, given)
    if isinstance(given, Manifest):
        return Found(given)
    raise UsageError(
        f"a {type(given).__name__} is no product. Give decorated functions, DataProduct classes or manifests",
        code="mesh.no_product",
    )


def _of_entry(entry: str, folder: Path) -> list[Found]:
    path = folder / entry
    if path.exists():
        report = validate([path])
        report.raise_for_errors()
        return [Found(m) for m in report.manifests]
    module, _, attribute = entry.partition(":")
    if "/" in entry or not all(part.isidentifier() for part in module.split(".")):
        raise EnvironmentProblem(
            f"products: {entry} is not there. Name a folder with manifests or a module", code="mesh.products_missing"
        )
    home = _module_folder(module)
    if home is None:
        raise EnvironmentProblem(
            f"products: no module {module} can be imported. Install it, or name a folder", code="mesh.products_missing"
        )
    report = validate([home])
    report.raise_for_errors()
    return [Found(m, module=module, attribute=attribute or None) for m in report.manifests]


def _module_folder(name: str) -> Path | None:
    """Folder of a module without importing it (its parents are imported)."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin).parent if spec.origin else None


def load_code(found: Found) -> DataProduct:
    """The code of a product, imported now.

    Raises: `MeshkitError` `mesh.no_code` if there is none, `mesh.two_implementations` if there are two.
    """
    if found.object is not None:
        return found.object
    manifest = found.manifest
    module = import_module(found.module) if found.module else _beside(manifest)
    if module is None:
        hint = f"Write product.py beside {manifest.source_name} with @data_product, or name its module in `products` of mesh.yaml"
        raise MeshkitError(f"{manifest.id} has no code that makes its rows. {hint}", code="mesh.no_code")
    candidates = [getattr(module, found.attribute)] if found.attribute else list(vars(module).values())
    products = {id(p): p for p in map(_as_product, candidates) if p is not None and p.manifest.id == manifest.id}
    if not products:
        raise MeshkitError(
            f"{module.__name__} has no product for {manifest.id}. Decorate a function with @data_product",
            code="mesh.no_code",
        )
    if len(products) > 1:
        raise MeshkitError(
            f"{module.__name__} has {len(products)} products for {manifest.id}. Keep one",
            code="mesh.two_implementations",
        )
    return next(iter(products.values()))


def _as_product(value: Any) -> DataProduct | None:
    if isinstance(value, DataProduct):
        return value
    if isinstance(value, type) and issubclass(value, DataProduct) and value._manifest_source is not None:  # noqa: SLF001  # set by the decorator
        return value()
    return None


def _beside(manifest: Manifest) -> Any:
    """`product.py` in the manifest's folder, imported under a name of its own."""
    path = manifest.folder / "product.py"
    if manifest.span() is None or not path.is_file():
        return None
    name = f"meshkit_product_{manifest.id.replace('.', '_')}_v{manifest.major}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
