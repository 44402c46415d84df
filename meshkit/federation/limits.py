"""Bounds of a statement, judged on its tokens before anything recursive sees it, and its text with literals hidden.

Deep nesting raises RecursionError in sqlglot's Python build and crashes its compiled build, so it is counted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meshkit.federation.errors import Position, QueryDenied, UnparsableSql

__all__ = ["MAX_BYTES", "MAX_NESTING", "MAX_TOKENS", "at_offset", "check_shape", "redact", "tokenize"]

MAX_BYTES = 100_000
MAX_TOKENS = 20_000
MAX_NESTING = 100
MAX_CHAIN = 400  # operators in one row, `a + a + ...`: left-deep trees that later walkers recurse into

_OPEN, _CLOSE = {"(", "[", "{"}, {")", "]", "}"}
_SIGNS = {"+", "-", "~", "@", "!"}


def at_offset(text: str, offset: int) -> Position:
    """Line and column of a character."""
    line = text.count("\n", 0, offset) + 1
    return Position(line, offset - (text.rfind("\n", 0, offset) + 1) + 1)


def tokenize(text: str) -> list[Any]:
    """Tokens of the statement. Raises: `QueryDenied` if it is too large, `UnparsableSql` if it has no tokens."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _too_complex(f"the statement is longer than {MAX_BYTES:,} bytes")
    if "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise UnparsableSql(None)
    try:
        tokens: list[Any] = sqlglot.tokenize(text, dialect="duckdb")
    except (SqlglotError, RecursionError, ValueError):
        raise UnparsableSql(None) from None
    if len(tokens) > MAX_TOKENS:
        raise _too_complex(f"the statement has more than {MAX_TOKENS:,} tokens")
    return tokens


def check_shape(text: str, tokens: Sequence[Any]) -> None:
    """Refuse nesting over `MAX_NESTING` and chains over `MAX_CHAIN`. Raises: `QueryDenied` (`too_complex`, `not_allowed`)."""
    depth = signs = chain = postfix = 0
    previous: Any = None
    for token in tokens:
        word = token.text.upper()
        kind = token.token_type.name
        quoted = kind in {"STRING", "IDENTIFIER", "RAW_STRING", "BYTE_STRING", "HEREDOC_STRING"}
        if quoted:
            signs = 0
        elif word in _OPEN or word == "CASE":
            depth, signs = depth + 1, 0
        elif word in _CLOSE or word == "END":
            depth = max(0, depth - 1)
        elif word == "NOT" or word in _SIGNS:
            signs += 1
        elif word != "=":
            signs = 0
        chain = _chain(chain, word, quoted=quoted)
        postfix = _postfix(postfix, word, previous)
        if depth > MAX_NESTING or signs > MAX_NESTING or postfix > MAX_NESTING or chain > MAX_CHAIN:
            raise _too_complex("the statement is nested too deeply", at_offset(text, token.start))
        _refuse_misread(text, token, previous)
        previous = token


def _chain(chain: int, word: str, *, quoted: bool) -> int:
    """Length of the run of binary operators and set operations; commas and brackets start a new one."""
    if quoted:
        return chain
    if word in {",", ";", "(", ")", "[", "]", "{", "}"}:
        return 0 if word in {",", ";"} else chain
    operator = not (word[:1].isalnum() or word[:1] in {"_", "."}) or word in {
        "AND",
        "OR",
        "XOR",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "IS",
        "IN",
        "LIKE",
    }
    return chain + 1 if operator else chain


def _postfix(run: int, word: str, previous: Any) -> int:
    """Steps of `a[1][1]`, `a::int::int`, `a.b.b`: parsed by recursion, quadratic in sqlglot."""
    if word in {"::", "."} or (word == "[" and previous is not None and previous.text == "]"):
        return run + 1
    if word in {",", "(", ")", ";"} or word in {
        "SELECT",
        "FROM",
        "WHERE",
        "AND",
        "OR",
        "JOIN",
        "ON",
        "AS",
        "BY",
        "+",
        "-",
        "*",
        "/",
        "=",
        "<",
        ">",
    }:
        return 0
    return run


def _refuse_misread(text: str, token: Any, previous: Any) -> None:
    """Spellings that sqlglot reads otherwise than DuckDB: refused, so that nobody gets another query than the one written.

    `0x1F` becomes `0 AS x1F`; `~` becomes a partial match where DuckDB matches the whole text.
    """
    kind = token.token_type.name
    if (
        previous is not None
        and previous.token_type.name == "NUMBER"
        and kind in {"VAR", "IDENTIFIER"}
        and token.start == previous.end + 1
    ):
        raise QueryDenied(
            "a number runs into a word",
            reason="not_allowed",
            hint="Write a space between them; hexadecimal numbers are not supported",
            position=at_offset(text, token.start),
        )
    binary = previous is not None and (
        previous.token_type.name in {"VAR", "STRING", "NUMBER", "IDENTIFIER"} or previous.text in {")", "]"}
    )
    if (
        kind not in {"STRING", "IDENTIFIER"}
        and token.text in {"~", "!~", "~~", "!~~", "~*", "~~*", "!~~*", "~~~"}
        and binary
    ):
        raise QueryDenied(
            f"the operator {token.text} is not supported",
            reason="not_allowed",
            hint="Use LIKE, ILIKE, regexp_matches() or regexp_full_match()",
            position=at_offset(text, token.start),
        )


def _too_complex(what: str, position: Position | None = None) -> QueryDenied:
    return QueryDenied(what, reason="too_complex", hint="Split it into several queries", position=position)


_HIDDEN = {
    "STRING",
    "NUMBER",
    "RAW_STRING",
    "BYTE_STRING",
    "HEX_STRING",
    "BIT_STRING",
    "HEREDOC_STRING",
    "NATIONAL_STRING",
    "UNICODE_STRING",
}


def redact(text: str, tokens: Sequence[Any] | None) -> str:
    """The statement with every literal as `?` and without comments: query text is personal data. `?` alone if it has no tokens."""
    if tokens is None:
        return "?"
    parts: list[str] = []
    end = 0
    for token in tokens:
        if parts and token.start > end:
            parts.append(" ")
        parts.append("?" if token.token_type.name in _HIDDEN else text[token.start : token.end + 1])
        end = token.end + 1
    return "".join(parts)
