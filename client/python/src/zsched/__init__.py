"""zsched: a client of the zsched task scheduler in pure Python. docs/python.md has a tour.

    import zsched

    with zsched.Client("127.0.0.1:5570") as client:
        print(client.submit("echo", "hello").result(timeout=10))
"""
from zsched._version import VERSION as __version__
from zsched._wire.constants import ErrorCode
from zsched.aio import AsyncClient
from zsched.client import Client
from zsched.errors import (Conflict, InternalError, InvalidArgument, MalformedFrame, NotFound, PermissionDenied,
                           ResourceExhausted, SubmitManyError, TaskCancelled, TaskFailed, TimedOut, TooLarge, Unavailable,
                           ZschedError)
from zsched.handle import AsyncTaskHandle, TaskHandle
from zsched.types import (EVENTS_FROM_NOW, EVENTS_FROM_START, Delivery, Durability, Event, EventKind, EventPage,
                          EventPosition, Outcome, Overlap, TaskId, TaskInfo, TaskSpec, TaskState)

__all__ = ["AsyncClient", "AsyncTaskHandle", "Client", "Conflict", "Delivery", "Durability", "EVENTS_FROM_NOW",
           "EVENTS_FROM_START", "ErrorCode", "Event", "EventKind", "EventPage", "EventPosition", "InternalError",
           "InvalidArgument", "MalformedFrame", "NotFound", "Outcome", "Overlap", "PermissionDenied", "ResourceExhausted",
           "SubmitManyError", "TaskCancelled", "TaskFailed", "TaskHandle", "TaskId", "TaskInfo", "TaskSpec", "TaskState",
           "TimedOut", "TooLarge", "Unavailable", "ZschedError", "__version__"]
