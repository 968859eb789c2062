"""Following events: what happens to tasks, queues, schedules, workers and brokers, as the broker's log tells it.
`client.follow_events` makes followers, `client.events` answers one page.

Example:
    follower = client.follow_events(kinds=[zsched.EventKind.DEAD])
    for event in follower:
        page_somebody(event)
        remember(follower.position)      # another process goes on here: client.follow_events(position)

A follower keeps its place in the log, so nothing is kept for it at the broker, and a broker that takes over goes on where the
other one was: both have the same log.

Threads: a follower is used by one at a time.
"""
from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from zsched import _operations as operations
from zsched._engine import Engine
from zsched._operations import EventFilter, Operation
from zsched._wire.constants import MAX_EVENT_LIMIT
from zsched.errors import NotFound, ZschedError
from zsched.types import EVENTS_FROM_NOW, EVENTS_FROM_START, Event, EventPage, EventPosition

# Told of events that are lost: the place that was asked for, and the one where it goes on.
OnTrimmed = Callable[[EventPosition, EventPosition], object]
# How often a follower asks again while there is nothing new. A person does not notice it, and an answer without events costs the
# broker no look at its disk.
FOLLOW_EVENTS_SECONDS = 0.2


class EventWalk:
    """Where a follower is, and what it was told and has not handed out. Without I/O: both followers drive it.

        while (event := walk.take()) is None:
            if walk.idle: …wait…
            walk.add(…the answer to walk.ask()…)
    """

    def __init__(self, filter_: EventFilter, after: EventPosition, on_trimmed: OnTrimmed | None) -> None:
        self._question = filter_.to_wire()
        self._on_trimmed = on_trimmed
        self._events: deque[Event] = deque()
        # In front of the events that are left, and behind them.
        self._here = self._next = after
        # Whether to wait before asking again.
        self.idle = False

    @property
    def position(self) -> EventPosition:
        """Behind the last event that was taken, and behind all that the filter left out after it."""
        return self._here if self._events else self._next

    def take(self) -> Event | None:
        """The next event that is here."""
        if not self._events:
            return None
        event = self._events.popleft()
        if self._events:
            self._here = event.position
        return event

    def ask(self) -> Operation[EventPage]:
        """For what comes behind all that is here."""
        return operations.events(self._question, self._next, MAX_EVENT_LIMIT)

    def add(self, page: EventPage) -> None:
        """Its answer. NotFound when events are lost and nobody wants to be told; the place is right all the same."""
        asked, self._here, self._next = self._next, self._next, page.next
        self._events.extend(page.events)
        # The second: a broker that does not get on is not asked without end.
        self.idle = page.complete or page.next == asked
        if not page.trimmed or asked in (EVENTS_FROM_START, EVENTS_FROM_NOW):
            return
        if self._on_trimmed is None:
            raise NotFound(f"the log is not kept from {asked} on; what is kept goes on behind {page.next}: follow from there, or "
                           "give on_trimmed (--keep-log of the broker says how much is kept)")
        self._on_trimmed(asked, page.next)

    def unanswered(self, error: ZschedError, engine: Engine) -> bool:
        """Whether it is the end, as the client was closed; otherwise ask again later. Raises what asking again does not mend."""
        if engine.closed:
            return True
        if engine.failed or not error.retryable:
            raise error
        self.idle = True
        return False


class EventFollower(Iterator[Event]):
    """Events as they happen, of a Client. `next` waits for one, through any time without a broker; it ends (StopIteration) when
    the client is closed, also while it waits. NotFound, InvalidArgument: Client.follow_events."""

    def __init__(self, run: Callable[[Operation[Any]], Any], engine: Engine, walk: EventWalk) -> None:
        self._run, self._engine, self._walk = run, engine, walk

    @property
    def position(self) -> EventPosition:
        """Where another follower would go on: behind the last event that came out, and behind what was passed since."""
        return self._walk.position

    def __next__(self) -> Event:
        walk = self._walk
        while (event := walk.take()) is None:
            if walk.idle:
                self._engine.pause(FOLLOW_EVENTS_SECONDS)
            try:
                page = self._run(walk.ask())
            except ZschedError as error:
                if walk.unanswered(error, self._engine):
                    raise StopIteration from None
            else:
                walk.add(page)
        return event


class AsyncEventFollower(AsyncIterator[Event]):
    """The same of an AsyncClient."""

    def __init__(self, run: Callable[[Operation[Any]], Awaitable[Any]], engine: Engine, walk: EventWalk) -> None:
        self._run, self._engine, self._walk = run, engine, walk

    @property
    def position(self) -> EventPosition:
        """As EventFollower.position."""
        return self._walk.position

    async def __anext__(self) -> Event:
        walk = self._walk
        while (event := walk.take()) is None:
            if walk.idle:
                await asyncio.sleep(FOLLOW_EVENTS_SECONDS)
            try:
                page = await self._run(walk.ask())
            except ZschedError as error:
                if walk.unanswered(error, self._engine):
                    raise StopAsyncIteration from None
            else:
                walk.add(page)
        return event
