"""The worker's ledger: every lease it holds, the credit it grants, the results it owes, and what has to
happen next. The twin of worker/core/ledger.h; docs/protocol.md §6 is what both implement. Pure: no
sockets, threads, clocks or files; time arrives as mono milliseconds, work leaves as Orders (for whoever
runs attempts) and Frames (for whoever sends them).

    state     | what holds                                   | leaves on                            | to
    ----------+----------------------------------------------+--------------------------------------+----------------
    WAITING   | with the executor, not known to have started | on_started                           | RUNNING, ENDING
              |                                              | on_ended                             | ENDED
              |                                              | on_withdrawn                         | RELEASING, ENDED
    RUNNING   | started, deadline known                      | on_ended                             | ENDED
              |                                              | deadline, or its task was cancelled  | ENDING
    ENDING    | told to end                                  | on_ended, or ABANDON_AFTER_MS        | ENDED
    RELEASING | taken back unstarted, RELEASE not sent       | take_frames                          | GONE
    ENDED     | its result is kept until RESULT_ACK          | on_result_ack, stale                 | GONE
    STUCK     | not ours any more, but with the executor     | on_ended, on_withdrawn               | GONE

A lease that is STUCK, or was abandoned while its handler runs on, holds a slot (the worker has that much less
concurrency) until the executor says that it is over; what it comes to is dropped.

In every state but ENDED, WELCOME's `stale` and a CANCEL that takes the lease away make it STUCK (or GONE) at
once. A CANCEL because the task was cancelled leaves the lease: its attempt is ended, and reported as CANCELLED
whatever it did.

Example (a driver, after any event):
    orders = ledger.take_orders(now_ms)         # cancel attempts, take back what has not started
    ledger.on_withdrawn(pool.withdraw(orders.withdraw))
    frames = ledger.take_frames(now_ms)         # send in this order: credit, release, results

Threads: one at a time. Of a Lease the executor's threads read what never changes, `why` and `hook`.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

from zsched._wire import schema as wire
from zsched._wire.constants import (BATCH_TARGET_BYTES, DEFAULT_TIMEOUT_MS, MAX_CONTENT_TYPE_BYTES,
                                    MAX_CREDIT_BYTES, MAX_CREDIT_TASKS, MAX_ERROR_MESSAGE_BYTES,
                                    MAX_RESULT_BYTES, MAX_RESULT_TASKS, MAX_STARTED_REPORTS, ErrorCode,
                                    RetryAdvice)
from zsched._worker.credit import TARGET_MS, CreditSizer

# Half of what WORKER_HELLO may name: the other half is room for ended attempts whose results are not
# acknowledged.
MAX_SELF_SIZED_CREDIT = MAX_CREDIT_TASKS // 2
# Unacknowledged result bytes at which no task is asked for or started any more.
MAX_UNACKED_RESULT_BYTES = 64 << 20
# An attempt that was told to end and has not returned after this long is given up. The broker acts itself
# after TIMEOUT_GRACE_MS, 10 s.
ABANDON_AFTER_MS = 8_000
# How long a drain waits for a broker to hand its last results to.
DRAIN_OFFLINE_MS = 15_000
# What an entry costs beyond its strings, roughly.
_ENTRY_BYTES = 64
# Entries of leases that wait no more, which may stay among those that expire.
_SPARE_EXPIRING = 1024
_MAX_RUN_US = (1 << 32) - 1
NEVER = 1 << 62

WAITING, RUNNING, ENDING, RELEASING, ENDED, STUCK, GONE = range(7)


class Lease:
    """One assignment that this worker holds. `work` is what only the executor needs.

    `why`: the code for which its attempt has to end, None while it may go on; written by the session's thread.
    `hook`: called by that thread after `why` was set; set by the executor, which looks at `why` afterwards.
    """

    __slots__ = ("task", "id", "attempt", "timeout_ms", "start_by_ms", "work", "why", "hook", "state", "cancelled",
                 "started_ms", "deadline_ms")

    def __init__(self, task: int, id: int, attempt: int = 1, timeout_ms: int = 0, start_by_ms: int = 0,
                 work: Any = None) -> None:
        self.task, self.id, self.attempt, self.work = task, id, attempt, work
        self.timeout_ms = timeout_ms or DEFAULT_TIMEOUT_MS
        self.start_by_ms = start_by_ms  # mono; 0: it may begin at any time
        self.why: ErrorCode | None = None
        self.hook: Callable[[], None] | None = None
        self.state = WAITING
        self.cancelled = False  # its task was
        self.started_ms = 0
        self.deadline_ms = 0  # RUNNING: of the attempt; ENDING: when it is abandoned

    def ref(self) -> wire.LeaseRef:
        """As frames name it."""
        return wire.LeaseRef(self.task, self.id, self.attempt)


class Outcome(NamedTuple):
    """How an attempt ended, when there is more to say than "succeeded, no result"."""

    succeeded: bool = False
    result: bytes = b""
    content_type: str = ""
    code: ErrorCode = ErrorCode.HANDLER_FAILED
    message: str = ""
    advice: RetryAdvice = RetryAdvice.DEFAULT
    retry_after_ms: int = 0


# (its lease, microseconds, None: succeeded with an empty result)
Ended = tuple[Lease, int, Outcome | None]


class ResultsFrame:
    """One RESULTS frame, kept until it is acknowledged. `seq` of the current session, 0: not sent in it."""

    __slots__ = ("seq", "done", "results", "leases", "bytes")

    def __init__(self) -> None:
        self.seq = 0
        self.done: list[tuple[int, int, int]] = []  # as wire.Done
        self.results: list[wire.Result] = []
        self.leases: list[Lease] = []
        self.bytes = 0  # of `results`, as they count for MAX_UNACKED_RESULT_BYTES


class Orders(NamedTuple):
    """What the executor has to do."""

    # Take them back when they have not started (then say on_withdrawn), else tell them to end.
    cancel: Sequence[tuple[Lease, ErrorCode]] = ()
    # Take these back when they have not started (then say on_withdrawn), else leave them alone.
    recall: Sequence[Lease] = ()
    # Take back so many that have not started, the last queued first.
    withdraw: int = 0


class Frames(NamedTuple):
    """What has to be sent, in this order: a smaller grant must reach the broker before the results that would
    make room under the larger one."""

    credit: tuple[int, int] | None = None  # tasks, bytes
    release: Sequence[wire.LeaseRef] = ()
    results: Sequence[ResultsFrame] = ()


class Counters:
    """What has happened so far."""

    __slots__ = ("assigned", "duplicates", "over_credit", "ended", "timed_out", "cancelled", "abandoned", "dropped",
                 "released", "refused")

    def __init__(self) -> None:
        self.assigned = self.duplicates = self.over_credit = self.ended = self.timed_out = 0
        self.cancelled = self.abandoned = self.dropped = self.released = self.refused = 0


class Ledger:
    """See above. `concurrency` slots; `max_credit_tasks`: the most it ever asks for."""

    def __init__(self, concurrency: int, max_credit_tasks: int = MAX_SELF_SIZED_CREDIT) -> None:
        if not 0 < concurrency <= max_credit_tasks <= MAX_SELF_SIZED_CREDIT:
            raise ValueError(f"concurrency must be 1..{MAX_SELF_SIZED_CREDIT}, and not over the credit")
        self.concurrency = concurrency
        self.credit = CreditSizer(max_credit_tasks)
        self.counters = Counters()
        self.draining = False
        self.waiting = 0
        self.unacked = 0
        self.unacked_bytes = 0
        self._leases: dict[int, Lease] = {}
        self._running: dict[int, Lease] = {}  # RUNNING and ENDING ones
        self._stuck: dict[int, Lease] = {}  # over, yet their handlers may run
        # Those with a start-by time, the next one first; also some that wait no more.
        self._expiring: list[tuple[int, int, Lease]] = []
        self._fresh_started: deque[Lease] = deque()
        self._to_cancel: list[tuple[Lease, ErrorCode]] = []
        self._to_recall: list[Lease] = []
        self._releasing: list[Lease] = []
        self._refused: list[wire.LeaseRef] = []  # never entered _leases: to be released
        self._unsent: deque[ResultsFrame] = deque()
        self._sent: deque[ResultsFrame] = deque()
        self._up = False
        self._next_seq = 1
        self._heard_ms = 0
        self._cancelled_ms = 0
        self._down_since_ms = 0
        self._visibility_timeout_ms = 0  # 0: there was no session yet
        self._surplus_asked_ms = 0
        self._draining_since_ms = 0
        self._drain_offline_ms = NEVER

    # --- The session ---

    def held(self) -> list[wire.LeaseRef]:
        """Everything held, by rising lease, for WORKER_HELLO."""
        return [self._leases[id].ref() for id in sorted(self._leases)]

    def on_session_up(self, visibility_timeout_ms: int, stale: Iterable[int], now_ms: int) -> None:
        """The session is open. `stale` leases are dropped; every unacknowledged result is due again."""
        self._up = True
        self._heard_ms = now_ms
        self._visibility_timeout_ms = visibility_timeout_ms
        self._next_seq = 1
        self.credit.reset()
        self._unsent.extendleft(reversed(self._sent))
        self._sent.clear()
        stale_results: set[int] = set()
        for id in stale:
            lease = self._leases.get(id)
            if lease is None:
                continue
            if lease.state == ENDED:
                stale_results.add(id)
            else:
                self._drop(lease, ErrorCode.STALE)
        if stale_results:
            self._drop_results(stale_results)
        self._fresh_started = deque(self._running.values())

    def on_session_down(self, now_ms: int) -> None:
        """It is gone."""
        if not self._up:
            return
        self._up = False
        self._down_since_ms = now_ms
        self.credit.reset()
        self._refused.clear()  # WORKER_HELLO will not name them, so the broker takes them back

    def on_heard(self, now_ms: int) -> None:
        """A frame of the session arrived: the broker is there, and the leases live on."""
        self._heard_ms = now_ms

    def on_assigned(self, leases: Iterable[Lease], now_ms: int) -> list[Lease]:
        """Those that are to be queued for execution. Not: duplicates, and what is given back at once (draining,
        or beyond what WORKER_HELLO could name)."""
        accepted: list[Lease] = []
        held, stuck, counters = self._leases, self._stuck, self.counters
        for lease in leases:
            counters.assigned += 1
            id = lease.id
            if id in held or id in stuck:
                counters.duplicates += 1
            elif len(held) >= MAX_CREDIT_TASKS:
                counters.over_credit += 1
                self._refused.append(lease.ref())
            else:
                held[id] = lease
                accepted.append(lease)
                if lease.start_by_ms:
                    heappush(self._expiring, (lease.start_by_ms, id, lease))
        if self.draining:
            for lease in accepted:
                lease.state = RELEASING
            self._releasing += accepted
            return []
        if accepted and not self.waiting:
            self.credit.on_progress(now_ms)
        self.waiting += len(accepted)
        return accepted

    def on_result_ack(self, seq: int, stale: int) -> None:
        """Results up to `seq` are durable; `stale` of them were refused."""
        self.counters.refused += stale
        sent, held = self._sent, self._leases
        while sent and sent[0].seq <= seq:
            frame = sent.popleft()
            for lease in frame.leases:
                held.pop(lease.id, None)
            self.unacked -= len(frame.leases)
            self.unacked_bytes -= frame.bytes

    def on_cancel(self, ids: Iterable[int], code: ErrorCode, now_ms: int) -> None:
        """CANCELLED: these tasks are cancelled, and their attempts are to be ended and reported. Any other code: the
        broker has taken the leases away. Unknown ones are ignored."""
        for id in ids:
            lease = self._leases.get(id)
            # A result that is on its way crossed with the CANCEL; its RESULT_ACK settles it.
            if lease is None or lease.state == ENDED:
                continue
            if code is ErrorCode.CANCELLED:
                self._cancel(lease, now_ms)
            else:
                self._drop(lease, code)

    def on_recall(self, ids: Iterable[int]) -> None:
        """Another worker has nothing to do: those that have not started are to be given back."""
        for id in ids:
            lease = self._leases.get(id)
            if lease is not None and lease.state == WAITING:
                self._to_recall.append(lease)

    def _cancel(self, lease: Lease, now_ms: int) -> None:
        # What is ending or on its way back does not run on, and the broker knows what that means now.
        if lease.cancelled or lease.state in (ENDING, RELEASING):
            return
        lease.cancelled = True
        self._cancelled_ms = now_ms
        self._to_cancel.append((lease, ErrorCode.CANCELLED))
        if lease.state == RUNNING:
            self._start_ending(lease, now_ms)

    def _start_ending(self, lease: Lease, now_ms: int) -> None:
        lease.state = ENDING
        lease.deadline_ms = now_ms + ABANDON_AFTER_MS

    def _drop(self, lease: Lease, why: ErrorCode) -> None:
        """The broker no longer counts this lease as ours. Its handler may still run."""
        if lease.state == WAITING:
            self.waiting -= 1
        del self._leases[lease.id]
        self._running.pop(lease.id, None)
        if lease.state == RELEASING:
            lease.state = GONE
            return
        lease.state = STUCK
        self._stuck[lease.id] = lease
        self._to_cancel.append((lease, why))

    def _drop_results(self, ids: set[int]) -> None:
        """Only right after a session came up, when everything is unsent."""
        for frame in self._unsent:
            before, bytes_before = len(frame.leases), frame.bytes
            frame.done = [done for done in frame.done if done[1] not in ids]
            frame.results = [result for result in frame.results if result.lease_id not in ids]
            frame.leases = [lease for lease in frame.leases if lease.id not in ids]
            frame.bytes = sum(map(_bytes_of, frame.results))
            self.unacked -= before - len(frame.leases)
            self.unacked_bytes -= bytes_before - frame.bytes
        self._unsent = deque(frame for frame in self._unsent if frame.leases)
        self.counters.refused += len(ids)
        for id in ids:
            self._leases.pop(id).state = GONE

    # --- The executor ---

    def on_started(self, lease: Lease, started_ms: int) -> None:
        """An attempt was seen running. Optional for attempts that end soon: their timeout is not watched."""
        if lease.state != WAITING:
            return
        self.waiting -= 1
        lease.state = RUNNING
        lease.started_ms = started_ms
        lease.deadline_ms = started_ms + lease.timeout_ms
        self._running[lease.id] = lease
        self._fresh_started.append(lease)
        self.credit.on_progress(started_ms)
        if lease.cancelled:  # just before its start: the executor tells it, or has
            self._start_ending(lease, max(started_ms, self._cancelled_ms))

    def on_ended(self, ended: Sequence[Ended], now_ms: int) -> None:
        """Attempts have returned, with these outcomes."""
        if not ended:
            return
        self.credit.on_progress(now_ms)
        frame, count, sum_us = self._open_frame(), 0, 0
        for lease, run_us, outcome in ended:
            state = lease.state
            if state == WAITING:
                self.waiting -= 1
            elif state <= ENDING:
                del self._running[lease.id]
            else:
                self._ended_in_vain(lease)
                continue
            count += 1
            sum_us += run_us
            if lease.cancelled or state == ENDING:
                outcome = self._forced_outcome(lease, outcome)
            lease.state = ENDED
            if outcome is None:
                frame.done.append((lease.task, lease.id, run_us))
            else:
                self._append_result(frame, lease, run_us, outcome)
            frame.leases.append(lease)
            if len(frame.leases) >= MAX_RESULT_TASKS or frame.bytes >= BATCH_TARGET_BYTES:
                frame = self._open_frame()
        self.unacked += count
        self.counters.ended += count
        if count:
            self.credit.on_runs(count, sum_us / count)

    def on_withdrawn(self, leases: Iterable[Lease]) -> None:
        """These had not started and will not."""
        for lease in leases:
            if lease.state != WAITING:
                self._ended_in_vain(lease)
            elif lease.cancelled:
                self.waiting -= 1
                self.counters.cancelled += 1
                self._finish(lease, 0, _cancelled("the task was cancelled before it ran"))
            else:
                self.waiting -= 1
                lease.state = RELEASING
                self._releasing.append(lease)

    def _ended_in_vain(self, lease: Lease) -> None:
        self.counters.dropped += 1
        self._stuck.pop(lease.id, None)
        if lease.state == STUCK:
            lease.state = GONE

    def _forced_outcome(self, lease: Lease, outcome: Outcome | None) -> Outcome:
        """Of an attempt that was told to end, whatever it came to."""
        if not lease.cancelled:
            self.counters.timed_out += 1
            return _timed_out(lease, "")
        self.counters.cancelled += 1
        if outcome is None or outcome.succeeded:
            return _cancelled("the task was cancelled; its attempt succeeded all the same")
        return _cancelled(outcome.message or "the task was cancelled while it ran")

    def _finish(self, lease: Lease, run_us: int, outcome: Outcome) -> None:
        lease.state = ENDED
        frame = self._open_frame()
        self._append_result(frame, lease, run_us, outcome)
        frame.leases.append(lease)
        self.unacked += 1
        self.counters.ended += 1

    def _open_frame(self) -> ResultsFrame:
        """The frame that takes the next result."""
        if self._unsent:
            last = self._unsent[-1]
            if len(last.leases) < MAX_RESULT_TASKS and last.bytes < BATCH_TARGET_BYTES:
                return last
        frame = ResultsFrame()
        self._unsent.append(frame)
        return frame

    def _append_result(self, frame: ResultsFrame, lease: Lease, run_us: int, outcome: Outcome) -> None:
        outcome = bounded(outcome)
        code = 0 if outcome.succeeded else int(outcome.code)
        result = wire.Result(lease.task, lease.id, run_us, outcome.succeeded, outcome.result or None,
                             outcome.content_type or None, code, outcome.message or None, outcome.advice,
                             outcome.retry_after_ms)
        size = _bytes_of(result)
        frame.results.append(result)
        frame.bytes += size
        self.unacked_bytes += size

    # --- Time and drain ---

    def on_drain(self, now_ms: int, offline_ms: int = DRAIN_OFFLINE_MS) -> None:
        """DRAIN, SIGTERM, or this process is to be recycled. For good. `offline_ms`: how long the last results wait for a
        broker; a shorter time may follow a longer one."""
        if self.draining and offline_ms >= self._drain_offline_ms:
            return
        self.draining = True
        self._drain_offline_ms = offline_ms
        self._draining_since_ms = now_ms

    def on_stop(self) -> None:
        """Orders every attempt to be ended; each is still awaited and reported."""
        self._to_cancel += [(lease, ErrorCode.UNAVAILABLE) for lease in self._leases.values()
                            if lease.state in (WAITING, RUNNING)]

    def on_tick(self, now_ms: int) -> None:
        """Time has passed."""
        for lease in [lease for lease in self._running.values() if lease.deadline_ms <= now_ms]:
            if lease.state == RUNNING:
                self._to_cancel.append((lease, ErrorCode.ATTEMPT_TIMED_OUT))
                self._start_ending(lease, now_ms)
            else:
                self._abandon(lease, now_ms)

    def _abandon(self, lease: Lease, now_ms: int) -> None:
        """It holds its slot until it returns; the broker does not wait for that."""
        del self._running[lease.id]
        self.counters.abandoned += 1
        run_us = min((now_ms - lease.started_ms) * 1000, _MAX_RUN_US)
        if lease.cancelled:
            self.counters.cancelled += 1
            outcome = _cancelled("the task was cancelled; its attempt does not end although it was told to, and was "
                                 "abandoned")
        else:
            self.counters.timed_out += 1
            outcome = _timed_out(lease, ", does not end although it was told to, and was abandoned")
        self._finish(lease, run_us, outcome)
        self._stuck[lease.id] = lease

    def drained(self, now_ms: int) -> bool:
        """Draining and nothing is held any more, so GOODBYE is due; or it waited so long in vain for a broker to take
        the last results (`unacked` says how many)."""
        if not self.draining:
            return False
        if not self._leases and not self._refused:
            return True
        if self._up or self.waiting or self._running:
            return False
        return now_ms >= self._gives_up_ms()

    def _gives_up_ms(self) -> int:
        if self._drain_offline_ms == NEVER:
            return NEVER
        return max(self._down_since_ms, self._draining_since_ms) + self._drain_offline_ms

    def next_deadline_ms(self) -> int:
        """When on_tick and take_orders are due without any other event."""
        due = NEVER
        if self._running:
            due = min(lease.deadline_ms for lease in self._running.values())
        if self._up and not self.draining and self.waiting > self._slots():
            due = min(due, max(self.credit.stall_ms(), self._surplus_asked_ms + TARGET_MS))
        if self.draining and not self._up and not self.waiting and not self._running:
            due = min(due, self._gives_up_ms())
        if self._expiring:
            due = min(due, self._next_start_by_ms())
        return due

    def _next_start_by_ms(self) -> int:
        expiring = self._expiring
        if len(expiring) > 2 * self.waiting + _SPARE_EXPIRING:
            expiring[:] = [entry for entry in expiring if entry[2].state == WAITING]
            heapify(expiring)
        while expiring and expiring[0][2].state != WAITING:
            heappop(expiring)
        return expiring[0][0] if expiring else NEVER

    def starts_until_ms(self) -> int:
        """Until when an attempt that waits may be started: the broker may have given its lease to somebody else after
        that. 0: not now."""
        if self.unacked_bytes >= MAX_UNACKED_RESULT_BYTES or not self._visibility_timeout_ms:
            return 0
        return self._heard_ms + self._visibility_timeout_ms

    # --- Output ---

    def holds(self, id: int) -> bool:
        """Whether anything of it may still be reported: it runs, or its result is not acknowledged."""
        return id in self._leases

    @property
    def running(self) -> int:
        """Attempts that were seen running."""
        return len(self._running)

    @property
    def stuck(self) -> int:
        """Slots held by handlers of attempts that are over."""
        return len(self._stuck)

    @property
    def outstanding(self) -> int:
        """Sent by the broker and neither ended nor given back: what the grant bounds."""
        return len(self._leases) - self.unacked

    def _slots(self) -> int:
        return max(0, self.concurrency - len(self._stuck))

    def _credit_ceiling(self) -> int:
        """Outstanding and unacknowledged leases together stay within what WORKER_HELLO may name: results free credit at
        the broker at once, but stay here until they are durable."""
        if self.draining or self.unacked_bytes >= MAX_UNACKED_RESULT_BYTES:
            return 0
        return MAX_CREDIT_TASKS - min(self.unacked, MAX_CREDIT_TASKS)

    def take_orders(self, now_ms: int) -> Orders:
        """What the executor has to do now."""
        cancel, self._to_cancel = self._to_cancel, []
        recall, self._to_recall = self._to_recall, []
        while self._expiring and self._next_start_by_ms() <= now_ms:
            # One that cannot be taken back has started, and is about to say so.
            recall.append(heappop(self._expiring)[2])
        withdraw = 0
        if self.draining:
            withdraw = self.waiting
        elif self._up and self.waiting > (slots := self._slots()) and self.credit.stalled(self.waiting, now_ms):
            withdraw = self.waiting - slots
            self._surplus_asked_ms = now_ms
        return Orders(cancel, recall, withdraw)

    @property
    def has_results(self) -> bool:
        """Whether there are some to be sent."""
        return bool(self._unsent)

    def take_frames(self, now_ms: int, results_too: bool = True) -> Frames:
        """What is to be sent, which then counts as sent; nothing without a session. Results may wait for more of them."""
        if not self._up:
            return Frames()
        credit = None
        tasks = self.credit.next(self._slots(), self._credit_ceiling(), self.waiting, now_ms)
        if tasks is not None:
            credit = (tasks, MAX_CREDIT_BYTES if tasks else 0)
        results: list[ResultsFrame] = []
        while results_too and self._unsent:
            frame = self._unsent.popleft()
            if frame.leases:
                frame.seq = self._next_seq
                self._next_seq += 1
                self._sent.append(frame)
                results.append(frame)
        return Frames(credit, self._take_releases(), results)

    def _take_releases(self) -> list[wire.LeaseRef]:
        release, self._refused = self._refused, []
        releasing, self._releasing = self._releasing, []
        for lease in releasing:
            if lease.state == RELEASING:
                lease.state = GONE
                del self._leases[lease.id]
                release.append(lease.ref())
        self.counters.released += len(release)
        return release

    def take_heartbeat(self) -> wire.Heartbeat:
        """The next HEARTBEAT: attempts that began since the last one and still run, at most MAX_STARTED_REPORTS."""
        started: list[wire.LeaseRef] = []
        fresh = self._fresh_started
        while fresh and len(started) < MAX_STARTED_REPORTS:
            lease = fresh.popleft()
            if lease.state in (RUNNING, ENDING):
                started.append(lease.ref())
        return wire.Heartbeat(started, len(self._running), self.waiting)


def _bytes_of(result: wire.Result) -> int:
    return (_ENTRY_BYTES + len(result.result or b"") + len(result.content_type or "")
            + len(result.error_message or ""))


def _timed_out(lease: Lease, what_else: str) -> Outcome:
    message = f"the attempt ran longer than its timeout of {lease.timeout_ms / 1000:g} s{what_else}"
    return Outcome(code=ErrorCode.ATTEMPT_TIMED_OUT, message=message)


def _cancelled(message: str) -> Outcome:
    return Outcome(code=ErrorCode.CANCELLED, message=message)


def cut_utf8(text: str, max_bytes: int) -> str:
    """`text` as what fits into so many bytes of UTF-8, cut between characters; what UTF-8 has not becomes "?"."""
    data = text.encode("utf-8", "replace")
    return data[:max_bytes].decode("utf-8", "ignore")


def bounded(outcome: Outcome) -> Outcome:
    """An outcome within what a RESULTS entry may be; one that is too large becomes a failure."""
    if not outcome.succeeded:
        code = outcome.code if outcome.code is not ErrorCode.OK else ErrorCode.HANDLER_FAILED
        return outcome._replace(result=b"", content_type="", code=code,
                                message=cut_utf8(outcome.message, MAX_ERROR_MESSAGE_BYTES))
    if len(outcome.result) > MAX_RESULT_BYTES:
        return Outcome(code=ErrorCode.TOO_LARGE, advice=RetryAdvice.NEVER, message=(
            f"the result has {len(outcome.result)} bytes; at most {MAX_RESULT_BYTES} are kept: store it elsewhere "
            "and return its address"))
    if len(outcome.content_type.encode("utf-8", "surrogatepass")) > MAX_CONTENT_TYPE_BYTES:
        return Outcome(code=ErrorCode.INVALID_ARGUMENT, advice=RetryAdvice.NEVER, message=(
            f"the content type of the result is over {MAX_CONTENT_TYPE_BYTES} bytes"))
    return outcome
