"""The session of a client or worker with its broker, as a pure state machine: find the active broker, greet it, keep the
session alive, notice its loss, begin again. No sockets, threads, clocks or random devices: time and jitter are given,
bytes come through on_frame, what is to be done leaves as actions. The twin of client/session/session.h; docs/protocol.md
sections 2 and 4 are what both implement.

    state       | what holds                        | leaves on                              | to
    ------------+-----------------------------------+----------------------------------------+------------
    IDLE        | never ticked                      | on_tick                                | DISCOVERING
    DISCOVERING | socket to a listed address,       | VIEW                                   | GREETING
                | DISCOVER sent                     | ERROR, 2 s, lower epoch, refused       | BACKOFF
    GREETING    | socket to the active broker,      | WELCOME, WORKER_WELCOME                | READY
                | HELLO or WORKER_HELLO sent        | ERROR, 2 s, lower epoch, lost, refused | BACKOFF
    READY       | session open, heartbeats flow     | three silent intervals, NO_SESSION,    | BACKOFF
                |                                   | NOT_ACTIVE, a gap, lower epoch, lost,  |
                |                                   | GOODBYE of the broker                  |
                |                                   | close                                  | CLOSING
    BACKOFF     | no socket, waiting                | on_tick at the deadline                | DISCOVERING
    CLOSING     | GOODBYE sent                      | its echo, 2 s, whatever ends READY     | CLOSED
    CLOSED      | the end                           |                                        |

Example (Dealer is the driver for ZeroMQ):
    session = Session(SessionOptions(brokers=parse_brokers("127.0.0.1:5570")), hello=make_hello)
    for action in session.on_tick(now_ms):
        ...                                     # connect, send, tell the owner
    session.on_frame(data, now_ms)

Threads: one at a time.
"""
from __future__ import annotations

import enum
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from zsched._address import HostPort, parse_address
from zsched._frame import Frame, is_repeat, number_after, open_frame, seal
from zsched._wire import schema as wire
from zsched._wire.constants import (HEARTBEAT_MS, HELLO_TIMEOUT_MS, MAX_BROKERS, RECONNECT_MAX_MS, RECONNECT_MIN_MS, ErrorCode,
                                    MessageType, Role)
from zsched._wire.layout import MalformedBody
from zsched._wire.reader import read
from zsched.errors import Conflict, MalformedFrame, Unavailable, ZschedError, error_of

# next_deadline_ms of a session that waits for nothing.
NEVER = 1 << 62
# Heartbeat intervals without any frame after which the broker is taken for lost.
SILENT_INTERVALS = 3
# What a WELCOME may ask for; outside of it a broken broker could make us spin, or never notice a loss.
_MIN_HEARTBEAT_MS = 10
_MAX_HEARTBEAT_MS = 60_000
# Doublings after which the back-off has long reached its cap.
_MAX_DOUBLINGS = 16
_ACTIVE = (Role.ACTIVE_SYNC, Role.ACTIVE_SOLO)


class Kind(enum.Enum):
    """Who has the session: it decides the greeting, and which address of the active broker is the one."""

    CLIENT = (MessageType.HELLO, MessageType.WELCOME)
    WORKER = (MessageType.WORKER_HELLO, MessageType.WORKER_WELCOME)


class State(enum.Enum):
    """See the table above."""

    IDLE = enum.auto()
    DISCOVERING = enum.auto()
    GREETING = enum.auto()
    READY = enum.auto()
    BACKOFF = enum.auto()
    CLOSING = enum.auto()
    CLOSED = enum.auto()


class Connect(NamedTuple):
    """Close the socket there is, with all that is queued in it, and open one to `endpoint`."""

    endpoint: str


class Disconnect(NamedTuple):
    """Close the socket. A GOODBYE that was sent should still go out."""


class Send(NamedTuple):
    """Send one frame: seal it now, and call on_sent if the socket took it; if it cannot at once, drop it."""

    type: MessageType
    body: bytes = b""


