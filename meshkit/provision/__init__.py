"""`meshkit.provision`: makes and keeps the infrastructure of data products, from their manifests.

Provisioner.from_config(config, target="local")     plan, apply, deployment
compile_graph(manifests, target)                    the resources, as a value
diff_graph(graph, snapshot)                         what has to happen, as a printable plan
canonical_policy(document)                          a policy in the form in which policies are compared
"""

from meshkit.provision.apply import Allow, Provisioner
from meshkit.provision.backend import Backend, Kind, Problem
from meshkit.provision.compile import compile_graph
from meshkit.provision.credentials import CredentialFiles, SecretSink
from meshkit.provision.diff import DiffOptions, diff_graph
from meshkit.provision.errors import (
    AlreadyExists,
    BackendRefused,
    BackendUnavailable,
    CompileFailed,
    PermissionMissing,
    Retryable,
    UnknownTarget,
)
from meshkit.provision.plan import Change, Plan, PlanNode
from meshkit.provision.policies import Policy, canonical_policy
from meshkit.provision.report import ApplyEvent, ApplyReport, Deployment, NodeResult
from meshkit.provision.resources import Marker, Node, Observed, ResourceGraph, Skipped
from meshkit.provision.settings import ProvisionSettings, TargetSettings
from meshkit.provision.target import Target

__all__ = [
    "Allow",
    "AlreadyExists",
    "ApplyEvent",
    "ApplyReport",
    "Backend",
    "BackendRefused",
    "BackendUnavailable",
    "Change",
    "CompileFailed",
    "CredentialFiles",
    "Deployment",
    "DiffOptions",
    "Kind",
    "Marker",
    "Node",
    "NodeResult",
    "Observed",
    "PermissionMissing",
    "Plan",
    "PlanNode",
    "Policy",
    "Problem",
    "ProvisionSettings",
    "Provisioner",
    "ResourceGraph",
    "Retryable",
    "SecretSink",
    "Skipped",
    "Target",
    "TargetSettings",
    "UnknownTarget",
    "canonical_policy",
    "compile_graph",
    "diff_graph",
]
