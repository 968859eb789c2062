"""Log records of attempts into their output, and the worker's own log as text or JSON in the form of all zsched programs.

Threads: handlers are called from any.
"""
from __future__ import annotations

import json
import logging
import time
from typing import Any, TextIO

from zsched._wire.constants import OutputStream
from zsched.context import TASK_LOGGER, TaskContext, current_task

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR,
          "off": logging.CRITICAL + 10}


class OutputHandler(logging.Handler):
    """Writes what is logged within an attempt to the attempt's output, as stream `log`: that of ctx.logger, and of any other
    logger that the function and its libraries use."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Nothing outside of an attempt."""
        context: TaskContext | None = getattr(record, "zsched_task", None) or current_task()
        if context is None:
            return
        try:
            context.write(self.format(record) + "\n", OutputStream.LOG)
        except Exception:
            self.handleError(record)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What goes with a line: the ids of its attempt, or what the worker itself says."""
    fields: dict[str, Any] = dict(getattr(record, "zsched_fields", None) or {})
    context = getattr(record, "zsched_task", None) or current_task()
    if context is not None:
        fields = {**context.log_fields(), **fields}
    if record.name not in ("zsched.worker", TASK_LOGGER):
        fields["logger"] = record.name
    return fields


def _stamp(created: float) -> str:
    milliseconds = int(created * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(milliseconds // 1000))}.{milliseconds % 1000:03}Z"


def _level(record: logging.LogRecord) -> str:
    if record.levelno >= logging.ERROR:
        return "error"
    if record.levelno >= logging.WARNING:
        return "warn"
    return "info" if record.levelno >= logging.INFO else "debug"


class TextFormatter(logging.Formatter):
    """2026-11-22T17:17:41.952Z INFO  message  key=value"""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback behind it where there is one."""
        fields = "".join(f" {key}={_quoted(value)}" for key, value in fields_of(record).items())
        line = f"{_stamp(record.created)} {_level(record).upper():5} {record.getMessage()}{' ' + fields if fields else ''}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """With a traceback as `exception`."""
        line = {"time": _stamp(record.created), "level": _level(record), "program": "zsched-py",
                "message": record.getMessage(), **fields_of(record)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _quoted(value: object) -> str:
    text = str(value)
    plain = text and all(char.isprintable() and char not in ' "=' for char in text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def set_up(stream: TextIO, form: str, level: str) -> None:
    """The log of a worker program: everything of this process goes to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    logging.getLogger(TASK_LOGGER).setLevel(LEVELS[level])