class Up(NamedTuple):
    """The session is open; `welcome` is the message of WELCOME or WORKER_WELCOME."""

    welcome: wire.Welcome | wire.WorkerWelcome


class Down(NamedTuple):
    """The session that was up is gone; everything sent and not answered has an unknown fate."""

    reason: ZschedError


class Retry(NamedTuple):
    """An attempt to open a session failed; another follows by itself."""

    reason: ZschedError


class Deliver(NamedTuple):
    """A frame of the session for the owner. Header, session and place are checked, the body is not."""

    frame: Frame


Action = Connect | Disconnect | Send | Up | Down | Retry | Deliver


class Broker(NamedTuple):
    """A broker of the last VIEW or WELCOME; an empty host is the one that it was reached at, port 0 is none."""

    node: str
    role: int
    address: HostPort
    worker_address: HostPort
    self: bool


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a session is told at its start. The defaults are the protocol's; tests shorten them."""

    brokers: Sequence[HostPort]  # base addresses, tried in this order
    kind: Kind = Kind.CLIENT
    observe: bool = False  # of a client: stay with whoever answers
    hello_timeout_ms: int = HELLO_TIMEOUT_MS
    reconnect_min_ms: int = RECONNECT_MIN_MS
    reconnect_max_ms: int = RECONNECT_MAX_MS
    # A number from 0 to the argument, both included.
    jitter: Callable[[int], int] = field(default=lambda most: random.SystemRandom().randint(0, most))


def _no_body() -> bytes:
    return b""


