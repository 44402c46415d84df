"""From manifests to resources: `compile_graph`. Pure: what it needs of the world stands in the `Target`; all errors come at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from meshkit._diagnostics import Diagnostic
from meshkit._storage import fixed_part
from meshkit.errors import MeshkitError
from meshkit.manifest import FieldSchema, Manifest
from meshkit.provision.errors import CompileFailed
from meshkit.provision.policies import Place
from meshkit.provision.resources import Node, ProductFacts, ResourceGraph, Skipped

if TYPE_CHECKING:
    from meshkit.provision.target import Target

__all__ = ["ProductGraph", "compile_graph"]


@dataclass
class ProductGraph:
    """What is being compiled for one product. Filled by one function per kind of port."""

    manifest: Manifest
    target: Target
    nodes: dict[str, Node] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)
    endpoints: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    not_enforced: dict[str, None] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    @property
    def domain_urn(self) -> str:
        """Owner of what products of the domain share."""
        return f"urn:mesh:{self.manifest.domain}"

    @property
    def readers(self) -> list[str]:
        """Names of the reader roles."""
        return [n for n, role in self.manifest.roles.items() if role.access == "read"] or ["reader"]

    def node(self, kind: str, name: str, source: str, *, owner: str | None = None, **rest: object) -> str:
        """Add a node and return its id."""
        made = Node(kind, name, owner or self.manifest.urn, self.manifest.id, source, **rest)  # type: ignore[arg-type]
        self.nodes.setdefault(made.id, made)
        return made.id

    def skip(self, port: str, reason: str) -> None:
        """Say that a port gets no resource."""
        self.skipped.append(Skipped(self.manifest.id, port, reason))

    def problem(self, code: str, message: str, hint: str, *path: str) -> None:
        """An error at a place of the manifest."""
        span = self.manifest.span(*path)
        line, column = (span.line, span.column) if span else (1, 1)
        self.problems.append(
            Diagnostic(f"provision.{code}", message, hint, "error", self.manifest.source_name, line, column, path)
        )

    def location(self, port: str, *, object_name: str | None = None) -> str | None:
        """A port's location with every placeholder filled in; None, with a problem noted, if that can't be done."""
        try:
            return self.target.expand(self.manifest.location(port, object_name=object_name), port)
        except MeshkitError as error:
            self.problem(error.code.partition(".")[2], error.message, "", "ports", port, "location")
            return None

    def sensitive_columns(self, port: str) -> list[str]:
        """Columns of a port that policies may mask: a direct read would pass them by."""
        names = self.manifest.ports[port].objects or tuple(self.manifest.objects)
        fields = (pair for o in names if o in self.manifest.objects for pair in self.manifest.objects[o].fields.items())
        return [name for name, item in fields if _is_sensitive(item)]

    def place(self, port: str, location: str, *, whole_bucket: bool) -> Place | None:
        """Bucket and prefix of a file port; None, with a problem noted, if they are no safe border of a right."""
        bucket, _, prefix = fixed_part(location).removeprefix("s3://").partition("/")
        segments = prefix.split("/") if prefix else []
        if not _is_bucket(bucket):
            self.problem(
                "bucket_name", f"{bucket!r} is no bucket name", "See the S3 naming rules.", "ports", port, "location"
            )
            return None
        if any(s in {"", ".", ".."} for s in segments) or "\\" in prefix:
            hint = "Write plain folder names between slashes."
            self.problem(
                "prefix",
                f"port {port}: the folder in `location` has an empty or dotted part",
                hint,
                "ports",
                port,
                "location",
            )
            return None
        if not segments and not whole_bucket:
            hint = "Give the product a folder of its own, or list the bucket under `buckets` of the target with `owner: product`."
            self.problem(
                "whole_bucket", f"port {port} would own the whole bucket {bucket}", hint, "ports", port, "location"
            )
            return None
        return Place(bucket, prefix)


def _is_sensitive(item: FieldSchema) -> bool:
    """Whether a field or a part of it is personal: the rule by which queries mask."""
    return item.is_personal or any(_is_sensitive(part) for part in item.children().values())


def _is_bucket(name: str) -> bool:
    plain = name.replace("-", "").replace(".", "")
    return 3 <= len(name) <= 63 and plain.isalnum() and plain.isascii() and name == name.lower() and name[0] not in "-."


def compile_graph(
    manifests: Iterable[Manifest], target: Target, *, principals: Mapping[str, tuple[str, ...]] | None = None
) -> ResourceGraph:
    """All resources of `manifests` on `target`. `principals`: product id -> who holds a live grant on it.

    Raises: `CompileFailed` with every problem of every manifest.
    """
    from meshkit.provision.compile_aws import compile_aws
    from meshkit.provision.compile_servers import compile_servers

    ordered = sorted(manifests, key=lambda m: m.id)
    products: list[ProductGraph] = []
    for manifest in ordered:
        product = ProductGraph(manifest, target)
        if target.aws is not None:
            compile_aws(product, target.aws, (principals or {}).get(manifest.id, ()))
        else:
            compile_servers(product)
        products.append(product)
    nodes, problems = _merge(products)
    problems += [p for product in products for p in product.problems]
    if problems:
        raise CompileFailed(problems)
    return ResourceGraph(
        target.name,
        target.describe(),
        target.aws.account if target.aws else None,
        target.mesh,
        target.environment,
        tuple(sorted(nodes.values(), key=lambda n: (n.rank, n.id))),
        tuple(s for p in products for s in p.skipped),
        tuple(_facts(p) for p in products),
    )


def _merge(products: list[ProductGraph]) -> tuple[dict[str, Node], list[Diagnostic]]:
    """One node per id. Two owners of one resource, and prefixes inside one another, are errors."""
    nodes: dict[str, Node] = {}
    problems: list[Diagnostic] = []
    folded: dict[str, Node] = {}
    for product in products:
        for node in product.nodes.values():
            known = nodes.setdefault(node.id, node)
            if known.owner != node.owner and not node.shared:
                problems.append(_collision(product, node, known))
            twin = folded.setdefault(node.id.replace("_", "."), node) if node.kind == "kafka.topic" else node
            if twin.id != node.id:
                problems.append(_collision(product, node, twin))
    return nodes, problems + _nested(products, nodes)


def _nested(products: list[ProductGraph], nodes: dict[str, Node]) -> list[Diagnostic]:
    """A prefix inside another product's would be readable and writable by both."""
    by_product = {p.manifest.id: p for p in products}
    claims = sorted((f"{n.name}/", n) for n in nodes.values() if n.kind == "aws.s3_prefix")
    problems = []
    for at, (text, outer) in enumerate(claims):
        for inner_text, inner in claims[at + 1 :]:
            if not inner_text.startswith(text):
                break
            if inner.owner != outer.owner:
                problems.append(_collision(by_product[inner.product], inner, outer))
    return problems


def _collision(product: ProductGraph, node: Node, other: Node) -> Diagnostic:
    hint = "Change one of the two names or locations. A bucket that several products share: `buckets` of the target, `owner: domain`."
    product.problem("collision", f"{node.id} of {node.owner} collides with {other.id} of {other.owner}", hint)
    return product.problems.pop()


def _facts(product: ProductGraph) -> ProductFacts:
    m = product.manifest
    return ProductFacts(
        m.id,
        m.version,
        m.source_name,
        product.endpoints,
        product.roles,
        tuple(product.not_enforced),
        tuple(product.notes),
        has_source=m.source is not None,
    )


def with_needs(node: Node, needs: Iterable[str]) -> Node:
    """`node`, written after `needs`."""
    return replace(node, needs=tuple(sorted(set(needs))))
