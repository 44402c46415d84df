"""`meshkit.publisher`: committed changes of a PostgreSQL database as the events of one data product.

Publisher("manifest.yaml", source=PostgresSource(dsn), sinks=[KafkaSink(bootstrap)]).run()
Publisher.from_config(manifest, config)      the same from mesh.yaml

The table is private, the mapping (`source:` of the manifest, or `TableMapping`) is the contract.
"""

from meshkit.publisher.emit import set_trace
from meshkit.publisher.errors import (
    MappedColumnMissing,
    MappingInvalid,
    NotInThisRelease,
    ProtocolError,
    PublisherStop,
    SinkUnavailable,
    SlotInUse,
    SourceUnavailable,
)
from meshkit.publisher.mapping import TableMapping, col, compile_mapping, const, expr, nest
from meshkit.publisher.reports import Check, DoctorReport, PublisherPlan, PublisherStatus, RunReport
from meshkit.publisher.runner import Publisher
from meshkit.publisher.settings import PublisherSettings
from meshkit.publisher.sinks.kafka import JsonFormat, KafkaSink
from meshkit.publisher.sinks.memory import MemorySink, MemoryStore
from meshkit.publisher.sinks.parquet import ParquetSink, read_changes, read_current
from meshkit.publisher.sources.postgres import PostgresSource

__all__ = [
    "Check",
    "DoctorReport",
    "JsonFormat",
    "KafkaSink",
    "MappedColumnMissing",
    "MappingInvalid",
    "MemorySink",
    "MemoryStore",
    "NotInThisRelease",
    "ParquetSink",
    "PostgresSource",
    "ProtocolError",
    "Publisher",
    "PublisherPlan",
    "PublisherSettings",
    "PublisherStatus",
    "PublisherStop",
    "RunReport",
    "SinkUnavailable",
    "SlotInUse",
    "SourceUnavailable",
    "TableMapping",
    "col",
    "compile_mapping",
    "const",
    "expr",
    "nest",
    "read_changes",
    "read_current",
    "set_trace",
]
