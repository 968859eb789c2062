"""What Client and AsyncClient have in common: their options, and what is no matter of blocking or awaiting.

Threads: any.
"""
from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from zsched import _convert as convert
from zsched._address import parse_brokers
from zsched._engine import Engine, EngineOptions, default_name
from zsched._submitter import Batch
from zsched._wire.constants import DEFAULT_HOST, DEFAULT_PORT, MAX_NAME_BYTES, MAX_SUBMIT_TASKS
from zsched._tasks import encode_task
from zsched.errors import InvalidArgument, ZschedError
from zsched.types import Outcome, Output, TaskSpec

Handle = TypeVar("Handle")
# How often a follower of logs asks again while nothing comes.
FOLLOW_SECONDS = 0.5


class BaseClient:
    """See above. The arguments are those of Client."""

    def __init__(self, brokers: str | Sequence[str] | None, name: str | None, observe: bool, max_queued_tasks: int,
                 max_queued_bytes: int, retry_exhausted: bool, submit_timeout: float | None, request_timeout: float,
                 resend_after: float) -> None:
        if brokers is None:
            brokers = os.environ.get("ZSCHED_BROKERS") or f"{DEFAULT_HOST}:{DEFAULT_PORT}"
        name = default_name() if name is None else name
        if not 0 < len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES or not name.isprintable():
            raise InvalidArgument(f"name: must be 1..{MAX_NAME_BYTES} bytes of UTF-8 without control characters")
        if max_queued_tasks <= 0 or max_queued_bytes <= 0:
            raise InvalidArgument("max_queued_tasks, max_queued_bytes: must be over 0")
        if request_timeout <= 0 or resend_after <= 0:
            raise InvalidArgument("request_timeout, resend_after: must be over 0 seconds")
        self._submit_timeout = submit_timeout
        self._engine = Engine(EngineOptions(
            brokers=parse_brokers(brokers), name=name, observe=observe, max_queued_tasks=max_queued_tasks,
            max_queued_bytes=max_queued_bytes, retry_exhausted=retry_exhausted,
            request_timeout_ms=convert.milliseconds(request_timeout, "request_timeout"),
            resend_ms=convert.milliseconds(resend_after, "resend_after")))
        # A client that is forgotten, not closed, does not leave its thread behind.
        weakref.finalize(self, self._engine.abandon)

    @property
    def id(self) -> str:
        """The 128 random bits under which the broker knows this client's submits, as 32 hex digits."""
        return convert.uuid_text(self._engine.id)

    @property
    def connected(self) -> bool:
        """Whether a session with a broker is open at this moment. Calls wait for one by themselves."""
        return self._engine.connected

    @property
    def stats(self) -> dict[str, int]:
        """What the client has done: submitted, acknowledged, rejected, retried, frames, resent_frames, outcomes, connects,
        malformed."""
        return self._engine.counters


def chunks(tasks: Iterable[TaskSpec]) -> Iterator[list[bytes]]:
    """Blocks of the tasks, at most as many together as a frame may have."""
    return block_chunks(map(encode_task, tasks))


def block_chunks(blocks: Iterator[bytes]) -> Iterator[list[bytes]]:
    """The same of blocks that exist. What a task raises that cannot be encoded comes through, with its index as a note."""
    done = 0
    while True:
        chunk: list[bytes] = []
        try:
            for block in islice(blocks, MAX_SUBMIT_TASKS):
                chunk.append(block)
        except ZschedError as error:
            error.add_note(f"in task number {done + len(chunk)} of the batch; {done} before it were submitted")
            raise
        if not chunk:
            return
        done += len(chunk)
        yield chunk


def handles_of(batches: Sequence[Batch], make: Callable[[int, bool], Handle],
               ) -> tuple[list[Handle | None], list[tuple[int, ZschedError]]]:
    """(a handle or None for each task, the rejected ones) of batches that are all judged."""
    handles: list[Handle | None] = []
    rejected: list[tuple[int, ZschedError]] = []
    for batch in batches:
        first = len(handles)
        repeated = set(batch.repeated)
        handles += [make(number, index in repeated) if number else None for index, number in enumerate(batch.ids)]
        rejected += [(first + index, error) for index, error in batch.rejected]
    return handles, rejected


def values_in_order(numbers: Sequence[int], outcomes: dict[int, Outcome], return_exceptions: bool) -> list[Any]:
    """The values of tasks that are over."""
    values: list[Any] = []
    for number in numbers:
        try:
            values.append(outcomes[number].value())
        except ZschedError as error:
            if not return_exceptions:
                raise
            values.append(error)
    return values


def next_output(output: Output, attempt: int, follow: bool) -> tuple[int, int, bool] | None:
    """Where a reader of logs goes on: (attempt, start, whether to wait when nothing came); None at the end. `attempt` is what it
    was asked for."""
    if not follow:
        return None
    if output.running or (attempt == 0 and not output.attempt and not output.finished):
        return output.attempt, output.end_offset, True
    if attempt:
        return None
    if output.last_attempt > output.attempt:
        return output.attempt + 1, 0, False
    return None if output.finished else (output.attempt, output.end_offset, True)
