"""`meshkit.federation`: one SQL over all data products, under their policies.

`Federation(products, decider=..., masks=...).sql(query, principal=...)` gives a `QueryResult`; `plan_sql` its plan. The trust of what
runs here is `advisory`. `StoreQueryLog` keeps what was read in the state store. Heavy packages load with the first query.
"""

from meshkit.federation.errors import (
    AuditUnavailable,
    ContractBroken,
    MissingPrincipal,
    NoQueryablePort,
    PolicyUnavailable,
    Position,
    QueryDenied,
    QueryFailed,
    ResultConsumed,
    SchemaDrift,
    SourceUnavailable,
    UnparsableSql,
)
from meshkit.federation.gate import Gate
from meshkit.federation.names import Catalogue, TableColumn, TableInfo
from meshkit.federation.plan import QueryPlan
from meshkit.federation.query_log import StoreQueryLog
from meshkit.federation.result import QueryResult, ResultColumn
from meshkit.federation.service import Federation
from meshkit.federation.settings import EngineSettings
from meshkit.federation.sources import SourceFinder

__all__ = [
    "AuditUnavailable",
    "Catalogue",
    "ContractBroken",
    "EngineSettings",
    "Federation",
    "Gate",
    "MissingPrincipal",
    "NoQueryablePort",
    "PolicyUnavailable",
    "Position",
    "QueryDenied",
    "QueryFailed",
    "QueryPlan",
    "QueryResult",
    "ResultColumn",
    "ResultConsumed",
    "SchemaDrift",
    "SourceFinder",
    "SourceUnavailable",
    "StoreQueryLog",
    "TableColumn",
    "TableInfo",
    "UnparsableSql",
]
