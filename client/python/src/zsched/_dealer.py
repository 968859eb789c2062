"""The ZeroMQ side of a session: the DEALER socket, what becomes of its connection, wake-ups and the clock. Executes the
session's actions and hands frames to its owner. Clients and workers use it.

Example (the background thread of a client or worker):
    dealer = Dealer(options, hello, handler)
    while not stopping:
        if dealer.ready:
            ...                                     # dealer.send what is due
        dealer.poll(next_deadline_ms)
    dealer.close(2000)

Threads: everything from one thread, except wake().
"""
from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import zmq

from zsched._frame import Frame
from zsched._session import (NEVER, Action, Connect, Deliver, Disconnect, Down, Retry, Send, Session, SessionOptions, State,
                             Up)
from zsched._wire import schema as wire
from zsched._wire.constants import MAX_FRAME_BYTES, MessageType
from zsched.errors import ZschedError

# ZeroMQ's own reconnecting on one socket. It only has to bridge a broker that restarts: a socket lives no longer than a
# session or an attempt to open one.
_TCP_RECONNECT_MS = 100
_TCP_RECONNECT_MAX_MS = 1000
_TCP_CONNECT_TIMEOUT_MS = 2000
_HANDSHAKE_TIMEOUT_MS = 3000
# How long a GOODBYE without echo may take to leave while the socket is closed.
_GOODBYE_LINGER_MS = 200
# Frames handled in one round, so that a flood does not starve the owner's own work.
_FRAMES_PER_POLL = 256
# Frames that may wait in the socket, each way. The protocol bounds what may be outstanding well below it.
_HIGH_WATER = 1024
# poll() takes an int of C.
_LONGEST_POLL_MS = 3_600_000
_MONITOR_EVENT = struct.Struct("=Hi")


def mono_ms() -> int:
    """The clock of all deadlines, in milliseconds from an arbitrary start."""
    return time.monotonic_ns() // 1_000_000


class Handler(Protocol):
    """What the owner learns, inside of poll and close. May call send; must not call poll or close."""

    def on_up(self, welcome: wire.Welcome | wire.WorkerWelcome) -> None:
        """The session is open."""

    def on_down(self, reason: ZschedError) -> None:
        """It is gone. The dealer finds the next by itself."""

    def on_retry(self, reason: ZschedError) -> None:
        """One attempt to open a session failed; the next follows by itself."""

    def on_frame(self, frame: Frame) -> None:
        """A frame of the session, its body not yet verified. HEARTBEAT_ACK and ERROR come here too."""


