"""Structured logging: structlog over stdlib `logging`, silent until the host application configures it.

Events are `noun.past_verb` with facts as keys: `log.info("commit.written", product=..., rows=...)`. Never a data value or a secret.
structlog loads with the first event that somebody listens to: it costs as much as the rest of `import meshkit`.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

__all__ = ["Logger", "configure", "get_logger"]

logging.getLogger("meshkit").addHandler(logging.NullHandler())


class Logger:
    """Events of one module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **facts: Any) -> None:
        """Detail for developers."""
        self._log(logging.DEBUG, event, facts)

    def info(self, event: str, **facts: Any) -> None:
        """Something happened as meant."""
        self._log(logging.INFO, event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        """Something failed that does not stop the work."""
        self._log(logging.WARNING, event, facts)

    def error(self, event: str, **facts: Any) -> None:
        """Something failed that somebody must look at."""
        self._log(logging.ERROR, event, facts)

    def _log(self, level: int, event: str, facts: dict[str, Any]) -> None:
        target = logging.getLogger(self._name)
        if target.isEnabledFor(level) and _is_heard(target):
            _structured(self._name).log(level, event, **facts)


def _is_heard(target: logging.Logger | None) -> bool:
    """Whether a handler other than our own silent one would get the record."""
    while target is not None:
        if any(not isinstance(h, logging.NullHandler) for h in target.handlers):
            return True
        target = target.parent if target.propagate else None
    return False


@cache
def _structured(name: str) -> Any:
    import structlog

    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.stdlib.render_to_log_kwargs,
    ]
    return structlog.wrap_logger(
        logging.getLogger(name), processors=processors, wrapper_class=structlog.stdlib.BoundLogger
    )


def get_logger(name: str) -> Logger:
    """The logger of a module: `log = get_logger(__name__)`."""
    return Logger(name)


def configure(*, level: int = logging.INFO, as_json: bool = False) -> None:
    """Write meshkit's events to stderr: for programs that have no logging of their own, such as `meshkit serve`."""
    import structlog

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
