"""`Target`: where resources are made, as a value: a name, its settings and the mesh it belongs to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from meshkit.config import MeshConfig, PostgresSource, Settings
from meshkit.errors import EnvironmentProblem
from meshkit.provision.errors import UnknownTarget
from meshkit.provision.settings import AwsSettings, ProvisionSettings, TargetSettings

__all__ = ["Target"]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to deploy. `Target.from_config(config, "prod")`; `environ` fills `${VAR}` in locations."""

    name: str
    config: MeshConfig
    settings: TargetSettings = field(default_factory=TargetSettings)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_config(cls, config: MeshConfig, name: str | None = None) -> Self:
        """The target of that name, else of `MESHKIT_TARGET`, else the default one. Raises: `UnknownTarget`; `ConfigError`."""
        section: ProvisionSettings = config.section("provision")
        name = name or Settings.from_env().target or section.default_target
        if name not in section.targets and name != "local":
            raise UnknownTarget(name, sorted({"local", *section.targets}))
        return cls(name, config, section.targets.get(name, TargetSettings()), dict(os.environ))

    @property
    def mesh(self) -> str:
        """Name of the mesh; part of generated names."""
        return self.config.name

    @property
    def environment(self) -> str:
        """Name of the environment; part of generated names."""
        return self.config.environment

    @property
    def aws(self) -> AwsSettings | None:
        """The AWS account, for targets that have one."""
        return self.settings.aws

    @property
    def credentials(self) -> Path:
        """Folder that made credentials are kept in."""
        folder = self.config.folder
        return (folder if folder.name == ".mesh" else folder / ".mesh") / "credentials"

    def expand(self, location: str, port: str) -> str:
        """`location` with `${VAR}` filled in. Raises: `EnvironmentProblem` naming the variable."""

        def fill(found: re.Match[str]) -> str:
            value = self.environ.get(found[1], found[2])
            if value is None:
                raise EnvironmentProblem(
                    f"environment variable {found[1]} is not set. The location of port {port} names it",
                    code="provision.variable_missing",
                )
            return value

        return _VARIABLE.sub(fill, location)

    def source_for(self, location: str, port: str) -> tuple[str, Any]:
        """Name and model of the source that serves a location. Raises: `MeshkitError` as `MeshConfig.source_for`."""
        found = self.config.source_for(location, port=port)
        assert found is not None, "only locations with a scheme are asked for"
        return found

    def database(self, name: str) -> tuple[str, PostgresSource] | None:
        """The one Postgres source that serves a database of that name; None if there is none or several."""
        found = [
            (key, source)
            for key, source in self.config.sources.items()
            if isinstance(source, PostgresSource) and any(p.rstrip("/").endswith(f"/{name}") for p in source.prefixes())
        ]
        return found[0] if len(found) == 1 else None

    def describe(self) -> str:
        """How the target is named in a plan: `prod (aws 111122223333 eu-central-1)`, `local (lake, sales_pg)`."""
        if self.aws is not None:
            return f"{self.name} (aws {self.aws.account} {self.aws.region})"
        return f"{self.name} ({', '.join(self.config.sources) or 'no sources'})"
