"""Tasks in place, for users' own tests: no broker, no worker, the same serializer, retries without waiting, chains.

Example:
    def test_order():
        with app.testing() as eager:
            assert order.submit(42).result() == "shipped"
            assert [call.type for call in eager.submitted] == ["order", "send_mail"]

What differs from a real run: a submit returns when the task is over; delays, timeouts, priorities and keys are of no effect, and
nothing is ever cancelled.

Threads: any; a task runs in the one that submits it (an async one in an event loop of its own, or the caller's with asubmit).
"""
from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn

from zsched._convert import milliseconds
from zsched._wire import schema as wire
from zsched._wire.constants import DEFAULT_MAX_ATTEMPTS, ErrorCode, RetryAdvice
from zsched._worker import attempt as attempts
from zsched._worker import ledger
from zsched._worker.ledger import Lease
from zsched._worker.reports import Report
from zsched.context import TaskContext, set_current
from zsched.errors import InvalidArgument
from zsched.results import AsyncCallHandle, CallHandle
from zsched.types import ItemResult, Outcome, Output, OutputPiece, OutputStream, TaskId, TaskSpec, TaskState

if TYPE_CHECKING:
    from zsched.app import App

# Ids of eager tasks, in an epoch that no broker has.
_FIRST_ID = ((1 << 24) - 1) << 40 | 1


@dataclass(slots=True)
class EagerRun:
    """What a task that ran in place left: its outcome, the last progress and checkpoint, and all that it wrote."""

    spec: TaskSpec
    outcome: Outcome
    report: Report = Report()
    output: list[tuple[int, bytes]] = field(default_factory=list)


class Eager:
    """Runs tasks of one app in place. `submitted`: their specs in order; `runs`: what became of each, by id."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._ids = count(_FIRST_ID)
        self.submitted: list[TaskSpec] = []
        self.runs: dict[TaskId, EagerRun] = {}

    def submit(self, spec: TaskSpec) -> CallHandle:
        """Runs a task and those that follow it."""
        return _EagerHandle(self, _outside_of_loops(self._run_chain(spec, None)))

    async def asubmit(self, spec: TaskSpec) -> AsyncCallHandle:
        """The same in the caller's event loop."""
        return _AsyncEagerHandle(self, await self._run_chain(spec, None))

    async def _run_chain(self, spec: TaskSpec, parent: wire.Parent | None) -> EagerRun:
        run = EagerRun(spec, Outcome(TaskId(next(self._ids))))
        self.submitted.append(spec)
        self.runs[run.outcome.id] = run
        limit = spec.max_attempts or DEFAULT_MAX_ATTEMPTS
        for number in range(1, limit + 1):
            ended = await self._attempt(run, number, limit, parent)
            if ended is None or ended.succeeded or ended.advice is RetryAdvice.NEVER:
                break
        _conclude(run, number, ended)
        succeeded = run.outcome.succeeded
        for template in (*(spec.on_success if succeeded else spec.on_failure), *spec.on_complete):
            await self._run_chain(template, _parent_of(run, template.pass_result))
        return run

    async def _attempt(self, run: EagerRun, number: int, limit: int, parent: wire.Parent | None) -> ledger.Outcome | None:
        spec = run.spec
        task = self._app.tasks.get(spec.type)
        if task is None:
            return attempts.unknown_type(spec.type)._replace(advice=RetryAdvice.NEVER)
        payload = spec.payload.encode() if isinstance(spec.payload, str) else bytes(spec.payload)
        work = wire.Assignment(
            task_id=int(run.outcome.id), lease_id=number, attempt=number, max_attempts=limit, type=spec.type, queue=spec.queue,
            timeout_ms=milliseconds(spec.timeout, "timeout"), priority=spec.priority, payload=payload or None,
            content_type=spec.content_type, submitted_at_ms=int(time.time() * 1000),
            labels=[wire.Label(*label) for label in (spec.labels or {}).items()], correlation_id=spec.correlation_id,
            traceparent=spec.traceparent, checkpoint=run.report.checkpoint, parent=parent)
        run.output.clear()
        lease = Lease(work.task_id, work.lease_id, number, work.timeout_ms, work=work)
        context = TaskContext(lease, _RunBoard(run), time.monotonic())
        token = set_current(context)
        try:
            ended = await attempts.run_async(task, context) if task.is_async else attempts.run(task, context)
        finally:
            token.var.reset(token)
        return ended if ended is None else ledger.bounded(ended)


class _RunBoard:
    def __init__(self, run: EagerRun) -> None:
        self._run = run

    def report(self, lease: Lease, report: Report) -> None:
        self._run.report = self._run.report.updated(report)

    def write(self, lease: Lease, stream: int, data: bytes) -> None:
        self._run.output.append((stream, data))


def _conclude(run: EagerRun, attempt: int, ended: ledger.Outcome | None) -> None:
    run.outcome.attempt = attempt
    if ended is None:
        return
    if ended.succeeded:
        run.outcome.result, run.outcome.content_type = ended.result, ended.content_type
        return
    run.outcome.state = TaskState.DEAD
    run.outcome.error, run.outcome.error_message = ErrorCode(ended.code), ended.message


def _parent_of(run: EagerRun, passed: bool) -> wire.Parent:
    outcome = run.outcome
    if not passed:
        return wire.Parent(int(outcome.id), outcome.state)
    return wire.Parent(int(outcome.id), outcome.state, True, outcome.result or None, outcome.content_type, outcome.error,
                       outcome.error_message or None)


def _outside_of_loops(run: Coroutine[Any, Any, EagerRun]) -> EagerRun:
    """Runs a coroutine to its end, also when this thread has an event loop that runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run)
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: context.run(lambda: asyncio.run(run))).result()


def _output_of(run: EagerRun) -> Output:
    offset, pieces = 0, []
    for stream, data in run.output:
        pieces.append(OutputPiece(OutputStream(stream), offset, data))
        offset += len(data)
    return Output(run.outcome.attempt, run.outcome.attempt, False, True, offset, tuple(pieces))


class _Client:
    """What the handles ask."""

    def __init__(self, eager: Eager) -> None:
        self._eager = eager

    def output(self, id: TaskId) -> Output:
        return _output_of(self._eager.runs[id])

    def task(self, handle: Any) -> Outcome:
        return self._eager.runs[handle.id].outcome  # status() looks at its state only

    def cancel(self, handles: list[Any]) -> list[ItemResult]:
        return [ItemResult(handle.id, ErrorCode.CONFLICT, "it is over") for handle in handles]

    def __getattr__(self, name: str) -> NoReturn:
        raise InvalidArgument(f"'{name}' is not there for a task that ran in place: it needs a broker")


class _AsyncClient(_Client):
    async def output(self, id: TaskId) -> Output:  # type: ignore[override]
        return super().output(id)

    async def task(self, handle: Any) -> Outcome:  # type: ignore[override]
        return super().task(handle)

    async def cancel(self, handles: list[Any]) -> list[ItemResult]:  # type: ignore[override]
        return super().cancel(handles)


class _EagerHandle(CallHandle):
    __slots__ = ()

    def __init__(self, eager: Eager, run: EagerRun) -> None:
        super().__init__(_Client(eager), int(run.outcome.id))  # type: ignore[arg-type]
        self._outcome = run.outcome


class _AsyncEagerHandle(AsyncCallHandle):
    __slots__ = ()

    def __init__(self, eager: Eager, run: EagerRun) -> None:
        super().__init__(_AsyncClient(eager), int(run.outcome.id))  # type: ignore[arg-type]
        self._outcome = run.outcome
