"""Names of tables: `domain.product`, aliases of dotted domains, `domain.product__object`. Source: federation-and-masking section 2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshkit.types import DataType

__all__ = ["AmbiguousName", "Catalogue", "TableColumn", "TableInfo", "fold"]

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def fold(name: str) -> str:
    """ASCII lower case, as DuckDB compares identifiers; `str.lower` would also map the Kelvin sign onto k."""
    return name.translate(_LOWER)


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of the contract. `sensitive`: it, or a nested path of it, is tagged as personal data."""

    name: str
    type: DataType
    required: bool = False
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class TableInfo:
    """One object of a product as a SQL table."""

    product: str  # sales.orders
    object: str
    is_main: bool
    columns: tuple[TableColumn, ...]
    hidden: frozenset[str] = frozenset()  # labels of columns that are not granted to the reader

    @property
    def visible(self) -> tuple[TableColumn, ...]:
        """Columns that exist for the reader; policies and readers of files still see `columns`."""
        return tuple(c for c in self.columns if self.column_label(c.name) not in self.hidden)

    @property
    def domain(self) -> str:
        """`sales`, or dotted `sales.emea`."""
        return self.product.rpartition(".")[0]

    @property
    def table(self) -> str:
        """Second part of the table's name: `orders` or `orders__lines`."""
        name = self.product.rpartition(".")[2]
        return name if self.is_main else f"{name}__{self.object}"

    @property
    def alias(self) -> str:
        """The name that needs no quotes, as listings print it: `sales_emea.orders`."""
        return f"{self.domain.replace('.', '_')}.{self.table}"

    def column_label(self, column: str) -> str:
        """How decisions and logs name a column: `email`; `lines.sku` where the object is not the main one."""
        return column if self.is_main else f"{self.object}.{column}"


class AmbiguousName(Exception):
    """An alias fits tables of two domains; internal, the gate adds the position."""

    def __init__(self, products: tuple[str, ...]) -> None:
        self.products = products
        super().__init__("ambiguous")


@dataclass(frozen=True)
class Catalogue:
    """All tables of a mesh by folded name. Knows nothing of grants: who may see what is the decider's word."""

    tables: tuple[TableInfo, ...]
    _exact: Mapping[tuple[str, str], TableInfo] = field(init=False, repr=False, compare=False)
    _alias: Mapping[tuple[str, str], tuple[TableInfo, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        exact: dict[tuple[str, str], TableInfo] = {}
        alias: dict[tuple[str, str], tuple[TableInfo, ...]] = {}
        for table in self.tables:
            exact[fold(table.domain), fold(table.table)] = table
            key = (fold(table.domain.replace(".", "_")), fold(table.table))
            alias[key] = (*alias.get(key, ()), table)
        object.__setattr__(self, "_exact", exact)
        object.__setattr__(self, "_alias", alias)

    @classmethod
    def of(cls, tables: Iterable[TableInfo]) -> Catalogue:
        """The catalogue of `tables`."""
        return cls(tuple(tables))

    def find(self, domain: str, table: str) -> TableInfo | None:
        """The table of that name; the canonical domain wins over an alias. Raises: `AmbiguousName`."""
        key = (fold(domain), fold(table))
        found = self._exact.get(key)
        if found is not None:
            return found
        candidates = self._alias.get(key, ())
        if len(candidates) > 1:
            raise AmbiguousName(tuple(t.product for t in candidates))
        return candidates[0] if candidates else None

    def near(self, name: str, visible: Iterable[str]) -> str | None:
        """The closest name among tables of `visible` products, for a hint."""
        seen = set(visible)
        names = [t.alias for t in self.tables if t.product in seen]
        close = get_close_matches(fold(name), names, n=1)
        return close[0] if close else None
