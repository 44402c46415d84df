"""SQL to lineage: `parse_sql` reads one statement, `parse_script` many as one session.

sqlglot is imported with the first call, not with this package's models.
"""

from meshkit.lineage.sql.models import (
    ColumnInput,
    IndirectInput,
    OutputColumn,
    ScriptLineage,
    StatementLineage,
)
from meshkit.lineage.sql.parse import parse_script, parse_sql

__all__ = [
    "ColumnInput",
    "IndirectInput",
    "OutputColumn",
    "ScriptLineage",
    "StatementLineage",
    "parse_script",
    "parse_sql",
]
