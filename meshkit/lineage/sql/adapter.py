"""The only file of lineage that imports sqlglot: tokens, caps, parsing, folding of names and the closed table of expression classes."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

try:
    from sqlglot import exp
    from sqlglot.dialects.dialect import Dialect, NormalizationStrategy
    from sqlglot.errors import ParseError, SqlglotError
    from sqlglot.tokens import TokenType  # type: ignore[attr-defined]  # re-exported from the compiled core
except ImportError as error:  # the extra is optional
    from meshkit.errors import MissingExtra

    raise MissingExtra("sql", package="sqlglot", purpose="reading lineage out of SQL") from error

from meshkit.lineage.errors import UnknownDialect
from meshkit.lineage.sql.models import Problem

__all__ = ["CATEGORY", "LATERAL_ALIAS_DIALECTS", "Grammar", "Statement", "exp", "fingerprint", "grammar"]

# sqlglot logs the statement text when it falls back to `Command`; a statement may hold data values.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

MAX_BYTES = 1 << 20
MAX_TOKENS = 50_000
MAX_NESTING = 100
LATERAL_ALIAS_DIALECTS = frozenset(
    {"duckdb", "snowflake", "redshift", "databricks", "spark", "spark2", "clickhouse", "teradata"}
)
_OPENING = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE, TokenType.BEGIN})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END})
_UNARY = frozenset({TokenType.NOT, TokenType.DASH, TokenType.TILDE, TokenType.PLUS})
_LITERALS = frozenset(
    {
        TokenType.NUMBER,
        TokenType.STRING,
        TokenType.NATIONAL_STRING,
        TokenType.RAW_STRING,
        TokenType.HEREDOC_STRING,
        TokenType.BYTE_STRING,
        TokenType.HEX_STRING,
        TokenType.BIT_STRING,
        TokenType.UNICODE_STRING,
        TokenType.PLACEHOLDER,
        TokenType.PARAMETER,
    }
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a script: its tree, or the problem that kept it from being parsed."""

    tree: Any | None
    tokens: list[Any]
    problem: Problem | None = None


