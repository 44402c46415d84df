"""Section `provision` of mesh.yaml: targets that products are deployed to. The target `local` is always there."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

__all__ = ["AwsSettings", "BucketSettings", "KafkaTargetSettings", "ProvisionSettings", "TargetSettings"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    later: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _later(cls, value: Any) -> Any:
        """Documented keys of later releases are refused by name: ignoring a lease or a limit would be a broken promise."""
        for key in cls.later:
            if isinstance(value, dict) and key in value:
                raise PydanticCustomError(
                    "later", "`{key}` comes with a later release of meshkit. Take it out", {"key": key}
                )
        return value


class AwsSettings(_Part):
    """An AWS account and region. `endpoint` is for emulators and private endpoints; else `AWS_ENDPOINT_URL`."""

    account: str = Field(pattern=r"^\d{12}$")
    region: str
    permissions_boundary: str | None = None
    kms_key: str | None = None
    org_id: str | None = None
    endpoint: str | None = None


class KafkaTargetSettings(_Part):
    """Sizes of topics, by default those that a publisher on a local mesh makes. The broker is a `kafka` source of mesh.yaml."""

    later: ClassVar[tuple[str, ...]] = ("bootstrap", "cluster_arn", "security", "users")

    partitions: int = Field(default=3, ge=1, le=1000)
    replication: int = Field(default=1, ge=1, le=9)


class BucketSettings(_Part):
    """The real bucket behind a bucket name of manifests, and who owns it. An `external` one is never created or changed."""

    name: str | None = None
    owner: Literal["product", "domain", "external"] = "product"


class TargetSettings(_Part):
    """One target. Without `aws` it is the servers in `sources` of mesh.yaml."""

    later: ClassVar[tuple[str, ...]] = ("lease", "limits", "ignore")

    aws: AwsSettings | None = None
    kafka: KafkaTargetSettings = KafkaTargetSettings()
    buckets: dict[str, BucketSettings] = Field(default_factory=dict)
    publishers: dict[str, list[str]] = Field(default_factory=dict)
    principals: dict[str, list[str]] = Field(default_factory=dict)
    engines: list[str] = Field(default_factory=list)


class ProvisionSettings(_Part):
    """Targets by name, and the one that is meant when none is named."""

    default_target: str = "local"
    targets: dict[str, TargetSettings] = Field(default_factory=dict)
