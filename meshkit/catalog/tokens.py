"""Words of names and texts: the same function for documents and queries. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

__all__ = ["parts", "tokens"]

_WORD = re.compile(r"[^\W_]+(?:[._-][^\W_]+)*", re.UNICODE)
_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@lru_cache(maxsize=65_536)
def tokens(text: str) -> tuple[str, ...]:
    """NFKC, case-folded words: each whole, its parts at `_ . -`, camelCase and letter-digit borders, and singulars; CJK as bigrams."""
    return tuple(dict.fromkeys(_all(unicodedata.normalize("NFKC", text))))


def _all(text: str) -> Iterator[str]:
    for found in _WORD.findall(text):
        whole = found.casefold()
        yield whole
        for piece in parts(found):
            yield piece
            if len(piece) > 3 and piece.endswith("s") and not piece.endswith("ss"):
                yield piece[:-1]
        if _CJK.search(found):
            yield from (found[i : i + 2] for i in range(len(found) - 1))


def parts(word: str) -> tuple[str, ...]:
    """Pieces of one word: `customerOrders_v2` -> customer, orders, v, 2."""
    pieces = [p for chunk in re.split(r"[._-]", word) for p in _BORDER.split(chunk)]
    return tuple(p.casefold() for p in pieces if p)
