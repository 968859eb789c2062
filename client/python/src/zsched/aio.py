"""The client of a zsched cluster for asyncio: the calls of Client, awaited.

Example:
    async with zsched.AsyncClient("127.0.0.1:5570") as client:
        handle = await client.submit("echo", "hello")
        print(await handle.result(timeout=10))

Submits of all coroutines are combined into frames by themselves. A background thread owns the socket, so that nothing that the
loop does delays heartbeats; callbacks and results come back to the loop many at once.

Threads: one event loop, that of the first call (Conflict in another). Cancelling a call gives up waiting; what was submitted
or asked may still be done.
"""
from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, Unpack

from zsched import _convert as convert
from zsched import _operations as operations
from zsched._base import (FOLLOW_SECONDS, BaseClient, block_chunks, chunks, handles_of, next_output, values_in_order)
from zsched._operations import Ask, EventFilter, ListQuery, Operation
from zsched._submitter import Batch
from zsched._wire import schema as wire
from zsched._wire.constants import ErrorCode, MessageType
from zsched._tasks import encode_each, encode_task
from zsched.cron import AsyncSchedules
from zsched.dlq import AsyncDeadLetters
from zsched.errors import Conflict, SubmitManyError, TimedOut, Unavailable, ZschedError
from zsched.events import AsyncEventFollower, EventWalk, OnTrimmed
from zsched.handle import AsyncTaskHandle, remember
from zsched.options import TaskOptions, spec_of
from zsched.types import (EVENTS_FROM_NOW, EVENTS_FROM_START, EventKind, EventPage, EventPosition, Explanation, History,
                          ItemResult, Outcome, Output, OutputPiece, QueueInfo, Status, TaskId, TaskInfo, TaskRef, TaskSpec,
                          TaskState, TypeInfo, WorkerSummary)

Result = TypeVar("Result")


