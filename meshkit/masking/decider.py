"""`PolicyDecider`: the built-in policy engine over the products of a mesh. Implements `ports.Decider`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from meshkit.errors import MeshkitError, UsageError
from meshkit.manifest import Manifest
from meshkit.masking.decide import ProductPolicies, compile_product, decide_compiled
from meshkit.masking.errors import AccessDenied, MaskMisfit, UnknownTarget
from meshkit.masking.explain import Explanation, explain_column
from meshkit.masking.keys import KeyRing
from meshkit.masking.masks import load_mask
from meshkit.masking.policies import PolicySet
from meshkit.masking.settings import PolicySettings
from meshkit.ports import Decision, Grant, Grants, Principal
from meshkit.types import STRING, parse_type

__all__ = ["PolicyDecider"]

_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_CACHED = 10_000


class PolicyDecider:
    """Decides reads by policies, by grants of the catalog, and for products by the `inputs` of their manifests.

    A product (issuer `mesh`) may read what its manifest declares; roles and masks apply to it as to anyone. `open_access` lets every
    principal read every product, masked: for a local mesh that has no policies yet. Thread-safe; a reload makes a new value.
    """

    def __init__(
        self,
        manifests: Iterable[Manifest],
        policies: PolicySet | None = None,
        grants: Grants | None = None,
        settings: PolicySettings | None = None,
        *,
        open_access: bool = False,
    ) -> None:
        self.policies = policies if policies is not None else PolicySet()
        self.settings = settings if settings is not None else PolicySettings()
        self.manifests: Mapping[str, Manifest] = {m.id: m for m in manifests}
        self.grants, self.open_access = grants, open_access
        self._compiled: dict[str, tuple[ProductPolicies, frozenset[str]]] = {}
        self._cache: dict[Any, Decision] = {}
        self._inputs = {m.id: _input_grants(m) for m in self.manifests.values()}
        digests = "".join(sorted(m.digest() for m in self.manifests.values()))
        text = f"{self.policies.revision} {self.settings.combine} {open_access} {digests}"
        self._revision = hashlib.sha256(text.encode()).hexdigest()[:16]

    def decide(self, product: str, principal: Principal, *, purpose: str | None, now: datetime) -> Decision:
        """See `ports.Decider`. Unknown and forbidden products look alike; a failing grant source is a deny."""
        found = self._product(product)
        if found is None:
            return self._refused(product, "masking.not_granted")
        compiled, names = found
        try:
            grants = self._grants_for(principal, product, now)
        except MeshkitError:
            return self._refused(product, "masking.policy_unavailable")
        key = _cache_key(product, principal, names, purpose, grants)
        cached = self._cache.get(key) if key is not None else None
        if cached is not None and (cached.valid_until is None or now < cached.valid_until):
            return cached
        decision = decide_compiled(
            compiled,
            principal,
            purpose=purpose,
            now=now,
            combine=self.settings.combine,
            catalog_grants=grants,
            open_access=self.open_access,
        )
        if key is not None:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[key] = decision
        return decision

    def revision(self) -> str:
        """Changes with policies, manifests and grants. Raises: `MeshkitError` of the grant source."""
        return f"{self._revision}.{self.grants.revision()}" if self.grants is not None else self._revision

    def why(
        self, address: str, *, principal: Principal, purpose: str | None = None, now: datetime | None = None
    ) -> Explanation:
        """How `domain.product.column` looks for a principal, and which rules say so; reads no data.

        Raises: `UnknownTarget`; `UsageError` if the address names no column.
        """
        product = next(
            (p for p in sorted(self.manifests, key=len, reverse=True) if address.startswith((p + ".", p + "__"))), None
        )
        if product is None:
            raise UnknownTarget(f"no product has the column {address!r}. Write domain.product.column")
        now = now or datetime.now(UTC)
        compiled = self._product(product)
        assert compiled is not None
        label = address.removeprefix(product).lstrip("_").lstrip(".")
        decision = self.decide(product, principal, purpose=purpose, now=now)
        known = {t.label for t in compiled[0].columns}
        if label not in known:
            raise UnknownTarget(f"{product} has no column {label!r}. Known are {', '.join(sorted(known)[:20])}")
        if not label:
            raise UsageError("a column is missing. Write domain.product.column")
        return explain_column(compiled[0], label, principal, decision, purpose=purpose, now=now)

    def token(
        self,
        address: str,
        value: str | int,
        *,
        principal: Principal,
        keys: KeyRing | None,
        purpose: str | None = None,
        now: datetime | None = None,
    ) -> str:
        """The token that `value` of `domain.product.column` has for a principal, to look rows up by a value known from elsewhere.

        Only where the rules that mask the column so have `lookup: true`: who can make tokens can guess values. The caller audits it.

        Raises: `AccessDenied`; `MaskMisfit` if the column has no such tokens or `value` is of another type; `MissingKey`.
        """
        found = self.why(address, principal=principal, purpose=purpose, now=now)
        if not found.allow:
            raise AccessDenied(address.rpartition(".")[0], decision_code=found.code or "masking.denied")
        allowed = {r.id for r in self.policies.rules if r.lookup}
        rules = set((found.column.rule or "").split("+"))
        mask, data_type = load_mask(found.column.mask), parse_type(found.type)
        if not mask.keyed or not rules <= allowed:
            raise MaskMisfit(
                f"{address} has no tokens to look up. Its rule needs a keyed mask and `lookup: true`",
                code="masking.no_lookup",
            )
        if isinstance(value, bool) or not isinstance(value, str if data_type == STRING else int):
            raise MaskMisfit(f"the value to look up in {address} is no {data_type}")
        return str(mask.python(value, data_type, found.column.args, keys))

    def _product(self, product: str) -> tuple[ProductPolicies, frozenset[str]] | None:
        found = self._compiled.get(product)
        if found is None and product in self.manifests:
            compiled = compile_product(self.manifests[product], self.policies)
            found = self._compiled[product] = (compiled, compiled.attributes)
        return found

    def _grants_for(self, principal: Principal, product: str, now: datetime) -> tuple[Grant, ...]:
        own: tuple[Grant, ...] = ()
        # only the mesh itself vouches for a product's identity: a token with such a subject is a person's or an intruder's
        if principal.is_product and principal.issuer == "mesh":
            inputs = self._inputs.get(principal.subject.removeprefix("product:"), ())
            own = tuple(g for g in inputs if g.product == product)
        approved = self.grants.grants_for(principal, product, at=now) if self.grants is not None else ()
        return own + tuple(approved)

    def _refused(self, product: str, code: str) -> Decision:
        digest = hashlib.sha256(f"{product} {code} {self._revision}".encode()).hexdigest()[:20]
        return Decision(f"d-{digest}", product, "", self.policies.revision, allow=False, code=code)


def _input_grants(manifest: Manifest) -> tuple[Grant, ...]:
    """What a product may read because its manifest says that it does."""
    grants = []
    for name, port in manifest.inputs.items():
        if port.product is None:
            continue
        columns = None
        if port.columns is not None:
            columns = frozenset(f"{port.object}.{c}" for c in port.columns) if port.object else frozenset(port.columns)
        grants.append(
            Grant(f"input:{manifest.id}.{name}", port.product, f"product:{manifest.id}", _ALWAYS, columns=columns)
        )
    return tuple(grants)


def _cache_key(
    product: str, principal: Principal, names: frozenset[str], purpose: str | None, grants: tuple[Grant, ...]
) -> Any:
    """All that a decision depends on beside this value and time; None if an attribute can't be a key."""
    attributes = tuple((n, _frozen(principal.attributes[n])) for n in sorted(names) if n in principal.attributes)
    key = (product, principal.roles, attributes, purpose, grants)
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _frozen(value: Any) -> Any:
    """With its type: 1, 1.0 and True are one key, and different attributes."""
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return (type(value).__name__, value)
