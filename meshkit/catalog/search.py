"""Search over all products: stages first, signals inside them. Pure but for the index it keeps in memory.

Stage 1: the query is the id, `domain.name`, URN, title or name. 2: each word equals (the last may prefix) a name token. 3: each occurs in
name, title, ports or columns. 4: each occurs somewhere. With fewer than 5 hits any word (`partial`, stage 5). Laws: signals never move a
hit between stages; an exact name is first. Source: catalog-lineage-slo section 2.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from meshkit.catalog.query import Query, parse_query
from meshkit.catalog.tokens import tokens

if TYPE_CHECKING:
    from meshkit.manifest import Manifest

__all__ = ["Document", "Hit", "SearchIndex", "SearchResult", "Signals"]

_WEIGHTS = {
    "name": 10.0,
    "id": 8.0,
    "title": 8.0,
    "tags": 5.0,
    "domain": 4.0,
    "owner": 3.0,
    "ports": 2.0,
    "columns": 2.0,
    "description": 1.0,
}
_STAGE_3 = ("name", "title", "ports", "columns")


@dataclass(frozen=True, slots=True)
class Signals:
    """What is measured about a product; None is unknown."""

    state: str = "not measured"
    trust: float | None = None
    freshness_seconds: float | None = None
    usage: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """A product as search sees it."""

    manifest: Manifest
    fields: Mapping[str, frozenset[str]]
    signals: Signals = Signals()
    values: Mapping[str, Any] = field(default_factory=dict)

    is_retired: bool = False

    @classmethod
    def of(cls, manifest: Manifest, signals: Signals) -> Document:
        """Tokens per weighted field, and typed values for filters."""
        columns = [name for item in manifest.objects.values() for name in item.fields]
        texts = {
            "name": [manifest.name], "id": [manifest.id, manifest.urn], "title": [manifest.title or ""], "tags": manifest.tags,
            "domain": [manifest.domain], "owner": [manifest.owner.team, *(m.name for m in manifest.owner.members)],
            "ports": [*manifest.ports, *(p.title_text for p in manifest.ports.values())], "columns": columns,
            "description": [manifest.description.purpose, manifest.description.usage or ""],
        }  # fmt: skip
        indexed = {name: frozenset(t for text in given for t in tokens(text)) for name, given in texts.items()}
        return cls(manifest, indexed, signals, _values(manifest, signals, columns), manifest.status == "retired")


def _values(manifest: Manifest, signals: Signals, columns: Sequence[str]) -> dict[str, Any]:
    classes = {f.classification for o in manifest.objects.values() for _, f in o.walk() if f.classification}
    values: dict[str, Any] = {
        "domain": manifest.domain, "owner": [manifest.owner.team, *(m.name for m in manifest.owner.members)], "tag": manifest.tags,
        "status": manifest.status, "version": manifest.version, "column": columns, "port.kind": [p.kind for p in manifest.ports.values()],
        "classification": classes, "state": signals.state, "trust": signals.trust, "usage": signals.usage, "freshness": signals.freshness_seconds,
    }  # fmt: skip
    for slo in manifest.slos.values():
        if slo.kind == "freshness" and slo.within is not None:
            values["sla.freshness"] = slo.within.timedelta().total_seconds()
        elif slo.kind in {"availability", "completeness", "quality"}:
            values[f"sla.{slo.kind}"] = slo.target_ratio
    return values


@dataclass(frozen=True, slots=True)
class Hit:
    """One product found, and why it stands where it does."""

    document: Document
    stage: int
    text: float
    bonus: Mapping[str, float]
    matched: tuple[str, ...]

    @property
    def score(self) -> float:
        """Order inside a stage."""
        return self.text + sum(self.bonus.values())


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits of one page with totals, facets and suggestions, all after the visibility filter."""

    query: str
    hits: tuple[Hit, ...]
    total: int
    facets: Mapping[str, tuple[tuple[str, int], ...]]
    suggestions: tuple[str, ...] = ()
    cursor: str | None = None

    def to_json(self) -> dict[str, Any]:
        """`meshkit.catalog.search/1`."""
        return {
            "format": "meshkit.catalog.search/1", "total": self.total, "total_is_exact": True, "cursor": self.cursor, "suggestions": list(self.suggestions),
            "facets": {k: [list(x) for x in v] for k, v in self.facets.items()}, "hits": [_hit_json(h) for h in self.hits],
        }  # fmt: skip


