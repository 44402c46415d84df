"""The second opinion: the regenerated text, read by DuckDB's own parser, must say what the first parser understood.

`json_serialize_sql` parses without binding or running. Every node kind, function, type and relation is compared with closed lists;
whatever is not known is a disagreement and denied. Two parsers that differ on one text are how gates are passed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Mapping
from typing import Any

from meshkit.federation.allowlist import DUCKDB_NODES, TYPE_NAMES, functions
from meshkit.federation.errors import QueryDenied
from meshkit.federation.names import fold

__all__ = ["check_regenerated"]

_local = threading.local()


def check_regenerated(sql: str, fragments: Collection[str]) -> None:
    """Raises: `QueryDenied` (`parser_disagreement`) unless `sql` is one query over exactly `fragments` and its own CTEs."""
    parsed = json.loads(_serialize(sql))
    if parsed.get("error") or len(parsed.get("statements", ())) != 1:
        raise _disagreement("one query")
    seen: set[str] = set()
    stack: list[tuple[Any, frozenset[str]]] = [(parsed["statements"][0], frozenset())]
    allowed = {fold(name) for name in fragments}
    while stack:
        node, ctes = stack.pop()
        if isinstance(node, list):
            stack.extend((item, ctes) for item in node)
        elif isinstance(node, dict):
            _check_node(node, ctes, allowed, seen)
            stack.extend(_children(node, ctes))
    if seen != allowed:
        raise _disagreement("the tables")


def _serialize(sql: str) -> str:
    import duckdb

    connection = getattr(_local, "connection", None)
    if connection is None:
        config: dict[str, Any] = {
            "enable_external_access": "false",
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
        }
        connection = _local.connection = duckdb.connect(":memory:", config=config)
    try:
        row: Any = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
        return str(row[0])
    except duckdb.Error:
        raise _disagreement("the syntax") from None


def _children(node: Mapping[str, Any], ctes: frozenset[str]) -> list[tuple[Any, frozenset[str]]]:
    """Parts of a node with the CTE names that each of them sees; `cte_map` is in textual order."""
    if node.get("class") == "CONSTANT":
        return [(node["value"]["type"], ctes)]
    inner, found = ctes, []
    entries = (node.get("cte_map") or {}).get("map", [])
    for entry in entries:
        name = fold(entry["key"])
        recursive = entry["value"].get("query", {}).get("node", {}).get("type") == "RECURSIVE_CTE_NODE"
        found.append((entry["value"], inner | {name} if recursive else inner))
        inner |= {name}
    found.extend((value, inner) for key, value in node.items() if key != "cte_map")
    return found


def _check_node(node: Mapping[str, Any], ctes: frozenset[str], fragments: Collection[str], seen: set[str]) -> None:
    for key in ("class", "type"):
        kind = node.get(key)
        if isinstance(kind, str) and kind not in DUCKDB_NODES and not kind.endswith("_TYPE_INFO"):
            raise _disagreement(f"the node {kind}")
    if node.get("type") == "BASE_TABLE":
        _check_table(node, ctes, fragments, seen)
    elif "function_name" in node:
        _check_function(node)
    elif node.get("type") == "STAR" and (node.get("columns") or node.get("expr") is not None):
        raise _disagreement("COLUMNS()")
    elif node.get("type") == "TABLE_FUNCTION":
        name = node["function"].get("function_name", "")
        if name not in functions().table:
            raise _disagreement(f"the table function {name}")
    if node.get("sample") is not None or node.get("at_clause") is not None:
        raise _disagreement("sampling or time travel")
    if "id" in node and "type_info" in node:
        _check_type(node)
    for entry in (node.get("cte_map") or {}).get("map", []):
        if is_reserved(entry["key"]):
            raise _disagreement("the name of a common table expression")


def is_reserved(name: str) -> bool:
    """Names of the engine's own views: a CTE of that name could, in its own body, mean the view."""
    return fold(name).startswith(("duckdb_", "pg_", "sqlite_", "pragma_", "information_schema"))


def _check_table(node: Mapping[str, Any], ctes: frozenset[str], fragments: Collection[str], seen: set[str]) -> None:
    if node.get("schema_name") or node.get("catalog_name"):
        raise _disagreement("a qualified table")
    name = fold(node["table_name"])
    if name in fragments:
        seen.add(name)
    elif name not in ctes:
        raise _disagreement("a table")


def _check_function(node: Mapping[str, Any]) -> None:
    name = str(node["function_name"])
    known = functions()
    if node.get("catalog") or node.get("schema") not in {"", "main", None}:
        raise _disagreement("a qualified function")
    if node.get("is_operator"):
        if name not in known.operators:
            raise _disagreement(f"the operator {name}")
    elif name not in known.callable and name not in known.operators and name not in known.table:
        raise QueryDenied(
            f"the function {name} is not allowed",
            reason="not_allowed",
            hint="See the list of functions in the reference",
        )


def _check_type(node: Mapping[str, Any]) -> None:
    info = node.get("type_info") or {}
    if node["id"] == "UNBOUND":
        if fold(str(info.get("name"))) != "json" or info.get("catalog") or info.get("schema"):
            raise _disagreement("a type")
    elif node["id"] not in TYPE_NAMES or info.get("extension_info"):
        raise _disagreement(f"the type {node['id']}")


def _disagreement(what: str) -> QueryDenied:
    return QueryDenied(
        f"two parsers do not agree on {what} of the statement",
        reason="parser_disagreement",
        hint="Write it more simply",
    )
