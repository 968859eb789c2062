"""What a handler knows of the attempt that it runs, and what it may say: TaskContext, and the exceptions that decide what
follows a failure.

Example:
    @app.task(timeout=3600)
    def import_file(ctx: zsched.TaskContext, path: str) -> int:
        start = ctx.load_checkpoint(default=0)
        for number, line in enumerate(lines_of(path, start), start):
            ctx.check_cancelled()
            store(line, fencing_token=ctx.lease)
            if number % 1000 == 0:
                ctx.checkpoint(number)
                ctx.progress(50, f"line {number}")
        ctx.logger.info("stored %d lines", number)
        return number

Threads: a context belongs to its attempt. Every method may also be called by threads that the handler starts and joins.
"""
from __future__ import annotations

import contextvars
import json
import logging
import threading
import time
from collections.abc import MutableMapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from zsched._convert import milliseconds, time_of
from zsched._wire import schema as wire
from zsched._wire.constants import (DEFAULT_PRIORITY, DEFAULT_QUEUE, MAX_CHECKPOINT_BYTES, MAX_PROGRESS_MESSAGE_BYTES,
                                    ErrorCode, OutputStream, TaskState)
from zsched._worker.ledger import Lease, cut_utf8
from zsched._worker.reports import Report
from zsched.errors import TooLarge, ZschedError, code_of
from zsched.serialization import decode
from zsched.types import TaskId

TASK_LOGGER = "zsched.task"


class Retry(Exception):
    """Raise it to fail this attempt and have the task tried again `after` so many seconds (or a timedelta; None: by the task's
    own back-off). It counts as an attempt."""

    def __init__(self, message: str = "the handler asks to be tried again", *, after: float | timedelta | None = None) -> None:
        super().__init__(message)
        self.after_ms = None if after is None else milliseconds(after, "after", (1 << 64) - 1)


class Discard(Exception):
    """Raise it to end the task as dead at once: trying again cannot help. `code` is what its error says."""

    def __init__(self, reason: str, *, code: ErrorCode = ErrorCode.HANDLER_FAILED) -> None:
        super().__init__(reason)
        self.code = code


class AttemptCancelled(ZschedError):
    """What check_cancelled raises: the attempt is to end. Let it pass; `code` says why."""

    default_code = ErrorCode.CANCELLED


class Board(Protocol):
    """Where an attempt leaves what it says; the worker's side of a context."""

    def report(self, lease: Lease, report: Report) -> None:
        """Progress, or a checkpoint."""

    def write(self, lease: Lease, stream: int, data: bytes) -> None:
        """Output."""


class ParentTask:
    """The task that this one follows in a chain. `passed`: this one was submitted with pass_result, and may look at how the
    other ended."""

    __slots__ = ("id", "state", "passed", "error", "error_message", "result_bytes", "content_type")

    def __init__(self, parent: wire.Parent) -> None:
        self.id = TaskId(parent.id)
        self.state = TaskState(parent.state) if parent.state in TaskState._value2member_map_ else TaskState.SUCCEEDED
        self.passed = parent.passed
        self.result_bytes = parent.result or b""
        self.content_type = parent.content_type
        self.error = code_of(parent.error_code)
        self.error_message = parent.error_message or ""

    @property
    def result(self) -> Any:
        """What it returned, when `passed` and it succeeded. InvalidArgument when it is not what its content type says."""
        return decode(self.content_type, self.result_bytes)


