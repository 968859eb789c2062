"""The pool of threads, the default. Async functions run in it too: each thread has an event loop for its own attempt.

A thread cannot be ended from outside: an attempt that timed out or was cancelled is told so (ctx.cancelled; coroutines get
CancelledError), and one that does not listen keeps its thread until it returns.

Threads: the public methods from the session's; each slot is a thread of the pool's own.
"""
from __future__ import annotations

import _thread
import asyncio
import logging
import threading
import time
from collections import deque
from typing import Any

from zsched._worker import attempt as attempts
from zsched._worker.ledger import Lease, Outcome
from zsched._worker.pool import Pool
from zsched.app import TaskFunction
from zsched.context import TaskContext, set_current

log = logging.getLogger("zsched.worker")


class Slot:
    """One thread. `current`: its attempt and since when, in mono ns; None while it is idle."""

    __slots__ = ("gate", "current", "loop", "thread")

    def __init__(self) -> None:
        # Held while it is to sleep.
        self.gate = _thread.allocate_lock()
        self.gate.acquire()
        self.current: tuple[Lease, int] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None


class ThreadPool(Pool):
    """See above."""

    def start(self) -> None:
        """As Pool."""
        self._slots = [Slot() for _ in range(self.concurrency)]
        self._idle: deque[Slot] = deque()
        for number, slot in enumerate(self._slots):
            # Daemons: a handler that never returns must not keep the process.
            slot.thread = threading.Thread(target=self._serve, args=(slot,), name=f"zsched-slot-{number}", daemon=True)
            slot.thread.start()

    def _resume(self, count: int) -> None:
        try:
            while count > 0:
                self._idle.popleft().gate.release()
                count -= 1
        except IndexError:
            pass

    def observe(self) -> list[tuple[Lease, int]]:
        """As Pool."""
        running = [slot.current for slot in self._slots]
        return [(current[0], current[1] // 1_000_000) for current in running if current is not None]

    def shutdown(self, timeout: float) -> int:
        """As Pool."""
        self._closing = True
        self._resume(len(self._slots))
        deadline = time.monotonic() + timeout
        left = 0
        for slot in self._slots:
            if slot.thread is not None:
                slot.thread.join(max(0.0, deadline - time.monotonic()))
                left += slot.thread.is_alive()
        return left

    # --- The slots' threads ---

    def _serve(self, slot: Slot) -> None:
        self._prepare(slot)
        while not self._closing:
            lease = self.claim()
            if lease is None:
                self._sleep(slot)
                continue
            started_ns = time.monotonic_ns()
            slot.current = (lease, started_ns)
            try:
                outcome = self._run(slot, lease, started_ns)
            except BaseException as error:  # not the handler's, whose errors do not come here
                log.critical("an attempt could not be run", exc_info=True)
                outcome = Outcome(message=f"the worker could not run it: {attempts.describe(error)}")
            slot.current = None
            lease.hook = None
            self.finish(lease, started_ns, outcome)
            self._after(slot)
        self._leave(slot)

    def _prepare(self, slot: Slot) -> None:
        """Before the first attempt; for pools that have more to do."""

    def _after(self, slot: Slot) -> None:
        """After each."""

    def _sleep(self, slot: Slot) -> None:
        self._idle.append(slot)
        # What was pushed before that saw no idle slot.
        if (self._waiting and time.monotonic_ns() < self._starts_until_ns) or self._closing:
            try:
                self._idle.remove(slot)
            except ValueError:
                pass  # somebody opens the gate
            else:
                return
        slot.gate.acquire()

    def _run(self, slot: Slot, lease: Lease, started_ns: int) -> Outcome | None:
        task = self.app.tasks.get(lease.work.type)
        if task is None:
            return attempts.unknown_type(lease.work.type or "")
        context = TaskContext(lease, self.notes, started_ns / 1e9, self.session)
        set_current(context)
        try:
            if task.is_async:
                return self._run_async(slot, task, context)
            return attempts.run(task, context)
        finally:
            set_current(None)

    def _run_async(self, slot: Slot, task: TaskFunction[..., Any], context: TaskContext) -> Outcome | None:
        if slot.loop is None:
            slot.loop = asyncio.new_event_loop()
        return attempts.run_in_loop(slot.loop, task, context)

    def _leave(self, slot: Slot) -> None:
        if slot.loop is not None:
            slot.loop.run_until_complete(slot.loop.shutdown_asyncgens())
            slot.loop.close()
