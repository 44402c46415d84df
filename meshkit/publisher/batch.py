"""Batch publish of one product: check, stage, commit. Consumers see the old files until the commit, and all new ones after it.

Rows stream through a private folder on local disk: row rules set bad rows aside, rules over the whole publish accept or refuse it. Only
then are files uploaded, under names that no other writer uses, and made visible by one put-if-absent commit. A kill anywhere leaves the
old or the new state. Source: architecture `Publish (batch)`, publisher section 4 `Parquet`.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from meshkit._storage import Commit, CommitLog, DataFile, StorageProblem, store_errors
from meshkit.log import get_logger

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BatchOutcome", "ObjectChecks", "ObjectRows", "publish_batch"]

log = get_logger(__name__)

ROWS_PER_FILE = 5_000_000
ROWS_PER_GROUP = 131_072


class ObjectChecks(Protocol):
    """What the contract demands of one object's rows. Implemented by `meshkit.contracts.compile_checks`."""

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the contract."""

    def conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with exactly the contract's columns and types. Raises: `ContractViolation`."""

    def split(self, batch: pa.RecordBatch, *, first_row: int = 1) -> Any:
        """`.good`, `.quarantined`, `.report`."""

    def judge(self, paths: Sequence[str], *, others: Mapping[str, Sequence[str]]) -> Any:
        """Report of the rules over the whole publish, reading the staged files of this object and the others."""


