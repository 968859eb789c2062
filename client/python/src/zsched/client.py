"""The blocking client of a zsched cluster: submits tasks, follows them to their outcome, asks the broker what it has.

Example:
    with zsched.Client("127.0.0.1:5570") as client:
        handle = client.submit("echo", "hello")
        print(handle.id, handle.result(timeout=10))

What it promises: when submit returns, the task is as durable as it asked. Whatever was not acknowledged is sent again after a
reconnect under the same identity, so that a task is created once, however often the connection or the broker goes down. The
broker is found again by itself; calls made meanwhile wait.

Speed: submits of all threads are combined into frames. When the line is idle a single task leaves at once; under load frames
fill up by themselves. For bulk use submit_many or submit_each.

Threads: every method may be called from any thread. One background thread owns the socket. A client does not survive a fork: the
child makes its own (a call on the parent's raises Conflict there).

Errors: zsched.errors. Unavailable: there was no broker in time, or the client is closed. TimedOut: no answer in time.
"""
from __future__ import annotations

import _thread
import queue as queue_module
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar, Unpack

from zsched import _convert as convert
from zsched import _operations as operations
from zsched._base import (FOLLOW_SECONDS, BaseClient, block_chunks, chunks, handles_of, next_output, values_in_order)
from zsched._operations import Ask, EventFilter, ListQuery, Operation
from zsched._submitter import Batch
from zsched._wire import schema as wire
from zsched._wire.constants import ErrorCode, MessageType
from zsched._tasks import encode_each, encode_task
from zsched.cron import Schedules
from zsched.dlq import DeadLetters
from zsched.errors import SubmitManyError, TimedOut, Unavailable, ZschedError
from zsched.events import EventFollower, EventWalk, OnTrimmed
from zsched.handle import TaskHandle, remember
from zsched.options import TaskOptions, spec_of
from zsched.types import (EVENTS_FROM_NOW, EVENTS_FROM_START, EventKind, EventPage, EventPosition, Explanation, History,
                          ItemResult, Outcome, Output, OutputPiece, QueueInfo, Status, TaskId, TaskInfo, TaskRef, TaskSpec,
                          TaskState, TypeInfo, WorkerSummary)

Result = TypeVar("Result")


