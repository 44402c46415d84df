"""`meshkit.manifest`: one `manifest.yaml` as a checked, frozen value.

Manifest.load("manifest.yaml")          read and check; every problem at once, with file:line:column
validate(["products/"])                 many files, folders, globs; a Report
scaffold(name=..., domain=...)          the text of a valid draft
"""

from meshkit.manifest.errors import Diagnostic, ManifestError
from meshkit.manifest.model import (
    Description,
    Lifecycle,
    Manifest,
    Member,
    Owner,
    PreviousMajor,
    Removed,
    Role,
    Support,
)
from meshkit.manifest.ports import CsvOptions, InputPort, OutputPort, Slo
from meshkit.manifest.report import Report
from meshkit.manifest.rules import resolve_field
from meshkit.manifest.scaffold import scaffold
from meshkit.manifest.schema import CLASSES, DataObject, Deprecation, FieldSchema, QualityRule, is_personal
from meshkit.manifest.validate import find_manifests, validate

__all__ = [
    "CLASSES",
    "CsvOptions",
    "DataObject",
    "Deprecation",
    "Description",
    "Diagnostic",
    "FieldSchema",
    "InputPort",
    "Lifecycle",
    "Manifest",
    "ManifestError",
    "Member",
    "OutputPort",
    "Owner",
    "PreviousMajor",
    "QualityRule",
    "Removed",
    "Report",
    "Role",
    "Slo",
    "Support",
    "find_manifests",
    "is_personal",
    "resolve_field",
    "scaffold",
    "validate",
]
