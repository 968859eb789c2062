"""The pool of processes: a child for each slot, so that attempts use all cores, cannot hold up the worker's own threads whatever
they do, and can be ended from outside.

    slot's thread --run, cancel--> child: reader thread --> main thread: the function
                  <--notes, output, log records, done--

An attempt that timed out or was cancelled is told so, and its child killed KILL_GRACE_MS later. A child that dies fails its
attempt with PROCESS_FAILED. Children end with the worker, also when it is killed: they read the end of their pipe.

Threads: as ThreadPool. A Child belongs to its slot's thread; only end() may be called from others.
"""
from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from zsched._wire.constants import ErrorCode
from zsched._worker import child as child_module
from zsched._worker.ledger import Lease, Outcome
from zsched._worker.recycling import Recycling
from zsched._worker.reports import Report
from zsched._worker.threads import Slot, ThreadPool
from zsched.context import TASK_LOGGER
from zsched.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsched.app import App

log = logging.getLogger("zsched.worker")

# From the moment at which an attempt is told to end to the end of its process. Well below ABANDON_AFTER_MS.
KILL_GRACE_MS = 1_000
# How long a child may take to import the app.
_START_SECONDS = 60.0
# How long one that was told to end may take to do so.
_END_SECONDS = 1.0


def locate(app: App) -> tuple[str, str]:
    """(module, name) where a child process finds the app. InvalidArgument when it is nowhere."""
    module = sys.modules.get(app.module)
    for name, value in vars(module).items() if module is not None else ():
        if value is app:
            return app.module, name
    raise InvalidArgument(f"pool: 'process' needs the app to be a variable of its module {app.module}, "
                          "as child processes import it from there")


class ChildDied(Exception):
    """The process behind a Child is no more. Says how it ended."""


class Child:
    """One process. Starts at once; `ready` waits until it has imported the app."""

    def __init__(self, app: tuple[str, str], brokers: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=child_module.main, args=(theirs, *app, brokers, _log_levels()), name="zsched-child")
        self.process.start()
        theirs.close()
        self.ended = 0  # attempts
        self.resident_bytes = 0

    def ready(self) -> None:
        """ChildDied when it cannot import the app, or takes too long."""
        if not self.connection.poll(_START_SECONDS):
            self.end(signal.SIGKILL)
            raise ChildDied(f"a child process was not ready after {_START_SECONDS:g} s")
        kind, text = self.receive()
        if kind != "ready":
            raise ChildDied(f"a child process cannot import the app: {text}")

    def receive(self) -> Any:
        """What it says next. ChildDied."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            raise ChildDied(self.how_it_ended()) from None

    def send(self, message: Any) -> None:
        """ChildDied."""
        try:
            self.connection.send(message)
        except OSError:
            raise ChildDied(self.how_it_ended()) from None

    def how_it_ended(self) -> str:
        """For people."""
        self.process.join(_END_SECONDS)
        code = self.process.exitcode
        if code is None:
            return "the child process closed its pipe"
        if code >= 0:
            return f"the child process ended with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        return f"the child process was ended by {name}"

    def end(self, how: signal.Signals | None = None) -> None:
        """Ends it and what it started: by a signal, or by the end of its pipe."""
        if how is not None and self.process.pid is not None:
            try:
                os.killpg(self.process.pid, how)
            except (ProcessLookupError, PermissionError):
                self.process.kill()  # before it has a group of its own
        self.connection.close()

    def reap(self, timeout: float) -> None:
        """Waits for its end; kills it when that takes longer."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()


