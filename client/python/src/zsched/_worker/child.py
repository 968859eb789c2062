"""The child's side of the process pool: imports the app, runs one attempt after the other, says what they say.

The main thread runs the functions; another reads the pipe, so that a cancellation gets through while one runs, and the end of
the worker ends this process at once, whatever it is doing.

Threads: see above. What is sent is sent whole, from any thread.
"""
from __future__ import annotations

import asyncio
import importlib
import logging
import os
import queue
import signal
import threading
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from zsched._worker import attempt as attempts
from zsched._worker.ledger import Lease, Outcome
from zsched._worker.logs import OutputHandler
from zsched._worker.recycling import resident_bytes
from zsched._worker.reports import Report
from zsched.context import TaskContext, current_task, set_current

if TYPE_CHECKING:
    from zsched.app import App


class _Pipe:
    """The worker; also the board of this process's attempts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, *message: Any) -> None:
        """Without a worker there is nobody to say it to, and the reader is about to end the process."""
        with self._lock:
            try:
                self._connection.send(message)
            except OSError:
                pass

    def report(self, lease: Lease, report: Report) -> None:
        self.send("report", *report)

    def write(self, lease: Lease, stream: int, data: bytes) -> None:
        self.send("write", int(stream), data)


class _ForwardingHandler(logging.Handler):
    """Log records to the worker's log, with the ids of the attempt that made them."""

    def __init__(self, pipe: _Pipe) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"name": record.name, "levelno": record.levelno, "levelname": record.levelname, "msg": self.format(record),
                  "created": record.created, "process": record.process}
        context = getattr(record, "zsched_task", None) or current_task()
        if context is not None:
            fields["zsched_fields"] = context.log_fields()
        self._pipe.send("log", fields)


class _Runner:
    def __init__(self, connection: Connection, app: App) -> None:
        self._connection = connection
        self._app = app
        self._pipe = _Pipe(connection)
        self._works: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._lease: Lease | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, log_levels: dict[str, int]) -> None:
        root = logging.getLogger()
        # Instead of what the app's modules may have set up for a process of their own: the worker logs for all.
        root.handlers[:] = [_ForwardingHandler(self._pipe), OutputHandler()]
        for name, level in log_levels.items():
            logging.getLogger(name).setLevel(level)
        threading.Thread(target=self._read, name="zsched-pipe", daemon=True).start()
        while True:
            work, timeout_ms, started_ns, session = self._works.get()
            lease = Lease(work.task_id, work.lease_id, work.attempt, timeout_ms, work=work)
            self._lease = lease
            outcome = self._attempt(lease, started_ns, session)
            self._lease = None
            self._pipe.send("done", None if outcome is None else tuple(outcome), resident_bytes())

    def _attempt(self, lease: Lease, started_ns: int, session: int) -> Outcome | None:
        task = self._app.tasks.get(lease.work.type)
        if task is None:
            return attempts.unknown_type(lease.work.type or "")
        context = TaskContext(lease, self._pipe, started_ns / 1e9, session)
        set_current(context)
        try:
            if not task.is_async:
                return attempts.run(task, context)
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
            return attempts.run_in_loop(self._loop, task, context)
        finally:
            set_current(None)

    def _read(self) -> None:
        try:
            while True:
                kind, *values = self._connection.recv()
                if kind == "run":
                    self._works.put(tuple(values))
                elif kind == "cancel":
                    self._cancel(*values)
        except (EOFError, OSError):
            os._exit(0)

    def _cancel(self, id: int, why: Any) -> None:
        lease = self._lease
        if lease is not None and lease.id == id:
            lease.why = why
            if lease.hook is not None:
                lease.hook()


def main(connection: Connection, module: str, name: str, brokers: Any, log_levels: dict[str, int]) -> None:
    """The process. `brokers`: for submits of its functions, where the app itself names none."""
    # A group of its own, which is ended as a whole; a terminal's Ctrl-C and a service's stop are for the worker, which drains.
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        app = getattr(importlib.import_module(module), name)
        app.brokers = app.brokers or brokers
    except BaseException as error:
        connection.send(("error", attempts.describe(error)))
        return
    connection.send(("ready", ""))
    _Runner(connection, app).run(log_levels)