class Session:
    """The state machine. `hello` makes the body of HELLO or WORKER_HELLO (with the leases held at that moment),
    `heartbeat` that of HEARTBEAT; both are called inside of events and must not call the session."""

    def __init__(self, options: SessionOptions, hello: Callable[[], bytes],
                 heartbeat: Callable[[], bytes] = _no_body) -> None:
        if not options.brokers:
            raise ValueError("a session needs a broker to ask")
        self._options = options
        self._hello, self._heartbeat = hello, heartbeat
        self._out: list[Action] = []
        self.state = State.IDLE
        self.epoch = 0  # the highest seen in the life of this object
        self.id = 0  # 0 unless READY or CLOSING
        self._contact = 0  # index into the list of brokers
        self._reached = options.brokers[0]  # where the socket is connected
        self._active = HostPort("", 0)  # the client address of the active broker that we follow
        self._failures = 0
        self._deadline_ms = 0
        self._sent = self._received = 0  # numbers of the last frames, each way
        self.heartbeat_ms = HEARTBEAT_MS
        self._next_heartbeat_ms = self._silent_ms = self._last_tick_ms = 0
        self.brokers: tuple[Broker, ...] = ()
        self.last_failure: ZschedError | None = None
        self.dropped_frames = self.repeated_frames = self.gaps = 0
        self.goodbye_echoed = False

    @property
    def ready(self) -> bool:
        """Whether a session is open."""
        return self.state is State.READY

    def next_deadline_ms(self) -> int:
        """When on_tick has to be called next."""
        if self.state is State.IDLE:
            return 0
        if self.state is State.READY:
            return min(self._next_heartbeat_ms,
                       self._last_tick_ms + SILENT_INTERVALS * self.heartbeat_ms - self._silent_ms)
        return NEVER if self.state is State.CLOSED else self._deadline_ms

    def seal(self, type_: MessageType, body: bytes = b"") -> bytes:
        """The frame that is sent next: of the session when it is open, with its next number."""
        return seal(type_, body, number=number_after(self._sent) if self.id else 0, epoch=self.epoch, session=self.id)

    def on_sent(self) -> None:
        """The socket has taken the frame: its number is used up."""
        if self.id:
            self._sent = number_after(self._sent)

    # --- Events; each returns what is to be done ---

    def on_tick(self, now_ms: int) -> list[Action]:
        """Time has passed. After all frames that had arrived were given: one that waits must not look like silence. A process
        that was itself stopped charges the broker one heartbeat interval at most for it."""
        state = self.state
        if state is State.READY:
            self._tick_ready(now_ms)
        elif state is State.IDLE or (state is State.BACKOFF and now_ms >= self._deadline_ms):
            self._discover(now_ms)
        elif state in (State.DISCOVERING, State.GREETING) and now_ms >= self._deadline_ms:
            self._fail(Unavailable(f"no answer from {self._reached} within {self._options.hello_timeout_ms} ms"), True, now_ms)
        elif state is State.CLOSING and now_ms >= self._deadline_ms:
            self._finish()
        return self._take()

    def on_frame(self, data: bytes, now_ms: int) -> list[Action]:
        """One frame arrived. What cannot be read, is of another session, or a repeat, is counted and dropped."""
        if self.state in (State.IDLE, State.BACKOFF, State.CLOSED):
            self.dropped_frames += 1
            return self._take()
        try:
            frame = open_frame(data)
        except MalformedFrame:
            self.dropped_frames += 1
            return self._take()
        if frame.epoch < self.epoch:
            # A broker that was replaced and does not know it yet, or restarted with an older state.
            reason = Conflict(f"{self._reached} speaks for epoch {frame.epoch}, but epoch {self.epoch} was seen",
                              ErrorCode.STALE)
            self._fail(reason, self._contact_is_active(), now_ms)
        elif self.state in (State.READY, State.CLOSING):
            self._on_session_frame(frame, now_ms)
        else:
            self.epoch = frame.epoch
            self._on_early_frame(frame, now_ms)
        return self._take()

    def on_disconnected(self, now_ms: int) -> list[Action]:
        """The transport's connection was up and is lost: the session with it."""
        if self.state in (State.READY, State.GREETING):
            advance = self.state is State.GREETING or self._contact_is_active()
            self._fail(Unavailable(f"the connection to {self._reached} was lost"), advance, now_ms)
        return self._take()

    def on_refused(self, now_ms: int) -> list[Action]:
        """The transport could not connect, and will try again. The next broker of the list is asked, if there is one."""
        if self.state in (State.DISCOVERING, State.GREETING) and len(self._options.brokers) > 1:
            self._fail(Unavailable(f"{self._reached} does not take connections"), True, now_ms)
        return self._take()

    def close(self, now_ms: int) -> list[Action]:
        """Leaves: GOODBYE when a session is open, and CLOSING until its echo; otherwise CLOSED at once."""
        if self.state is State.READY:
            self._out.append(Send(MessageType.GOODBYE))
            self.state = State.CLOSING
            self._deadline_ms = now_ms + self._options.hello_timeout_ms
        elif self.state not in (State.CLOSING, State.CLOSED):
            self._finish()
        return self._take()

    def restart(self, reason: ZschedError, now_ms: int) -> list[Action]:
        """The owner cannot go on with this session: ends it as if the broker were lost. Nothing unless READY."""
        if self.ready:
            self._fail(reason, False, now_ms)
        return self._take()

    def _take(self) -> list[Action]:
        out, self._out = self._out, []
        return out

    # --- Opening a session ---

    def _discover(self, now_ms: int) -> None:
        self.state = State.DISCOVERING
        self._reached = self._options.brokers[self._contact]
        self._deadline_ms = now_ms + self._options.hello_timeout_ms
        self._out += (Connect(self._reached.endpoint), Send(MessageType.DISCOVER))

    def _on_early_frame(self, frame: Frame, now_ms: int) -> None:
        try:
            if frame.type == MessageType.ERROR:
                error = read(wire.Error, frame.body)
                self._fail(error_of(error.code, f"{self._reached}: {error.message or ''}"), True, now_ms)
            elif self.state is State.DISCOVERING and frame.type == MessageType.VIEW:
                self._on_view(read(wire.View, frame.body), now_ms)
            elif self.state is State.GREETING and frame.type == self._options.kind.value[1]:
                self._on_welcome(frame, now_ms)
            else:
                self.dropped_frames += 1
        except MalformedBody as error:
            self._fail(MalformedFrame(f"{self._reached} sent an unreadable {_name(frame.type)}: {error}"), True, now_ms)

    def _on_view(self, view: wire.View, now_ms: int) -> None:
        self.epoch = max(self.epoch, view.epoch)
        self._read_brokers(view.brokers)
        active = self._choose()
        if active is None:
            self._fail(Unavailable(f"{self._reached} answers, but knows of no active broker"), True, now_ms)
            return
        if self._options.kind is Kind.CLIENT and active.self:
            self._active = self._reached
            self._greet(None, now_ms)
            return
        target = active.address if self._options.kind is Kind.CLIENT else active.worker_address
        if target.port == 0:
            self._fail(MalformedFrame(f"{self._reached} names no usable address of the active broker"), True, now_ms)
            return
        self._active = self._reached if active.self else active.address
        self._greet(target, now_ms)

    def _choose(self) -> Broker | None:
        """The broker to greet. In a partition two may call themselves active: the one that answers is the one to take. Where
        none is, the one that answers is asked all the same: a standby without an arbiter takes over only when somebody
        wants to be served."""
        answers = next((broker for broker in self.brokers if broker.self), None)
        if self._options.observe:
            return answers
        active = [broker for broker in self.brokers if broker.role in _ACTIVE]
        return answers if answers in active or not active else active[0]

    def _greet(self, address: HostPort | None, now_ms: int) -> None:
        """Says hello to `address`, or on the connection there is."""
        self.state = State.GREETING
        self._deadline_ms = now_ms + self._options.hello_timeout_ms
        if address is not None:
            self._reached = address
            self._out.append(Connect(address.endpoint))
        self._out.append(Send(self._options.kind.value[0], self._hello()))

    def _on_welcome(self, frame: Frame, now_ms: int) -> None:
        welcome: wire.Welcome | wire.WorkerWelcome
        if self._options.kind is Kind.CLIENT:
            welcome = read(wire.Welcome, frame.body)
        else:
            welcome = read(wire.WorkerWelcome, frame.body)
        if not welcome.session or frame.number != 1:
            raise MalformedBody("it opens no session")
        if welcome.brokers:
            self._read_brokers(welcome.brokers)
        self.id = welcome.session
        self._sent, self._received = 0, frame.number
        self.epoch = max(self.epoch, welcome.epoch)
        self.state = State.READY
        self._failures = 0
        self.heartbeat_ms = min(max(welcome.heartbeat_ms, _MIN_HEARTBEAT_MS), _MAX_HEARTBEAT_MS)
        self._next_heartbeat_ms = now_ms + self.heartbeat_ms
        self._silent_ms = 0
        self._last_tick_ms = now_ms
        self._out.append(Up(welcome))

    def _read_brokers(self, infos: Sequence[wire.BrokerInfo]) -> None:
        self.brokers = tuple(Broker(info.node or "", info.role, self._read_address(info.address),
                                    self._read_address(info.worker_address), info.self) for info in infos[:MAX_BROKERS])

    def _read_address(self, text: str | None) -> HostPort:
        """An address as a broker says it; port 0 when there is none that can be used."""
        try:
            address = parse_address(text or "", allow_empty_host=True)
        except ValueError:
            return HostPort("", 0)
        if address.port == 0:
            return HostPort("", 0)
        return address if address.host else HostPort(self._reached.host, address.port)

    # --- The open session ---

    def _on_session_frame(self, frame: Frame, now_ms: int) -> None:
        # A broker that does not know our session cannot name it in its ERROR.
        outside = frame.type == MessageType.ERROR and frame.session == 0
        if not outside and frame.session != self.id:
            self.dropped_frames += 1
            return
        if not outside and not self._is_next(frame.number, now_ms):
            return
        self.epoch = frame.epoch
        self._silent_ms = 0
        self._last_tick_ms = now_ms
        if frame.type == MessageType.GOODBYE:
            self.goodbye_echoed = self.state is State.CLOSING
            self._fail(Unavailable(f"{self._reached} ended the session"), False, now_ms)
        elif frame.type == MessageType.ERROR:
            self._on_session_error(frame, now_ms)
        elif frame.type in (MessageType.VIEW, MessageType.WELCOME, MessageType.WORKER_WELCOME):
            self.dropped_frames += 1
        else:
            self._out.append(Deliver(frame))

    def _is_next(self, number: int, now_ms: int) -> bool:
        if number == number_after(self._received):
            self._received = number
            return True
        if number == 0:
            self.dropped_frames += 1
        elif is_repeat(self._received, number):
            self.repeated_frames += 1
        else:
            self.gaps += 1
            reason = f"frames of {self._reached} were lost: number {number} came after {self._received}"
            self._fail(Unavailable(reason), False, now_ms)
        return False

    def _on_session_error(self, frame: Frame, now_ms: int) -> None:
        try:
            error = read(wire.Error, frame.body)
        except MalformedBody:
            self.dropped_frames += 1
            return
        if error.code in (ErrorCode.NO_SESSION, ErrorCode.NOT_ACTIVE):
            self._fail(error_of(error.code, f"{self._reached}: {error.message or ''}"), False, now_ms)
        else:
            self._out.append(Deliver(frame))

    def _tick_ready(self, now_ms: int) -> None:
        # A longer pause means that this process did not run; that is not the broker's silence.
        self._silent_ms += min(now_ms - self._last_tick_ms, self.heartbeat_ms)
        self._last_tick_ms = now_ms
        if self._silent_ms >= SILENT_INTERVALS * self.heartbeat_ms:
            self._fail(Unavailable(f"{self._reached} was silent for {self._silent_ms} ms"), self._contact_is_active(), now_ms)
        elif now_ms >= self._next_heartbeat_ms:
            self._next_heartbeat_ms = now_ms + self.heartbeat_ms
            self._out.append(Send(MessageType.HEARTBEAT, self._heartbeat()))

    def _contact_is_active(self) -> bool:
        """Whether the contact of the list is the broker we are with; if not, it is still worth asking."""
        return self.state is State.DISCOVERING or self._options.brokers[self._contact] == self._active

    # --- Ends ---

    def _fail(self, reason: ZschedError, advance: bool, now_ms: int) -> None:
        """Ends the session or the attempt. `advance`: the contact is of no use, take the next of the list."""
        self.last_failure = reason
        if self.state is State.CLOSING:
            self._finish()
            return
        was_up = self.ready
        self.id = 0
        if advance:
            self._contact = (self._contact + 1) % len(self._options.brokers)
        self.state = State.BACKOFF
        # The longer, the more often all of them were asked in vain; the next one of the list is asked soon.
        self._deadline_ms = now_ms + self._next_backoff_ms(not advance or self._contact == 0)
        self._out += (Disconnect(), Down(reason) if was_up else Retry(reason))

    def _finish(self) -> None:
        had_socket = self.state not in (State.IDLE, State.BACKOFF)
        self.state = State.CLOSED
        self.id = 0
        if had_socket:
            self._out.append(Disconnect())

    def _next_backoff_ms(self, all_asked: bool) -> int:
        """Full jitter, so that the clients of a lost broker do not return all at once. Of a pair only every second round
        doubles: a standby needs most of a second to take over, and is to be asked again soon after."""
        rounds = self._failures // 2 if len(self._options.brokers) > 1 else self._failures
        doublings = min(rounds, _MAX_DOUBLINGS) if all_asked else 0
        if all_asked:
            self._failures += 1
        return self._options.jitter(min(self._options.reconnect_max_ms, self._options.reconnect_min_ms << doublings))


def _name(type_: int) -> str:
    try:
        return MessageType(type_).name
    except ValueError:
        return f"frame of type {type_}"
