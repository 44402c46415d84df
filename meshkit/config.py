"""`mesh.yaml`: where a mesh runs, and with which systems. `MeshConfig` is the file, `Settings` the process. Source: surface section 1.

Each section beyond the basics is a pydantic model owned by its module and registered under `meshkit.config_sections`.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError

from meshkit import _registry, _yaml
from meshkit._diagnostics import Diagnostic, diagnostic_at, from_validation, from_yaml
from meshkit.errors import EnvironmentProblem, MeshkitError, UsageError

__all__ = [
    "ConfigError", "KafkaSource", "MeshConfig", "PostgresSource", "S3Source", "SecretRef", "Settings", "Source", "find_config", "load_config",
]  # fmt: skip


class ConfigError(MeshkitError):
    """mesh.yaml is wrong; `diagnostics` has everything that was found."""

    code = "mesh.config_invalid"
    exit_code = 2

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(f"{d.code}: {d}" for d in diagnostics))


# Secrets --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SecretRef:
    """A secret by reference: `env:NAME` or `file:PATH`, read when used, never printed. A literal is allowed and hidden too."""

    reference: str

    def reveal(self) -> str:
        """The secret. Raises: `EnvironmentProblem` naming the variable or file that is missing."""
        kind, _, name = self.reference.partition(":")
        if kind == "env":
            if name not in os.environ:
                raise EnvironmentProblem(
                    f"environment variable {name} is not set. mesh.yaml takes a secret from it",
                    code="mesh.secret_missing",
                )
            return os.environ[name]
        if kind == "file":
            path = Path(name)
            try:
                return path.read_text(encoding="utf-8").rstrip("\n")
            except OSError as error:
                raise EnvironmentProblem(
                    f"secret file {path} can't be read: {error.strerror}", code="mesh.secret_missing"
                ) from None
        return self.reference

    def __repr__(self) -> str:
        return (
            f"SecretRef({self.reference!r})"
            if self.reference.partition(":")[0] in {"env", "file"}
            else "SecretRef('**********')"
        )

    __str__ = __repr__


def _secret(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return SecretRef(value.get_secret_value())
    return SecretRef(str(value)) if isinstance(value, str) else value


Secret = Annotated[SecretRef, BeforeValidator(_secret)]
Flag = Annotated[bool, BeforeValidator(lambda v: {"true": True, "false": False}.get(v, v) if isinstance(v, str) else v)]


class Section(BaseModel):
    """Base of configuration sections: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


# Sources --------------------------------------------------------------------------------------------------------------------------


class PostgresSource(Section):
    """A PostgreSQL database. `logins` maps roles to a whole DSN or `user:password` put into `dsn`."""

    kind: Literal["postgres"] = "postgres"
    dsn: Secret
    serves: list[str] = Field(default_factory=list)
    logins: dict[str, Secret] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)

    def prefixes(self) -> list[str]:
        """What this source serves: `serves`, else its own host and database."""
        if self.serves:
            return self.serves
        parts = urlsplit(self.dsn.reveal())
        return [f"postgresql://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"]

    def login(self, roles: tuple[str, ...]) -> str:
        """DSN for a reader: the first of `logins` whose role the reader has, else `default`, else the source's own."""
        name = next((role for role in self.logins if role in roles), "default")
        if name not in self.logins:
            return self.dsn.reveal()
        value = self.logins[name].reveal()
        if "://" in value:
            return value
        parts = urlsplit(self.dsn.reveal())
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{value}@{host}").geturl()


class S3Source(Section):
    """An S3-compatible object store."""

    kind: Literal["s3"] = "s3"
    endpoint: str | None = None
    region: str = "us-east-1"
    key: Secret | None = None
    secret: Secret | None = None
    bucket: str | None = None
    serves: list[str] = Field(default_factory=list)

    def prefixes(self) -> list[str]:
        """What this source serves: `serves`, else its bucket, else every bucket."""
        return self.serves or ([f"s3://{self.bucket}/"] if self.bucket else ["s3://"])

    def storage_options(self) -> dict[str, Any]:
        """Fsspec options (s3fs)."""
        options: dict[str, Any] = {"client_kwargs": {"region_name": self.region}}
        if self.endpoint:
            options["endpoint_url"] = self.endpoint
        if self.key and self.secret:
            options |= {"key": self.key.reveal(), "secret": self.secret.reveal()}
        return options


class KafkaSecurity(Section):
    """How to log in to a broker."""

    protocol: Literal["plaintext", "sasl_plaintext", "sasl_ssl", "ssl"] = "plaintext"
    mechanism: str | None = None
    user: str | None = None
    password: Secret | None = None


class KafkaSource(Section):
    """A Kafka-compatible broker."""

    kind: Literal["kafka"] = "kafka"
    bootstrap: str
    security: KafkaSecurity = KafkaSecurity()
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    serves: list[str] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)

    def prefixes(self) -> list[str]:
        """What this source serves: `serves`, else its bootstrap."""
        return self.serves or [f"kafka://{self.bootstrap}"]