def _categories() -> dict[type, str]:
    """Expression class -> category, as `classes.txt` lists them."""
    table: dict[type, str] = {}
    section = ""
    for line in files("meshkit.lineage.sql").joinpath("classes.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            for name in line.split():
                cls = getattr(exp, name, None)
                if cls is not None:
                    table[cls] = section
    return table


CATEGORY: dict[type, str] = _categories()


class Grammar:
    """One dialect: how it splits, parses and folds names."""

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self.dialect = Dialect.get_or_raise("" if name == "ansi" else name)
        except ValueError:
            raise UnknownDialect(name, tuple(sorted(n for n in Dialect.classes if n))) from None
        strategy = self.dialect.normalization_strategy
        self.folds_quoted = strategy in {
            NormalizationStrategy.CASE_INSENSITIVE,
            NormalizationStrategy.CASE_INSENSITIVE_UPPERCASE,
        }
        self.upper = strategy is NormalizationStrategy.UPPERCASE
        self.sensitive = strategy is NormalizationStrategy.CASE_SENSITIVE

    def fold(self, name: str, *, quoted: bool) -> str:
        """The key under which a name is compared: equal keys mean the same thing in this dialect.

        Upper-casing dialects are keyed by their lower spelling, so that `ORDERS` of Snowflake meets `orders` of a manifest.
        """
        if self.folds_quoted:
            return name.lower()
        if self.sensitive:
            return name
        if self.upper:
            if not quoted or name == name.upper():
                return name.lower()
            return f'"{name}"'
        return name if quoted else name.lower()

    def key(self, identifier: Any) -> str:
        """Fold an `Identifier` node."""
        args = identifier.args
        return self.fold(str(args.get("this", "")), quoted=bool(args.get("quoted")))

    def shown(self, identifier: Any) -> str:
        """A name as people know it: as written where case does not matter, else folded."""
        return str(identifier.args.get("this", "")) if self.folds_quoted else self.key(identifier)

    def schema_key(self, name: str) -> str:
        """Fold a column or table name of a schema, which is never quoted."""
        return self.fold(name, quoted=not self.upper)

    def split(self, sql: str) -> list[Statement]:
        """Cut a script into statements and parse each; one that does not parse doesn't spoil its neighbours."""
        if len(sql) > MAX_BYTES:
            return [_refused([], "sql.too_big", f"the text has more than {MAX_BYTES} characters. Split it")]
        try:
            tokens = list(self.dialect.tokenize(sql))
        except SqlglotError:
            return [_refused([], "sql.syntax", "the text can't be cut into words. Check quotes and comments")]
        if not tokens:
            return []
        statements: list[Statement] = []
        start = 0
        for position, token in enumerate(tokens):
            if token.token_type is TokenType.SEMICOLON:
                if position > start:
                    statements.append(self._parse(tokens[start:position], sql))
                start = position + 1
        if start < len(tokens):
            statements.append(self._parse(tokens[start:], sql))
        return statements

    def _parse(self, tokens: list[Any], sql: str) -> Statement:
        tokens = _first_row_of_values(tokens)
        if len(tokens) > MAX_TOKENS:
            return _refused(tokens, "sql.too_big", f"the statement has more than {MAX_TOKENS} words. Split it")
        if _nesting(tokens) > MAX_NESTING:
            return _refused(tokens, "sql.too_deep", f"the statement nests deeper than {MAX_NESTING}. Use CTEs")
        try:
            trees = self.dialect.parser().parse(tokens, sql)
        except ParseError as error:
            place = error.errors[0] if error.errors else {}
            problem = Problem(
                "sql.syntax",
                f"the statement does not parse as {self.name}. Check the dialect",
                int(place.get("line") or tokens[0].line),
                int(place.get("col") or tokens[0].col),
            )
            return Statement(None, tokens, problem)
        except (SqlglotError, RecursionError):
            return _refused(tokens, "sql.syntax", f"the statement does not parse as {self.name}. Check the dialect")
        tree = trees[0] if trees else None
        if tree is None or isinstance(tree, exp.Command):
            return _refused(tokens, "sql.unsupported", f"no grammar for this statement of {self.name}")
        return Statement(tree, tokens)


@lru_cache(maxsize=64)
def grammar(dialect: str) -> Grammar:
    """The grammar of a sqlglot dialect name, or `ansi`. Raises: `UnknownDialect`."""
    return Grammar(dialect)


def fingerprint(tokens: list[Any]) -> str:
    """`sha256:<hex>` over the words with literals as `?` and lists of literals as one; comments don't count."""
    parts: list[str] = []
    for token in tokens:
        if token.token_type in _LITERALS:
            if len(parts) >= 2 and parts[-1] == "," and parts[-2] == "?":
                parts.pop()
                continue
            parts.append("?")
        else:
            parts.append(token.text.lower())
    return "sha256:" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _refused(tokens: list[Any], code: str, message: str) -> Statement:
    line, column = (tokens[0].line, tokens[0].col) if tokens else (0, 0)
    return Statement(None, tokens, Problem(code, message, line, column))


def _nesting(tokens: list[Any]) -> int:
    """Deepest nesting of brackets and CASE, or longest run of unary operators: both recurse in the parser's core."""
    depth = deepest = run = 0
    for token in tokens:
        kind = token.token_type
        if kind in _OPENING:
            depth += 1
            deepest = max(depth, deepest)
        elif kind in _CLOSING:
            depth -= 1
        if kind in _UNARY:
            run += 1
            deepest = max(run, deepest)
        else:
            run = 0
    return deepest


def _first_row_of_values(tokens: list[Any]) -> list[Any]:
    """Cut `INSERT ... VALUES (..), (..)` after its first row: all rows have one lineage, and logs hold huge ones."""
    if len(tokens) < 200 or tokens[0].token_type is not TokenType.INSERT:
        return tokens
    depth = 0
    start = 0
    for start, token in enumerate(tokens, 1):  # noqa: B007  # used after the loop
        if token.token_type is TokenType.VALUES and depth == 0:
            break
        depth += (token.token_type is TokenType.L_PAREN) - (token.token_type is TokenType.R_PAREN)
    else:
        return tokens
    end = _after_group(tokens, start)
    rest = end
    while rest < len(tokens) and tokens[rest].token_type is TokenType.COMMA:
        rest = _after_group(tokens, rest + 1)
    return tokens[:end] + tokens[rest:]


def _after_group(tokens: list[Any], start: int) -> int:
    depth = 0
    for position in range(start, len(tokens)):
        kind = tokens[position].token_type
        depth += (kind is TokenType.L_PAREN) - (kind is TokenType.R_PAREN)
        if depth == 0:
            return position + 1
    return len(tokens)
