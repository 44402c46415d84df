"""`validate`: many files, folders and globs in one call; a broken file never hides what the others have."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path

from meshkit.errors import EnvironmentProblem
from meshkit.manifest.errors import Diagnostic
from meshkit.manifest.load import read_bytes, read_manifest
from meshkit.manifest.model import Manifest
from meshkit.manifest.report import Checked, Report

__all__ = ["find_manifests", "validate"]

_SKIPPED = {".git", ".venv", ".nox", "node_modules", "__pycache__", ".mesh"}


def find_manifests(paths: Iterable[str | PathLike[str]]) -> list[Path]:
    """Files named, globs expanded, folders searched for `manifest.yaml` and `*.manifest.yaml`; sorted, each once.

    Raises: `EnvironmentProblem` for a path that is not there and a folder or glob without any manifest.
    """
    found: dict[str, Path] = {}
    for path in paths:
        matches = list(_expand(fspath(path)))
        if not matches:
            raise EnvironmentProblem(
                f"{fspath(path)}: no manifest there. Name a file, or a folder with manifest.yaml in it",
                code="manifest.not_found",
            )
        found |= {str(match): match for match in matches}
    return [found[name] for name in sorted(found)]


def _expand(text: str) -> Iterator[Path]:
    path = Path(text)
    if path.is_dir():
        for pattern in ("manifest.yaml", "*.manifest.yaml"):
            yield from (f for f in path.rglob(pattern) if not _SKIPPED & set(f.relative_to(path).parts) and f.is_file())
    elif path.exists():
        yield path
    elif glob.has_magic(text):
        yield from (Path(m) for m in glob.glob(text, recursive=True) if Path(m).is_file())


def validate(
    paths: Iterable[str | PathLike[str]], *, resolve: bool = False, warnings_as_errors: bool = False
) -> Report:
    """Check manifests. Equal ids and versions in two files are errors; `resolve` finds dangling inputs and cycles among the files.

    Raises: `EnvironmentProblem` if a path can't be read: a check never passes because a file was unreadable.
    """
    checked = [_check(path) for path in find_manifests(paths)]
    checked = _with(checked, _twins(checked))
    if resolve:
        checked = _with(checked, _dangling(checked))
        checked = _with(checked, _cycles(checked))
    return Report(tuple(checked), warnings_as_errors)


def _check(path: Path) -> Checked:
    manifest, diagnostics = read_manifest(read_bytes(path), source=str(path), path=path)
    return Checked(str(path), manifest, tuple(diagnostics))


def _with(files: list[Checked], found: list[tuple[int, Diagnostic]]) -> list[Checked]:
    result = list(files)
    for index, diagnostic in found:
        result[index] = Checked(result[index].file, result[index].manifest, (*result[index].diagnostics, diagnostic))
    return result


def _finding(manifest: Manifest, path: tuple[str | int, ...], code: str, message: str, hint: str) -> Diagnostic:
    span = manifest.span(*path)
    line, column = (span.line, span.column) if span else (1, 1)
    return Diagnostic(code, message, hint, "error", manifest.source_name, line, column, path)


def _twins(files: list[Checked]) -> list[tuple[int, Diagnostic]]:
    seen: dict[str, str] = {}
    found = []
    for index, file in enumerate(files):
        if file.manifest is None or not file.ok:
            continue
        urn = file.manifest.versioned_urn
        if urn in seen:
            text = f"{file.manifest.id} v{file.manifest.major} is defined in {seen[urn]} too"
            found.append(
                (
                    index,
                    _finding(
                        file.manifest,
                        ("name",),
                        "manifest.duplicate_product",
                        text,
                        "Rename one, or raise its major version.",
                    ),
                )
            )
        seen.setdefault(urn, file.file)
    return found


def _dangling(files: list[Checked]) -> list[tuple[int, Diagnostic]]:
    from difflib import get_close_matches

    known: dict[str, list[Manifest]] = {}
    for file in files:
        if file.manifest is not None:
            known.setdefault(file.manifest.id, []).append(file.manifest)
    found = []
    for index, file in enumerate(files):
        for name, source in file.manifest.inputs.items() if file.manifest is not None else ():
            path = ("inputs", name, "product")
            assert file.manifest is not None
            if source.product is None:
                continue
            candidates = known.get(source.product)
            if candidates is None:
                near = get_close_matches(source.product, known, n=1)
                hint = f"Did you mean {near[0]}?" if near else "Name a product of these files, or mark it `external`."
                found.append(
                    (
                        index,
                        _finding(
                            file.manifest,
                            path,
                            "input.unresolved",
                            f"input `{name}` names no product of these files",
                            hint,
                        ),
                    )
                )
                continue
            found += [(index, f) for f in _mismatch(file.manifest, name, candidates)]
    return found


def _mismatch(reader: Manifest, name: str, candidates: list[Manifest]) -> Iterator[Diagnostic]:
    source = reader.inputs[name]
    fitting = [m for m in candidates if source.version is None or source.version.contains(m.version)]
    if not fitting:
        versions = ", ".join(m.version for m in candidates)
        yield _finding(
            reader,
            ("inputs", name, "version"),
            "input.unresolved",
            f"input `{name}` accepts no version there is ({versions})",
            "Widen `version`.",
        )
        return
    target = fitting[-1]
    if source.port is not None and source.port not in target.ports:
        yield _finding(
            reader,
            ("inputs", name, "port"),
            "input.unresolved",
            f"{target.id} has no such port",
            f"Known: {', '.join(target.ports)}.",
        )
    object_name = source.object or target.main_object
    if object_name not in target.objects:
        yield _finding(
            reader,
            ("inputs", name, "object"),
            "input.unresolved",
            f"{target.id} has no such object",
            f"Known: {', '.join(target.objects)}.",
        )
        return
    for position, column in enumerate(source.columns or ()):
        if column not in target.objects[object_name].fields:
            hint = f"Known: {', '.join(list(target.objects[object_name].fields)[:20])}."
            yield _finding(
                reader,
                ("inputs", name, "columns", position),
                "input.unresolved",
                f"{target.id} has no column `{column}`",
                hint,
            )


def _cycles(files: list[Checked]) -> list[tuple[int, Diagnostic]]:
    graph = {
        f.manifest.id: [s.product for s in f.manifest.inputs.values() if s.product]
        for f in files
        if f.manifest is not None
    }
    found = []
    for index, file in enumerate(files):
        if file.manifest is not None and (way := _way_back(graph, file.manifest.id)):
            text = f"inputs form a cycle: {' -> '.join(way)}"
            found.append(
                (
                    index,
                    _finding(
                        file.manifest, ("inputs",), "input.cycle", text, "Break it: a product can't depend on itself."
                    ),
                )
            )
    return found


def _way_back(graph: dict[str, list[str]], start: str) -> list[str] | None:
    """Shortest way from a product to itself along inputs, or None."""
    queue, seen = [[start]], {start}
    while queue:
        way = queue.pop(0)
        for following in graph.get(way[-1], ()):
            if following == start:
                return [*way, start]
            if following not in seen:
                seen.add(following)
                queue.append([*way, following])
    return None
