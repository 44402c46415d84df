"""The control plane: catalog, lineage and trust of a mesh in one view, as a web application.

    from meshkit import Mesh
    from meshkit.controlplane import create_app

    app = create_app(Mesh.open("mesh.yaml"), dev_principal="analyst")      # any ASGI server; `meshkit serve` runs uvicorn

Pages work without JavaScript; `<URL>.json` gives the facts of each, `/api/v1` the same to programs. Needs the extra `controlplane`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshkit.controlplane.errors import FormRefused, HostRefused, NoIdentity, NotHere, SignInNeeded
from meshkit.errors import MissingExtra

if TYPE_CHECKING:
    from meshkit.mesh import Mesh

__all__ = ["FormRefused", "HostRefused", "NoIdentity", "NotHere", "SignInNeeded", "create_app"]


def create_app(mesh: Mesh, *, dev_principal: str | None = None) -> Any:
    """The control plane as an ASGI application (FastAPI). Raises: `MissingExtra`; `MeshkitError` for an unknown `dev_principal`."""
    try:
        from meshkit.controlplane.app import create_app as make
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "meshkit":
            raise
        raise MissingExtra("controlplane", package=error.name or "fastapi", purpose="meshkit serve") from None
    return make(mesh, dev_principal=dev_principal)
