"""A worker: takes tasks from the active broker and runs the functions of an App.

Example:
    worker = zsched.Worker(app, queues=["mail"], concurrency=8)
    worker.run()                                # until drain() is called, say by a signal handler

`python -m zsched worker module:app` is that with signals, logs and flags.

What it promises: a function runs under a lease that heartbeats keep, from a thread that no function blocks; its result is kept
until the broker has it on disk, and handed over again after a reconnect. Attempts that run go on while the broker is away and
through a failover. A worker that dies loses nothing: its tasks run elsewhere after the visibility timeout, 6 s.

How much it asks for follows from measured run times: there is no prefetch to set.

| pool | runs functions in | async functions | one that must end |
|---|---|---|---|
| thread (default) | threads | in a loop of their thread | is told so; its thread is busy until it returns |
| process | child processes | in a loop of their process | is told so, and killed a second later |
| asyncio | one event loop | in it, many at once | gets CancelledError at its next await |

In the thread pool, code that keeps the interpreter's lock for longer than the visibility timeout (a C extension may, Python
code does not) stops the heartbeats too, and the broker gives its tasks to others: such belongs into the process pool.

Threads: every method from any.
"""
from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from zsched import _convert as convert
from zsched._address import parse_brokers
from zsched._wire import schema as wire
from zsched._wire.constants import (DEFAULT_HOST, DEFAULT_PORT, MAX_NAME_BYTES, MAX_WORKER_QUEUES, MAX_WORKER_TYPES)
from zsched._worker.frames import Identity
from zsched._worker.ledger import MAX_SELF_SIZED_CREDIT
from zsched._worker.logs import OutputHandler
from zsched._worker.loops import AsyncioPool
from zsched._worker.pool import Pool
from zsched._worker.recycling import Recycling
from zsched._worker.runtime import Asked, Runtime, RuntimeOptions
from zsched._worker.threads import ThreadPool
from zsched.app import App
from zsched.context import TASK_LOGGER
from zsched.errors import Conflict, InvalidArgument, TimedOut

PoolKind = Literal["thread", "process", "asyncio"]
POOLS: tuple[PoolKind, ...] = ("thread", "process", "asyncio")
# How soon a thread that computes leaves the interpreter's lock to others (Python: 5 ms). The worker's own thread waits for it
# at every frame that it sends or receives.
SWITCH_SECONDS = 0.0005
# Threads mostly wait for others; coroutines do nothing else.
DEFAULT_THREADS = 8
DEFAULT_COROUTINES = 100


def default_concurrency(pool: PoolKind) -> int:
    """Attempts at once, unless given: a child process for each core, 8 threads, 100 coroutines."""
    if pool == "process":
        return os.cpu_count() or 1
    return DEFAULT_THREADS if pool == "thread" else DEFAULT_COROUTINES


