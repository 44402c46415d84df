"""`meshkit.testing`: small real implementations of ports, for tests of code that uses meshkit. No mocks: they keep what they are given.

The pytest fixtures `mesh`, `contract`, `product`, `assert_contract` and `local_mesh` come with the pytest plugin.
"""

from meshkit.testing.fakes import MemoryAudit, MemoryQueryLog, StaticConsumers, StaticGrants

__all__ = ["MemoryAudit", "MemoryQueryLog", "StaticConsumers", "StaticGrants"]