class ProcessPool(ThreadPool):
    """See above."""

    def __init__(self, app: App, concurrency: int, wake: Callable[[], None], recycling: Recycling) -> None:
        super().__init__(app, concurrency, wake)
        self._where = locate(app)
        self._recycling = recycling
        self._children: dict[int, Child] = {}

    def shutdown(self, timeout: float) -> int:
        """As Pool; attempts that are left are ended with their processes."""
        left = super().shutdown(timeout)
        for child in list(self._children.values()):
            child.end(signal.SIGKILL)
        for child in list(self._children.values()):
            child.reap(_END_SECONDS)
        return left

    # --- The slots' threads ---

    def _prepare(self, slot: Slot) -> None:
        try:
            self._child_of(slot)
        except ChildDied as error:
            log.error("no child process: %s", error)

    def _child_of(self, slot: Slot) -> Child:
        child = self._children.get(id(slot))
        if child is None:
            child = Child(self._where, self.app.brokers)
            self._children[id(slot)] = child
            try:
                child.ready()
            except ChildDied:
                self._lose(slot)
                raise
        return child

    def _lose(self, slot: Slot) -> None:
        child = self._children.pop(id(slot))
        child.end(signal.SIGKILL)
        child.reap(_END_SECONDS)

    def _after(self, slot: Slot) -> None:
        child = self._children.get(id(slot))
        if child is not None:
            why = self._recycling.due(child.ended, child.resident_bytes)
            if why is None or self._closing:
                return
            log.info("replacing a child process %s", why)
            del self._children[id(slot)]
            child.end()
            child.reap(_END_SECONDS)
        self._prepare(slot)

    def _leave(self, slot: Slot) -> None:
        child = self._children.pop(id(slot), None)
        if child is not None:
            child.end()
            child.reap(_END_SECONDS)

    def _run(self, slot: Slot, lease: Lease, started_ns: int) -> Outcome | None:
        try:
            child = self._child_of(slot)
            wake_reader, wake_writer = os.pipe()
        except ChildDied as error:
            return Outcome(code=ErrorCode.PROCESS_FAILED, message=str(error))
        try:
            return self._follow(child, lease, started_ns, wake_reader, wake_writer)
        except ChildDied as error:
            self._lose(slot)
            return Outcome(code=ErrorCode.PROCESS_FAILED, message=str(error))
        finally:
            lease.hook = None
            os.close(wake_reader)
            os.close(wake_writer)

    def _follow(self, child: Child, lease: Lease, started_ns: int, wake_reader: int, wake_writer: int) -> Outcome | None:
        """One attempt, from its start to its end."""
        child.send(("run", lease.work, lease.timeout_ms, started_ns, self.session))
        lease.hook = lambda: _signal(wake_writer)
        if lease.why is not None:
            _signal(wake_writer)
        kill_at: float | None = None
        while True:
            timeout = None if kill_at is None else max(0.0, kill_at - time.monotonic())
            ready = wait([child.connection, wake_reader], timeout)
            if child.connection in ready:
                kind, *values = child.receive()
                if kind == "done":
                    child.ended += 1
                    child.resident_bytes = values[1]
                    return Outcome(*values[0]) if values[0] is not None else None
                self._on_message(lease, kind, values)
            elif not ready:
                child.end(signal.SIGKILL)
                raise ChildDied("the attempt did not end when it was told to; its process was killed")
            if wake_reader in ready:
                os.read(wake_reader, 64)
                kill_at = time.monotonic() + KILL_GRACE_MS / 1000
                child.send(("cancel", lease.id, lease.why))

    def _on_message(self, lease: Lease, kind: str, values: list[Any]) -> None:
        if kind == "report":
            self.notes.report(lease, Report(*values))
        elif kind == "write":
            self.notes.write(lease, *values)
        elif kind == "log":
            record = logging.makeLogRecord(values[0])
            logging.getLogger(record.name).handle(record)


def _log_levels() -> dict[str, int]:
    """What a child need not send: here it would not be logged."""
    return {name: logging.getLogger(name).getEffectiveLevel() for name in ("", TASK_LOGGER)}


def _signal(writer: int) -> None:
    try:
        os.write(writer, b"\0")
    except OSError:
        pass  # the attempt has just ended
