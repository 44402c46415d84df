"""Texts of policy files to a `PolicySet`: format, names, masks against types, SQL against contracts; all problems at once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from meshkit import _yaml
from meshkit._diagnostics import Diagnostic, diagnostic_at, from_validation, from_yaml
from meshkit.manifest import Manifest
from meshkit.masking.condition import BadCondition, Condition
from meshkit.masking.condition_reader import parse_condition
from meshkit.masking.errors import MaskMisfit
from meshkit.masking.masks import Mask, load_mask
from meshkit.masking.policies import Applies, Filter, Grant, PolicySet, Rule
from meshkit.masking.policy_file import Entry, FilterEntry, PolicyFile, RuleEntry, TestEntry
from meshkit.masking.targets import Target, matches_class, matches_product, matches_tag, row_type, targets

__all__ = ["read_policies"]

Path = tuple[str | int, ...]
Report = Callable[..., None]
NO_ALL = "all"


def read_policies(
    texts: Sequence[tuple[str, bytes | str]], manifests: Sequence[Manifest] = ()
) -> tuple[PolicySet, list[Diagnostic]]:
    """Policies of all texts (source, text) and every diagnostic. Never raises for bad content."""
    diagnostics: list[Diagnostic] = []
    files: list[tuple[_yaml.Document, PolicyFile]] = []
    for source, text in texts:
        try:
            document = _yaml.parse(text, source=source)
        except _yaml.YamlSyntaxError as error:
            diagnostics += from_yaml(error)
            continue
        try:
            files.append((document, PolicyFile.model_validate(document.data)))
        except ValidationError as error:
            diagnostics += from_validation(document, error, PolicyFile, module="masking")
    reader = _Reader(manifests, diagnostics)
    for document, content in files:
        reader.read(document, content)
    reader.check_overrides()
    diagnostics.sort(key=lambda d: (d.file, d.line, d.column))
    warnings = tuple(d for d in diagnostics if d.severity == "warning")
    sources = tuple(source for source, _ in texts)
    policies = PolicySet(
        tuple(reader.grants), tuple(reader.rules), tuple(reader.filters), tuple(reader.tests), warnings, sources
    )
    return policies, diagnostics


class _Reader:
    def __init__(self, manifests: Sequence[Manifest], diagnostics: list[Diagnostic]) -> None:
        self.manifests = manifests
        self.targets: list[tuple[Manifest, Target]] = [(m, t) for m in manifests for t in targets(m)]
        self.diagnostics = diagnostics
        self.grants: list[Grant] = []
        self.rules: list[Rule] = []
        self.filters: list[Filter] = []
        self.tests: list[tuple[str, TestEntry]] = []
        self.ids: dict[tuple[str, str], str] = {}
        self.overrides: list[tuple[_yaml.Document, Path, str, list[str]]] = []

    def report(
        self, document: _yaml.Document, path: Path, code: str, message: str, hint: str = "", *, severity: str = "error"
    ) -> None:
        self.diagnostics.append(diagnostic_at(document, path, f"masking.{code}", message, hint, severity=severity))

    def read(self, document: _yaml.Document, content: PolicyFile) -> None:
        for index, grant in enumerate(content.grants):
            path: Path = ("grants", index)
            self._id(document, path, "grant", grant)
            self._products(document, (*path, "products"), grant.products)
            self.grants.append(Grant(grant.id, tuple(grant.products), _applies(grant, content), grant.effect == "deny"))
        for index, rule in enumerate(content.rules):
            self._rule(document, ("rules", index), rule, content)
        for index, row_filter in enumerate(content.row_filters):
            self._filter(document, ("row_filters", index), row_filter, content)
        for index, test in enumerate(content.tests):
            self.tests.append((_place(document, ("tests", index)), test))

    def _id(self, document: _yaml.Document, path: Path, kind: str, entry: Entry) -> None:
        first = self.ids.setdefault((kind, entry.id), _place(document, (*path, "id")))
        if first != _place(document, (*path, "id")):
            self.report(
                document,
                (*path, "id"),
                "duplicate_id",
                f"{kind} {entry.id!r} stands twice, first at {first}",
                "Give it another id.",
            )

    def _products(self, document: _yaml.Document, path: Path, patterns: Sequence[str]) -> list[Manifest]:
        found = [m for m in self.manifests if any(matches_product(p, m) for p in patterns)]
        for index, pattern in enumerate(patterns):
            if "*" in pattern[:-1]:
                self.report(
                    document, (*path, index), "pattern", "`*` stands at the end only", "Write for example sales.*"
                )
            elif self.manifests and not pattern.endswith("*") and pattern not in {m.id for m in self.manifests}:
                near = get_close_matches(pattern, [m.id for m in self.manifests], n=1)
                hint = f"Did you mean {near[0]!r}?" if near else "No manifest has it."
                self.report(
                    document, (*path, index), "unknown_target", f"unknown product {pattern!r}", hint, severity="warning"
                )
        return found

    # rules

    def _rule(self, document: _yaml.Document, path: Path, rule: RuleEntry, content: PolicyFile) -> None:
        self._id(document, path, "rule", rule)
        if sum(selector is not None for selector in (rule.tags, rule.columns, rule.classification)) != 1:
            self.report(
                document,
                path,
                "selector",
                f"rule {rule.id!r} needs exactly one of `tags`, `columns` and `classification`",
                "Split it.",
            )
        for name, values in (("tags", rule.tags), ("columns", rule.columns)):
            for index, value in enumerate(values or ()):
                if "*" in value[:-1] or (name == "columns" and value.endswith("*")):
                    self.report(
                        document,
                        (*path, name, index),
                        "pattern",
                        "`*` stands at the end of a tag only",
                        "Write the name out.",
                    )
        mask, args = self._mask(document, path, rule)
        condition = self._only_rows(document, path, rule, mask)
        self.overrides.append((document, path, rule.id, list(rule.overrides)))
        chosen = [(m, t) for m, t in self.targets if _chooses(rule, t)]
        self._unknown_columns(document, path, rule)
        for manifest, target in chosen:
            self._fit(document, path, mask, args, condition, manifest, target)
        if rule.lookup and mask is not None and not mask.keyed:
            self.report(
                document,
                (*path, "lookup"),
                "lookup",
                "`lookup` goes with keyed masks only",
                "Remove it, or use mask hmac.",
            )
        name = mask.name if mask is not None else "null"
        self.rules.append(
            Rule(
                rule.id, tuple(rule.tags or ()), tuple(rule.columns or ()), rule.classification, name, args, _applies(rule, content),
                rule.reason or "", rule.lookup, condition, rule.otherwise, frozenset(rule.overrides),
            )
        )  # fmt: skip

    def _mask(self, document: _yaml.Document, path: Path, rule: RuleEntry) -> tuple[Mask | None, dict[str, Any]]:
        name, given = rule.mask
        try:
            mask = load_mask(name)
            return mask, dict(mask.arguments(given, None))
        except MaskMisfit as error:
            message, _, hint = error.message.partition(". ")
            self.report(
                document,
                (*path, "mask"),
                error.code.partition(".")[2],
                message,
                f"{hint}." if hint and hint[-1] not in ".?" else hint,
            )
            return None, {}

    def _only_rows(self, document: _yaml.Document, path: Path, rule: RuleEntry, mask: Mask | None) -> Condition | None:
        if rule.only_rows is None:
            if rule.otherwise != "null":
                self.report(
                    document,
                    (*path, "otherwise"),
                    "otherwise",
                    "`otherwise` goes with `only_rows`",
                    "Add a condition, or remove it.",
                )
            return None
        try:
            other: Mask | None = load_mask(rule.otherwise)
            if other is not None:
                other.arguments({}, None)
        except MaskMisfit as error:
            self.report(
                document, (*path, "otherwise"), "otherwise", error.message, "Use a mask that needs no arguments."
            )
            other = None
        if any(m is not None and m.keyed for m in (mask, other)):
            self.report(
                document,
                (*path, "only_rows"),
                "only_rows",
                "keyed masks under `only_rows` are not in this release",
                "Use another mask.",
            )
        return self._condition(document, (*path, "only_rows"), rule.only_rows)

    def _condition(self, document: _yaml.Document, path: Path, text: str) -> Condition | None:
        try:
            return parse_condition(text)
        except BadCondition as error:
            message, _, hint = str(error).partition(". ")
            self.report(document, path, "policy_sql", message, hint and f"{hint}.")
            return None

    def _fit(
        self,
        document: _yaml.Document,
        path: Path,
        mask: Mask | None,
        args: dict[str, Any],
        condition: Condition | None,
        manifest: Manifest,
        target: Target,
    ) -> None:
        if mask is not None and not mask.fits(target.data_type):
            message = f"mask `{mask.name}` does not fit {target.address} of type {target.data_type}"
            self.report(
                document,
                (*path, "mask"),
                "mask_misfit",
                message,
                "Choose another mask for it by a rule with `columns`, or narrow the tags.",
            )
        elif mask is not None:
            try:
                mask.arguments(args, target.data_type)
            except MaskMisfit as error:
                self.report(document, (*path, "mask"), "mask_misfit", f"{target.address}: {error.message}", "")
        if condition is not None:
            self._check(document, (*path, "only_rows"), condition, manifest, target.label)

    def _check(
        self, document: _yaml.Document, path: Path, condition: Condition, manifest: Manifest, label: str = ""
    ) -> None:
        if (
            label
            and "." in label
            and label.split(".", maxsplit=1)[0] in manifest.objects
            and label.split(".", maxsplit=1)[0] != manifest.main_object
        ):
            self.report(
                document,
                path,
                "policy_sql",
                f"{label}: conditions on other objects than the main one are not in this release",
            )
            return
        for problem in condition.check(row_type(manifest)):
            self.report(document, path, "policy_sql", f"{manifest.id}: {problem}")

    def _unknown_columns(self, document: _yaml.Document, path: Path, rule: RuleEntry) -> None:
        if not self.manifests:
            return
        known = {t.address for _, t in self.targets}
        for index, column in enumerate(rule.columns or ()):
            if column not in known:
                near = get_close_matches(column, known, n=1)
                hint = f"Did you mean {near[0]!r}?" if near else "No manifest has it."
                self.report(
                    document,
                    (*path, "columns", index),
                    "unknown_target",
                    f"unknown column {column!r}",
                    hint,
                    severity="warning",
                )

    def check_overrides(self) -> None:
        """Every overridden rule exists and no rule overrides itself, however indirectly."""
        graph = {rule: names for _, _, rule, names in self.overrides}
        for document, path, rule, names in self.overrides:
            for index, name in enumerate(names):
                if name not in graph:
                    near = get_close_matches(name, graph, n=1)
                    hint = f"Did you mean {near[0]!r}?" if near else "No rule has this id."
                    self.report(
                        document,
                        (*path, "overrides", index),
                        "overrides",
                        f"unknown rule {name!r} in `overrides`",
                        hint,
                    )
                elif rule in _reachable(graph, name):
                    self.report(
                        document,
                        (*path, "overrides", index),
                        "overrides",
                        f"`overrides` of rule {rule!r} forms a cycle",
                        "Remove one.",
                    )

    # row filters

    def _filter(self, document: _yaml.Document, path: Path, entry: FilterEntry, content: PolicyFile) -> None:
        self._id(document, path, "row filter", entry)
        concerned = self._products(document, (*path, "products"), entry.products)
        condition = None
        if entry.filter.strip().lower() != NO_ALL:
            condition = self._condition(document, (*path, "filter"), entry.filter)
            if condition is None:
                return
            for manifest in concerned:
                self._check(document, (*path, "filter"), condition, manifest)
        self.filters.append(Filter(entry.id, tuple(entry.products), condition, _applies(entry, content)))


def _applies(entry: Entry, content: PolicyFile) -> Applies:
    where = (*content.where_attributes.items(), *entry.where_attributes.items())
    return Applies(
        frozenset(entry.roles) if entry.roles is not None else None,
        frozenset(entry.purposes) if entry.purposes is not None else None,
        entry.until,
        where,
    )


def _chooses(rule: RuleEntry, target: Target) -> bool:
    if rule.tags is not None:
        return any(matches_tag(p, t) for p in rule.tags for t in target.tags)
    if rule.columns is not None:
        return target.address in rule.columns
    return rule.classification is not None and matches_class(rule.classification, target.classification)


def _place(document: _yaml.Document, path: Path) -> str:
    span = document.span(path)
    return f"{document.source}:{span.line}:{span.column}"


def _reachable(graph: dict[str, list[str]], start: str) -> Iterator[str]:
    seen, stack = set(), [start]
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            yield name
            stack.extend(graph.get(name, ()))