class Worker:
    """See above.

    `brokers`: as of Client; default: the app's. `queues`: to be served; all when empty. `concurrency`: attempts at once.
    `name`, `labels`: what people see; the name is HOST-PID unless given. `recycle_after_tasks`, `recycle_after_memory` (bytes):
    a process that has done so much, or has so much in memory, is replaced: of the process pool each child, otherwise the worker
    drains with `recycled` set, and whoever runs it starts another.

    InvalidArgument names what is wrong with one of these.
    """

    def __init__(self, app: App, brokers: str | Sequence[str] | None = None, *, queues: Sequence[str] = (),
                 concurrency: int | None = None, pool: PoolKind = "thread", name: str | None = None,
                 labels: Mapping[str, str] | None = None, recycle_after_tasks: int = 0, recycle_after_memory: int = 0) -> None:
        if pool not in POOLS:
            raise InvalidArgument(f"pool: '{pool}' is none of {', '.join(POOLS)}")
        if not app.tasks:
            raise InvalidArgument("the app has no tasks; import the modules that define them first")
        brokers = brokers or app.brokers or os.environ.get("ZSCHED_BROKERS") or f"{DEFAULT_HOST}:{DEFAULT_PORT}"
        app.brokers = app.brokers or brokers  # what functions submit goes where they came from
        self.app = app
        self.pool: PoolKind = pool
        identity = _identity(app, queues, concurrency or default_concurrency(pool), name, labels)
        self.name, self.concurrency = identity.name, identity.concurrency
        self.id = convert.uuid_text(identity.id)
        recycling = Recycling(convert.integer(recycle_after_tasks, "recycle_after_tasks"),
                              convert.integer(recycle_after_memory, "recycle_after_memory", (1 << 63) - 1))
        # Of the process pool each child has its share.
        of_worker = Recycling() if pool == "process" else recycling

        def make_pool(wake: Callable[[], None]) -> Pool:
            if pool == "process":
                from zsched._worker.processes import ProcessPool  # not for those who need no processes

                return ProcessPool(app, self.concurrency, wake, recycling)
            return (ThreadPool if pool == "thread" else AsyncioPool)(app, self.concurrency, wake)
        self._runtime = Runtime(RuntimeOptions(parse_brokers(brokers), identity, of_worker), make_pool)
        self._thread: threading.Thread | None = None
        self._output = OutputHandler()
        self._error: Exception | None = None

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.drain()
        self.wait()

    def start(self) -> None:
        """Starts it; it connects by itself. Conflict when it was started before.

        Sets the interpreter's switch interval to half a millisecond (sys.setswitchinterval).
        """
        if self._thread is not None:
            raise Conflict("a worker is started once; make another one")
        logging.getLogger().addHandler(self._output)
        tasks = logging.getLogger(TASK_LOGGER)
        if tasks.level == logging.NOTSET:
            tasks.setLevel(logging.INFO)
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_SECONDS))
        self._thread = threading.Thread(target=self._run, name="zsched-worker", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Takes no new tasks, gives back those that have not begun, finishes what runs, then leaves. Returns at once; also for
        signal handlers."""
        self._runtime.ask(Asked.DRAIN)

    def stop(self) -> None:
        """As drain, but what runs is told to end, and after 8 s not waited for any more."""
        self._runtime.ask(Asked.STOP)

    def wait(self, timeout: float | None = None) -> None:
        """Waits until it has left. TimedOut; Unavailable when the broker does not have the results of some attempts, and
        will have these tasks done again."""
        if self._thread is None:
            raise Conflict("the worker was not started")
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimedOut("the worker has not left in time")
        if self._error is not None:
            raise self._error

    def run(self) -> None:
        """start, then wait."""
        self.start()
        self.wait()

    @property
    def connected(self) -> bool:
        """Whether the active broker has it at this moment."""
        return self._runtime.connected

    def wait_connected(self, timeout: float | None = None) -> None:
        """Waits until the active broker has it. TimedOut."""
        if not self._runtime.was_connected.wait(timeout):
            raise TimedOut("no active broker took the worker in time")

    @property
    def recycled(self) -> bool:
        """Whether it has left, or is leaving, because its process is to be replaced."""
        return self._runtime.recycles

    @property
    def stats(self) -> dict[str, int]:
        """What it has done: attempts assigned, ended, timed_out, cancelled, abandoned, released, refused (others had taken over);
        and now: running, waiting, unacknowledged results, the granted credit, slots that are stuck."""
        ledger = self._runtime.ledger
        counters = {name: getattr(ledger.counters, name) for name in ledger.counters.__slots__}
        return {**counters, "running": ledger.running, "waiting": ledger.waiting, "unacknowledged": ledger.unacked,
                "granted": ledger.credit.granted, "stuck": ledger.stuck}

    def _run(self) -> None:
        try:
            self._runtime.run()
        except Exception as error:
            self._error = error
        finally:
            logging.getLogger().removeHandler(self._output)


def _identity(app: App, queues: Sequence[str], concurrency: int, name: str | None,
              labels: Mapping[str, str] | None) -> Identity:
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 0 < concurrency <= MAX_SELF_SIZED_CREDIT:
        raise InvalidArgument(f"concurrency: must be a number from 1 to {MAX_SELF_SIZED_CREDIT}")
    if isinstance(queues, str):
        raise InvalidArgument("queues: give a list of names")
    if len(queues) > MAX_WORKER_QUEUES or len(app.tasks) > MAX_WORKER_TYPES:
        raise InvalidArgument(f"a worker serves at most {MAX_WORKER_QUEUES} queues and {MAX_WORKER_TYPES} types of tasks")
    host = socket.gethostname().encode("utf-8", "replace")[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    name = f"{host[:MAX_NAME_BYTES - 12]}-{os.getpid()}" if name is None else name
    for what, text in (("name", name), *(("queues", queue) for queue in queues), *(("task name", task) for task in app.tasks)):
        if not 0 < len(text.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES or not text.isprintable():
            raise InvalidArgument(f"{what}: '{text}' must be 1..{MAX_NAME_BYTES} bytes of UTF-8 without control characters")
    pairs = tuple((label.key, label.value) for label in convert.labels_to_wire(labels))
    return Identity(wire.Uuid(secrets.randbits(64) | 1, secrets.randbits(64)), name, host, os.getpid(), tuple(queues),
                    tuple(sorted(app.tasks)), pairs, concurrency)
