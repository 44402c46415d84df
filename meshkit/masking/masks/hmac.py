"""`hmac(scope=domain)`: a keyed token: equal values give equal tokens, and without the key a token says nothing."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from typing import TYPE_CHECKING, Any

from meshkit.masking.errors import MaskMisfit, MissingKey
from meshkit.masking.masks import Arguments, only
from meshkit.types import INT64, STRING, DataType

if TYPE_CHECKING:
    import polars as pl

    from meshkit.masking.keys import KeyRing

__all__ = ["MASK"]

_SEPARATOR = "\x1f"  # ends the scope, so that no scope and text run into another scope's


class Hmac:
    """Text: `<key id>:<64 hex>` of HMAC-SHA256(key, scope + U+001F + NFC text). int64: the first 63 bits of the digest."""

    name, rank, keyed = "hmac", 3, True

    def arguments(self, given: Arguments, data_type: DataType | None) -> Arguments:  # noqa: ARG002
        only(self.name, given, "scope")
        scope = given.get("scope")
        if scope is None:
            return {}
        if not isinstance(scope, str) or not scope or not scope.isprintable() or len(scope) > 120:
            raise MaskMisfit("`scope` of mask `hmac` is a text of 1 to 120 printable characters")
        return {"scope": str(scope)}

    def fits(self, data_type: DataType) -> bool:
        return data_type in {STRING, INT64}

    def coarser(self, one: Arguments, other: Arguments) -> Arguments | None:
        return one if one == other else None

    def python(self, value: Any, data_type: DataType, args: Arguments, keys: KeyRing | None) -> Any:
        if value is None:
            return None
        ring = _ring(keys)
        text = unicodedata.normalize("NFC", value) if data_type == STRING else str(value)
        digest = hmac.digest(ring.key().encode(), f"{_scope(args)}{_SEPARATOR}{text}".encode(), hashlib.sha256)
        return f"{ring.active}:{digest.hex()}" if data_type == STRING else int.from_bytes(digest[:8], "big") >> 1

    def duckdb(self, column: str, data_type: DataType, args: Arguments) -> str | None:  # noqa: ARG002
        return None

    def polars(self, column: pl.Expr, data_type: DataType, args: Arguments, keys: KeyRing | None) -> pl.Expr:
        """The key is looked up while the column is computed: a plan, printed or serialized, never has it."""
        import polars as pl

        ring, scope, as_text = _ring(keys), _scope(args), data_type == STRING
        ring.key()  # a missing key is an error of the call, not of the engine that runs the plan

        def tokens(values: pl.Series) -> pl.Series:
            return _tokens(values, ring, scope, as_text=as_text)

        return column.map_batches(tokens, return_dtype=pl.String() if as_text else pl.Int64(), is_elementwise=True)


def _tokens(values: pl.Series, ring: KeyRing, scope: str, *, as_text: bool) -> pl.Series:
    import polars as pl

    text = values if as_text else values.cast(pl.String)
    if as_text and not (values.str.len_bytes() == values.str.len_chars()).all():
        text = values.str.normalize("NFC")
    hexes = _digests(pl.select(pl.concat_str(pl.lit(scope + _SEPARATOR), text)).to_series(), ring.key())
    if as_text:
        return pl.select(pl.concat_str(pl.lit(ring.active + ":"), hexes)).to_series().rename(values.name)
    first = hexes.str.head(16).str.decode("hex").bin.reinterpret(dtype=pl.UInt64, endianness="big")
    return (first // 2).cast(pl.Int64).rename(values.name)


def _digests(messages: pl.Series, key: str) -> pl.Series:
    """Hex HMAC-SHA256 of each text; by the polars plugin, else by the standard library (ten times slower, same bytes)."""
    import polars as pl

    try:
        import polars_hash  # noqa: F401  # registers the expression namespace `chash`
    except ImportError:
        secret = key.encode()
        hexes = [None if m is None else hmac.digest(secret, m.encode(), hashlib.sha256).hex() for m in messages]
        return pl.Series(hexes, dtype=pl.String)
    return messages.to_frame("m").select(pl.col("m").chash.hmac_sha256(key=key)).to_series()  # type: ignore[attr-defined]


def _ring(keys: KeyRing | None) -> KeyRing:
    if keys is None:
        raise MissingKey("mask `hmac` has no key. Add one to `masking.keys` of mesh.yaml, or pass keys=KeyRing(...)")
    return keys


def _scope(args: Arguments) -> str:
    scope = args.get("scope")
    if not isinstance(scope, str):
        raise MaskMisfit(
            "mask `hmac` has no scope. A decision fills in the product's domain; give one: {hmac: {scope: ...}}"
        )
    return scope


MASK = Hmac()
