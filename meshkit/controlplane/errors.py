"""Errors of the control plane."""

from __future__ import annotations

from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError

__all__ = ["FormRefused", "HostRefused", "NoIdentity", "NotHere", "SignInNeeded"]


class NoIdentity(EnvironmentProblem):
    """The server has no way to know who reads, so it does not start."""

    code = "controlplane.no_identity"


class SignInNeeded(MeshkitError):
    """A request without a principal."""

    code = "controlplane.sign_in"

    def __init__(self) -> None:
        super().__init__("nobody is signed in. Send a bearer token, or start with: meshkit serve --dev-principal NAME")


class NotHere(MeshkitError):
    """What a URL names is not there, or not for this reader: both look the same."""

    code = "controlplane.not_found"

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"there is no {what} here, or you may not see it. Search: /products")


class FormRefused(UsageError):
    """A form or call that did not come from this page; nothing was changed."""

    code = "controlplane.form_refused"

    def __init__(self) -> None:
        super().__init__(
            "the form is too old or comes from another site; nothing was changed. Reload the page and send it again"
        )


class HostRefused(UsageError):
    """The request names another host than this server: a name that was rebound to it."""

    code = "controlplane.host"

    def __init__(self) -> None:
        super().__init__("this server answers on loopback names only. Open it as 127.0.0.1 or localhost")
