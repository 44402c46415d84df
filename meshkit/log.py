"""Structured logging: structlog over stdlib `logging`, silent until the host application configures it.

Events are `noun.past_verb` with facts as keys: `log.info("commit.written", product=..., rows=...)`. Never a data value or a secret.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog

__all__ = ["configure", "get_logger"]

logging.getLogger("meshkit").addHandler(logging.NullHandler())

_PROCESSORS: list[Any] = [
    structlog.stdlib.filter_by_level,
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    structlog.stdlib.render_to_log_kwargs,
]


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module: `log = get_logger(__name__)`. Its records reach handlers of the host's `logging` setup only."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=_PROCESSORS,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return logger


def configure(*, level: int = logging.INFO, as_json: bool = False) -> None:
    """Write meshkit's events to stderr: for programs that have no logging of their own, such as `meshkit serve`."""
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.stdlib.add_log_level],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger("meshkit")
    root.addHandler(handler)
    root.setLevel(level)
