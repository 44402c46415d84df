"""`meshkit.contracts`: what changed between two versions, whether it may be published, and whether data keeps its promise.

diff(old, new)                               every change with its class
check_contract(manifest, registry, ...)      the gate: a Verdict
compile_checks(manifest).split(batch)        good rows, quarantined rows, a report
check_data(manifest, "orders.parquet")       a QualityReport
"""

from meshkit.contracts.check import Published, baselines, check_contract, load_baseline, publish_contract
from meshkit.contracts.consumers import Impact, ManifestConsumers
from meshkit.contracts.decide import GateSettings, Judged, Verdict, gate
from meshkit.contracts.diff import diff
from meshkit.contracts.models import Change, ContractDiff, Finding
from meshkit.contracts.quality import (
    Check,
    CheckOptions,
    CheckPlan,
    CheckResult,
    ContractViolation,
    QualityReport,
    Split,
    check_data,
    compile_checks,
)
from meshkit.contracts.registry import (
    ContractRegistry,
    FolderRegistry,
    GitRegistry,
    Record,
    RegistryConflict,
    RegistryTampered,
    open_registry,
)
from meshkit.contracts.waivers import Waiver, load_waivers

__all__ = [
    "Change",
    "Check",
    "CheckOptions",
    "CheckPlan",
    "CheckResult",
    "ContractDiff",
    "ContractRegistry",
    "ContractViolation",
    "Finding",
    "FolderRegistry",
    "GateSettings",
    "GitRegistry",
    "Impact",
    "Judged",
    "ManifestConsumers",
    "Published",
    "QualityReport",
    "Record",
    "RegistryConflict",
    "RegistryTampered",
    "Split",
    "Verdict",
    "Waiver",
    "baselines",
    "check_contract",
    "check_data",
    "compile_checks",
    "diff",
    "gate",
    "load_baseline",
    "load_waivers",
    "open_registry",
    "publish_contract",
]
