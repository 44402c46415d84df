"""Output ports, SLOs and inputs of a manifest. Source: manifest section 2."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from meshkit import _yaml
from meshkit.manifest.scalars import (
    Count,
    Day,
    DurationText,
    Flag,
    Free,
    Identifier,
    Ratio,
    Tag,
    Text,
    VersionRangeText,
)
from meshkit.manifest.schema import Deprecation, Part

__all__ = ["FILE_FORMATS", "PORT_KINDS", "SLO_KINDS", "CsvOptions", "InputPort", "OutputPort", "Slo"]

PORT_KINDS = ("file", "postgres", "kafka", "http", "iceberg", "bigquery", "snowflake", "trino", "other")
FILE_FORMATS = ("parquet", "csv", "ndjson", "json", "avro", "arrow", "orc", "delta")
_FORMATS = {"file": FILE_FORMATS, "kafka": ("json", "avro", "protobuf"), "http": ("json", "ndjson", "arrow")}
_SCHEMES = {
    "postgres": ("postgresql://", "postgres://"), "kafka": ("kafka://",), "http": ("https://", "http://"), "iceberg": ("iceberg://",),
    "bigquery": ("bigquery://",), "snowflake": ("snowflake://",), "trino": ("trino://",),
}  # fmt: skip
_FILE_SCHEMES = ("s3://", "gs://", "abfss://", "file://")
_TITLES = {
    "bigquery": "BigQuery",
    "snowflake": "Snowflake",
    "trino": "Trino",
    "postgres": "Postgres",
    "iceberg": "Iceberg",
}
_FORMAT_TITLES = {"parquet": "Parquet", "csv": "CSV", "json": "JSON", "ndjson": "NDJSON", "avro": "Avro", "arrow": "Arrow", "orc": "ORC",
                  "delta": "Delta", "protobuf": "Protobuf"}  # fmt: skip
_PASSWORD = re.compile(r"^[a-z0-9+]+://[^/@\s]*:[^/@\s]+@")


class CsvOptions(Part):
    """How a CSV port is written."""

    header: Flag = True
    delimiter: Text = ","


class OutputPort(Part):
    """Where a product's data can be read. `location` may hold `{domain} {name} {major} {object}` and `${VAR}`."""

    kind: Literal["file", "postgres", "kafka", "http", "iceberg", "bigquery", "snowflake", "trino", "other"]
    location: Text
    format: Identifier | None = None
    object: Identifier | list[Identifier] | None = None
    csv: CsvOptions | None = None
    key: Identifier | list[Identifier] | None = None
    registry: Text | None = None
    label: Text | None = None
    physical_name: Identifier | None = None
    tags: list[Tag] = Field(default_factory=list)
    publish: Literal["clear"] | None = None
    deprecated: Deprecation | None = None
    title: Text | None = None
    id: Identifier | None = None
    description: Text | None = None
    custom: Free = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> OutputPort:
        allowed = _FORMATS.get(self.kind)
        if allowed is None and self.format is not None and self.kind != "other":
            raise PydanticCustomError("port", "`format` does not go with kind {kind}", {"kind": self.kind})
        if allowed is not None and self.format is not None and self.format not in allowed:
            raise PydanticCustomError(
                "port",
                "`format` of kind {kind} is one of {allowed}",
                {"kind": self.kind, "allowed": ", ".join(allowed)},
            )
        if self.kind == "file" and self.format is None:
            raise PydanticCustomError(
                "port", "a file port needs `format`: {allowed}", {"allowed": ", ".join(FILE_FORMATS)}
            )
        if self.csv is not None and self.format != "csv":
            raise PydanticCustomError("port", "`csv` goes with format csv")
        if _PASSWORD.match(self.location):
            raise PydanticCustomError(
                "password", "`location` holds a password. Put credentials into `sources` of mesh.yaml"
            )
        schemes = _SCHEMES.get(self.kind)
        if schemes and not self.location.startswith(schemes):
            raise PydanticCustomError(
                "port", "`location` of kind {kind} starts with {scheme}", {"kind": self.kind, "scheme": schemes[0]}
            )
        if self.kind == "file" and "://" in self.location and not self.location.startswith(_FILE_SCHEMES):
            raise PydanticCustomError(
                "port", "`location` of a file port is s3://, gs://, abfss://, file:// or a relative path"
            )
        return self

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the objects served here; empty means all of the product."""
        if self.object is None:
            return ()
        return (self.object,) if isinstance(self.object, str) else tuple(self.object)

    @property
    def title_text(self) -> str:
        """How people call this kind: `S3/Parquet`, `BigQuery`, `Kafka/JSON`."""
        form = _FORMAT_TITLES.get(self.format or "", self.format or "")
        if self.kind == "file":
            store = {"s3": "S3", "gs": "GCS", "abfss": "ADLS"}.get(self.location.partition("://")[0], "File")
            return f"{store}/{form}"
        if self.kind in {"kafka", "http"}:
            return f"{'Kafka' if self.kind == 'kafka' else 'HTTP'}/{form or 'JSON'}"
        return _TITLES.get(self.kind) or self.label or "Other"


SLO_KINDS: dict[str, tuple[str, ...]] = {  # kind -> keys it needs
    "availability": ("target",), "completeness": ("target",), "quality": ("target",),
    "throughput": ("at_least",), "retention": ("at_least",),
    "freshness": ("within",), "latency": ("within",), "time_to_detect": ("within",), "time_to_notify": ("within",), "time_to_repair": ("within",),
    "frequency": ("every",), "error_rate": ("at_most",), "time_of_availability": ("by",),
    "general_availability": ("on",), "end_of_support": ("on",), "end_of_life": ("on",), "volume": ("rows",),
    "link_precision": ("target",), "link_recall": ("target",), "link_rate": ("target",),
}  # fmt: skip


class Slo(Part):
    """A promise about the service, not the rows. The mapping key is the kind unless `kind` is given. No `target` means 100 %."""

    kind: Identifier | None = None
    port: Identifier | None = None
    field: Identifier | None = None
    within: DurationText | None = None
    target: Ratio | None = None
    at_least: Text | None = None
    at_most: Ratio | None = None
    every: DurationText | None = None
    by: Text | None = None
    on: Day | None = None
    rows: list[Count | None] | None = None
    not_null: list[Identifier] | None = None
    basis: Identifier | None = None
    title: Text | None = None
    id: Identifier | None = None
    description: Text | None = None
    custom: Free = Field(default_factory=dict)

    @property
    def target_ratio(self) -> float:
        """0..1; 1.0 where none is written."""
        return 1.0 if self.target is None else self.target

    def summary(self, name: str) -> str:
        """Short form for listings: `99.9% freshness`."""
        return f"{self.target_ratio * 100:.10g}% {name}"


class InputPort(Part):
    """What a product reads: another product's columns, or something outside the mesh."""

    product: Identifier | None = None
    external: Text | None = None
    version: VersionRangeText | None = None
    port: Identifier | None = None
    object: Identifier | None = None
    columns: list[Identifier] | None = None
    purpose: Identifier | None = None
    title: Text | None = None
    description: Text | None = None
    custom: Free = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"product": value} if isinstance(value, str) and not isinstance(value, _yaml.Null) else value

    @model_validator(mode="after")
    def _one_origin(self) -> InputPort:
        if (self.product is None) == (self.external is None):
            raise PydanticCustomError("input", "exactly one of `product` and `external` is needed")
        return self
