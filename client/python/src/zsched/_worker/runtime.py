"""The session's thread of a worker: it owns the socket and the ledger, and never runs a user's function. So heartbeats do not
depend on what those do, as long as they leave the interpreter's lock for a moment now and then (Python code does by itself).

    broker <--frames--> Dealer <--> Runtime --> Ledger (what is owed) , Reports, Outputs (what attempts say)
                                      |
                                      +--push, cancel--> Pool --ended, notes--> (next round)

Threads: run() is the thread; ask() and what is public from any.
"""
from __future__ import annotations

import enum
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zsched._address import HostPort
from zsched._dealer import Dealer, mono_ms
from zsched._frame import Frame
from zsched._session import Kind, SessionOptions
from zsched._wire import schema as wire
from zsched._wire.constants import VISIBILITY_TIMEOUT_MS, MessageType
from zsched._wire.layout import MalformedBody
from zsched._wire.reader import read, read_optional
from zsched._wire.writer import write
from zsched._worker import frames
from zsched._worker.ledger import ABANDON_AFTER_MS, NEVER, Ledger, Orders
from zsched._worker.pool import Pool
from zsched._worker.recycling import Recycling, resident_bytes
from zsched._worker.reports import REPORT_EVERY_MS, Outputs, Reports
from zsched.errors import MalformedFrame, TimedOut, Unavailable, ZschedError, code_of, error_of
from zsched.types import TaskId

log = logging.getLogger("zsched.worker")

# How soon this thread looks which attempts have begun, while some wait to: bounds how late a timeout is noticed and how long an
# outcome may wait while there is more to claim.
_OBSERVE_MS = 10
# A full socket is tried again after this.
_SEND_RETRY_MS = 10
# Results of attempts that end faster than this share a frame, while there is more to do. Each frame here makes one of the
# broker, and to send or receive one costs a turn at the interpreter's lock.
_RESULTS_EVERY_MS = 2
# A broker that is there but does not acknowledge results for this long has lost or refused a frame: a new session settles what
# it has. Longer than any commit may take, shorter than anybody's patience.
_RESULT_ACK_TIMEOUT_MS = 30_000
# How long a drained worker waits for the broker to have heard that it takes nothing more.
_LAST_CALL_MS = 2_000
# How long GOODBYE may wait for its echo.
_GOODBYE_MS = 2_000
# After a drain all functions have returned, or were abandoned.
_SHUTDOWN_SECONDS = 0.1


class Asked(enum.IntEnum):
    """What the outside wants of a worker; the higher wins."""

    NOTHING = 0
    DRAIN = 1
    STOP = 2


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """What a runtime is told at its start."""

    brokers: Sequence[HostPort]
    identity: frames.Identity
    recycling: Recycling  # of the whole worker


