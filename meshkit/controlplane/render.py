"""Pages to HTML: one Jinja environment, the filters of the pages, Markdown without raw HTML, content-hashed static files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from meshkit.controlplane import charts, words
from meshkit.controlplane.markdown import to_html
from meshkit.lineage.addresses import label, node_kind

if TYPE_CHECKING:
    from meshkit.controlplane.pages import Page
    from meshkit.manifest import Manifest

__all__ = ["Renderer", "Static"]

_BREAKS = re.compile(r"(?<=[._\-:/,])")
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_ACCESS = {"requested": "asked", "approved": "active"}


@dataclass(frozen=True, slots=True)
class Static:
    """A file of the package under a name that changes with its content."""

    url: str
    content: bytes
    media_type: str


def _static_files() -> dict[str, Static]:
    found = {}
    for name in ("style.css", "app.js"):
        content = files("meshkit.controlplane").joinpath("static", name).read_bytes()
        stem, _, ending = name.partition(".")
        url = f"/static/{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{ending}"
        found[name] = Static(url, content, _TYPES[ending])
    return found


class Renderer:
    """Turns pages into HTML."""

    def __init__(self, mesh_name: str) -> None:
        self.statics = _static_files()
        self._environment = _environment(mesh_name, self.statics)

    @cached_property
    def by_url(self) -> Mapping[str, Static]:
        """Static files by their hashed URL."""
        return {s.url: s for s in self.statics.values()}

    def html(self, page: Page, **shown: Any) -> str:
        """The page as HTML. `shown` is what every page shows: reader, path, token, waiting, ..."""
        return self._environment.get_template(page.template).render(**{**shown, **page.view, "page": page})


def _environment(mesh_name: str, statics: Mapping[str, Static]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("meshkit.controlplane", "templates"),
        autoescape=True,
        undefined=jinja2.Undefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": breakable, "breaks": breaks, "product_url": product_url, "id_url": id_url, "person": person, "address": address, "label": label,
        "markdown": lambda text: Markup(to_html(text)),  # noqa: S704  # to_html lets no HTML through
         "is_web": lambda url: url.startswith(("http://", "https://")),
        "state_glyph": words.glyph, "score": words.score, "points": words.points, "budget": words.budget, "length_of": words.length, "span": words.span,
        "bar": lambda remaining, state: Markup(charts.bar(remaining, state)),  # noqa: S704  # numbers and fixed names only
        "access_word": lambda s: _ACCESS.get(s, s),
        "iso": lambda at: at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "stamp": stamp, "date": lambda at: f"{at:%Y-%m-%d}",
        "when": _at_now(words.when), "since": _at_now(words.since), "day": _at_now(words.day), "ago": _at_now(words.ago), "ago_or_never": _at_now(words.ago_or_never),
    }  # fmt: skip
    environment.globals |= {"mesh_name": mesh_name, "static": lambda name: statics[name].url}
    return environment


def _at_now(spell: Callable[[Any, datetime], str]) -> Callable[..., str]:
    """A filter that needs to know when now is."""

    @jinja2.pass_context
    def run(context: jinja2.runtime.Context, value: Any) -> str:
        return spell(value, context["now"])

    return run


def stamp(at: datetime) -> str:
    """`24 Nov 2026, 09:00 UTC`."""
    return f"{at.day}\u00a0{at.astimezone(UTC):%b %Y, %H:%M} UTC"


def breakable(text: object) -> Markup:
    """Escaped text that may break after `. _ - : / ,` when it is longer than 30 characters."""
    plain = str(text)
    return escape(plain) if len(plain) <= 30 else breaks(plain)


def breaks(text: str) -> Markup:
    """Escaped text that may break after `. _ - : / ,`."""
    return Markup("<wbr>").join(escape(part) for part in _BREAKS.split(text))


def product_url(manifest: Manifest) -> str:
    """Page of a product."""
    return f"/products/{quote(manifest.domain, safe='.')}/{quote(manifest.name, safe='')}"


def id_url(product: str) -> str:
    """Page of a product by id."""
    domain, _, name = product.rpartition(".")
    return f"/products/{quote(domain, safe='.')}/{quote(name, safe='')}"


def address(urn: str) -> Markup:
    """A node as a link: products to their page, others to their lineage."""
    name = label(urn)
    if node_kind(urn) != "product":
        return Markup('<a href="/lineage?focus={}">{}</a>').format(quote(urn, safe=""), breakable(name))
    domain, _, last = name.rpartition(".")
    return Markup('<a class="name" href="{}"><span>{}</span>{}</a>').format(
        id_url(name), breakable(f"{domain}."), breakable(last)
    )


def person(manifest: Manifest) -> str:
    """The owning person where one is named, else the team."""
    return next((p.name for p in manifest.owner.members if p.role == "owner"), manifest.owner.team)
