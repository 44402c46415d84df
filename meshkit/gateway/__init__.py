"""`meshkit.gateway`: products over HTTP with identity and masking. Trust of what it serves is `enforced`: callers have no other way to the rows.

`create_app(mesh)` gives the ASGI application that `meshkit gateway serve` runs.
"""

from meshkit.gateway.app import create_app
from meshkit.gateway.settings import GatewaySettings

__all__ = ["GatewaySettings", "create_app"]
