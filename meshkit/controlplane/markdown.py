"""Markdown of manifests to HTML. The text is untrusted: no raw HTML, no images, links to http(s) and mailto only, no style attributes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

__all__ = ["to_html"]


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table").disable("image")
    parser.validateLink = _is_safe  # type: ignore[method-assign]
    return parser


def _is_safe(url: str) -> bool:
    return url.strip().lower().startswith(("http://", "https://", "mailto:"))


def to_html(text: str) -> str:
    """HTML that fits below an `h2`: headings start at `h3`, tables and code scroll inside themselves."""
    parser = _parser()
    tokens = parser.parse(text)
    for token in tokens:
        _adapt(token)
    return str(parser.renderer.render(tokens, parser.options, {}))


def _adapt(token: Token) -> None:
    if token.type in {"heading_open", "heading_close"}:
        token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
    token.attrs.pop("style", None)  # alignment of tables: the content policy refuses style attributes
    if token.type == "link_open":
        token.attrs["rel"] = "nofollow noopener noreferrer"
    for child in token.children or ():
        _adapt(child)