class Dealer:
    """See above."""

    def __init__(self, options: SessionOptions, hello: Callable[[], bytes], handler: Handler,
                 heartbeat: Callable[[], bytes] = lambda: b"") -> None:
        self.session = Session(options, hello, heartbeat)
        self._handler = handler
        self._context = zmq.Context(io_threads=1)
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Of the thread's own once more: a client may be collected, and wake us, at any moment.
        self._wake_lock = threading.RLock()
        self._poller = zmq.Poller()
        self._poller.register(self._wake_reader, zmq.POLLIN)
        self._connections = 0
        self.dropped_multipart = 0

    @property
    def ready(self) -> bool:
        """Whether a session is open."""
        return self.session.ready

    def poll(self, deadline_ms: int) -> bool:
        """One round: waits until a frame arrives, wake() is called, or a deadline comes (a time past: does not wait); then
        handles what there is. The first call connects. Returns whether wake() was called since the last round."""
        events = self._await(min(deadline_ms, self.session.next_deadline_ms()))
        # Frames first: one that waits must not look like silence to the tick. A socket without anything is not asked: each call
        # gives the interpreter's lock away, and has to wait for it while other threads compute.
        if self._socket in events:
            for _ in range(_FRAMES_PER_POLL):
                if not self._receive():
                    break
        if self._monitor in events:
            while self._hear_monitor():
                pass
        self._execute(self.session.on_tick(mono_ms()))
        return self._wake_reader in events

    def send(self, type_: MessageType, body: bytes = b"") -> bool:
        """Sends one frame of the open session. False, with nothing sent, when there is no session or the socket is full:
        try again after poll, or when on_up comes."""
        return self.session.ready and self._put(type_, body)

    def restart(self, reason: ZschedError) -> None:
        """Ends the open session as lost and begins again; on_down is called. Not from inside of a handler's call."""
        self._execute(self.session.restart(reason, mono_ms()))

    def wake(self) -> None:
        """Makes the current or next poll return. Any thread."""
        with self._wake_lock:
            if self._wake_writer < 0:
                return  # closed: the number may be somebody else's by now
            try:
                os.write(self._wake_writer, b"\0")
            except BlockingIOError:
                pass  # the pipe is full of wake-ups

    def close(self, timeout_ms: int) -> bool:
        """GOODBYE, then polls until its echo or the timeout; frames are still delivered meanwhile. Then everything is closed.
        Returns whether the echo came. Not twice."""
        deadline = mono_ms() + timeout_ms
        self._execute(self.session.close(mono_ms()))
        said_goodbye = self.session.state is State.CLOSING
        while self.session.state is State.CLOSING and mono_ms() < deadline:
            self.poll(deadline)
        echoed = self.session.goodbye_echoed
        self._close_socket(_GOODBYE_LINGER_MS if said_goodbye and not echoed else 0)
        self._context.term()
        with self._wake_lock:
            writer, self._wake_writer = self._wake_writer, -1
            os.close(writer)
        os.close(self._wake_reader)
        return echoed

    def _await(self, deadline_ms: int) -> dict[Any, int]:
        timeout = None if deadline_ms >= NEVER else min(max(deadline_ms - mono_ms(), 0), _LONGEST_POLL_MS)
        events: dict[Any, int] = dict(self._poller.poll(timeout))
        if self._wake_reader in events:
            os.read(self._wake_reader, 4096)
        return events

    def _receive(self) -> bool:
        """Handles one frame; False when there was none."""
        if self._socket is None:
            return False
        try:
            data = self._socket.recv(zmq.DONTWAIT)
        except zmq.Again:
            return False
        if self._socket.getsockopt(zmq.RCVMORE):
            self.dropped_multipart += 1
            while self._socket.getsockopt(zmq.RCVMORE):
                self._socket.recv(zmq.DONTWAIT)
            return True
        self._execute(self.session.on_frame(data, mono_ms()))
        return True

    def _hear_monitor(self) -> bool:
        """Tells the session what became of the connection; False when there was nothing. ZeroMQ itself would connect again
        without a word, and the broker then knows nothing of the session."""
        if self._monitor is None:
            return False
        try:
            event = self._monitor.recv_multipart(zmq.DONTWAIT)[0]
        except zmq.Again:
            return False
        what = _MONITOR_EVENT.unpack_from(event)[0] if len(event) >= _MONITOR_EVENT.size else 0
        if what == zmq.EVENT_DISCONNECTED:
            self._execute(self.session.on_disconnected(mono_ms()))
        elif what == zmq.EVENT_CONNECT_RETRIED:
            self._execute(self.session.on_refused(mono_ms()))
        return True

    def _execute(self, actions: Iterable[Action]) -> None:
        handler = self._handler
        for action in actions:
            if isinstance(action, Deliver):
                handler.on_frame(action.frame)
            elif isinstance(action, Send):
                self._put(action.type, action.body)
            elif isinstance(action, Connect):
                self._connect(action.endpoint)
            elif isinstance(action, Disconnect):
                # When the session is over its GOODBYE may still be in the socket: close() decides how long.
                if self.session.state is not State.CLOSED:
                    self._close_socket(0)
            elif isinstance(action, Up):
                handler.on_up(action.welcome)
            elif isinstance(action, Down):
                handler.on_down(action.reason)
            elif isinstance(action, Retry):
                handler.on_retry(action.reason)

    def _connect(self, endpoint: str) -> None:
        self._close_socket(0)
        try:
            socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        except zmq.ZMQError:
            return  # out of descriptors: the attempt times out and comes again
        for option, value in ((zmq.LINGER, 0), (zmq.MAXMSGSIZE, MAX_FRAME_BYTES), (zmq.SNDHWM, _HIGH_WATER),
                              (zmq.RCVHWM, _HIGH_WATER), (zmq.RECONNECT_IVL, _TCP_RECONNECT_MS),
                              (zmq.RECONNECT_IVL_MAX, _TCP_RECONNECT_MAX_MS),
                              (zmq.CONNECT_TIMEOUT, _TCP_CONNECT_TIMEOUT_MS), (zmq.HANDSHAKE_IVL, _HANDSHAKE_TIMEOUT_MS),
                              (zmq.TCP_KEEPALIVE, 1), (zmq.IPV6, 1)):
            socket.setsockopt(option, value)
        self._socket = socket
        self._watch(socket)
        self._poller.register(socket, zmq.POLLIN)
        try:
            # A name that does not resolve fails here or later inside of ZeroMQ; both end in the attempt's timeout.
            socket.connect(endpoint)
        except zmq.ZMQError:
            self._close_socket(0)

    def _watch(self, socket: zmq.Socket[bytes]) -> None:
        # A name of its own, as the last one may still be closing.
        self._connections += 1
        endpoint = f"inproc://connection-{self._connections}"
        try:
            socket.monitor(endpoint, zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED)
            monitor: zmq.Socket[bytes] = self._context.socket(zmq.PAIR)
        except zmq.ZMQError:
            return  # out of sockets: silence tells, later
        monitor.connect(endpoint)
        self._monitor = monitor
        self._poller.register(monitor, zmq.POLLIN)

    def _put(self, type_: MessageType, body: bytes) -> bool:
        """Gives one frame to the socket; False, and its number is not used up, when it cannot."""
        if self._socket is None:
            return False
        try:
            self._socket.send(self.session.seal(type_, body), zmq.DONTWAIT)
        except zmq.ZMQError:
            return False
        self.session.on_sent()
        return True

    def _close_socket(self, linger_ms: int) -> None:
        socket, self._socket = self._socket, None
        monitor, self._monitor = self._monitor, None
        if socket is None:
            return
        self._poller.unregister(socket)
        if monitor is not None:
            self._poller.unregister(monitor)
            socket.monitor(None, 0)
            monitor.close(0)
        socket.close(linger_ms)
