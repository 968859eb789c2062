"""zsched: client and worker of the zsched task scheduler in pure Python. docs/python.md has a tour.

    import zsched

    with zsched.Client("127.0.0.1:5570") as client:
        print(client.submit("echo", "hello").result(timeout=10))
"""
from zsched._version import VERSION as __version__
from zsched._wire.constants import ErrorCode
from zsched.aio import AsyncClient
from zsched.app import App, TaskFunction
from zsched.client import Client
from zsched.context import AttemptCancelled, Discard, ParentTask, Retry, TaskContext, current_task
from zsched.errors import (Conflict, InternalError, InvalidArgument, MalformedFrame, NotFound, PermissionDenied,
                           ResourceExhausted, SubmitManyError, TaskCancelled, TaskFailed, TimedOut, TooLarge, Unavailable,
                           ZschedError)
from zsched.handle import AsyncTaskHandle, TaskHandle
from zsched.types import (EVENTS_FROM_NOW, EVENTS_FROM_START, Delivery, Durability, Event, EventKind, EventPage,
                          EventPosition, Outcome, Overlap, TaskId, TaskInfo, TaskSpec, TaskState)
from zsched.worker import Worker

__all__ = ["App", "AsyncClient", "AsyncTaskHandle", "AttemptCancelled", "Client", "Conflict", "Delivery", "Discard",
           "Durability", "EVENTS_FROM_NOW", "EVENTS_FROM_START", "ErrorCode", "Event", "EventKind", "EventPage",
           "EventPosition", "InternalError", "InvalidArgument", "MalformedFrame", "NotFound", "Outcome", "Overlap",
           "ParentTask", "PermissionDenied", "ResourceExhausted", "Retry", "SubmitManyError", "TaskCancelled",
           "TaskContext", "TaskFailed", "TaskFunction", "TaskHandle", "TaskId", "TaskInfo", "TaskSpec", "TaskState",
           "TimedOut", "TooLarge", "Unavailable", "Worker", "ZschedError", "__version__", "current_task"]
