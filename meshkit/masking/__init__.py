"""`meshkit.masking`: who may see what, and how it looks. Works alone on files and frames, and under every way to read a mesh.

masking.load_policies("policies/")                     policy files, every problem at once with file:line:column
masking.decide(manifest, principal, policies, ...)     a Decision: row filters and a mask per sensitive column
masking.apply(frame, manifest, principal, ...)         a polars, pyarrow or pandas frame as the principal may see it
PolicyDecider, Masks, AuditChain, Tokens               what a mesh puts together (`ports.Decider MaskCompiler AuditSink`)
"""

from meshkit.masking.apply import apply
from meshkit.masking.audit import AuditChain
from meshkit.masking.audit_report import AuditEntries, AuditReport, find_audit_files, find_query, verify_audit
from meshkit.masking.compile import Masks
from meshkit.masking.decide import decide, decision_json
from meshkit.masking.decider import PolicyDecider
from meshkit.masking.errors import (
    AccessDenied,
    AuditUnavailable,
    MaskMisfit,
    MissingKey,
    PolicyError,
    PolicyUnavailable,
    TokenRejected,
    TokensUnavailable,
    UnknownTarget,
)
from meshkit.masking.explain import Explanation, RuleVerdict
from meshkit.masking.keys import KeyRing
from meshkit.masking.policies import PolicySet, load_policies
from meshkit.masking.policy_test import PolicyTestReport, PolicyTestResult, run_policy_tests
from meshkit.masking.settings import AuditSettings, AuthSettings, MaskingSettings, PolicySettings
from meshkit.masking.tokens import Tokens

__all__ = [
    "AccessDenied",
    "AuditChain",
    "AuditEntries",
    "AuditReport",
    "AuditSettings",
    "AuditUnavailable",
    "AuthSettings",
    "Explanation",
    "KeyRing",
    "MaskMisfit",
    "MaskingSettings",
    "Masks",
    "MissingKey",
    "PolicyDecider",
    "PolicyError",
    "PolicySet",
    "PolicySettings",
    "PolicyTestReport",
    "PolicyTestResult",
    "PolicyUnavailable",
    "RuleVerdict",
    "TokenRejected",
    "Tokens",
    "TokensUnavailable",
    "UnknownTarget",
    "apply",
    "decide",
    "decision_json",
    "find_audit_files",
    "find_query",
    "load_policies",
    "run_policy_tests",
    "verify_audit",
]
