"""meshkit: one manifest and one function make a governed data product.

Names load on first use, so that `import meshkit` stays cheap and free of engines.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshkit.config import Settings
    from meshkit.errors import MeshkitError
    from meshkit.manifest import Manifest
    from meshkit.mesh import Mesh
    from meshkit.ports import Principal
    from meshkit.product import DataProduct, check, data_product, transform

__version__ = "0.1.0"

__all__ = [
    "DataProduct",
    "Manifest",
    "Mesh",
    "MeshkitError",
    "Principal",
    "Settings",
    "__version__",
    "check",
    "data_product",
    "transform",
]

_HOMES = {
    "DataProduct": "product",
    "Manifest": "manifest",
    "Mesh": "mesh",
    "MeshkitError": "errors",
    "Principal": "ports",
    "Settings": "config",
    "check": "product",
    "data_product": "product",
    "transform": "product",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'meshkit' has no attribute {name!r}")
    return getattr(import_module(f"meshkit.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
