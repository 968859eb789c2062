"""Dead letters: tasks whose attempts are spent. They stay until they are retried or deleted, or age out where the broker is told
so. `client.dlq` has them.

Example:
    for group in client.dlq.groups(queue="mail"):
        print(group.tasks, group.error_message)
    client.dlq.retry(fingerprint=group.fingerprint, rate=50)

Threads: any.
"""
from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from zsched import _operations as operations
from zsched._operations import DeadFilter, Operation
from zsched._wire import schema as wire
from zsched._wire.constants import DEFAULT_LIST_LIMIT, DeadView, MessageType
from zsched.types import DeadGroup, DeadProgress, Duration, ItemResult, TaskInfo, TaskRef

Progress = Callable[[DeadProgress], object]


class DeadLetters:
    """The dead letters of a Client.

    Filters are the same everywhere; what is None matches everything: `queue`, `type`, `error` (a text somewhere in
    "CODE: message"), `fingerprint` (TaskInfo.fingerprint), `older_than` (dead for longer, by the broker's clock).
    """

    def __init__(self, run: Callable[[Operation[Any]], Any]) -> None:
        self._run = run

    def list(self, *, queue: str | None = None, type: str | None = None, error: str | None = None, fingerprint: int = 0,
             older_than: Duration | None = None, limit: int | None = None, omit_bodies: bool = False) -> Iterator[TaskInfo]:
        """The dead tasks that match, the oldest death first; those that were there when it began. With `omit_bodies` without
        their payloads."""
        walk: wire.DeadList | None = DeadFilter(queue, type, error, fingerprint, older_than).to_wire(
            DeadView.TASKS, DEFAULT_LIST_LIMIT, omit_bodies)
        left = limit
        while walk is not None and (left is None or left > 0):
            page, walk = self._run(operations.dead_page(walk))
            yield from page[:left]
            left = None if left is None else left - len(page)

    def groups(self, *, queue: str | None = None, type: str | None = None, error: str | None = None,
               older_than: Duration | None = None) -> Sequence[DeadGroup]:
        """By what their errors have in common, the largest group first."""
        groups: Sequence[DeadGroup] = self._run(operations.dead_groups(DeadFilter(queue, type, error, 0, older_than)))
        return groups

    def retry(self, *, queue: str | None = None, type: str | None = None, error: str | None = None, fingerprint: int = 0,
              older_than: Duration | None = None, dry_run: bool = False, rate: float | None = None,
              progress: Progress | None = None) -> DeadProgress:
        """Retries all that match and were dead when the call began, each of these deaths once, whatever fails; at most `rate` a
        second. With `dry_run` it only counts them. `progress` hears of it after each batch, on the caller's thread; False
        from it stops here. After an error some are retried; the same call again goes on."""
        filter_ = DeadFilter(queue, type, error, fingerprint, older_than)
        done: DeadProgress = self._run(operations.dead_job(filter_, False, dry_run, rate, progress))
        return done

    def purge(self, *, queue: str | None = None, type: str | None = None, error: str | None = None, fingerprint: int = 0,
              older_than: Duration | None = None, dry_run: bool = False, rate: float | None = None,
              progress: Progress | None = None) -> DeadProgress:
        """As retry, and they are deleted."""
        filter_ = DeadFilter(queue, type, error, fingerprint, older_than)
        done: DeadProgress = self._run(operations.dead_job(filter_, True, dry_run, rate, progress))
        return done

    def delete(self, ids: Iterable[TaskRef] | TaskRef) -> Sequence[ItemResult]:
        """Deletes dead tasks. CONFLICT: it is not dead."""
        results: Sequence[ItemResult] = self._run(operations.for_each(MessageType.DEAD_DELETE, wire.DeadDelete, ids))
        return results


class AsyncDeadLetters:
    """The same of an AsyncClient."""

    def __init__(self, run: Callable[[Operation[Any]], Awaitable[Any]]) -> None:
        self._run = run

    async def list(self, *, queue: str | None = None, type: str | None = None, error: str | None = None,
                   fingerprint: int = 0, older_than: Duration | None = None,
                   limit: int | None = None, omit_bodies: bool = False) -> AsyncIterator[TaskInfo]:
        """As DeadLetters.list."""
        walk: wire.DeadList | None = DeadFilter(queue, type, error, fingerprint, older_than).to_wire(
            DeadView.TASKS, DEFAULT_LIST_LIMIT, omit_bodies)
        left = limit
        while walk is not None and (left is None or left > 0):
            page, walk = await self._run(operations.dead_page(walk))
            for info in page[:left]:
                yield info
            left = None if left is None else left - len(page)

    async def groups(self, *, queue: str | None = None, type: str | None = None, error: str | None = None,
                     older_than: Duration | None = None) -> Sequence[DeadGroup]:
        """As DeadLetters.groups."""
        groups: Sequence[DeadGroup] = await self._run(operations.dead_groups(DeadFilter(queue, type, error, 0, older_than)))
        return groups

    async def retry(self, *, queue: str | None = None, type: str | None = None, error: str | None = None,
                    fingerprint: int = 0, older_than: Duration | None = None, dry_run: bool = False,
                    rate: float | None = None, progress: Progress | None = None) -> DeadProgress:
        """As DeadLetters.retry."""
        filter_ = DeadFilter(queue, type, error, fingerprint, older_than)
        done: DeadProgress = await self._run(operations.dead_job(filter_, False, dry_run, rate, progress))
        return done

    async def purge(self, *, queue: str | None = None, type: str | None = None, error: str | None = None,
                    fingerprint: int = 0, older_than: Duration | None = None, dry_run: bool = False,
                    rate: float | None = None, progress: Progress | None = None) -> DeadProgress:
        """As DeadLetters.purge."""
        filter_ = DeadFilter(queue, type, error, fingerprint, older_than)
        done: DeadProgress = await self._run(operations.dead_job(filter_, True, dry_run, rate, progress))
        return done

    async def delete(self, ids: Iterable[TaskRef] | TaskRef) -> Sequence[ItemResult]:
        """As DeadLetters.delete."""
        results: Sequence[ItemResult] = await self._run(
            operations.for_each(MessageType.DEAD_DELETE, wire.DeadDelete, ids))
        return results
