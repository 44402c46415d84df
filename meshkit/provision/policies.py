"""Access policies: the compiler for publishers and readers, and the form in which two policies are compared. Pure.

Least privilege is literal here: every action is named, every object ARN ends in `/*` after a whole path segment, so that `orders/` never
covers `orders-evil/`. Source: provision section 6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Place", "Policy", "canonical_policy", "count_actions", "publisher_statements", "reader_statements", "to_document"]  # fmt: skip

_PUBLISH = ("s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
Statement = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A folder of a bucket; an empty prefix is all of it."""

    bucket: str
    prefix: str

    @property
    def objects(self) -> str:
        """ARN of everything in it."""
        return f"arn:aws:s3:::{self.bucket}/{self.prefix + '/' if self.prefix else ''}*"


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy in canonical form: equal exactly where two documents mean the same by the rules of `canonical_policy`."""

    statements: tuple[str, ...]

    @property
    def text(self) -> str:
        """Canonical JSON."""
        return "[" + ",".join(self.statements) + "]"


def canonical_policy(document: str | Mapping[str, Any]) -> Policy:
    """Statements as a set, Sid ignored, a scalar = a list of one, actions lower-cased and sorted, an account id = its root ARN."""
    data = json.loads(document) if isinstance(document, str) else document
    return Policy(tuple(sorted({_canonical(s) for s in _listed(data.get("Statement", []))})))


def _canonical(statement: Mapping[str, Any]) -> str:
    result: dict[str, Any] = {"Effect": statement.get("Effect", "Deny")}
    for key in ("Action", "NotAction"):
        if key in statement:
            result[key] = sorted({str(a).lower() for a in _listed(statement[key])})
    for key in ("Resource", "NotResource"):
        if key in statement:
            result[key] = sorted(set(map(str, _listed(statement[key]))))
    for key in ("Principal", "NotPrincipal"):
        if key in statement:
            result[key] = _principal(statement[key])
    if statement.get("Condition"):
        result["Condition"] = {
            operator: {str(k).lower(): sorted({_word(v) for v in _listed(values)}) for k, values in keys.items()}
            for operator, keys in statement["Condition"].items()
        }
    return json.dumps(result, sort_keys=True, separators=(",", ":"))


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _principal(value: Any) -> Any:
    if value == "*":
        return {"AWS": ["*"]}
    return {kind: sorted({_root(p) if kind == "AWS" else str(p) for p in _listed(v)}) for kind, v in value.items()}


def _root(principal: Any) -> str:
    text = str(principal)
    return f"arn:aws:iam::{text}:root" if re.fullmatch(r"\d{12}", text) else text


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def to_document(statements: Sequence[Statement]) -> dict[str, Any]:
    """The policy document of some statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def count_actions(document: Mapping[str, Any]) -> dict[str, int]:
    """How many actions of each service a policy allows: `{"s3": 6, "glue": 2}`."""
    found: dict[str, set[str]] = {}
    for statement in document["Statement"]:
        for action in _listed(statement["Action"]):
            found.setdefault(action.partition(":")[0], set()).add(action)
    return {service: len(actions) for service, actions in found.items()}


def publisher_statements(places: Iterable[Place], *, with_parts: bool) -> list[Statement]:
    """What writes, checks and takes back files. SeaweedFS refuses `s3:ListMultipartUploadParts`: `with_parts=False` there."""
    actions = _PUBLISH if with_parts else _PUBLISH[:-1]
    return _statements(places, actions)


def reader_statements(places: Iterable[Place]) -> list[Statement]:
    """What reads files."""
    return _statements(places, ("s3:GetObject",))


def _statements(places: Iterable[Place], actions: Sequence[str]) -> list[Statement]:
    ordered = sorted(set(places))
    result: list[Statement] = []
    if ordered:
        result.append({"Effect": "Allow", "Action": list(actions), "Resource": [p.objects for p in ordered]})
    for bucket in sorted({p.bucket for p in ordered}):
        prefixes = [p.prefix for p in ordered if p.bucket == bucket]
        statement: Statement = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket}"]}
        if all(prefixes):
            statement["Condition"] = {"StringLike": {"s3:prefix": [t for p in prefixes for t in (f"{p}/", f"{p}/*")]}}
        result.append(statement)
    return result
