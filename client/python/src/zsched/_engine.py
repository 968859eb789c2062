"""What is behind Client and AsyncClient: one background thread that owns the socket, and takes over what callers hand in.

    callers --put-----> intake ---> Submitter ------+
            --wait----> works ----> OutcomeTracker --+--> Dealer --> broker
            --ask-----> works ----> RequestTable ---+

A thread also under asyncio: heartbeats then do not depend on what else runs in the loop, and there is one of everything.

Threads: `put`, `post`, `ask`, `wait`, `flush`, `close` and the properties from any; the rest from the engine's own. Callbacks
run on it: they must be short and must not raise.
"""
from __future__ import annotations

import atexit
import logging
import os
import secrets
import socket
import struct
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import zmq

from zsched._address import HostPort
from zsched._dealer import Dealer, mono_ms
from zsched._frame import Frame
from zsched._outcomes import OutcomeTracker, WaitGroup
from zsched._requests import Request, RequestTable
from zsched._session import NEVER, SessionOptions
from zsched._submitter import Batch, Submitter
from zsched._version import VERSION
from zsched._wire import schema as wire
from zsched._wire.constants import MAX_NAME_BYTES, OBSERVERS, MessageType
from zsched._wire.layout import MalformedBody
from zsched._wire.reader import read, read_optional
from zsched._wire.writer import write
from zsched.errors import Conflict, InvalidArgument, PermissionDenied, TimedOut, Unavailable, ZschedError, error_of
from zsched.types import Outcome

log = logging.getLogger("zsched.client")

# SUBMIT is answered under its seq and everything else under its request number, in one field of ERROR: two ranges keep
# them apart.
_FIRST_REQUEST = 1 << 62
# How long a clean end waits for the broker's GOODBYE once everything is acknowledged.
_GOODBYE_MS = 500