Source = Annotated[PostgresSource | S3Source | KafkaSource, Field(discriminator="kind")]


# The file -------------------------------------------------------------------------------------------------------------------------


class MeshConfig(Section):
    """One `mesh.yaml`. Relative paths start at `folder`. Sections of modules are read by `section(name)`."""

    api_version: Literal["meshkit/v1"] = Field(alias="apiVersion", default="meshkit/v1")
    kind: Literal["Mesh"] = "Mesh"
    name: str = Field(default="local", pattern=r"^[a-z][a-z0-9-]{0,30}$")
    environment: str = "local"
    products: list[str] = Field(default_factory=list)
    state: Secret = SecretRef("sqlite:///.mesh/state.db")
    default_principal: str | None = None
    sources: dict[str, Source] = Field(default_factory=dict)

    _folder: Path = PrivateAttr(default_factory=Path.cwd)
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)
    _document: _yaml.Document | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return self._folder

    @property
    def is_local(self) -> bool:
        """Whether dev principals and unprotected data are allowed."""
        return self.environment == "local"

    @cached_property
    def state_url(self) -> str:
        """URL of the state store; a relative SQLite path starts at `folder`."""
        url = self.state.reveal()
        if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
            return f"sqlite:///{(self._folder / url.removeprefix('sqlite:///')).absolute()}"
        return url

    def section(self, name: str) -> Any:
        """The section `name` as the model of the module that owns it, with defaults where the file says nothing.

        Raises: `ConfigError` with places; `UnknownExtension` if no module owns such a section.
        """
        model = _registry.load("config_sections", name)
        try:
            return model.model_validate(self._raw.get(name, {}))
        except ValidationError as error:
            if self._document is None:
                raise UsageError(
                    f"section `{name}`: {error.error_count()} problems, first: {error.errors()[0]['msg']}",
                    code="mesh.config_invalid",
                ) from None
            inner = _yaml.Document(
                self._document.source,
                self._raw.get(name),
                {p[1:]: s for p, s in self._document.spans.items() if p[:1] == (name,)},
                {p[1:]: s for p, s in self._document.key_spans.items() if p[:1] == (name,)},
            )
            raise ConfigError(from_validation(inner, error, model, module="mesh")) from None

    def check_sections(self) -> None:
        """Read every section that the file has. Raises: `ConfigError` with all problems."""
        problems: list[Diagnostic] = []
        for name in self._raw:
            try:
                self.section(name)
            except ConfigError as error:
                problems += error.diagnostics
        if problems:
            raise ConfigError(problems)

    def source_for(self, location: str, *, port: str = "") -> tuple[str, Any] | None:
        """Name and model of the source that serves a location: the longest prefix. None for local files, which need none.

        Raises: `MeshkitError` with `mesh.ambiguous_source` or `mesh.no_source`, naming the port and what to add.
        """
        if "://" not in location or location.startswith("file://"):
            return None
        location = location.replace("postgres://", "postgresql://", 1)
        matches = [
            (len(prefix), name)
            for name, source in self.sources.items()
            for prefix in source.prefixes()
            if _serves(prefix, location)
        ]
        if not matches:
            scheme = location.partition("://")[0]
            raise MeshkitError(
                f"port {port} is at a {scheme}:// location that no source serves. Add one to `sources` of mesh.yaml",
                code="mesh.no_source",
            )
        longest = max(length for length, _ in matches)
        names = sorted({name for length, name in matches if length == longest})
        if len(names) > 1:
            raise MeshkitError(
                f"port {port} is served by {' and '.join(names)} alike. Give one a longer `serves`",
                code="mesh.ambiguous_source",
            )
        return names[0], self.sources[names[0]]


def _serves(prefix: str, location: str) -> bool:
    """Prefixes end at a separator: `postgresql://h/sales` serves `.../sales/public.t`, not `.../sales2/...`."""
    if not location.startswith(prefix):
        return False
    rest = location[len(prefix) :]
    return not rest or prefix.endswith(("/", ":")) or rest[0] in "/:?."


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def load_config(path: str | os.PathLike[str]) -> MeshConfig:
    """Read a mesh.yaml with its `extends` chain. Raises: `ConfigError` with all problems; `EnvironmentProblem` if it can't be read."""
    return _load(Path(path), seen=())


def parse_config(text: str, *, source: str = "<mesh.yaml>", folder: Path | None = None) -> MeshConfig:
    """Read the text of a mesh.yaml."""
    try:
        document = _yaml.parse(text, source=source)
    except _yaml.YamlSyntaxError as error:
        raise ConfigError(from_yaml(error)) from None
    return _build(document, {}, folder or Path.cwd())