class TaskContext:
    """See above. What an attempt is, as attributes:

    `type`, `queue`, `attempt` (from 1), `max_attempts`; `lease`: the fencing token, larger for every later attempt and never
    used twice; `payload` (bytes) and `content_type` as submitted.
    """

    __slots__ = ("_work", "_lease", "_board", "_event", "_logger", "started", "session")

    def __init__(self, lease: Lease, board: Board, started: float = 0.0, session: int = 0) -> None:
        self._work: wire.Assignment = lease.work
        self._lease = lease
        self._board = board
        self._event: threading.Event | None = None
        self._logger: TaskLogger | None = None
        # On time.monotonic's clock.
        self.started = started
        self.session = session

    def __repr__(self) -> str:
        return f"<TaskContext {self.type} {self.id} attempt {self.attempt}>"

    @property
    def id(self) -> TaskId:
        """The id of the task."""
        return TaskId(self._work.task_id)

    @property
    def lease(self) -> int:
        """The fencing token: hand it to systems that take effects, so that they can refuse an attempt that was replaced."""
        return self._work.lease_id

    @property
    def type(self) -> str:
        """The task's type, which is the name of its function."""
        return self._work.type or ""

    @property
    def queue(self) -> str:
        """The task's queue."""
        return self._work.queue or DEFAULT_QUEUE

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._work.attempt

    @property
    def max_attempts(self) -> int:
        """How many failures end the task."""
        return self._work.max_attempts

    @property
    def priority(self) -> int:
        """0..9, 9 first."""
        return self._work.priority

    @property
    def payload(self) -> bytes:
        """As submitted."""
        return self._work.payload or b""

    @property
    def content_type(self) -> str:
        """As submitted; often empty."""
        return self._work.content_type or ""

    @property
    def labels(self) -> dict[str, str]:
        """As submitted."""
        return {label.key: label.value for label in self._work.labels}

    @property
    def correlation_id(self) -> str:
        """As submitted, or empty."""
        return self._work.correlation_id or ""

    @property
    def traceparent(self) -> str:
        """W3C trace context as submitted, or empty."""
        return self._work.traceparent or ""

    @property
    def submitted_at(self) -> datetime | None:
        """When the broker took the task."""
        return time_of(self._work.submitted_at_ms)

    @property
    def parent(self) -> ParentTask | None:
        """The task that this one follows, if it follows one."""
        return ParentTask(self._work.parent) if self._work.parent is not None else None

    # --- Time and cancellation ---

    @property
    def deadline(self) -> float:
        """When this attempt times out, on the clock of time.monotonic(). It is then to end, and counts as failed with
        ATTEMPT_TIMED_OUT whatever it returns."""
        return self.started + self._lease.timeout_ms / 1000

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; below 0 when it has passed."""
        return self.deadline - time.monotonic()

    @property
    def cancelled(self) -> bool:
        """Whether the attempt is to end as soon as possible. Cheap enough for an inner loop. Never becomes False again."""
        return self._lease.why is not None

    @property
    def cancel_reason(self) -> ErrorCode | None:
        """Why: CANCELLED, the task is cancelled for good; ATTEMPT_TIMED_OUT; STALE, somebody else has the task now;
        UNAVAILABLE, the worker is being stopped. None: it may go on."""
        return self._lease.why

    def check_cancelled(self) -> None:
        """Raises AttemptCancelled when the attempt is to end."""
        why = self._lease.why
        if why is not None:
            raise AttemptCancelled(f"the attempt is to end: {why.name}", why)

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Sleeps until `timeout` seconds have passed or the attempt is to end; returns whether it is. Blocks, so it is not
        for coroutines: they get asyncio.CancelledError."""
        event = self._event
        if event is None:
            event = threading.Event()
            before = self._lease.hook
            self._lease.hook = event.set if before is None else partial(_both, before, event.set)
            self._event = event
        if self._lease.why is not None:
            return True
        return event.wait(timeout) or self.cancelled

    # --- Saying something ---

    def progress(self, percent: float, message: str = "") -> None:
        """Says how far this attempt is: 0 to 100 (beyond is cut), and a message of which 256 bytes are kept. Cheap enough for an
        inner loop; people see the latest, some five times a second."""
        self._board.report(self._lease, Report(min(max(int(percent), 0), 100),
                                               cut_utf8(message, MAX_PROGRESS_MESSAGE_BYTES)))

    def checkpoint(self, value: Any) -> None:
        """Leaves something for the next attempt, on whichever worker, instead of what there was: bytes as they are, anything
        else as JSON. Recorded before this attempt's end is, but not when this process dies within a fraction of a second.
        TooLarge over 64 KiB: what there was stays."""
        data = bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else json.dumps(value).encode()
        if len(data) > MAX_CHECKPOINT_BYTES:
            raise TooLarge(f"a checkpoint of {len(data)} bytes is over the limit of {MAX_CHECKPOINT_BYTES}")
        self._board.report(self._lease, Report(checkpoint=data))

    @property
    def last_checkpoint(self) -> bytes | None:
        """What an earlier attempt left, or None."""
        return self._work.checkpoint

    def load_checkpoint(self, default: Any = None) -> Any:
        """What an earlier attempt left as JSON; `default` when there is nothing. ValueError when it is no JSON."""
        return default if self._work.checkpoint is None else json.loads(self._work.checkpoint)

    def write(self, data: str | bytes, stream: OutputStream = OutputStream.STDOUT) -> None:
        """Adds to the attempt's output, which `zsched-ctl task logs` shows while it runs and for as long as the task is kept.
        The last 64 KiB are kept."""
        if data:
            self._board.write(self._lease, stream, data.encode("utf-8", "replace") if isinstance(data, str) else bytes(data))

    @property
    def logger(self) -> TaskLogger:
        """A standard logger: what it logs goes into the attempt's output, and with the ids of task, attempt, correlation and
        session into the worker's own log."""
        if self._logger is None:
            self._logger = TaskLogger(logging.getLogger(TASK_LOGGER), self)
        return self._logger

    def log_fields(self) -> dict[str, Any]:
        """The ids that go with every line that this attempt logs."""
        fields: dict[str, Any] = {"task": str(self.id), "type": self.type, "attempt": self.attempt}
        if self.correlation_id:
            fields["correlation_id"] = self.correlation_id
        if self.session:
            fields["session"] = str(TaskId(self.session))  # it is written as they are
        return fields


def _both(first: Any, second: Any) -> None:
    first()
    second()


class TaskLogger(logging.LoggerAdapter):  # type: ignore[type-arg]  # generic in stubs only
    """Puts the context into every record, where handlers find it as `record.zsched_task`."""

    def __init__(self, logger: logging.Logger, context: TaskContext) -> None:
        super().__init__(logger, {"zsched_task": context})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """The caller's own `extra` stays."""
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


class _Nowhere:
    """The board of a context outside of a worker."""

    def report(self, lease: Lease, report: Report) -> None:
        pass

    def write(self, lease: Lease, stream: int, data: bytes) -> None:
        pass


def detached(type_: str) -> TaskContext:
    """A context for a function that needs one and is called as a plain function: nobody hears what it says."""
    work = wire.Assignment(type=type_, attempt=1, max_attempts=1, priority=DEFAULT_PRIORITY)
    return TaskContext(Lease(0, 0, work=work), _Nowhere(), time.monotonic())


_current: contextvars.ContextVar[TaskContext | None] = contextvars.ContextVar("zsched_task", default=None)
set_current = _current.set


def current_task() -> TaskContext | None:
    """The context of the attempt that runs here; None outside of one. Of an attempt's own threads only those know it that were
    started by contextvars.copy_context().run."""
    return _current.get()
