"""What all pools have in common: the queue of attempts that wait, and what they hand back.

Attempts are handed over many at a time: one extend of a deque and one wake-up for a TASKS frame, not one for each. Who runs them
takes the next with one atomic step, so nothing is claimed in advance that would then wait behind a slow handler, and what nobody
claimed can be taken back. What ended goes to another deque; the session's thread is woken when there is nothing left to claim or
much has ended, and looks by itself every few milliseconds while attempts wait.

    session's thread: push --> waiting --> pool's threads: claim, run --> ended --> take_ended: session's thread
                      withdraw, take_back, cancel -->       running -->  observe

Threads: the public methods from the session's; claim and finish from the pool's own.
"""
from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from zsched._wire.constants import ErrorCode
from zsched._worker.ledger import Ended, Lease, Outcome
from zsched._worker.notes import NoteBoard

if TYPE_CHECKING:
    from zsched.app import App

# Outcomes that wait for the session's thread before it is woken although there is more to claim.
_MANY_ENDED = 512


class Pool(ABC):
    """See above. `wake` makes the session's thread look."""

    def __init__(self, app: App, concurrency: int, wake: Callable[[], None]) -> None:
        self.app = app
        self.concurrency = concurrency
        self.notes = NoteBoard(wake)
        self.session = 0  # for logs
        self._wake = wake
        self._woken = False
        self._waiting: deque[Lease] = deque()
        self._ended: deque[Ended] = deque()
        self._late: deque[Lease] = deque()
        # Attempts start only until then; a later time lets them go on.
        self._starts_until_ns = 0
        self._closing = False

    # --- The session's thread ---

    @abstractmethod
    def start(self) -> None:
        """Starts its threads."""

    @abstractmethod
    def _resume(self, count: int) -> None:
        """Lets up to `count` idle runners look at the queue."""

    @abstractmethod
    def observe(self) -> list[tuple[Lease, int]]:
        """The attempts that run now, and since when (mono ms)."""

    @abstractmethod
    def shutdown(self, timeout: float) -> int:
        """Nothing starts any more; waits up to `timeout` seconds for handlers. Returns how many were left running."""

    def push(self, leases: Sequence[Lease]) -> None:
        """Attempts that are to run."""
        self._waiting.extend(leases)
        self._resume(len(leases))

    def set_starts_until(self, mono_ms: int) -> None:
        """Attempts start until that time."""
        paused = time.monotonic_ns() >= self._starts_until_ns
        self._starts_until_ns = mono_ms * 1_000_000
        if paused and self._waiting:
            self._resume(len(self._waiting))

    def take_ended(self) -> list[Ended]:
        """What ended since the last call."""
        # Before it is looked at: who ends later wakes again.
        self._woken = False
        return _drain(self._ended)

    def take_late(self) -> list[Lease]:
        """Attempts that were to start when it was too late for them: they did not."""
        return _drain(self._late) if self._late else []

    def withdraw(self, count: int) -> list[Lease]:
        """Takes back at most `count` unstarted attempts, the last pushed first."""
        taken: list[Lease] = []
        try:
            while len(taken) < count:
                taken.append(self._waiting.pop())
        except IndexError:
            pass
        return taken

    def take_back(self, leases: Iterable[Lease]) -> list[Lease]:
        """Takes back those that have not started."""
        wanted = {lease.id for lease in leases}
        taken: list[Lease] = []
        kept: list[Lease] = []
        for lease in _drain(self._waiting):
            (taken if lease.id in wanted else kept).append(lease)
        if kept:
            self._waiting.extendleft(reversed(kept))
            self._resume(len(kept))
        return taken

    def cancel(self, orders: Sequence[tuple[Lease, ErrorCode]]) -> list[Lease]:
        """Takes back those that have not started and returns them; tells the others to end."""
        taken = self.take_back([lease for lease, _ in orders])
        unstarted = {lease.id for lease in taken}
        for lease, why in orders:
            if lease.id in unstarted or lease.why is not None:
                continue
            lease.why = why
            if lease.hook is not None:
                lease.hook()
        return taken

    # --- Runners ---

    def claim(self) -> Lease | None:
        """The next attempt to run; None: nothing, or not now."""
        while not self._closing:
            now_ns = time.monotonic_ns()
            if now_ns >= self._starts_until_ns:
                return None
            try:
                lease = self._waiting.popleft()
            except IndexError:
                return None
            if not lease.start_by_ms or now_ns < lease.start_by_ms * 1_000_000:
                return lease
            self._late.append(lease)
            self._wake()
        return None

    def finish(self, lease: Lease, started_ns: int, outcome: Outcome | None) -> None:
        """An attempt has ended."""
        self._ended.append((lease, (time.monotonic_ns() - started_ns) // 1000, outcome))
        if not self._woken and (not self._waiting or len(self._ended) >= _MANY_ENDED):
            self._woken = True
            self._wake()


def _drain(queue: deque[Lease] | deque[Ended]) -> list:  # type: ignore[type-arg]
    """All that is in it; others may add to it or take from it meanwhile."""
    found = []
    try:
        while True:
            found.append(queue.popleft())
    except IndexError:
        return found
