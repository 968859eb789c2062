"""Which outcomes are awaited, by whom, and what has to be asked of the broker to get them. No sockets and no clocks.

The broker pushes outcomes to the session that asked, so after a reconnect, and when it says that it dropped a push, all that is
still awaited is asked for again by WAIT frames, a few at a time.

Threads: the engine's.
"""
from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable

from zsched._convert import outcome_of
from zsched._session import NEVER
from zsched._wire import schema as wire
from zsched._wire.constants import MAX_QUERY_IDS
from zsched.errors import TimedOut, ZschedError
from zsched.types import Outcome, TaskId

# WAIT frames without an answer at any moment: enough to keep the broker busy, few enough that their answers do not swamp
# the connection.
MAX_WAITS_IN_FLIGHT = 4
MIN_ASK_AGAIN_MS = 20


class WaitGroup:
    """One call that waits for outcomes. `on_outcome` hears of each as it comes, `on_done` once: with None when all came or
    `enough` have, otherwise with what ended the wait. Both on the engine's thread."""

    __slots__ = ("ids", "left", "enough", "deadline_ms", "on_outcome", "on_done", "over")

    def __init__(self, ids: Iterable[int], deadline_ms: int, on_outcome: Callable[[Outcome], None],
                 on_done: Callable[[ZschedError | None], None], enough: int | None = None) -> None:
        self.ids = dict.fromkeys(ids)  # distinct, in order
        self.left = len(self.ids)
        self.enough = self.left if enough is None else min(enough, self.left)  # how many are still to come
        self.deadline_ms = deadline_ms
        self.on_outcome, self.on_done = on_outcome, on_done
        self.over = False


class OutcomeTracker:
    """See above. `next_request` makes request numbers."""

    def __init__(self, next_request: Callable[[], int], resend_ms: int) -> None:
        self._next_request, self._resend_ms = next_request, resend_ms
        self._waits: dict[int, list[WaitGroup]] = {}
        self._timed: dict[WaitGroup, None] = {}  # those with a deadline
        self._to_ask: deque[int] = deque()
        self._ask_after_ms = 0  # after an ERROR
        self._in_flight: dict[int, tuple[int, list[int]]] = {}  # by request: (asked again then, ids)
        self._send_again_ms = 0
        self.delivered = 0

    def add(self, group: WaitGroup) -> None:
        """Something to wait for; over at once when it is nothing."""
        if group.enough <= 0:
            self._end(group, None)
            return
        for id_ in group.ids:
            self._waits.setdefault(id_, []).append(group)
        self._to_ask.extend(group.ids)
        if group.deadline_ms < NEVER:
            self._timed[group] = None

    def drop(self, group: WaitGroup) -> None:
        """Nobody waits for it any more; its callbacks are not called."""
        if group.over:
            return
        group.over = True
        self._forget(group)

    # --- Asking ---

    def ask_for_all(self) -> None:
        """A new session knows of none of our waits; a broker that dropped a push, of too few."""
        self.on_down()
        self._to_ask.extend(self._waits)

    def on_down(self) -> None:
        """The session is gone."""
        self._to_ask.clear()
        self._in_flight.clear()
        self._ask_after_ms = self._send_again_ms = 0

    def pump(self, now_ms: int, send: Callable[[wire.Wait], bool]) -> None:
        """Sends WAIT frames as far as MAX_WAITS_IN_FLIGHT allows."""
        self._send_again_ms = 0
        for request, (due_ms, ids) in list(self._in_flight.items()):
            if due_ms <= now_ms:
                del self._in_flight[request]
                self._to_ask.extend(ids)
        if now_ms < self._ask_after_ms:
            return
        while self._to_ask and len(self._in_flight) < MAX_WAITS_IN_FLIGHT:
            ids = self._take_ids()
            if not ids:
                return
            request = self._next_request()
            if not send(wire.Wait(request, ids)):
                self._to_ask.extend(ids)
                self._send_again_ms = now_ms + MIN_ASK_AGAIN_MS
                return
            self._in_flight[request] = (now_ms + self._resend_ms, ids)

    def _take_ids(self) -> list[int]:
        ids: list[int] = []
        while self._to_ask and len(ids) < MAX_QUERY_IDS:
            id_ = self._to_ask.popleft()
            if id_ in self._waits:
                ids.append(id_)
        return ids

    def on_error(self, request: int, now_ms: int, retry_after_ms: int) -> bool:
        """ERROR whose request is one of our WAITs: asked again later. False: not ours."""
        found = self._in_flight.pop(request, None)
        if found is None:
            return False
        self._to_ask.extend(found[1])
        self._ask_after_ms = now_ms + max(retry_after_ms, MIN_ASK_AGAIN_MS)
        return True

    # --- Answers ---

    def on_outcomes(self, message: wire.Outcomes) -> None:
        """OUTCOMES: calls the callbacks. What nobody awaits is ignored."""
        # The first answer to a WAIT says that the broker has it; what is not in it will be pushed.
        if message.request:
            self._in_flight.pop(message.request, None)
        for id_ in message.succeeded:
            if id_ in self._waits:
                self._deliver(Outcome(TaskId(id_)))
        for item in message.outcomes:
            if item.id in self._waits:
                outcome = outcome_of(item)
                if outcome is not None:
                    self._deliver(outcome)

    def _deliver(self, outcome: Outcome) -> None:
        for group in self._waits.pop(outcome.id, ()):
            if group.over:
                continue
            self.delivered += 1
            group.enough -= 1
            group.left -= 1
            group.on_outcome(outcome)
            if group.enough <= 0:
                self._end(group, None)

    def expire(self, now_ms: int) -> None:
        """Ends the waits whose deadline has come."""
        for group in [group for group in self._timed if group.deadline_ms <= now_ms]:
            self._end(group, TimedOut(f"{group.left} of {len(group.ids)} tasks did not end in time"))

    def _end(self, group: WaitGroup, error: ZschedError | None) -> None:
        group.over = True
        self._forget(group)
        group.on_done(error)

    def _forget(self, group: WaitGroup) -> None:
        self._timed.pop(group, None)
        if not group.left:
            return
        for id_ in group.ids:
            groups = self._waits.get(id_)
            if groups is not None and group in groups:
                groups.remove(group)
                if not groups:
                    del self._waits[id_]

    def next_deadline_ms(self) -> int:
        """When pump and expire have to be called next without any event."""
        deadline = min((group.deadline_ms for group in self._timed), default=NEVER)
        if self._send_again_ms:
            deadline = min(deadline, self._send_again_ms)
        if self._to_ask and self._ask_after_ms:
            deadline = min(deadline, self._ask_after_ms)
        return min((due_ms for due_ms, _ in self._in_flight.values() if due_ms < deadline), default=deadline)

    def fail_all(self, error: ZschedError) -> None:
        """Ends all waits."""
        self.on_down()
        groups = dict.fromkeys(group for waiting in self._waits.values() for group in waiting)
        self._waits.clear()
        for group in groups:
            group.left = 0
            self._end(group, copy.copy(error))
