"""Handles of tasks: what a submit returns.

Threads: any.
"""
from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from zsched._wire.constants import ErrorCode
from zsched.errors import NotFound
from zsched.types import Explanation, History, ItemResult, Outcome, OutputPiece, TaskId, TaskInfo, TaskRef, TaskState

if TYPE_CHECKING:
    from zsched.aio import AsyncClient
    from zsched.client import Client


def done_or_not(result: ItemResult) -> bool:
    """Whether a cancel or retry was done; NotFound when there is no such task."""
    if result.code is ErrorCode.NOT_FOUND:
        raise NotFound(f"task {result.id} does not exist")
    return result.ok


def remember(tasks: Iterable[TaskRef], outcomes: Mapping[int, Outcome]) -> None:
    """Gives those of the tasks that are handles the outcomes that are known now."""
    for task in tasks:
        if isinstance(task, (TaskHandle, AsyncTaskHandle)):
            task._outcome = outcomes.get(task._number, task._outcome)


AnyClient = TypeVar("AnyClient")


class _Handle(Generic[AnyClient]):
    """What both kinds of handles know without asking."""

    __slots__ = ("_client", "_number", "_outcome", "repeated")

    def __init__(self, client: AnyClient, number: int, repeated: bool = False) -> None:
        self._client, self._number, self.repeated = client, number, repeated
        self._outcome: Outcome | None = None

    @property
    def id(self) -> TaskId:
        """The id of the task."""
        return TaskId(self._number)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class TaskHandle(_Handle["Client"]):
    """A task that was accepted. `repeated`: it was there already, under the same key."""

    __slots__ = ()

    def outcome(self, timeout: float | None = None) -> Outcome:
        """How the task ended, waiting up to `timeout` seconds (None: for ever). TimedOut."""
        if self._outcome is None:
            self._outcome = self._client.wait_for(self, timeout)
        return self._outcome

    def result(self, timeout: float | None = None) -> Any:
        """What the task gave (Outcome.value). TaskFailed, TaskCancelled, TimedOut."""
        return self.outcome(timeout).value()

    def done(self) -> bool:
        """Whether the task is over. Asks the broker, unless the outcome is known here."""
        return self._outcome is not None or self.status() >= TaskState.SUCCEEDED

    def info(self) -> TaskInfo:
        """The task as the broker has it. NotFound when it is there no more."""
        return self._client.task(self)

    def status(self) -> TaskState:
        """Its state now."""
        return self._client.task(self).state

    def cancel(self) -> bool:
        """Cancels it for good. False when it has succeeded or is dead."""
        return done_or_not(self._client.cancel([self])[0])

    def retry(self) -> bool:
        """Gives a dead task a new budget of attempts. False when it is not dead."""
        done = done_or_not(self._client.retry([self])[0])
        if done:
            self._outcome = None
        return done

    def explain(self) -> Explanation:
        """Why it is not running now."""
        return self._client.explain(self)

    def history(self) -> History:
        """Every attempt at it."""
        return self._client.history(self)

    def logs(self, *, attempt: int = 0, follow: bool = False) -> Iterator[OutputPiece]:
        """What its attempts wrote (Client.logs)."""
        return self._client.logs(self, attempt=attempt, follow=follow)


class AsyncTaskHandle(_Handle["AsyncClient"]):
    """The same for AsyncClient: everything that asks the broker is awaited."""

    __slots__ = ()

    async def outcome(self, timeout: float | None = None) -> Outcome:
        """As TaskHandle.outcome."""
        if self._outcome is None:
            self._outcome = await self._client.wait_for(self, timeout)
        return self._outcome

    async def result(self, timeout: float | None = None) -> Any:
        """As TaskHandle.result."""
        return (await self.outcome(timeout)).value()

    async def done(self) -> bool:
        """As TaskHandle.done."""
        return self._outcome is not None or await self.status() >= TaskState.SUCCEEDED

    async def info(self) -> TaskInfo:
        """As TaskHandle.info."""
        return await self._client.task(self)

    async def status(self) -> TaskState:
        """As TaskHandle.status."""
        return (await self._client.task(self)).state

    async def cancel(self) -> bool:
        """As TaskHandle.cancel."""
        return done_or_not((await self._client.cancel([self]))[0])

    async def retry(self) -> bool:
        """As TaskHandle.retry."""
        done = done_or_not((await self._client.retry([self]))[0])
        if done:
            self._outcome = None
        return done

    async def explain(self) -> Explanation:
        """As TaskHandle.explain."""
        return await self._client.explain(self)

    async def history(self) -> History:
        """As TaskHandle.history."""
        return await self._client.history(self)

    async def logs(self, *, attempt: int = 0, follow: bool = False) -> AsyncIterator[OutputPiece]:
        """As TaskHandle.logs."""
        async for piece in self._client.logs(self, attempt=attempt, follow=follow):
            yield piece
