"""Similarities of text that is compared pair by pair, and the bound that tells which pairs need no scoring."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from meshkit.identity.encode import Vocabulary

__all__ = ["jaro_winkler", "jaro_winkler_bound", "one_byte_differs", "one_digit_differs"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int32]

EPSILON = 1e-9  # thresholds are met up to this; float32 would flip levels
_SLACK = 1e-6  # rapidfuzz drops a pair that equals its cutoff up to rounding: `a`, `aaa` at 0.8 - 1e-9 (3.14.6)
_BATCH = 1 << 18  # strings in Python at one time
_SMALL = 1 << 15  # dictionaries below this see the same pair of values often


def jaro_winkler_bound(words: Vocabulary, a: Index, b: Index) -> Floats:
    """No ASCII pair has a higher Jaro-Winkler similarity: m characters can match at most, none is transposed."""
    set_a, set_b = words.characters[a], words.characters[b]
    len_a, len_b = words.lengths[a], words.lengths[b]
    only_a, only_b = np.bitwise_count(set_a & ~set_b), np.bitwise_count(set_b & ~set_a)
    m = np.minimum(len_a - only_a, len_b - only_b).astype(np.float64)
    jaro = (m / len_a + m / len_b + 1) / 3
    differ = words.prefixes[a] ^ words.prefixes[b]
    low = differ & (~differ + np.uint32(1))  # lowest differing bit: its byte is the first that differs
    same = np.where(differ == 0, 4, np.bitwise_count(low - np.uint32(1)) >> 3)
    bound: Floats = np.where(m <= 0, 0.0, jaro + 0.1 * same * (1 - jaro))
    return bound


def jaro_winkler(words: Vocabulary, a: Index, b: Index, cutoff: float) -> Floats:
    """Similarities of values by code; those below `cutoff` may read 0. Missing codes (-1) give 0, equal codes 1."""
    result = np.where((a == b) & (a >= 0), 1.0, 0.0)
    open_pairs = np.flatnonzero((a != b) & (a >= 0) & (b >= 0))
    if not len(open_pairs):
        return result
    left, right = a[open_pairs], b[open_pairs]
    hopeful = jaro_winkler_bound(words, left, right) >= cutoff - EPSILON
    hopeful |= ~(words.ascii[left] & words.ascii[right])
    open_pairs, left, right = open_pairs[hopeful], left[hopeful], right[hopeful]
    if len(words) <= _SMALL:
        keys, back = np.unique(left.astype(np.int64) * len(words) + right, return_inverse=True)
        scored = _score(words, keys // len(words), keys % len(words), cutoff)
        result[open_pairs] = scored[back]
    else:
        result[open_pairs] = _score(words, left, right, cutoff)
    return result


def _score(words: Vocabulary, a: npt.NDArray[np.integer], b: npt.NDArray[np.integer], cutoff: float) -> Floats:
    from rapidfuzz.distance import JaroWinkler
    from rapidfuzz.process import cpdist

    result = np.zeros(len(a))
    for start in range(0, len(a), _BATCH):
        part = slice(start, start + _BATCH)
        one, two = words.series.gather(a[part]).to_list(), words.series.gather(b[part]).to_list()
        result[part] = cpdist(
            one, two, scorer=JaroWinkler.similarity, score_cutoff=max(cutoff - _SLACK, 0), dtype=np.float64, workers=1
        )
    return result


def one_digit_differs(words: Vocabulary, a: Index, b: Index) -> Mask:
    """Same length and exactly one digit differs; values are digits, 16 at most. Missing codes are false."""
    differ = words.digits[a] ^ words.digits[b]
    differ |= differ >> np.uint64(1)
    differ |= differ >> np.uint64(2)
    count = np.bitwise_count(differ & np.uint64(0x1111111111111111))
    found: Mask = (count == 1) & (words.lengths[a] == words.lengths[b]) & (a >= 0) & (b >= 0)
    return found


def one_byte_differs(words: Vocabulary, a: Index, b: Index) -> Mask:
    """Same length and exactly one character differs. Missing codes are false."""
    found = np.zeros(len(a), bool)
    some = np.flatnonzero((a != b) & (a >= 0) & (b >= 0) & (words.lengths[a] == words.lengths[b]))
    for start in range(0, len(some), _BATCH):
        part = some[start : start + _BATCH]
        found[part] = (words.matrix[a[part]] != words.matrix[b[part]]).sum(axis=1) == 1
    return found
