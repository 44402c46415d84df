"""Data checks: the rules that a manifest's schema and `quality` section make, run by DuckDB on files and by polars on batches."""

from meshkit.contracts.quality.checks import Check, compile_checks_of
from meshkit.contracts.quality.plan import CheckPlan, Split, compile_checks
from meshkit.contracts.quality.report import CheckResult, ContractViolation, QualityReport
from meshkit.contracts.quality.run import CheckOptions, check_data

__all__ = [
    "Check",
    "CheckOptions",
    "CheckPlan",
    "CheckResult",
    "ContractViolation",
    "QualityReport",
    "Split",
    "check_data",
    "compile_checks",
    "compile_checks_of",
]