class AsyncClient(BaseClient):
    """A client for asyncio. The arguments are those of Client."""

    def __init__(self, brokers: str | Sequence[str] | None = None, *, name: str | None = None, observe: bool = False,
                 max_queued_tasks: int = 65_536, max_queued_bytes: int = 64 << 20, retry_exhausted: bool = True,
                 submit_timeout: float | None = None, request_timeout: float = 10.0, resend_after: float = 10.0) -> None:
        super().__init__(brokers, name, observe, max_queued_tasks, max_queued_bytes, retry_exhausted, submit_timeout,
                         request_timeout, resend_after)
        self._loop: asyncio.AbstractEventLoop | None = None
        # What the engine's thread wants done in the loop.
        self._arrived: deque[Callable[[], object]] = deque()
        self._draining = False
        # Dead letters, and time schedules.
        self.dlq = AsyncDeadLetters(self._run)
        self.cron = AsyncSchedules(self._run)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, error: object, *_: object) -> None:
        try:
            await self.close()
        except TimedOut:
            if error is None:  # otherwise what is on its way says more
                raise

    async def wait_for_broker(self, timeout: float | None = None) -> None:
        """As Client.wait_for_broker."""
        future = self._future()
        give_up = self._engine.when_up(self._notifying(future))
        try:
            await self._within(future, timeout, lambda: f"no active broker: {self._engine.why_down()}")
        except BaseException:
            _quietly(give_up)
            raise
        self._engine.check()

    async def flush(self, timeout: float | None = None) -> None:
        """As Client.flush."""
        self._engine.check()
        future = self._future()
        self._engine.when_flushed(lambda: self._set(future, None))
        await self._within(future, timeout, lambda: "not everything was acknowledged in time")

    async def close(self, timeout: float = 10.0) -> None:
        """As Client.close."""
        await asyncio.get_running_loop().run_in_executor(None, self._engine.close, timeout)

    # --- Submitting ---

    async def submit(self, type: str | TaskSpec, payload: bytes | str = b"",
                     **options: Unpack[TaskOptions]) -> AsyncTaskHandle:
        """As Client.submit."""
        self._engine.check(MessageType.SUBMIT)
        deadline = self._submit_deadline()
        future = self._future()
        batch = Batch([encode_task(spec_of(type, payload, options))], lambda judged: self._set(future, judged))
        await self._put(batch, deadline)
        await self._within(future, self._left(deadline), self._not_acknowledged)
        if batch.rejected:
            raise batch.rejected[0][1]
        return AsyncTaskHandle(self, batch.ids[0], bool(batch.repeated))

    async def submit_many(self, tasks: Iterable[TaskSpec]) -> list[AsyncTaskHandle]:
        """As Client.submit_many."""
        return await self._submit_blocks(chunks(tasks))

    async def submit_each(self, type: str | TaskSpec, payloads: Iterable[bytes | str],
                          **options: Unpack[TaskOptions]) -> list[AsyncTaskHandle]:
        """As Client.submit_each."""
        return await self._submit_blocks(block_chunks(encode_each(spec_of(type, b"", options), payloads)))

    async def _submit_blocks(self, source: Iterator[list[bytes]]) -> list[AsyncTaskHandle]:
        self._engine.check(MessageType.SUBMIT)
        deadline = self._submit_deadline()
        pending: list[tuple[Batch, asyncio.Future[Any]]] = []
        for blocks in source:
            future = self._future()
            batch = Batch(blocks, self._setting(future))
            await self._put(batch, deadline)
            pending.append((batch, future))
            await asyncio.sleep(0)  # making the next blocks takes milliseconds: others come in between
        for _, future in pending:
            await self._within(future, self._left(deadline), self._not_acknowledged)
        handles, rejected = handles_of([batch for batch, _ in pending],
                                       lambda number, repeated: AsyncTaskHandle(self, number, repeated))
        if rejected:
            raise SubmitManyError(handles, rejected)
        return [handle for handle in handles if handle is not None]

    def _submit_deadline(self) -> float | None:
        return None if self._submit_timeout is None else asyncio.get_running_loop().time() + self._submit_timeout

    def _left(self, deadline: float | None) -> float | None:
        return None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())

    def _not_acknowledged(self) -> str:
        return f"not acknowledged in time; it may still be accepted ({self._engine.why_down()})"

    async def _put(self, batch: Batch, deadline: float | None) -> None:
        while True:
            room = self._future()
            on_room = self._notifying(room)
            if self._engine.put(batch, on_room):
                return
            try:
                await self._within(room, self._left(deadline),
                                   lambda: "the local queue had no room in time; nothing was submitted by this call")
            except BaseException:
                self._engine.forget_room(on_room)
                raise

    # --- Waiting for outcomes, of any client's tasks ---

    async def wait_for(self, task: TaskRef, timeout: float | None = None) -> Outcome:
        """As Client.wait_for."""
        number = convert.task_id(task)
        return (await self._wait_all([number], timeout))[number]

    async def wait(self, tasks: Iterable[TaskRef], timeout: float | None = None, *,
                   return_when: int | None = None) -> dict[TaskId, Outcome]:
        """As Client.wait."""
        tasks = list(tasks)
        outcomes, _ = await self._wait(convert.task_ids(tasks), timeout, return_when)
        remember(tasks, outcomes)
        return {TaskId(number): outcome for number, outcome in outcomes.items()}

    async def gather(self, tasks: Iterable[TaskRef], timeout: float | None = None, *,
                     return_exceptions: bool = False) -> list[Any]:
        """As Client.gather."""
        tasks = list(tasks)
        numbers = convert.task_ids(tasks)
        outcomes = await self._wait_all(numbers, timeout)
        remember(tasks, outcomes)
        return values_in_order(numbers, outcomes, return_exceptions)

    async def as_completed(self, tasks: Iterable[TaskRef], timeout: float | None = None) -> AsyncIterator[Outcome]:
        """As Client.as_completed."""
        self._in_loop()
        arrived: asyncio.Queue[Outcome | ZschedError | None] = asyncio.Queue()

        def put(item: Outcome | ZschedError | None) -> None:
            self._post(lambda: arrived.put_nowait(item))
        give_up = self._engine.wait(convert.task_ids(tasks), timeout, put, put)
        try:
            while (outcome := await arrived.get()) is not None:
                if isinstance(outcome, ZschedError):
                    raise outcome
                yield outcome
        finally:
            _quietly(give_up)

    async def _wait_all(self, numbers: Sequence[int], timeout: float | None) -> dict[int, Outcome]:
        outcomes, error = await self._wait(numbers, timeout, None)
        if error is not None:
            raise error
        return outcomes

    async def _wait(self, numbers: Sequence[int], timeout: float | None,
                    enough: int | None) -> tuple[dict[int, Outcome], TimedOut | None]:
        outcomes: dict[int, Outcome] = {}
        future = self._future()
        give_up = self._engine.wait(numbers, timeout, lambda outcome: outcomes.__setitem__(int(outcome.id), outcome),
                                    lambda error: self._set(future, error), enough)
        try:
            error = await future
        except asyncio.CancelledError:
            _quietly(give_up)
            raise
        if error is not None and not isinstance(error, TimedOut):
            raise error
        return outcomes, error

    # --- Tasks ---

    async def get(self, ids: Iterable[TaskRef] | TaskRef) -> dict[TaskId, TaskInfo]:
        """As Client.get."""
        return await self._run(operations.get(ids))

    async def task(self, id: TaskRef) -> TaskInfo:
        """As Client.task."""
        return await self._run(operations.get_one(id))

    async def list(self, *, queue: str | None = None, type: str | None = None, states: Iterable[TaskState] = (),
                   label: tuple[str, str] | None = None, limit: int | None = None,
                   newest_first: bool = False, omit_bodies: bool = False) -> AsyncIterator[TaskInfo]:
        """As Client.list."""
        query = ListQuery(queue, type, tuple(states), label, newest_first=newest_first, omit_bodies=omit_bodies)
        cursor, left = 0, limit
        while left is None or left > 0:
            page, cursor = await self._run(operations.list_page(query, left, cursor))
            for info in page:
                yield info
            left = None if left is None else left - len(page)
            if not cursor:
                return

    async def cancel(self, ids: Iterable[TaskRef] | TaskRef) -> Sequence[ItemResult]:
        """As Client.cancel."""
        return await self._run(operations.for_each(MessageType.CANCEL_TASKS, wire.CancelTasks, ids))

    async def retry(self, ids: Iterable[TaskRef] | TaskRef) -> Sequence[ItemResult]:
        """As Client.retry."""
        return await self._run(operations.for_each(MessageType.RETRY, wire.Retry, ids))

    async def explain(self, id: TaskRef) -> Explanation:
        """As Client.explain."""
        return await self._run(operations.explain(id))

    async def history(self, id: TaskRef) -> History:
        """As Client.history."""
        return await self._run(operations.history(id))

    async def output(self, id: TaskRef, *, attempt: int = 0, start: int = 0) -> Output:
        """As Client.output."""
        return await self._run(operations.output(id, attempt, start))

    async def logs(self, id: TaskRef, *, attempt: int = 0, follow: bool = False) -> AsyncIterator[OutputPiece]:
        """As Client.logs."""
        start, now = 0, attempt
        while True:
            output = await self.output(id, attempt=now, start=start)
            for piece in output.pieces:
                yield piece
            following = next_output(output, attempt, follow)
            if following is None:
                return
            now, start, idle = following
            if idle and not output.pieces:
                await asyncio.sleep(FOLLOW_SECONDS)

    # --- Events ---

    async def events(self, after: EventPosition | str = EVENTS_FROM_START, *, kinds: Iterable[EventKind] = (),
                     queue: str | None = None, type: str | None = None, task: TaskRef | None = None,
                     limit: int | None = None) -> EventPage:
        """As Client.events."""
        return await self._run(operations.events(EventFilter(tuple(kinds), queue, type, task).to_wire(),
                                                 convert.event_position(after), operations.event_limit(limit)))

    def follow_events(self, after: EventPosition | str = EVENTS_FROM_NOW, *, kinds: Iterable[EventKind] = (),
                      queue: str | None = None, type: str | None = None, task: TaskRef | None = None,
                      on_trimmed: OnTrimmed | None = None) -> AsyncEventFollower:
        """As Client.follow_events, for `async for`. A wait for the next event that is cancelled loses none."""
        filter_ = EventFilter(tuple(kinds), queue, type, task)
        return AsyncEventFollower(self._run, self._engine, EventWalk(filter_, convert.event_position(after), on_trimmed))

    # --- Queues and types ---

    async def queues(self) -> Sequence[QueueInfo]:
        """As Client.queues."""
        return await self._run(operations.queues())

    async def queue(self, name: str) -> QueueInfo:
        """As Client.queue."""
        return await self._run(operations.queue(name))

    async def set_queue(self, name: str, **settings: Any) -> QueueInfo:
        """As Client.set_queue."""
        return await self._run(operations.set_queue(name, settings))

    async def pause(self, name: str) -> QueueInfo:
        """As Client.pause."""
        return await self.set_queue(name, paused=True)

    async def resume(self, name: str) -> QueueInfo:
        """As Client.resume."""
        return await self.set_queue(name, paused=False)

    async def purge(self, name: str, *, progress: Callable[[int], object] | None = None) -> int:
        """As Client.purge."""
        return await self._run(operations.purge_queue(name, progress))

    async def types(self) -> Sequence[TypeInfo]:
        """As Client.types."""
        return await self._run(operations.types())

    async def task_type(self, name: str) -> TypeInfo:
        """As Client.task_type."""
        return await self._run(operations.task_type(name))

    async def set_type(self, name: str, *, paused: bool | None = None, max_running: int | None = None,
                       rate: float | None = None, burst: int | None = None,
                       no_retry: Iterable[ErrorCode] | None = None) -> TypeInfo:
        """As Client.set_type."""
        return await self._run(operations.set_type(name, paused, max_running, rate, burst, no_retry))

    # --- The cluster ---

    async def status(self) -> Status:
        """As Client.status."""
        return await self._run(operations.status())

    async def workers(self) -> Sequence[WorkerSummary]:
        """As Client.workers."""
        return await self._run(operations.workers())

    async def drain_worker(self, worker: str) -> None:
        """As Client.drain_worker."""
        await self._run(operations.drain_worker(worker))

    async def switchover(self) -> None:
        """As Client.switchover."""
        await self._run(operations.switchover())

    async def promote(self, *, force: bool = False) -> None:
        """As Client.promote."""
        await self._run(operations.promote(force))

    # --- Running an operation ---

    async def _run(self, operation: Operation[Result]) -> Result:
        answer: Any = None
        while True:
            try:
                effect = operation.send(answer)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            if isinstance(effect, Ask):
                answer = await self._ask(effect)
            else:
                answer = None
                await asyncio.sleep(effect.seconds)

    async def _ask(self, ask: Ask) -> Any:
        future = self._future()
        give_up = self._engine.ask(ask.type, ask.message, ask.reply,
                                   lambda message, error: self._set(future, (message, error)))
        try:
            message, error = await future
        except asyncio.CancelledError:
            _quietly(give_up)
            raise
        if error is not None:
            raise error
        return message

    # --- Between the engine's thread and the loop ---

    def _in_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise Conflict("this client belongs to another event loop; make one for each loop")
        return loop

    def _future(self) -> asyncio.Future[Any]:
        return self._in_loop().create_future()

    def _post(self, work: Callable[[], object]) -> None:
        """Has `work` done in the loop, with all else that came until then. Any thread."""
        self._arrived.append(work)
        if self._draining:
            return
        self._draining = True
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._drain)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            self._arrived.clear()
            self._draining = False

    def _drain(self) -> None:
        # First: what is appended from here on is drained now, or asks for another.
        self._draining = False
        while self._arrived:
            self._arrived.popleft()()

    def _set(self, future: asyncio.Future[Any], value: Any) -> None:
        def work() -> None:
            if not future.done():  # not cancelled meanwhile
                future.set_result(value)
        self._post(work)

    def _setting(self, future: asyncio.Future[Any]) -> Callable[[Batch], None]:
        return lambda judged: self._set(future, judged)

    def _notifying(self, future: asyncio.Future[Any]) -> Callable[[], None]:
        return lambda: self._set(future, None)

    async def _within(self, future: Awaitable[Any], timeout: float | None, message: Callable[[], str]) -> Any:
        if timeout is None:
            return await future
        try:
            return await asyncio.wait_for(future, timeout)
        except asyncio.TimeoutError as error:
            raise TimedOut(message()) from error


def _quietly(give_up: Callable[[], None]) -> None:
    try:
        give_up()
    except Unavailable:
        pass  # closed meanwhile: nothing waits any more