_REPLIES: dict[int, type[Any]] = {
    MessageType.TASK_INFOS: wire.TaskInfos, MessageType.EXPLANATION: wire.Explanation,
    MessageType.HISTORY_INFO: wire.HistoryInfo, MessageType.LOG_PAGES: wire.LogPages, MessageType.ITEM_REPLY: wire.ItemReply,
    MessageType.STATUS_REPLY: wire.StatusReply, MessageType.QUEUE_INFOS: wire.QueueInfos,
    MessageType.TYPE_INFOS: wire.TypeInfos, MessageType.SCHEDULE_INFOS: wire.ScheduleInfos,
    MessageType.WORKER_INFOS: wire.WorkerInfos, MessageType.DEAD_LETTERS: wire.DeadLetters,
    MessageType.EVENT_PAGE: wire.EventPage,
}


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a client is told at its start; the public classes have the defaults."""

    brokers: Sequence[HostPort]
    name: str
    observe: bool
    max_queued_tasks: int
    max_queued_bytes: int
    retry_exhausted: bool
    request_timeout_ms: int
    resend_ms: int


def default_name() -> str:
    """"PROGRAM@HOST"."""
    program = os.path.basename(sys.argv[0] if sys.argv and sys.argv[0] else "python")
    name = "".join(char for char in f"{program}@{socket.gethostname()}" if char.isprintable())
    return name.encode("utf-8", "replace")[:MAX_NAME_BYTES].decode("utf-8", "ignore")


class Engine:
    """See above. Starts its thread at once; it connects by itself. Unavailable when the system gives no socket or thread."""

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        # 128 random bits by which the broker knows this client's submits.
        self.id = wire.Uuid(secrets.randbits(64) | 1, secrets.randbits(64))
        self._pid = os.getpid()
        self._requests_made = count(_FIRST_REQUEST)
        # Below the bound, and woken when there is room.
        self._lock = threading.Lock()
        self._incoming: deque[Batch] = deque()
        self._incoming_tasks = self._incoming_bytes = 0
        self._queued_tasks = self._queued_bytes = 0
        self._room: deque[Callable[[], None]] = deque()
        self._works: deque[Callable[[], None]] = deque()
        self._sleeping, self._wake_tasks, self._wake_bytes = False, 1, 1
        self._shut = self._stop = False
        self._finished = False
        self._unfinished: dict[Batch, None] = {}  # of the engine's thread
        self._up_waiters: list[Callable[[], None]] = []
        self.submitted = self.malformed = self.connects = 0
        self._now_ms = mono_ms()

        self._submitter = Submitter(self._on_room, options.resend_ms, options.retry_exhausted)
        self._outcomes = OutcomeTracker(self.next_request, options.resend_ms)
        self._requests = RequestTable()
        self._close_lock = threading.Lock()
        self._closed = False
        self._closing = threading.Event()
        self._goodbye_ms = 0
        self._thread = threading.Thread(target=self._run, name="zsched-client", daemon=True)
        try:
            self._dealer = Dealer(SessionOptions(brokers=options.brokers, observe=options.observe), self._hello, self)
            self._thread.start()
        except (OSError, RuntimeError, zmq.ZMQError) as error:
            raise Unavailable(f"the system gives no socket or thread: {error}") from error
        _engines.add(self)

    def _hello(self) -> bytes:
        return write(wire.Hello(id=self.id, name=self.options.name, version=VERSION, observe=self.options.observe))

    # --- Callers' threads ---

    def check(self, type_: MessageType | None = None) -> None:
        """Conflict in a forked child and on the engine's thread, Unavailable once closed, PermissionDenied for what an observer
        may not send."""
        if os.getpid() != self._pid:
            raise Conflict("this client was made before the process was forked, and its thread is not here; "
                           "make a client in the child")
        if threading.current_thread() is self._thread:
            raise Conflict("a callback of the client must not call it; hand the work to another thread")
        if self._shut:
            raise Unavailable("the client is closed")
        if self.options.observe and type_ is not None and type_ not in OBSERVERS:
            raise PermissionDenied("this client only observes; make one that does not")

    @property
    def closed(self) -> bool:
        """Whether somebody has begun to close the client."""
        return self._closing.is_set() or self._stop

    @property
    def failed(self) -> bool:
        """Whether the thread has ended by an error in it: nothing will be answered any more."""
        return self._finished and not self._stop

    def pause(self, seconds: float) -> None:
        """Waits so long, or until the client is closed."""
        self._closing.wait(seconds)

    def next_request(self) -> int:
        """A number that no other request of this client has."""
        return next(self._requests_made)

    def put(self, batch: Batch, on_room: Callable[[], None] | None = None) -> bool:
        """Hands tasks over. False, and nothing was taken, when the queue is full: `on_room` is then called once when it is worth
        trying again. One larger than the whole queue enters when that is empty. Unavailable once closed."""
        tasks, size = len(batch.blocks), batch.bytes
        with self._lock:
            if self._shut:
                raise Unavailable("the client is closed")
            if self._queued_tasks and (self._queued_tasks + tasks > self.options.max_queued_tasks
                                       or self._queued_bytes + size > self.options.max_queued_bytes):
                if on_room is not None:
                    self._room.append(on_room)
                return False
            self._queued_tasks += tasks
            self._queued_bytes += size
            self.submitted += tasks
            self._incoming.append(batch)
            self._incoming_tasks += tasks
            self._incoming_bytes += size
            wake = self._sleeping and (self._incoming_tasks >= self._wake_tasks
                                       or self._incoming_bytes >= self._wake_bytes)
            if wake:
                self._sleeping = False
        if wake:
            self._dealer.wake()
        return True

    def post(self, work: Callable[[], None]) -> None:
        """Runs `work` on the engine's thread. Unavailable once it has ended."""
        with self._lock:
            if self._finished:
                raise Unavailable("the client is closed")
            self._works.append(work)
            wake, self._sleeping = self._sleeping, False
        if wake:
            self._dealer.wake()

    def ask(self, type_: MessageType, message: Any, reply: type[Any],
            on_reply: Callable[[Any, ZschedError | None], None]) -> Callable[[], None]:
        """Sends a request, `message` with its number. Returns what gives it up."""
        self.check(type_)
        number = self.next_request()
        try:
            body = write(message._replace(request=number))
        except (struct.error, AttributeError, TypeError) as error:
            raise InvalidArgument(f"{type_.name}: a value does not fit the wire: {error}") from error
        request = Request(type_, number, body, reply, mono_ms() + self.options.request_timeout_ms, on_reply)
        self.post(lambda: self._requests.add(request))
        return lambda: self.post(lambda: self._requests.drop(number))

    def wait(self, ids: Iterable[int], timeout: float | None, on_outcome: Callable[[Outcome], None],
             on_done: Callable[[ZschedError | None], None], enough: int | None = None) -> Callable[[], None]:
        """Waits for outcomes, `timeout` in seconds (WaitGroup). Returns what gives it up."""
        self.check(MessageType.WAIT)
        deadline = NEVER if timeout is None else mono_ms() + max(0, round(timeout * 1000))
        group = WaitGroup(ids, deadline, on_outcome, on_done, enough)
        self.post(lambda: self._outcomes.add(group))
        return lambda: self.post(lambda: self._outcomes.drop(group))

    def forget_room(self, on_room: Callable[[], None]) -> None:
        """Nobody waits for room any more."""
        with self._lock:
            if on_room in self._room:
                self._room.remove(on_room)

    def when_up(self, done: Callable[[], None]) -> Callable[[], None]:
        """Calls `done` once a session is open. Returns what gives it up."""
        self.check()

        def add() -> None:
            if self._dealer.ready:
                done()
            else:
                self._up_waiters.append(done)

        def drop() -> None:
            if done in self._up_waiters:
                self._up_waiters.remove(done)
        self.post(add)
        return lambda: self.post(drop)

    def when_flushed(self, done: Callable[[], None]) -> None:
        """Calls `done` once all that was put before is acknowledged."""
        def add() -> None:
            self._take_incoming()
            left = len(self._unfinished)
            if not left:
                done()
                return

            def hook(batch: Batch, before: Callable[[Batch], None]) -> None:
                def count_down(finished: Batch) -> None:
                    nonlocal left
                    before(finished)
                    left -= 1
                    if not left:
                        done()
                batch.on_done = count_down
            for batch in self._unfinished:
                hook(batch, batch.on_done)
        self.post(add)

    def why_down(self) -> str:
        """The last failure, for the message of a timeout."""
        failure = self._dealer.session.last_failure
        return str(failure) if failure is not None else "not connected yet"

    @property
    def connected(self) -> bool:
        """Whether a session is open."""
        return self._dealer.ready

    @property
    def counters(self) -> dict[str, int]:
        """What the client has done so far."""
        return {"submitted": self.submitted, "acknowledged": self._submitter.acknowledged,
                "rejected": self._submitter.rejected, "retried": self._submitter.retried, "frames": self._submitter.frames,
                "resent_frames": self._submitter.resent_frames, "outcomes": self._outcomes.delivered,
                "connects": self.connects, "malformed": self.malformed}

    def close(self, timeout: float) -> None:
        """Takes no more submits, waits so many seconds until all were acknowledged, says GOODBYE and ends the thread. TimedOut
        when something was left. The second call does nothing."""
        if os.getpid() != self._pid:
            return  # the thread and the socket are the parent's
        with self._close_lock:
            if self._closed:
                return
            with self._lock:
                self._shut = True
                room, self._room = self._room, deque()
            self._closing.set()
            for on_room in room:
                on_room()
            clean = self._flush(timeout)
            self._goodbye_ms = _GOODBYE_MS if timeout else 0
            self._stop = True
            self._dealer.wake()
            self._thread.join()
            self._closed = True
        if not clean:
            raise TimedOut("not everything was acknowledged in time; what was not may or may not exist")

    def _flush(self, timeout: float) -> bool:
        flushed = threading.Event()
        try:
            self.when_flushed(flushed.set)
        except Unavailable:
            return True  # the thread has ended by itself, and told everybody
        return flushed.wait(timeout)

    def abandon(self) -> None:
        """Ends the thread as soon as may be, waiting for nothing: for a client that nobody holds any more. Any thread."""
        self._stop = self._shut = True
        if os.getpid() == self._pid and self._thread.is_alive():
            self._dealer.wake()

    # --- The engine's thread ---

    def _run(self) -> None:
        try:
            while not self._stop:
                self._now_ms = mono_ms()
                self._take_works()
                self._take_incoming()
                self._pump()
                self._dealer.poll(self._next_deadline_ms() if self._may_sleep() else 0)
                self._sleeping = False
        except Exception:
            log.critical("the client's thread has ended by an error in it; every call fails from now on", exc_info=True)
        finally:
            self._finish()

    def _may_sleep(self) -> bool:
        """Whether nothing came meanwhile; who comes from now on wakes us if it is worth it."""
        tasks, bytes_ = self._submitter.wake_threshold()
        with self._lock:
            if self._works or self._incoming_tasks >= tasks or self._incoming_bytes >= bytes_ or self._stop:
                return False
            self._wake_tasks, self._wake_bytes, self._sleeping = tasks, bytes_, True
        return True

    def _take_works(self) -> None:
        while self._works:
            self._works.popleft()()

    def _take_incoming(self) -> None:
        with self._lock:
            if not self._incoming:
                return
            batches, self._incoming = self._incoming, deque()
            self._incoming_tasks = self._incoming_bytes = 0
        for batch in batches:
            self._unfinished[batch] = None
            batch.on_done = self._finishing(batch.on_done)
            self._submitter.add(batch)

    def _finishing(self, on_done: Callable[[Batch], None]) -> Callable[[Batch], None]:
        def finish(batch: Batch) -> None:
            self._unfinished.pop(batch, None)
            on_done(batch)
        return finish

    def _pump(self) -> None:
        dealer, now_ms = self._dealer, self._now_ms
        self._submitter.pump(now_ms, lambda body: dealer.send(MessageType.SUBMIT, body))
        if dealer.ready:
            self._requests.pump(now_ms, dealer.send)
            self._outcomes.pump(now_ms, lambda wait: dealer.send(MessageType.WAIT, write(wait)))
        self._requests.expire(now_ms, self.why_down())
        self._outcomes.expire(now_ms)

    def _next_deadline_ms(self) -> int:
        return min(self._submitter.next_deadline_ms(), self._outcomes.next_deadline_ms(), self._requests.next_deadline_ms())

    def _on_room(self, tasks: int, bytes_: int) -> None:
        """Tasks left the queue into a frame, or came back to it."""
        with self._lock:
            self._queued_tasks -= tasks
            self._queued_bytes -= bytes_
            if not self._room or tasks < 0:
                return
            room, self._room = self._room, deque()
        for on_room in room:
            on_room()

    def _finish(self) -> None:
        with self._lock:
            self._shut = True
            room, self._room = self._room, deque()
        for on_room in room:
            on_room()
        try:
            self._dealer.close(self._goodbye_ms)
        except Exception:
            log.error("closing the socket failed", exc_info=True)
        closed = Unavailable("the client was closed before the answer came; what was asked may have been done")
        while True:
            self._take_works()
            self._take_incoming()
            self._submitter.fail_all(closed)
            self._requests.fail_all(closed)
            self._outcomes.fail_all(closed)
            with self._lock:
                if not self._works and not self._incoming:
                    self._finished = True
                    break
        for done in self._up_waiters:
            done()

    # --- Of the dealer ---

    def on_up(self, welcome: wire.Welcome | wire.WorkerWelcome) -> None:
        """The session is open."""
        assert isinstance(welcome, wire.Welcome)
        self.connects += 1
        self._submitter.on_up(welcome.window_tasks, welcome.window_bytes)
        self._outcomes.ask_for_all()
        waiters, self._up_waiters = self._up_waiters, []
        for done in waiters:
            done()
        log.info("connected to the active broker, epoch %d", self._dealer.session.epoch)

    def on_down(self, reason: ZschedError) -> None:
        """It is gone."""
        self._submitter.on_down()
        self._requests.on_down()
        self._outcomes.on_down()
        log.warning("the session is lost: %s", reason)

    def on_retry(self, reason: ZschedError) -> None:
        """An attempt to open one failed."""
        log.debug("no session yet: %s", reason)

    def on_frame(self, frame: Frame) -> None:
        """A frame of the session."""
        self._now_ms = mono_ms()
        try:
            known = self._handle(frame)
        except MalformedBody as error:
            known = False
            log.warning("a frame of type %d from the broker cannot be read: %s", frame.type, error)
        if not known:
            self.malformed += 1

    def _handle(self, frame: Frame) -> bool:
        if frame.type == MessageType.SUBMIT_ACK:
            return self._submitter.on_ack(read(wire.SubmitAck, frame.body), self._now_ms)
        if frame.type == MessageType.OUTCOMES:
            self._outcomes.on_outcomes(read(wire.Outcomes, frame.body))
            return True
        if frame.type == MessageType.HEARTBEAT_ACK:
            if read_optional(wire.HeartbeatAck, frame.body).resync:
                self._outcomes.ask_for_all()
            return True
        if frame.type == MessageType.ERROR:
            self._on_error(read(wire.Error, frame.body))
            return True
        reply = _REPLIES.get(frame.type)
        if reply is None:
            return False
        # An answer to what was given up meanwhile is no fault.
        self._requests.on_reply(read(reply, frame.body))
        return True

    def _on_error(self, error: wire.Error) -> None:
        message, after = error.message or "", error.retry_after_ms
        if not error.request:
            log.warning("the broker: %s", error_of(error.code, message))
        elif error.request < _FIRST_REQUEST:
            self._submitter.on_error(error.request, error.code, message, after, self._now_ms)
        elif not self._outcomes.on_error(error.request, self._now_ms, after):
            self._requests.on_error(error.request, error_of(error.code, message, after))


# Engines that nobody closed are closed at the end of the process, while threads still run.
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _close_all() -> None:
    for engine in list(_engines):
        try:
            engine.close(0)
        except ZschedError:
            pass


atexit.register(_close_all)
