"""Reading audit chains: verify that nothing was changed, inserted or removed; show the records of a query."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from meshkit.errors import EnvironmentProblem
from meshkit.masking.audit import GENESIS
from meshkit.masking.canonical import canonical

__all__ = ["AuditEntries", "AuditReport", "find_audit_files", "find_query", "verify_audit"]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a verification found. `problems` break a chain; `notes` are what the given files can't tell."""

    files: tuple[str, ...]
    chains: int
    records: int
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every chain holds."""
        return not self.problems

    @property
    def exit_code(self) -> int:
        """1 for a broken chain."""
        return 0 if self.ok else 1

    def to_text(self) -> str:
        """For people."""
        verdict = "ok" if self.ok else "BROKEN"
        counts = [
            f"{n} {word}{'' if n == 1 else 's'}"
            for n, word in ((self.records, "record"), (self.chains, "chain"), (len(self.files), "file"))
        ]
        return "\n".join([f"{verdict}: {', '.join(counts)}", *self.problems, *(f"note: {n}" for n in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """`meshkit.masking.audit_report/1`."""
        return {
            "format": "meshkit.masking.audit_report/1",
            "ok": self.ok,
            "files": list(self.files),
            "chains": self.chains,
            "records": self.records,
            "problems": list(self.problems),
            "notes": list(self.notes),
        }

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"


@dataclass(frozen=True, slots=True)
class AuditEntries:
    """The records of one query."""

    query_id: str
    records: tuple[dict[str, Any], ...]

    @property
    def exit_code(self) -> int:
        """1 if there is none."""
        return 0 if self.records else 1

    def to_text(self) -> str:
        """For people."""
        if not self.records:
            return f"no record of query {self.query_id}"
        return "\n\n".join("\n".join(_lines(r)) for r in self.records)

    def to_json(self) -> dict[str, Any]:
        """`meshkit.masking.audit_entries/1`."""
        return {"format": "meshkit.masking.audit_entries/1", "query_id": self.query_id, "records": list(self.records)}


def _lines(record: dict[str, Any]) -> Iterator[str]:
    who = record["principal"]
    code = f" ({record['code']})" if record["code"] else ""
    purpose = f" for {record['purpose']}" if record["purpose"] else ""
    yield f"{record['time']}  {record['query_id']}  {record['outcome']}{code}  {record['trust']} by {record['channel']}"
    yield f"  {_shown(who['subject'])} of {_shown(who['issuer'])}, roles {', '.join(map(_shown, who['roles'])) or 'none'}{purpose}"
    yield f"  {_shown(record['sql'])}"
    for product in record["products"]:
        filters = f", rows {', '.join(product['row_filters'])}" if product.get("row_filters") else ""
        yield f"  {product.get('name')}: decision {product.get('decision_id')}{filters}"
        yield from (
            f"    {c.get('column')}: {c.get('mask')} by {c.get('rule') or c.get('reason')}"
            for c in product.get("columns", ())
        )


def _shown(text: str) -> str:
    """On one line, without control characters that could forge another."""
    return "".join(c if c.isprintable() else " " for c in text)


def find_audit_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Files as given; of folders all `*.jsonl` in them. Raises: `EnvironmentProblem` if one is not there."""
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found = sorted(path.glob("*.jsonl"))
            if not found:  # nothing to verify is no proof
                raise EnvironmentProblem(
                    f"there are no audit files in {path}. Name the folder of `audit.path`",
                    code="masking.audit_unreadable",
                )
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise EnvironmentProblem(
                f"audit file {path} is not there. Name files or the folder of `audit.path`",
                code="masking.audit_unreadable",
            )
    return files


def verify_audit(paths: Iterable[str | os.PathLike[str]]) -> AuditReport:
    """Check hashes, order and completeness of the chains in files or folders, part after part."""
    files = find_audit_files(paths)
    problems: list[str] = []
    notes: list[str] = []
    chains: dict[str, tuple[int, str]] = {}  # next sequence number and hash, by chain
    records = 0
    for path in sorted(files, key=lambda p: p.name):
        chain = path.name.rsplit(".", 2)[0]
        expected = chains.get(chain)
        for number, line in enumerate(_complete_lines(path, notes), 1):
            place = f"{path}:{number}"
            record = _record(line)
            if record is None:
                problems.append(f"{place}: no canonical audit record")
                continue
            if expected is None:
                expected = (record["seq"], record["prev"])
                if record["seq"] > 0:
                    notes.append(
                        f"{place}: the chain starts before this file, at record 0; this is record {record['seq']}"
                    )
                elif record["prev"] != GENESIS:
                    problems.append(f"{place}: record 0 of a chain has a predecessor")
            problems += _breaks(record, expected, place)
            expected = (record["seq"] + 1, record["hash"])
            records += 1
        if expected is not None:
            chains[chain] = expected
    return AuditReport(tuple(map(str, files)), len(chains), records, tuple(problems), tuple(notes))


def _breaks(record: dict[str, Any], expected: tuple[int, str], place: str) -> Iterator[str]:
    content = {k: v for k, v in record.items() if k != "hash"}
    if hashlib.sha256(canonical(content)).hexdigest() != record["hash"]:
        yield f"{place}: the record was changed: its hash does not match"
    if record["seq"] != expected[0]:
        yield f"{place}: record {expected[0]} is missing or moved: this is record {record['seq']}"
    elif record["prev"] != expected[1]:
        yield f"{place}: the record before it was changed or replaced"


def _complete_lines(path: Path, notes: list[str]) -> Iterator[bytes]:
    """Lines of a file; a last one without end was never acknowledged, so no row left for it."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                yield line[:-1]
            else:
                notes.append(
                    f"{path}:{number}: the last line is torn: a write was interrupted, and its query was not answered"
                )


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a line if it is one, in canonical form to the byte."""
    try:
        record = json.loads(line)
        if not isinstance(record, dict) or canonical(record) != line:
            return None
    except (ValueError, RecursionError):
        return None
    shape = (
        isinstance(record.get("seq"), int)
        and isinstance(record.get("prev"), str)
        and isinstance(record.get("hash"), str)
    )
    return record if shape else None


def find_query(query_id: str, paths: Iterable[str | os.PathLike[str]]) -> AuditEntries:
    """Records of a query in files or folders, oldest first."""
    wanted = json.dumps(query_id, ensure_ascii=False).encode()
    found = []
    for path in find_audit_files(paths):
        for line in _complete_lines(path, []):
            record = _record(line) if wanted in line else None
            if record is not None and record.get("query_id") == query_id:
                found.append(record)
    return AuditEntries(query_id, tuple(sorted(found, key=lambda r: str(r["time"]))))