class Runtime:
    """See above. `make_pool` is given what wakes this thread."""

    def __init__(self, options: RuntimeOptions, make_pool: Callable[[Callable[[], None]], Pool]) -> None:
        self._options = options
        self.ledger = Ledger(options.identity.concurrency)
        self._reports = Reports()
        self._outputs = Outputs()
        self._unsent: deque[tuple[MessageType, bytes]] = deque()
        self._hellos = 0
        self._beats_sent = self._beats_answered = self._last_call = 0
        self._last_call_by_ms = 0
        self._stop_by_ms = NEVER
        self._oldest_unacked_ms = 0
        self._results_due_ms = 0
        self._notes_due_ms = 0
        self._starts_until_ms = 0
        self._resident = 0
        self._broken: ZschedError | None = None
        self._no_broker_reported = False
        self._stuck_reported = self._refused_reported = 0
        self.asked = self._asked_done = Asked.NOTHING
        self.recycles = False
        self.connected = False
        self.was_connected = threading.Event()
        self._dealer = Dealer(SessionOptions(brokers=options.brokers, kind=Kind.WORKER), self._hello, self, self._heartbeat)
        self.pool = make_pool(self._dealer.wake)

    # --- Any thread ---

    def ask(self, what: Asked) -> None:
        """Makes the worker drain, or stop."""
        self.asked = max(self.asked, what)
        self._dealer.wake()

    # --- The thread ---

    def run(self) -> None:
        """Serves until it has drained or was stopped. Unavailable when attempts were left whose results the broker has not."""
        self.pool.start()
        try:
            while not self._done(mono_ms()):
                self._dealer.poll(self._round())
        finally:
            held = self._finish()
        if held:
            raise Unavailable(f"{held} attempts were left without the broker having their results; "
                              "it will have these tasks done again")

    def _round(self) -> int:
        """What is due; returns when the next round is."""
        now_ms = mono_ms()
        ledger = self.ledger
        if self.asked is not self._asked_done:
            self._handle_asked(now_ms)
        self._collect(now_ms)
        self._recycle_when_due(now_ms)
        ledger.on_tick(now_ms)
        self._carry_out(ledger.take_orders(now_ms))
        self._send_due(now_ms)
        self._reset_when_unanswered(now_ms)
        self._set_starts_until()
        self._report_changes()
        return now_ms if self._done(now_ms) else self._next_ms(now_ms)

    def _next_ms(self, now_ms: int) -> int:
        ledger = self.ledger
        due = min(ledger.next_deadline_ms(), self._stop_by_ms)
        if self._last_call and not self.recycles and ledger.drained(now_ms):
            due = min(due, self._last_call_by_ms)
        if self._unsent:
            due = min(due, now_ms + _SEND_RETRY_MS)
        if self._dealer.ready and ledger.has_results:
            due = min(due, self._results_due_ms)
        if ledger.waiting and self._starts_until_ms > now_ms:
            due = min(due, now_ms + _OBSERVE_MS)
        if self.pool.notes:
            due = min(due, self._notes_due_ms)
        if self._dealer.ready:
            due = min(due, self._reports.next_deadline_ms(), self._outputs.next_deadline_ms())
        return due

    def _collect(self, now_ms: int) -> None:
        """What the pool has done since the last round."""
        pool, ledger = self.pool, self.ledger
        ended = pool.take_ended()
        if pool.notes and (now_ms >= self._notes_due_ms or ended):
            self._collect_notes(now_ms)
        for lease, _, _ in ended if self._reports or self._outputs else ():
            self._reports.on_ended(lease.id)
            self._outputs.on_ended(lease.id)
        ledger.on_withdrawn(pool.take_late())
        ledger.on_ended(ended, now_ms)
        # Afterwards: what has ended since is reported by the next round.
        if ledger.waiting:
            for lease, started_ms in pool.observe():
                ledger.on_started(lease, started_ms)

    def _collect_notes(self, now_ms: int) -> None:
        """Also when attempts have ended, because it goes before their results."""
        self._notes_due_ms = now_ms + REPORT_EVERY_MS
        for note in self.pool.notes.take():
            task, id = note.lease.task, note.lease.id
            if not self.ledger.holds(id):
                continue
            if note.pages:
                self._outputs.on_written(task, id, note.pages)
            if any(part is not None for part in note.report):
                self._reports.on_note(task, id, note.report)

    def _carry_out(self, orders: Orders) -> None:
        pool, ledger = self.pool, self.ledger
        if orders.cancel:
            ledger.on_withdrawn(pool.cancel(orders.cancel))
        if orders.recall:
            ledger.on_withdrawn(pool.take_back(orders.recall))
        if orders.withdraw:
            ledger.on_withdrawn(pool.withdraw(orders.withdraw))

    def _set_starts_until(self) -> None:
        until = self.ledger.starts_until_ms()
        if until != self._starts_until_ms:
            self._starts_until_ms = until
            self.pool.set_starts_until(until)

    # --- Sending ---

    def _send_due(self, now_ms: int) -> None:
        dealer = self._dealer
        while self._unsent and dealer.send(*self._unsent[0]):
            self._unsent.popleft()
        # With the socket full, nothing new is taken from the ledger, where it is bounded.
        if self._unsent or not dealer.ready:
            return
        due = self.ledger.take_frames(now_ms, now_ms >= self._results_due_ms or not self.ledger.outstanding)
        if due.credit is not None:
            self._send(MessageType.CREDIT, write(wire.Credit(*due.credit)))
        if due.release:
            self._send(MessageType.RELEASE, write(wire.Release(due.release)))
        if self._reports:
            for progress in self._reports.take(now_ms):
                self._send(MessageType.PROGRESS, write(progress))
        if self._outputs:
            for output in self._outputs.take(now_ms):
                self._send(MessageType.OUTPUT, write(output))
        if due.results:
            self._results_due_ms = now_ms + _RESULTS_EVERY_MS
            self._oldest_unacked_ms = self._oldest_unacked_ms or now_ms
        for results in due.results:
            self._send(MessageType.RESULTS, frames.results(results))
        if self.ledger.draining and not self._last_call:
            self._send_last_call(now_ms)

    def _send_last_call(self, now_ms: int) -> None:
        """A heartbeat right behind the grant of 0. When its answer is there, so is every task that was sent before the broker
        knew: it can be given back properly, instead of being lost with GOODBYE."""
        self._send(MessageType.HEARTBEAT, self._heartbeat())
        self._last_call = self._beats_sent
        self._last_call_by_ms = now_ms + _LAST_CALL_MS

    def _send(self, type_: MessageType, body: bytes) -> None:
        if self._unsent or not self._dealer.send(type_, body):
            self._unsent.append((type_, body))

    def _reset_when_unanswered(self, now_ms: int) -> None:
        if self._broken is None and self._oldest_unacked_ms and self._dealer.ready \
                and now_ms - self._oldest_unacked_ms >= _RESULT_ACK_TIMEOUT_MS:
            self._broken = TimedOut("the broker does not acknowledge results")
        if self._broken is not None:
            broken, self._broken = self._broken, None
            self._dealer.restart(broken)

    def _hello(self) -> bytes:
        self._beats_sent = self._beats_answered = self._last_call = 0
        self._hellos += 1
        return frames.hello(self._options.identity, self.ledger.draining, self.ledger.held(), self._hellos)

    def _heartbeat(self) -> bytes:
        self._beats_sent += 1
        if self._options.recycling.after_memory:
            self._resident = resident_bytes()
        return write(self.ledger.take_heartbeat())

    # --- The dealer's handler ---

    def on_up(self, welcome: Any) -> None:
        """A session is open."""
        self._forget_session()
        now_ms = mono_ms()
        self.ledger.on_session_up(welcome.visibility_timeout_ms or VISIBILITY_TIMEOUT_MS, welcome.stale, now_ms)
        self._reports.on_session_up()
        self._outputs.on_session_up()
        self._forget_what_is_not_held()
        self._no_broker_reported = False
        self.connected = True
        self.was_connected.set()
        self.pool.session = self._dealer.session.id
        _say(logging.INFO, "connected to the active broker", session=TaskId(self.pool.session))

    def on_down(self, reason: ZschedError) -> None:
        """It is gone. What runs goes on."""
        self._forget_session()
        self.connected = False
        self.ledger.on_session_down(mono_ms())
        _say(logging.WARNING, "lost the broker; running attempts go on", reason=reason)

    def on_retry(self, reason: ZschedError) -> None:
        """There is none yet."""
        if not self._no_broker_reported:
            self._no_broker_reported = True
            _say(logging.WARNING, "no broker takes this worker; trying on", reason=reason)

    def on_frame(self, frame: Frame) -> None:
        """The broker says something."""
        self.ledger.on_heard(mono_ms())
        handle = _HANDLERS.get(frame.type)
        if handle is None:
            return  # what newer brokers may say
        try:
            handle(self, frame.body)
        except MalformedBody as error:
            # Only a new session settles what it would have said.
            name = MessageType(frame.type).name
            self._broken = MalformedFrame(f"a {name} frame of the broker cannot be read: {error}")

    def _on_tasks(self, body: bytes) -> None:
        now_ms = mono_ms()
        accepted = self.ledger.on_assigned(frames.leases_of(body, now_ms), now_ms)
        self._set_starts_until()
        if accepted:
            self.pool.push(accepted)

    def _on_result_ack(self, body: bytes) -> None:
        ack = read(wire.ResultAck, body)
        self.ledger.on_result_ack(ack.seq, len(ack.stale))
        self._oldest_unacked_ms = mono_ms() if self.ledger.unacked else 0
        self._forget_what_is_not_held()

    def _on_cancel(self, body: bytes) -> None:
        cancel = read(wire.Cancel, body)
        self.ledger.on_cancel(cancel.leases, code_of(cancel.code), mono_ms())

    def _on_recall(self, body: bytes) -> None:
        self.ledger.on_recall(read(wire.Recall, body).leases)

    def _on_drain(self, body: bytes) -> None:
        read_optional(wire.Drain, body)
        self._start_drain("the broker asked for it", mono_ms())

    def _on_heartbeat_ack(self, body: bytes) -> None:
        self._beats_answered += 1

    def _on_error(self, body: bytes) -> None:
        """The broker could not take one of our frames. What it was and what it changed is not known, so both sides begin again
        from what hello and welcome say."""
        error = read(wire.Error, body)
        self._broken = error_of(error.code, f"the broker refused a frame: {error.message or 'no reason given'}")

    def _forget_session(self) -> None:
        self._unsent.clear()
        self._oldest_unacked_ms = self._results_due_ms = 0

    def _forget_what_is_not_held(self) -> None:
        holds = self.ledger.holds
        if self._reports:
            self._reports.forget(holds)
        if self._outputs:
            self._outputs.forget(holds)
        self.pool.notes.forget(holds)

    # --- Ends ---

    def _handle_asked(self, now_ms: int) -> None:
        asked = self._asked_done = self.asked
        self._start_drain("this process was told to stop" if asked is Asked.STOP else "this process was asked to end", now_ms)
        if asked is Asked.STOP:
            self.ledger.on_stop()
            self._stop_by_ms = now_ms + ABANDON_AFTER_MS

    def _start_drain(self, why: str, now_ms: int) -> None:
        # Whoever asks for the end gets it, from a worker that is about to begin anew too.
        if self.ledger.draining and not self.recycles:
            return
        self.recycles = False
        self.ledger.on_drain(now_ms)
        _say(logging.INFO, "draining: finishing what runs, giving back the rest", reason=why)

    def _recycle_when_due(self, now_ms: int) -> None:
        """Only with a broker there: away from it, a drain would finish what runs and then do nothing."""
        if self.ledger.draining or not self._dealer.ready:
            return
        why = self._options.recycling.due(self.ledger.counters.ended, self._resident)
        if why is not None:
            self.recycles = True
            self.ledger.on_drain(now_ms, NEVER)
            _say(logging.INFO, "draining: finishing what runs, giving back the rest", reason=f"to begin anew {why}")

    def _done(self, now_ms: int) -> bool:
        if now_ms >= self._stop_by_ms:
            return True
        if not self.ledger.drained(now_ms) or self._unsent:
            return False
        heard = self._last_call != 0 and self._beats_answered >= self._last_call
        # One that goes on in a new process is in no hurry: it leaves when the broker has heard all.
        if self.recycles:
            return self._dealer.ready and heard
        return not self._dealer.ready or heard or (self._last_call != 0 and now_ms >= self._last_call_by_ms)

    def _finish(self) -> int:
        """Leaves the broker; returns how many attempts it does not know the results of."""
        held = self.ledger.outstanding + self.ledger.unacked
        self._dealer.close(_GOODBYE_MS)
        self.connected = False
        self.pool.shutdown(_SHUTDOWN_SECONDS)
        return held

    def _report_changes(self) -> None:
        stuck = self.ledger.stuck
        if stuck != self._stuck_reported:
            if stuck > self._stuck_reported:
                _say(logging.WARNING, "functions do not return although their attempts are over", slots_blocked=stuck)
            else:
                _say(logging.INFO, "functions of attempts long over returned", slots_blocked=stuck)
            self._stuck_reported = stuck
        refused = self.ledger.counters.refused
        if refused != self._refused_reported:
            _say(logging.WARNING, "the broker refused results of attempts that others had taken over",
                 results=refused - self._refused_reported)
            self._refused_reported = refused


_HANDLERS: dict[int, Callable[[Runtime, bytes], None]] = {
    MessageType.TASKS: Runtime._on_tasks, MessageType.RESULT_ACK: Runtime._on_result_ack,
    MessageType.CANCEL: Runtime._on_cancel, MessageType.RECALL: Runtime._on_recall, MessageType.DRAIN: Runtime._on_drain,
    MessageType.ERROR: Runtime._on_error, MessageType.HEARTBEAT_ACK: Runtime._on_heartbeat_ack,
}


def _say(level: int, message: str, **fields: object) -> None:
    log.log(level, message, extra={"zsched_fields": fields})