@dataclass(frozen=True, slots=True)
class ObjectRows:
    """Rows of one object to publish, and the checks they must keep."""

    name: str
    batches: Iterable[pa.RecordBatch]
    checks: ObjectChecks


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What a batch publish did. `committed` is False when the contract refused it: then nothing is visible."""

    run_id: str
    committed: bool
    report: Any
    rows_in: int = 0
    rows_good: int = 0
    rows_quarantined: int = 0
    files: tuple[DataFile, ...] = ()
    positions: Mapping[str, int] = field(default_factory=dict)  # port -> sequence of its commit

    @property
    def bytes(self) -> int:
        """Bytes of data files per port."""
        return sum(f.bytes for f in self.files)


def publish_batch(
    product: str,
    version: str,
    rows: Sequence[ObjectRows],
    ports: Mapping[str, tuple[CommitLog, frozenset[str]]],
    *,
    now: datetime,
) -> BatchOutcome:
    """Publish `rows` to file ports (`ports`: name -> commit log and the objects it serves).

    Raises: `ContractViolation` if the columns don't fit at all; `CommitConflict` if another writer was first; `StorageProblem`.
    """
    heads = {name: (commit_log.sequences() or [0])[-1] for name, (commit_log, _) in ports.items()}
    # equal over retries of the same state: the next sequence numbers are part of it
    run_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{product}/{version}/{sorted(heads.items())}"))
    folder = Path(tempfile.mkdtemp(prefix="meshkit-stage-"))
    try:
        staged = {item.name: _stage(item, folder) for item in rows}
        report = _judge(rows, staged)
        outcome = BatchOutcome(
            run_id,
            committed=False,
            report=report,
            rows_in=sum(s.rows_in for s in staged.values()),
            rows_good=sum(s.rows_good for s in staged.values()),
            rows_quarantined=sum(s.rows_quarantined for s in staged.values()),
        )
        if not report.publishable or (outcome.rows_in and not outcome.rows_good):
            return outcome
        files = _commit(product, version, run_id, staged, ports, heads, report, now)
        log.info("commit.written", product=product, run_id=run_id, rows=outcome.rows_good, files=len(files))
        return replace(outcome, committed=True, files=files, positions={name: head + 1 for name, head in heads.items()})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class _Staged:
    rows_in: int = 0
    rows_good: int = 0
    rows_quarantined: int = 0
    paths: list[Path] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    quarantine: Path | None = None
    report: Any = None


def _stage(item: ObjectRows, folder: Path) -> _Staged:
    """Write good rows to `<object>-<n>.parquet` and bad ones to `<object>.quarantine.parquet`."""
    staged = _Staged()
    good, bad = (
        _Files(folder, item.name, item.checks.schema),
        _Files(folder, f"{item.name}.quarantine", item.checks.schema),
    )
    try:
        for batch in item.batches:
            split = item.checks.split(item.checks.conform(batch), first_row=staged.rows_in + 1)
            staged.rows_in += batch.num_rows
            staged.report = split.report if staged.report is None else staged.report.plus(split.report)
            good.write(split.good)
            if split.quarantined.num_rows:
                bad.write(split.quarantined)
        if not good.paths:
            good.write_empty()
    finally:
        good.close()
        bad.close()
    staged.paths, staged.counts = good.paths, good.counts
    staged.rows_good, staged.rows_quarantined = sum(good.counts), sum(bad.counts)
    staged.quarantine = bad.paths[0] if bad.paths else None
    return staged


class _Files:
    """Parquet files of one kind, rolled at `ROWS_PER_FILE` rows."""

    def __init__(self, folder: Path, stem: str, schema: pa.Schema) -> None:
        self.folder, self.stem, self.schema = folder, stem, schema
        self.paths: list[Path] = []
        self.counts: list[int] = []
        self._writer: Any = None

    def write(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        if self._writer is None or self.counts[-1] >= ROWS_PER_FILE:
            self._open()
        self._writer.write_batch(batch, row_group_size=ROWS_PER_GROUP)
        self.counts[-1] += batch.num_rows

    def write_empty(self) -> None:
        """One file without rows: an empty table still has its schema."""
        self._open()

    def _open(self) -> None:
        import pyarrow.parquet as pq

        self.close()
        path = self.folder / f"{self.stem}-{len(self.paths)}.parquet"
        self._writer = pq.ParquetWriter(path, self.schema, compression="zstd")
        self.paths.append(path)
        self.counts.append(0)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _judge(rows: Sequence[ObjectRows], staged: Mapping[str, _Staged]) -> Any:
    paths = {name: [str(p) for p in s.paths] for name, s in staged.items()}
    report = None
    for item in rows:
        whole = item.checks.judge(paths[item.name], others={n: p for n, p in paths.items() if n != item.name})
        mine = staged[item.name].report
        mine = whole if mine is None else mine.merged(whole)
        report = mine if report is None else report.merged(mine)
    return report


def _commit(
    product: str, version: str, run_id: str, staged: Mapping[str, _Staged], ports: Mapping[str, tuple[CommitLog, frozenset[str]]],
    heads: Mapping[str, int], report: Any, now: datetime,
) -> tuple[DataFile, ...]:  # fmt: skip
    files: tuple[DataFile, ...] = ()
    for name, (commit_log, objects) in ports.items():
        sequence, token = heads[name] + 1, uuid.uuid4().hex[:8]
        uploaded: list[str] = []
        try:
            files = tuple(_upload(commit_log, staged, objects, sequence, token, uploaded))
            facts = {
                "run_id": run_id,
                "product": product,
                "port": name,
                "rules": report.total,
                "quarantined": sum(s.rows_quarantined for s in staged.values()),
            }
            commit_log.append(Commit(sequence, version, files, time=now.isoformat(), facts=facts))
        except BaseException:
            # also on Ctrl-C: nothing of an unfinished publish stays behind, and the files of the winner have other names
            for path in uploaded:
                _remove(commit_log, path)
            raise
    return files


def _upload(
    commit_log: CommitLog,
    staged: Mapping[str, _Staged],
    objects: frozenset[str],
    sequence: int,
    token: str,
    uploaded: list[str],
) -> Iterator[DataFile]:
    number = 0
    for name, part in staged.items():
        if objects and name not in objects:
            continue
        for path, count in zip(part.paths, part.counts, strict=True):
            relative = f"data/{sequence}-{number}-{token}.parquet"
            uploaded.append(relative)
            _put(commit_log, path, relative)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            yield DataFile(relative, count, path.stat().st_size, digest, name)
            number += 1
        if part.quarantine is not None:
            relative = f"_quarantine/{sequence}-{name}-{token}.parquet"
            uploaded.append(relative)
            _put(commit_log, part.quarantine, relative)


def _put(commit_log: CommitLog, path: Path, relative: str) -> None:
    target = commit_log.path(relative)
    try:
        commit_log.filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
        commit_log.filesystem.put_file(str(path), target)
    except store_errors() as error:
        hint = "Check endpoint, credentials and space; nothing was committed"
        raise StorageProblem(f"{commit_log.url} can't be written ({type(error).__name__}). {hint}") from None


def _remove(commit_log: CommitLog, relative: str) -> None:
    try:
        commit_log.filesystem.rm_file(commit_log.path(relative))
    except store_errors():
        log.warning("staged_file.not_removed", root=commit_log.url, path=relative)
