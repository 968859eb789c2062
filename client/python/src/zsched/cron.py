"""Time schedules: tasks that the broker submits by the clock (docs/scheduling.md). `client.cron` has them.

Example:
    client.cron.set("nightly", "30 2 * * *", TaskSpec("report"), zone="Europe/Berlin", replace=True)
    print(client.cron.get("nightly").next_at)

Threads: any.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from zsched import _operations as operations
from zsched._operations import Operation
from zsched.types import Duration, ItemResult, Overlap, ScheduleInfo, TaskId, TaskSpec


class Schedules:
    """The schedules of a Client. All but list raise NotFound when there is none of that name."""

    def __init__(self, run: Callable[[Operation[Any]], Any]) -> None:
        self._run = run

    def set(self, name: str, expression: str, task: TaskSpec, *, zone: str = "UTC", overlap: Overlap = Overlap.SKIP,
            catch_up: Duration | None = None, jitter: Duration | None = None, paused: bool | None = None,
            replace: bool = False) -> ScheduleInfo:
        """Makes a schedule of a task without delay, run_at and key. `expression`: "30 2 * * MON-FRI", "@daily", "@every 90s";
        `zone`: an IANA name; `overlap`: what becomes of a tick while the task of an earlier one is not over; `catch_up`: how
        late a tick may fire (an hour); `jitter`: its task comes by up to so much later; `paused`: None leaves it as it is.
        Conflict when there is one, unless `replace`. InvalidArgument names the field."""
        info: ScheduleInfo = self._run(operations.set_schedule(name, expression, task, zone, overlap, catch_up, jitter, paused,
                                                               replace))
        return info

    def list(self) -> Sequence[ScheduleInfo]:
        """All by name."""
        found: Sequence[ScheduleInfo] = self._run(operations.schedules())
        return found

    def get(self, name: str) -> ScheduleInfo:
        """One of them."""
        info: ScheduleInfo = self._run(operations.schedule(name))
        return info

    def pause(self, name: str) -> ScheduleInfo:
        """Its ticks do not fire until it is resumed, nor later."""
        info: ScheduleInfo = self._run(operations.pause_schedule(name, True))
        return info

    def resume(self, name: str) -> ScheduleInfo:
        """Ends a pause."""
        info: ScheduleInfo = self._run(operations.pause_schedule(name, False))
        return info

    def trigger(self, name: str) -> TaskId:
        """Submits its task at once, also of one that is paused. When the connection breaks in between there may be two of it."""
        task: TaskId = self._run(operations.trigger_schedule(name))
        return task

    def backfill(self, name: str, start: datetime, end: datetime) -> Sequence[ItemResult]:
        """Submits its task once for each tick from `start` to `end`, both included and past, at most 1,000. Per tick its task, or
        RESOURCE_EXHAUSTED."""
        results: Sequence[ItemResult] = self._run(operations.backfill_schedule(name, start, end))
        return results

    def remove(self, name: str) -> None:
        """Its tasks stay."""
        self._run(operations.remove_schedule(name))


class AsyncSchedules:
    """The same of an AsyncClient."""

    def __init__(self, run: Callable[[Operation[Any]], Awaitable[Any]]) -> None:
        self._run = run

    async def set(self, name: str, expression: str, task: TaskSpec, *, zone: str = "UTC", overlap: Overlap = Overlap.SKIP,
                  catch_up: Duration | None = None, jitter: Duration | None = None, paused: bool | None = None,
                  replace: bool = False) -> ScheduleInfo:
        """As Schedules.set."""
        info: ScheduleInfo = await self._run(operations.set_schedule(name, expression, task, zone, overlap, catch_up, jitter,
                                                                     paused, replace))
        return info

    async def list(self) -> Sequence[ScheduleInfo]:
        """As Schedules.list."""
        found: Sequence[ScheduleInfo] = await self._run(operations.schedules())
        return found

    async def get(self, name: str) -> ScheduleInfo:
        """As Schedules.get."""
        info: ScheduleInfo = await self._run(operations.schedule(name))
        return info

    async def pause(self, name: str) -> ScheduleInfo:
        """As Schedules.pause."""
        info: ScheduleInfo = await self._run(operations.pause_schedule(name, True))
        return info

    async def resume(self, name: str) -> ScheduleInfo:
        """As Schedules.resume."""
        info: ScheduleInfo = await self._run(operations.pause_schedule(name, False))
        return info

    async def trigger(self, name: str) -> TaskId:
        """As Schedules.trigger."""
        task: TaskId = await self._run(operations.trigger_schedule(name))
        return task

    async def backfill(self, name: str, start: datetime, end: datetime) -> Sequence[ItemResult]:
        """As Schedules.backfill."""
        results: Sequence[ItemResult] = await self._run(operations.backfill_schedule(name, start, end))
        return results

    async def remove(self, name: str) -> None:
        """As Schedules.remove."""
        await self._run(operations.remove_schedule(name))