class Client(BaseClient):
    """A client. It connects by itself and waits for nothing until it is asked something.

    `brokers`: base addresses, "HOST:PORT[,HOST:PORT…]" or a list; default: ZSCHED_BROKERS, or 127.0.0.1:5570.
    `name`: what people see in status; default PROGRAM@HOST.
    `observe`: it only asks, and takes what the first broker that answers knows, active or not.
    `max_queued_tasks`, `max_queued_bytes`: what may wait here for the broker; a submit beyond it blocks.
    `retry_exhausted`: tasks that the broker has no room for are submitted again until they are accepted; False: the caller is
    told (ResourceExhausted).
    `submit_timeout`: seconds that a submit may wait for room and its acknowledgement; None: for ever.
    `request_timeout`: seconds for the answer to anything else but waiting for outcomes, connecting included.
    `resend_after`: seconds without an acknowledgement after which a frame is sent again.

    InvalidArgument names what is wrong with one of these.
    """

    def __init__(self, brokers: str | Sequence[str] | None = None, *, name: str | None = None, observe: bool = False,
                 max_queued_tasks: int = 65_536, max_queued_bytes: int = 64 << 20, retry_exhausted: bool = True,
                 submit_timeout: float | None = None, request_timeout: float = 10.0, resend_after: float = 10.0) -> None:
        super().__init__(brokers, name, observe, max_queued_tasks, max_queued_bytes, retry_exhausted, submit_timeout,
                         request_timeout, resend_after)
        # Dead letters, and time schedules.
        self.dlq = DeadLetters(self._run)
        self.cron = Schedules(self._run)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        try:
            self.close()
        except TimedOut:
            if error is None:  # otherwise what is on its way says more
                raise

    def wait_for_broker(self, timeout: float | None = None) -> None:
        """Waits until a session with the active broker is open. TimedOut carries the last failure."""
        lock = _locked()
        give_up = self._engine.when_up(lock.release)
        if not _acquire(lock, timeout):
            _quietly(give_up)
            raise TimedOut(f"no active broker: {self._engine.why_down()}")
        self._engine.check()

    def flush(self, timeout: float | None = None) -> None:
        """Waits until everything submitted before, of all threads, was acknowledged. TimedOut."""
        self._engine.check()
        lock = _locked()
        self._engine.when_flushed(lock.release)
        if not _acquire(lock, timeout):
            raise TimedOut("not everything was acknowledged in time")

    def close(self, timeout: float = 10.0) -> None:
        """Takes no more submits, waits up to `timeout` seconds until all were acknowledged, leaves the broker and ends the
        background thread. TimedOut when something was left. The second call does nothing."""
        self._engine.close(timeout)

    # --- Submitting ---

    def submit(self, type: str | TaskSpec, payload: bytes | str = b"", **options: Unpack[TaskOptions]) -> TaskHandle:
        """Submits one task, and returns once it is as durable as it asked.

            client.submit("mail", json={"to": "a@example.org"}, queue="outbox", delay=5, labels={"customer": "42"})

        InvalidArgument, TooLarge, Conflict (its key is held by another task), ResourceExhausted: it was not accepted.
        TimedOut: not within `submit_timeout`; it may still be accepted, so submit it again under a `key` only.
        Unavailable: the client was closed meanwhile; it may or may not exist.
        """
        self._engine.check(MessageType.SUBMIT)
        deadline = self._submit_deadline()
        lock = _locked()
        batch = Batch([encode_task(spec_of(type, payload, options))], lambda _: lock.release())
        self._put(batch, deadline)
        self._await_ack(lock, deadline)
        if batch.rejected:
            raise batch.rejected[0][1]
        return TaskHandle(self, batch.ids[0], bool(batch.repeated))

    def submit_nowait(self, type: str | TaskSpec, payload: bytes | str = b"",
                      **options: Unpack[TaskOptions]) -> Future[TaskHandle]:
        """As submit, but returns at once (when the local queue has room) a future of the handle. Its callbacks run on the
        client's thread: they must be short, and must not call the client."""
        self._engine.check(MessageType.SUBMIT)
        future: Future[TaskHandle] = Future()
        future.set_running_or_notify_cancel()

        def judged(batch: Batch) -> None:
            if batch.rejected:
                future.set_exception(batch.rejected[0][1])
            else:
                future.set_result(TaskHandle(self, batch.ids[0], bool(batch.repeated)))
        self._put(Batch([encode_task(spec_of(type, payload, options))], judged), self._submit_deadline())
        return future

    def submit_many(self, tasks: Iterable[TaskSpec]) -> list[TaskHandle]:
        """Submits any number of tasks, as they come from `tasks`, and returns their handles in that order once all are durable.
        SubmitManyError when some were not accepted: it has the handles of the others. An exception for a task that cannot
        be written has a note that says which it was; those of earlier frames are submitted."""
        return self._submit_blocks(chunks(tasks))

    def submit_each(self, type: str | TaskSpec, payloads: Iterable[bytes | str],
                    **options: Unpack[TaskOptions]) -> list[TaskHandle]:
        """submit_many of tasks that differ in their payload only, and the fastest way to submit."""
        spec = spec_of(type, b"", options)
        return self._submit_blocks(block_chunks(encode_each(spec, payloads)))

    def _submit_blocks(self, source: Iterator[list[bytes]]) -> list[TaskHandle]:
        self._engine.check(MessageType.SUBMIT)
        deadline = self._submit_deadline()
        pending: list[tuple[Batch, Any]] = []
        for blocks in source:
            lock = _locked()
            batch = Batch(blocks, _releasing(lock))
            self._put(batch, deadline)
            pending.append((batch, lock))
        for _, lock in pending:
            self._await_ack(lock, deadline)
        handles, rejected = handles_of([batch for batch, _ in pending],
                                       lambda number, repeated: TaskHandle(self, number, repeated))
        if rejected:
            raise SubmitManyError(handles, rejected)
        return [handle for handle in handles if handle is not None]

    def _submit_deadline(self) -> float | None:
        return None if self._submit_timeout is None else time.monotonic() + self._submit_timeout

    def _put(self, batch: Batch, deadline: float | None) -> None:
        """Into the local queue, waiting for room."""
        while True:
            room = _locked()
            if self._engine.put(batch, room.release):
                return
            if not _acquire(room, _left(deadline)):
                self._engine.forget_room(room.release)
                raise TimedOut("the local queue had no room in time; nothing was submitted by this call")

    def _await_ack(self, lock: _thread.LockType, deadline: float | None) -> None:
        if not _acquire(lock, _left(deadline)):
            raise TimedOut(f"not acknowledged in time; it may still be accepted ({self._engine.why_down()})")

    # --- Waiting for outcomes, of any client's tasks ---

    def wait_for(self, task: TaskRef, timeout: float | None = None) -> Outcome:
        """How one task ended. TimedOut after so many seconds (None: never)."""
        number = convert.task_id(task)
        return self._wait_all([number], timeout)[number]

    def wait(self, tasks: Iterable[TaskRef], timeout: float | None = None, *, return_when: int | None = None,
             ) -> dict[TaskId, Outcome]:
        """The outcomes of those of the tasks (handles or ids) that end within `timeout` seconds. `return_when`: as soon as so
        many have; None: all. Handles remember their outcome."""
        tasks = list(tasks)
        outcomes, _ = self._wait(convert.task_ids(tasks), timeout, return_when)
        remember(tasks, outcomes)
        return {TaskId(number): outcome for number, outcome in outcomes.items()}

    def gather(self, tasks: Iterable[TaskRef], timeout: float | None = None, *, return_exceptions: bool = False) -> list[Any]:
        """The values of all tasks (handles or ids, which may repeat) in their order, when all are over. Raises for the first that
        did not succeed, or with `return_exceptions` has its exception in its place. TimedOut."""
        tasks = list(tasks)
        numbers = convert.task_ids(tasks)
        outcomes = self._wait_all(numbers, timeout)
        remember(tasks, outcomes)
        return values_in_order(numbers, outcomes, return_exceptions)

    def as_completed(self, tasks: Iterable[TaskRef], timeout: float | None = None) -> Iterator[Outcome]:
        """The outcomes of the tasks as they come. TimedOut when not all have come `timeout` seconds after the start."""
        arrived: queue_module.SimpleQueue[Outcome | ZschedError | None] = queue_module.SimpleQueue()
        give_up = self._engine.wait(convert.task_ids(tasks), timeout, arrived.put, arrived.put)
        try:
            while (outcome := arrived.get()) is not None:
                if isinstance(outcome, ZschedError):
                    raise outcome
                yield outcome
        finally:
            _quietly(give_up)

    def _wait_all(self, numbers: Sequence[int], timeout: float | None) -> dict[int, Outcome]:
        outcomes, error = self._wait(numbers, timeout, None)
        if error is not None:
            raise error
        return outcomes

    def _wait(self, numbers: Sequence[int], timeout: float | None,
              enough: int | None) -> tuple[dict[int, Outcome], TimedOut | None]:
        outcomes: dict[int, Outcome] = {}
        ended: list[ZschedError | None] = []
        lock = _locked()

        def done(error: ZschedError | None) -> None:
            ended.append(error)
            lock.release()
        give_up = self._engine.wait(numbers, timeout, lambda outcome: outcomes.__setitem__(int(outcome.id), outcome), done,
                                    enough)
        try:
            lock.acquire()
        except BaseException:  # such as Ctrl-C
            _quietly(give_up)
            raise
        error = ended[0]
        if error is not None and not isinstance(error, TimedOut):
            raise error
        return outcomes, error

    # --- Tasks ---

    def get(self, ids: Iterable[TaskRef] | TaskRef) -> dict[TaskId, TaskInfo]:
        """Those of the tasks that exist, by id. It sees everything that was acknowledged before."""
        return self._run(operations.get(ids))

    def task(self, id: TaskRef) -> TaskInfo:
        """One task. NotFound."""
        return self._run(operations.get_one(id))

    def list(self, *, queue: str | None = None, type: str | None = None, states: Iterable[TaskState] = (),
             label: tuple[str, str] | None = None, limit: int | None = None, newest_first: bool = False,
             omit_bodies: bool = False) -> Iterator[TaskInfo]:
        """The tasks that match, by rising id, or with `newest_first` by falling id, up to `limit`. With `omit_bodies` without
        payloads and results, which may be a megabyte each. Asks for pages as they are needed."""
        query = ListQuery(queue, type, tuple(states), label, newest_first=newest_first, omit_bodies=omit_bodies)
        cursor, left = 0, limit
        while left is None or left > 0:
            page, cursor = self._run(operations.list_page(query, left, cursor))
            yield from page
            left = None if left is None else left - len(page)
            if not cursor:
                return

    def cancel(self, ids: Iterable[TaskRef] | TaskRef) -> Sequence[ItemResult]:
        """Cancels tasks for good, in any state; what runs is told to end. From the return on none of those that are OK succeeds
        or starts again. CONFLICT: it has succeeded or is dead. Safe to repeat."""
        return self._run(operations.for_each(MessageType.CANCEL_TASKS, wire.CancelTasks, ids))

    def retry(self, ids: Iterable[TaskRef] | TaskRef) -> Sequence[ItemResult]:
        """Gives dead tasks a new budget of attempts. CONFLICT: it is not dead."""
        return self._run(operations.for_each(MessageType.RETRY, wire.Retry, ids))

    def explain(self, id: TaskRef) -> Explanation:
        """Why a task is not running now, and its place in line. NotFound. One that is over has its state only."""
        return self._run(operations.explain(id))

    def history(self, id: TaskRef) -> History:
        """Every attempt at a task. NotFound."""
        return self._run(operations.history(id))

    def output(self, id: TaskRef, *, attempt: int = 0, start: int = 0) -> Output:
        """What an attempt (0: the last) wrote, from offset `start` on; also while it runs. NotFound."""
        return self._run(operations.output(id, attempt, start))

    def logs(self, id: TaskRef, *, attempt: int = 0, follow: bool = False) -> Iterator[OutputPiece]:
        """What an attempt (0: the last) wrote, piece by piece. With `follow` until it has ended; of the last one, until the task
        is over, with the attempts that come after it."""
        start, now = 0, attempt
        while True:
            output = self.output(id, attempt=now, start=start)
            yield from output.pieces
            following = next_output(output, attempt, follow)
            if following is None:
                return
            now, start, idle = following
            if idle and not output.pieces:
                time.sleep(FOLLOW_SECONDS)

    # --- Events ---

    def events(self, after: EventPosition | str = EVENTS_FROM_START, *, kinds: Iterable[EventKind] = (),
               queue: str | None = None, type: str | None = None, task: TaskRef | None = None,
               limit: int | None = None) -> EventPage:
        """What has happened behind `after` (a position or its text), as far as the broker has kept its log (`--keep-log`): of these
        kinds, and of tasks of this queue, of this type, or of this one task. What is not given matches everything. One page of
        up to `limit` (at most 1,000, 100 when it is not given); it may be short, even empty, before the end: go on from
        `page.next` until `page.complete`. With EVENTS_FROM_NOW it has no events, and `next` is where the log ends."""
        return self._run(operations.events(EventFilter(tuple(kinds), queue, type, task).to_wire(), convert.event_position(after),
                                           operations.event_limit(limit)))

    def follow_events(self, after: EventPosition | str = EVENTS_FROM_NOW, *, kinds: Iterable[EventKind] = (),
                      queue: str | None = None, type: str | None = None, task: TaskRef | None = None,
                      on_trimmed: OnTrimmed | None = None) -> EventFollower:
        """What happens, event by event, as it happens: an iterator that waits for more until the client is closed. It goes on
        through reconnects and failovers, and tells no event twice. Its filters are those of events().

            for event in client.follow_events(kinds=[zsched.EventKind.DEAD], queue="mail"):
                print(event.task, event.error_message)

        From now on means from its first `next` on; for an earlier place give `after`. Its `position` is where another one
        would go on.

        When the broker has not kept its log from there on, events are lost: it calls `on_trimmed(asked, goes_on)` with both
        positions and goes on with what is kept. Without `on_trimmed` it raises NotFound, once; the next `next` goes on.
        """
        filter_ = EventFilter(tuple(kinds), queue, type, task)
        return EventFollower(self._run, self._engine, EventWalk(filter_, convert.event_position(after), on_trimmed))

    # --- Queues and types ---

    def queues(self) -> Sequence[QueueInfo]:
        """All queues by name."""
        return self._run(operations.queues())

    def queue(self, name: str) -> QueueInfo:
        """One queue. NotFound."""
        return self._run(operations.queue(name))

    def set_queue(self, name: str, **settings: Any) -> QueueInfo:
        """Changes the settings given (fields of QueueSettings; 0: no such rule), durably, and makes the queue when there is none.
        Returns what holds then. InvalidArgument names the setting that is out of range."""
        return self._run(operations.set_queue(name, settings))

    def pause(self, name: str) -> QueueInfo:
        """The queue gives nothing to workers until it is resumed; what runs goes on."""
        return self.set_queue(name, paused=True)

    def resume(self, name: str) -> QueueInfo:
        """Ends a pause."""
        return self.set_queue(name, paused=False)

    def purge(self, name: str, *, progress: Callable[[int], object] | None = None) -> int:
        """Cancels the tasks of a queue that wait, as many as wait when it is called; what runs goes on. `progress` hears of the
        tasks cancelled so far. Returns how many were. NotFound."""
        return self._run(operations.purge_queue(name, progress))

    def types(self) -> Sequence[TypeInfo]:
        """All types that there were tasks of, or rules for."""
        return self._run(operations.types())

    def task_type(self, name: str) -> TypeInfo:
        """One type. NotFound."""
        return self._run(operations.task_type(name))

    def set_type(self, name: str, *, paused: bool | None = None, max_running: int | None = None, rate: float | None = None,
                 burst: int | None = None, no_retry: Iterable[ErrorCode] | None = None) -> TypeInfo:
        """Changes the rules given, over all queues; 0: no such rule. `rate` is attempts a second, `no_retry` the errors after
        which a task is dead at once."""
        return self._run(operations.set_type(name, paused, max_running, rate, burst, no_retry))

    # --- The cluster ---

    def status(self) -> Status:
        """The broker that answers: its role, its queues, what it counts and measures."""
        return self._run(operations.status())

    def workers(self) -> Sequence[WorkerSummary]:
        """The workers that have a session."""
        return self._run(operations.workers())

    def drain_worker(self, worker: str) -> None:
        """Asks a worker to leave: by name, by id or an unambiguous start of it. NotFound, Conflict (ambiguous)."""
        self._run(operations.drain_worker(worker))

    def switchover(self) -> None:
        """Has the active broker of a pair and its standby change places; returns when it has begun. Conflict: there is no standby
        that has everything."""
        self._run(operations.switchover())

    def promote(self, *, force: bool = False) -> None:
        """Has the broker that this client observes take over from one that is gone; returns when it has begun. Conflict: the
        other one is there, or has what this one may not have; with `force` that is done all the same (docs/ha.md)."""
        self._run(operations.promote(force))

    # --- Running an operation ---

    def _run(self, operation: Operation[Result]) -> Result:
        answer: Any = None
        while True:
            try:
                effect = operation.send(answer)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            if isinstance(effect, Ask):
                answer = self._ask(effect)
            else:
                answer = None
                self._engine.pause(effect.seconds)

    def _ask(self, ask: Ask) -> Any:
        answers: list[tuple[Any, ZschedError | None]] = []
        lock = _locked()

        def answered(message: Any, error: ZschedError | None) -> None:
            answers.append((message, error))
            lock.release()
        give_up = self._engine.ask(ask.type, ask.message, ask.reply, answered)
        try:
            lock.acquire()
        except BaseException:
            _quietly(give_up)
            raise
        message, error = answers[0]
        if error is not None:
            raise error
        return message


# A lock that another thread releases: what is waited for with the least around it.

def _locked() -> _thread.LockType:
    lock = _thread.allocate_lock()
    lock.acquire()
    return lock


def _releasing(lock: _thread.LockType) -> Callable[[Batch], None]:
    return lambda _: lock.release()


def _acquire(lock: _thread.LockType, timeout: float | None) -> bool:
    return lock.acquire() if timeout is None else lock.acquire(timeout=min(max(0.0, timeout), threading.TIMEOUT_MAX))


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - time.monotonic()


def _quietly(give_up: Callable[[], None]) -> None:
    try:
        give_up()
    except Unavailable:
        pass  # closed meanwhile: nothing waits any more
