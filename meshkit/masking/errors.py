"""Errors of masking: policies, decisions, masks, keys, tokens, audit."""

from __future__ import annotations

from collections.abc import Sequence

from meshkit._diagnostics import Diagnostic
from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError

__all__ = [
    "AccessDenied",
    "AuditUnavailable",
    "MaskMisfit",
    "MissingKey",
    "PolicyError",
    "PolicyUnavailable",
    "TokenRejected",
    "TokensUnavailable",
    "UnknownTarget",
]


class PolicyError(MeshkitError):
    """Policy files are wrong; `diagnostics` has everything that was found, with file:line:column."""

    code = "masking.policy_invalid"
    exit_code = 2

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(str(d) for d in diagnostics))


class PolicyUnavailable(EnvironmentProblem):
    """The policy engine gives no decisions: every read is denied."""

    code = "masking.policy_unavailable"


class AccessDenied(MeshkitError):
    """The decision does not allow the read; `decision_code` says why."""

    code = "masking.denied"

    def __init__(self, product: str, *, decision_code: str) -> None:
        self.product, self.decision_code = product, decision_code
        hint = {
            "masking.purpose_required": "State one of the purposes that the grant names.",
            "masking.not_granted": "Ask for a grant of the product, in a policy or as an access request.",
        }.get(decision_code, "Ask the owners of the product.")
        super().__init__(f"{product}: this principal may not read it ({decision_code}). {hint}")


class MaskMisfit(UsageError):
    """A mask does not go with a column type, or its arguments are wrong."""

    code = "masking.mask_misfit"


class MissingKey(EnvironmentProblem):
    """A keyed mask has no usable key."""

    code = "masking.missing_key"


class UnknownTarget(UsageError):
    """A product or column that no manifest has."""

    code = "masking.unknown_target"


class TokenRejected(MeshkitError):
    """The bearer token is not accepted; `reason` is a stable word, the text never holds the token or its claims."""

    code = "masking.token_rejected"

    def __init__(self, reason: str, hint: str) -> None:
        self.reason = reason
        super().__init__(f"the token is not accepted: {reason}. {hint}")


class TokensUnavailable(EnvironmentProblem):
    """The keys of an issuer can't be fetched: no token of it can be verified now."""

    code = "masking.jwks_unavailable"


class AuditUnavailable(EnvironmentProblem):
    """The audit chain can't be written: the query is denied."""

    code = "masking.audit_unavailable"
