"""Queries under way: GET, LIST, RETRY, STATUS and the like. Each is idempotent, so it is sent again on a new session until it is
answered or its time is over. No sockets and no clocks.

Threads: the engine's.
"""
from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from zsched._session import NEVER
from zsched._wire.constants import MessageType
from zsched.errors import TimedOut, Unavailable, ZschedError

SEND_AGAIN_MS = 20  # after the socket was full


class Request:
    """One query. `on_reply` is called once on the engine's thread, with the answer's message or an error."""

    __slots__ = ("type", "number", "body", "reply", "deadline_ms", "on_reply", "sent")

    def __init__(self, type_: MessageType, number: int, body: bytes, reply: type[Any], deadline_ms: int,
                 on_reply: Callable[[Any, ZschedError | None], None]) -> None:
        self.type, self.number, self.body, self.reply = type_, number, body, reply
        self.deadline_ms, self.on_reply = deadline_ms, on_reply
        self.sent = False  # on this session


class RequestTable:
    """See above."""

    def __init__(self) -> None:
        self._requests: dict[int, Request] = {}
        self._send_again_ms = 0

    def add(self, request: Request) -> None:
        """Something to ask."""
        self._requests[request.number] = request

    def drop(self, number: int) -> None:
        """Nobody waits for it any more; its callback is not called."""
        self._requests.pop(number, None)

    def on_down(self) -> None:
        """The session is gone: all are sent again on the next."""
        self._send_again_ms = 0
        for request in self._requests.values():
            request.sent = False

    def pump(self, now_ms: int, send: Callable[[MessageType, bytes], bool]) -> None:
        """Sends what was not sent on this session. `send` returns False when it has to wait."""
        self._send_again_ms = 0
        for request in self._requests.values():
            if request.sent:
                continue
            if not send(request.type, request.body):
                self._send_again_ms = now_ms + SEND_AGAIN_MS
                return
            request.sent = True

    def expire(self, now_ms: int, why_down: str) -> None:
        """Answers requests whose time is over."""
        for request in [request for request in self._requests.values() if request.deadline_ms <= now_ms]:
            error = (TimedOut("the broker did not answer in time") if request.sent
                     else Unavailable(f"no active broker: {why_down}"))
            self._answer(request, None, error)

    def on_reply(self, message: Any) -> bool:
        """An answer that names its request. False when nobody asked for such."""
        request = self._requests.get(message.request)
        if request is None or request.reply is not type(message):
            return False
        self._answer(request, message, None)
        return True

    def on_error(self, number: int, error: ZschedError) -> bool:
        """ERROR for a request. False when nobody asked."""
        request = self._requests.get(number)
        if request is None:
            return False
        self._answer(request, None, error)
        return True

    def _answer(self, request: Request, message: Any, error: ZschedError | None) -> None:
        del self._requests[request.number]
        request.on_reply(message, error)

    def next_deadline_ms(self) -> int:
        """When pump and expire have to be called next without any event."""
        deadline = min((request.deadline_ms for request in self._requests.values()), default=NEVER)
        return min(deadline, self._send_again_ms) if self._send_again_ms else deadline

    def fail_all(self, error: ZschedError) -> None:
        """Answers all with an error."""
        for request in list(self._requests.values()):
            self._answer(request, None, copy.copy(error))
