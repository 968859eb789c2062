"""The pool of one event loop: async functions run in it beside each other, up to `concurrency` of them. Functions that are not
async run in threads that the loop hands them to, so that they do not hold it up.

An attempt that timed out or was cancelled gets CancelledError at its next await.

Threads: the public methods from the session's; the loop has a thread of its own.
"""
from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from zsched._worker import attempt as attempts
from zsched._worker.ledger import Lease, Outcome
from zsched._worker.pool import Pool
from zsched.context import TaskContext, set_current


class AsyncioPool(Pool):
    """See above."""

    def start(self) -> None:
        """As Pool."""
        self._running: dict[int, tuple[Lease, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet = threading.Event()  # closing, and nothing runs any more
        self._loop = asyncio.new_event_loop()
        self._executor = ThreadPoolExecutor(self.concurrency, thread_name_prefix="zsched-sync")
        self._thread = threading.Thread(target=self._serve, name="zsched-loop", daemon=True)
        self._thread.start()

    def _resume(self, count: int) -> None:
        if not self._closing:
            self._loop.call_soon_threadsafe(self._fill)

    def observe(self) -> list[tuple[Lease, int]]:
        """As Pool."""
        return [(lease, started_ns // 1_000_000) for lease, started_ns in self._running.copy().values()]

    def shutdown(self, timeout: float) -> int:
        """As Pool."""
        deadline = time.monotonic() + timeout
        self._closing = True
        if self._running:
            self._quiet.wait(timeout)
        left = len(self._running)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(max(0.1, deadline - time.monotonic()))
        self._executor.shutdown(wait=False, cancel_futures=True)
        return left

    # --- The loop's thread ---

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            self._loop.run_until_complete(asyncio.wait(self._tasks, timeout=0.1))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    def _fill(self) -> None:
        """Begins attempts while there is room."""
        while len(self._running) < self.concurrency:
            lease = self.claim()
            if lease is None:
                return
            started_ns = time.monotonic_ns()
            self._running[lease.id] = (lease, started_ns)
            task = self._loop.create_task(self._attempt(lease, started_ns))
            # The loop itself holds its tasks weakly.
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _attempt(self, lease: Lease, started_ns: int) -> None:
        outcome: Outcome | None = Outcome(message="the attempt was ended with its worker")
        try:
            outcome = await self._run(lease, started_ns)
        finally:
            lease.hook = None
            del self._running[lease.id]
            self.finish(lease, started_ns, outcome)
            if self._closing and not self._running:
                self._quiet.set()
            self._fill()

    async def _run(self, lease: Lease, started_ns: int) -> Outcome | None:
        task = self.app.tasks.get(lease.work.type)
        if task is None:
            return attempts.unknown_type(lease.work.type or "")
        context = TaskContext(lease, self.notes, started_ns / 1e9, self.session)
        set_current(context)
        if not task.is_async:
            inside = contextvars.copy_context()
            return await self._loop.run_in_executor(self._executor, inside.run, attempts.run, task, context)
        running = asyncio.current_task()
        if running is not None:
            attempts.cancel_by_hook(lease, self._loop, running)
        return await attempts.run_async(task, context)
