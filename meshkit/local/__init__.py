"""A local mesh: Postgres, S3 and a Kafka broker on this machine by one call, without containers.

    from meshkit.local import Stack

    with Stack.temporary(only=("postgres", "s3")) as stack:
        stack.endpoints.postgres_dsn

`Stack.open(".mesh").up()` starts a stack that stays. Needs the extra `local`; importing this module does not.
"""

from meshkit.local.capabilities import Capability, capabilities, not_enforced
from meshkit.local.doctor import Check, DoctorReport
from meshkit.local.errors import (
    BadStackFile,
    DeployFailed,
    DirectoryProblem,
    RuntimeNotAvailable,
    ServiceFailed,
    StackNotRunning,
    SupervisorProblem,
    UnknownService,
    WrongRuntime,
)
from meshkit.local.meshfile import Endpoints
from meshkit.local.stack import Stack
from meshkit.local.status import DownReport, ServiceStatus, StackStatus

__all__ = [
    "BadStackFile",
    "Capability",
    "Check",
    "DeployFailed",
    "DirectoryProblem",
    "DoctorReport",
    "DownReport",
    "Endpoints",
    "RuntimeNotAvailable",
    "ServiceFailed",
    "ServiceStatus",
    "Stack",
    "StackNotRunning",
    "StackStatus",
    "SupervisorProblem",
    "UnknownService",
    "WrongRuntime",
    "capabilities",
    "not_enforced",
]
