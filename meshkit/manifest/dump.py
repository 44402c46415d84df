"""`Manifest` to YAML or JSON text that reads back equal."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from meshkit import _yaml
from meshkit.errors import UsageError

if TYPE_CHECKING:
    from meshkit.manifest.model import Manifest

__all__ = ["dump_manifest", "dump_yaml"]

_SAFE = re.compile(r"[A-Za-z0-9_./@+ -][A-Za-z0-9_./@+()%<>=,;! -]*$")
_FREE = {"custom", "args", "declassified", "source"}


def dump_manifest(manifest: Manifest, *, form: str) -> str:
    """Text in `yaml` or `json`. Raises: `UsageError` for another form."""
    if form == "json":
        return json.dumps(manifest.plain(), ensure_ascii=False, indent=2) + "\n"
    if form != "yaml":
        raise UsageError(f"a manifest can be dumped as yaml or json, not {form!r}", code="manifest.format")
    return dump_yaml(manifest.plain())


def dump_yaml(value: dict[str, Any]) -> str:
    """Block YAML of JSON-like content; short leaves in flow form, as people write it."""
    lines: list[str] = []
    _block(value, 0, lines, free=False)
    return "\n".join(lines) + "\n"


def _block(value: dict[str, Any], indent: int, lines: list[str], *, free: bool) -> None:
    pad = " " * indent
    for key, item in value.items():
        inner_free = free or key in _FREE
        flow = _flow(item, free=inner_free)
        if len(flow) + indent + len(key) <= 110 and (not isinstance(item, dict) or indent >= 4 or not _nested(item)):
            lines.append(f"{pad}{_scalar(key)}: {flow}")
        elif isinstance(item, dict):
            lines.append(f"{pad}{_scalar(key)}:")
            _block(item, indent + 2, lines, free=inner_free)
        elif isinstance(item, list) and item and all(isinstance(i, dict) for i in item):
            lines.append(f"{pad}{_scalar(key)}:")
            lines.extend(f"{pad}  - {_flow(i, free=inner_free)}" for i in item)
        else:
            lines.append(f"{pad}{_scalar(key)}: {flow}")


def _nested(item: dict[str, Any]) -> bool:
    return any(isinstance(v, dict | list) for v in item.values())


def _flow(value: Any, *, free: bool) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(k)}: {_flow(v, free=free)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(v, free=free) for v in value) + "]"
    return _scalar(value, free=free)


def _scalar(value: Any, *, free: bool = False) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    # in free content plain text would be read as a number or boolean: quote what `resolve` would change
    ambiguous = free and _yaml.resolve(_yaml.Plain(text)) != text
    plain = bool(_SAFE.match(text)) and text == text.strip() and not ambiguous
    if (
        plain
        and text not in {"~", "null", "Null", "NULL", "true", "false", ""}
        and text[0] not in "-@%!<>="
        and ", " not in text
    ):
        return text if "," not in text else json.dumps(text, ensure_ascii=False)
    return _quote(text)


def _quote(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]", lambda m: f"\\u{ord(m[0]):04x}", quoted)
