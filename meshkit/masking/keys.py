"""The key ring of keyed masks. Keys are read when used, and stand in no SQL, plan, log, repr or pickle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

from pydantic import SecretStr

from meshkit.config import SecretRef
from meshkit.masking.errors import MissingKey

__all__ = ["KeyRing"]

_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_MIN_BYTES = 32  # the block that HMAC-SHA256 reduces a key to; shorter keys weaken tokens


class KeyRing:
    """Keys by id; `active` makes new tokens. Values are `env:NAME`, `file:PATH` or secrets of 32 bytes of UTF-8 text and more."""

    __slots__ = ("_ring", "active")

    def __init__(self, active: str, ring: Mapping[str, SecretRef | SecretStr | str]) -> None:
        self.active = active
        self._ring = {name: _reference(value) for name, value in ring.items()}
        for name in (*self._ring, active):
            if not _ID.fullmatch(name):
                raise MissingKey(
                    "a key id has other characters than letters, digits, _ and -. Rename it in `masking.keys`"
                )
        if active not in self._ring:
            raise MissingKey(f"the active key {active!r} is not in the ring. Add it to `masking.keys.ring`")

    def key(self, key_id: str | None = None) -> str:
        """The text of a key. Raises: `MissingKey` if it is not there or too short."""
        name = self.active if key_id is None else key_id
        if name not in self._ring:
            raise MissingKey(f"key {name!r} is not in the ring. Add it to `masking.keys.ring`")
        text = self._ring[name].reveal()
        if len(text.encode()) < _MIN_BYTES:
            raise MissingKey(f"key {name!r} has fewer than {_MIN_BYTES} bytes. Make one with: openssl rand -hex 32")
        return text

    def __repr__(self) -> str:
        return f"KeyRing(active={self.active!r}, ids={sorted(self._ring)})"

    def __reduce__(self) -> NoReturn:
        # a serialized polars plan holds what its functions hold: no key may travel that way
        raise TypeError("a KeyRing is not serialized: keys stay in their process. Collect the frame where the keys are")


def _reference(value: SecretRef | SecretStr | str) -> SecretRef:
    if isinstance(value, SecretStr):
        return SecretRef(value.get_secret_value())
    return SecretRef(value) if isinstance(value, str) else value