def _hit_json(hit: Hit) -> dict[str, Any]:
    m, s = hit.document.manifest, hit.document.signals
    return {
        "urn": m.urn, "version": m.version, "purpose": m.description.purpose, "owner": m.owner.team, "state": s.state, "trust": s.trust,
        "freshness_seconds": s.freshness_seconds,
        "why": {"stage": hit.stage, "matched": list(hit.matched), "text": round(hit.text, 3), "bonus": {k: round(v, 3) for k, v in hit.bonus.items()}},
    }  # fmt: skip


class SearchIndex:
    """An inverted index over documents; immutable once made. Building 10,000 products takes a second, a query milliseconds."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.documents = tuple(sorted(documents, key=lambda d: d.manifest.urn))
        self._postings: dict[str, dict[str, set[int]]] = {}
        self._exact: dict[str, set[int]] = {}
        for number, document in enumerate(self.documents):
            m = document.manifest
            for text in (m.id, m.urn, m.versioned_urn, m.name, m.title or ""):
                if text:
                    self._exact.setdefault(text.casefold(), set()).add(number)
            for name, words in document.fields.items():
                for word in words:
                    self._postings.setdefault(word, {}).setdefault(name, set()).add(number)
        self._names = sorted({w for w, by in self._postings.items() if "name" in by})
        self._trigram_names: dict[str, list[str]] = {}
        for name in self._names:
            if not name.isdigit():
                for trigram in _trigrams(name):
                    self._trigram_names.setdefault(trigram, []).append(name)
        self._most_used = max((d.signals.usage for d in self.documents), default=0)
        self._bonuses = [self._bonus(d) for d in self.documents]
        self._bonus_sums = [sum(b.values()) for b in self._bonuses]

    def search(
        self, text: str, *, limit: int = 20, offset: int = 0, visible: Callable[[Document], bool] = lambda _: True
    ) -> SearchResult:
        """Ranked hits. An empty text lists all, best known first. Raises: `QuerySyntax`."""
        query = parse_query(text)
        filtered = bool(query.filters)
        allowed = {
            n
            for n, d in enumerate(self.documents)
            if (not d.is_retired if not filtered else _passes(d, query)) and visible(d)
        }
        excluded = [self._somewhere(w) for word in query.excluded for w in tokens(word)[:1]]
        for numbers in excluded:
            allowed -= numbers
        staged = self._stages(query, allowed)
        texts, matched = self._texts(query, staged)
        # documents are sorted by URN: their number breaks ties
        order = sorted(staged, key=lambda n: (staged[n], -texts.get(n, 0.0) - self._bonus_sums[n], n))
        page = tuple(
            Hit(
                self.documents[n],
                staged[n],
                texts.get(n, 0.0),
                self._bonuses[n],
                tuple(dict.fromkeys(matched.get(n, ()))),
            )
            for n in order[offset : offset + limit]
        )
        suggestions = () if order or not query.words else self._suggest(query, allowed)
        cursor = str(offset + limit) if offset + limit < len(order) else None
        return SearchResult(text, page, len(order), _facets([self.documents[n] for n in order]), suggestions, cursor)

    def _stages(self, query: Query, allowed: set[int]) -> dict[int, int]:
        words = [*query.words, *(w for p in query.phrases for w in p.split())]
        if not words:
            return dict.fromkeys(allowed, 4)
        staged: dict[int, int] = {}
        whole = " ".join(words).casefold()
        for stage, numbers in enumerate(
            (
                self._exact.get(whole, set()),
                self._all(words, ("name",), prefix=True),
                self._all(words, _STAGE_3),
                self._all(words, None),
            ),
            start=1,
        ):
            for number in numbers & allowed:
                if stage == 1 or self._has_phrases(number, query):
                    staged.setdefault(number, stage)
        if len(staged) < 5 and len(words) > 1:
            for number in set().union(*(self._word(w, None) for w in words)) & allowed:
                staged.setdefault(number, 5)
        return staged

    def _has_phrases(self, number: int, query: Query) -> bool:
        m = self.documents[number].manifest
        texts = " \n ".join([m.id, m.title or "", m.description.purpose, m.description.usage or "", *m.tags]).casefold()
        return all(p.casefold() in texts for p in query.phrases)

    def _all(self, words: Sequence[str], fields: Sequence[str] | None, *, prefix: bool = False) -> set[int]:
        found: set[int] | None = None
        for index, word in enumerate(words):
            numbers = self._word(word, fields)
            if prefix and index == len(words) - 1:
                numbers = numbers | self._prefixed(word.casefold())
            found = numbers if found is None else found & numbers
        return found or set()

    def _word(self, word: str, fields: Sequence[str] | None) -> set[int]:
        """Documents that have the word; a compound word as all of its parts."""
        given = tokens(word)
        if not given:
            return set()
        direct = self._token(given[0], fields)
        if direct or len(given) == 1:
            return direct
        found = self._token(given[1], fields)
        for part in given[2:]:
            if not part.endswith("s") and f"{part}s" in given:
                continue  # the singular of a part is an alternative, not another demand
            found = found & self._token(part, fields)
        return found

    def _token(self, token: str, fields: Sequence[str] | None) -> set[int]:
        by = self._postings.get(token, {})
        singular = self._postings.get(token[:-1], {}) if len(token) > 3 and token.endswith("s") else {}
        return set().union(
            *(found.get(f, set()) for found in (by, singular) for f in (found if fields is None else fields))
        )

    def _somewhere(self, token: str) -> set[int]:
        return self._token(token, None)

    def _prefixed(self, start: str) -> set[int]:
        from bisect import bisect_left

        found: set[int] = set()
        for name in self._names[bisect_left(self._names, start) :]:
            if not name.startswith(start) or len(found) > 400:
                break
            found |= self._postings[name]["name"]
        return found

    def _texts(self, query: Query, staged: Mapping[int, int]) -> tuple[dict[int, float], dict[int, list[str]]]:
        """Text score 0..1 and matched fields of each staged document: rare words and strong fields count more."""
        totals: dict[int, float] = {}
        matched: dict[int, list[str]] = {}
        for token in dict.fromkeys(t for word in query.words for t in tokens(word)):
            for name, numbers in self._postings.get(token, {}).items():
                gain = _WEIGHTS[name] * math.log(1 + len(self.documents) / len(numbers))
                for number in numbers & staged.keys():
                    totals[number] = totals.get(number, 0.0) + gain
                    matched.setdefault(number, []).append(name)
        return {n: total / (total + 30) for n, total in totals.items()}, matched

    def _bonus(self, document: Document) -> dict[str, float]:
        """At most 0.15 together; deprecated and breaching products lose."""
        s, bonus = document.signals, {}
        if s.usage and self._most_used:
            bonus["usage"] = 0.06 * math.log1p(s.usage) / math.log1p(self._most_used)
        if s.trust is not None:
            bonus["trust"] = 0.06 * s.trust / 100
        if s.freshness_seconds is not None:
            bonus["freshness"] = 0.03 / (1 + s.freshness_seconds / 86400)
        if document.manifest.status == "deprecated":
            bonus["deprecated"] = -0.10
        if s.state == "breaching":
            bonus["breaching"] = -0.05
        return bonus

    def _suggest(self, query: Query, allowed: set[int]) -> tuple[str, ...]:
        """Nearest names that have a visible hit: those that share most trigrams, then by similarity."""
        found: list[str] = []
        for word in query.words:
            shared = Counter(name for t in _trigrams(word.casefold()) for name in self._trigram_names.get(t, ()))
            near = [n for n, _ in shared.most_common(50) if not self._postings[n]["name"].isdisjoint(allowed)]
            found += get_close_matches(word.casefold(), near, n=2, cutoff=0.7)
        return tuple(dict.fromkeys(found))[:3]


def _trigrams(word: str) -> set[str]:
    padded = f" {word} "
    return {padded[i : i + 3] for i in range(len(padded) - 2)}


def _passes(document: Document, query: Query) -> bool:
    if document.is_retired and not any(f.field == "status" for f in query.filters):
        return False
    return all(f.holds(document.values.get(f.field)) for f in query.filters)


def _facets(found: Sequence[Document]) -> dict[str, tuple[tuple[str, int], ...]]:
    facets: dict[str, tuple[tuple[str, int], ...]] = {}
    for name in ("domain", "state", "status"):
        facets[name] = tuple(Counter(d.values[name] for d in found).most_common())
    kinds = Counter(kind for d in found for kind in set(d.values["port.kind"]))
    return {**facets, "port.kind": tuple(kinds.most_common())}