def _load(path: Path, *, seen: tuple[Path, ...]) -> MeshConfig:
    if path in seen or len(seen) > 8:
        raise UsageError(f"{path}: `extends` forms a cycle", code="mesh.config_invalid")
    try:
        document = _yaml.parse(path.read_bytes(), source=str(path))
    except OSError as error:
        raise EnvironmentProblem(
            f"{path} can't be read: {error.strerror}. Name a mesh.yaml by --config or MESHKIT_CONFIG",
            code="mesh.config_missing",
        ) from None
    except _yaml.YamlSyntaxError as error:
        raise ConfigError(from_yaml(error)) from None
    own = Path(os.path.normpath(path.parent.absolute()))
    if isinstance(document.data, dict) and "extends" in document.data:
        # what is extended says where relative paths start; a secret file lies beside the file that names it
        parent = _load(path.parent / str(document.data["extends"]), seen=(*seen, path))
        return _build(document, parent.__dict__["_merged"], parent.folder, secrets=own)
    return _build(document, {}, own)


def _build(document: _yaml.Document, base: dict[str, Any], folder: Path, *, secrets: Path | None = None) -> MeshConfig:
    if not isinstance(document.data, dict):
        raise ConfigError(
            [
                diagnostic_at(
                    document,
                    (),
                    "mesh.not_a_mapping",
                    "mesh.yaml is a mapping of keys",
                    "See docs/reference/mesh-yaml.",
                )
            ]
        )
    own = {
        k: _anchored(v, secrets or folder) for k, v in _expanded(document.data, document, ()).items() if k != "extends"
    }
    merged = {**base, **own, "sources": {**base.get("sources", {}), **(own.get("sources") or {})}}
    known = {f.alias or n for n, f in MeshConfig.model_fields.items()}
    sections = set(_registry.names("config_sections"))
    problems = [_unknown(document, key, known | sections) for key in own if key not in known | sections]
    config = None
    try:
        config = MeshConfig.model_validate({k: v for k, v in merged.items() if k in known})
    except ValidationError as error:
        problems += from_validation(document, error, MeshConfig, module="mesh")
    if problems or config is None:
        raise ConfigError(problems)
    config._folder, config._document = folder, document  # noqa: SLF001  # set once, by the only factory
    config._raw = {k: v for k, v in merged.items() if k in sections}  # noqa: SLF001
    config.__dict__["_merged"] = merged
    return config


def _unknown(document: _yaml.Document, key: str, known: set[str]) -> Diagnostic:
    from difflib import get_close_matches

    near = get_close_matches(key, known, n=1)
    hint = f"Did you mean `{near[0]}`?" if near else f"Known are {', '.join(sorted(known))}."
    return diagnostic_at(document, (key,), "mesh.unknown_key", f"unknown key `{key}`", hint, key=True)


def _anchored(value: Any, folder: Path) -> Any:
    """`file:` references start at the folder of the file that has them."""
    if isinstance(value, dict):
        return {k: _anchored(v, folder) for k, v in value.items()}
    if isinstance(value, list):
        return [_anchored(v, folder) for v in value]
    if isinstance(value, str) and value.startswith("file:") and not value.startswith("file://"):
        return type(value)(f"file:{folder / value.removeprefix('file:')}")
    return value


def _expanded(value: Any, document: _yaml.Document, path: tuple[str | int, ...]) -> Any:
    """`${VAR}` and `${VAR:-default}` anywhere in a text."""
    if isinstance(value, dict):
        return {k: _expanded(v, document, (*path, k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_expanded(v, document, (*path, i)) for i, v in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def fill(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        if name in os.environ:
            return os.environ[name]
        if default is None:
            hint = f"Set it, or write ${{{name}:-default}}."
            raise ConfigError(
                [
                    diagnostic_at(
                        document, path, "mesh.variable_missing", f"environment variable {name} is not set", hint
                    )
                ]
            )
        return default

    return type(value)(_VARIABLE.sub(fill, value))


def find_config(start: Path | None = None) -> Path | None:
    """The mesh.yaml that applies in a folder: that of a running local mesh here or above, else a `mesh.yaml` here or above."""
    folders = list(_upwards((start or Path.cwd()).absolute()))
    for folder in folders:
        generated = folder / ".mesh" / "mesh.yaml"
        if generated.is_file() and _is_running(folder / ".mesh"):
            return generated
    return next((f / "mesh.yaml" for f in folders if (f / "mesh.yaml").is_file()), None)


def _upwards(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.parents


def _is_running(mesh_folder: Path) -> bool:
    """Whether a supervisor holds the lock of a local mesh."""
    try:
        handle = os.open(mesh_folder / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


# The process ----------------------------------------------------------------------------------------------------------------------


class Settings(BaseModel):
    """What a process was told: arguments first, then `MESHKIT_*` variables. Read by `from_env`, never at import."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Path | None = None
    target: str | None = None
    token: SecretStr | None = None
    source_dsn: SecretStr | None = None
    local_user: str | None = None
    s3_image: str | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **arguments: Any) -> Self:
        """Settings of this process; an argument that is not None wins over its variable."""
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {
            n: environ[f"MESHKIT_{n.upper()}"] for n in cls.model_fields if environ.get(f"MESHKIT_{n.upper()}")
        }
        return cls(**values | {k: v for k, v in arguments.items() if v is not None})
