"""The exceptions of zsched: one root, a code of the shared registry on each (docs/errors.md).

    ZschedError
    ├── InvalidArgument (also a ValueError)     change the request
    │   └── TooLarge
    ├── NotFound (also a LookupError)
    ├── Conflict
    ├── PermissionDenied
    ├── Unavailable                             no broker, or the client is closed
    ├── ResourceExhausted                       later: `retry_after`
    ├── TimedOut (also a TimeoutError)
    ├── MalformedFrame                          bytes that are no frame of zsched
    ├── TaskFailed                              a task that was waited for did not succeed: `outcome`
    │   └── TaskCancelled
    ├── SubmitManyError                         some tasks of a batch were not accepted
    └── InternalError                           anything else

Example:
    try:
        handle = client.submit("mail", key="order-42", json=order)
    except zsched.Conflict as error:
        print(error.code.name, error)           # CONFLICT …

Threads: values.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from zsched._wire.constants import RETRYABLE, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zsched.types import Outcome


class ZschedError(Exception):
    """The root of all exceptions of zsched.

    `code` says what happened to a program, str() to a person; `retryable` whether the same request may succeed later, and
    `retry_after` is the time in seconds after which the broker suggests that, or None.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.INTERNAL

    def __init__(self, message: str, code: ErrorCode | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = self.default_code if code is None else code
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.code in RETRYABLE

    def __reduce__(self) -> tuple[object, ...]:
        # By its parts: an exception has to survive the way between processes.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(cls: type[ZschedError], args: tuple[object, ...], state: dict[str, object]) -> ZschedError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InternalError(ZschedError):
    """Something that should not happen, or a code that this version does not know."""


class InvalidArgument(ZschedError, ValueError):
    """A value is wrong; the message names it. The same request never succeeds."""

    default_code = ErrorCode.INVALID_ARGUMENT


class TooLarge(InvalidArgument):
    """A payload, a result or a frame is over its limit. Pass a reference to the data instead."""

    default_code = ErrorCode.TOO_LARGE


class NotFound(ZschedError, LookupError):
    """There is no such task, queue, schedule or worker; or events that were asked for are not kept."""

    default_code = ErrorCode.NOT_FOUND


class Conflict(ZschedError):
    """The state of a thing does not allow it: a key that another task holds, a task that is over."""

    default_code = ErrorCode.CONFLICT


class PermissionDenied(ZschedError):
    """Not allowed, such as a submit by a client that only observes."""

    default_code = ErrorCode.PERMISSION_DENIED


class Unavailable(ZschedError):
    """There was no broker in time, or the client is closed. What was asked may have been done."""

    default_code = ErrorCode.UNAVAILABLE


class ResourceExhausted(ZschedError):
    """A queue, a disk or a limit is full. Try again after `retry_after` seconds."""

    default_code = ErrorCode.RESOURCE_EXHAUSTED


class TimedOut(ZschedError, TimeoutError):
    """The answer did not come in time. What was asked may have been done, or may still be."""

    default_code = ErrorCode.TIMED_OUT


class MalformedFrame(ZschedError):
    """Bytes that are no frame of this protocol, or a body that cannot be read."""

    default_code = ErrorCode.MALFORMED


class TaskFailed(ZschedError):
    """A task that was waited for did not succeed. `outcome` says how it ended; `code` is the error of its last attempt.

    Of a Python function's failure `error_type` and `error_text` are the name and the text of its exception;
    `remote_traceback` is its traceback, when a CallHandle has fetched it.
    """

    default_code = ErrorCode.HANDLER_FAILED

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"task {outcome.id}: {outcome.error.name}: {outcome.error_message}", outcome.error)
        self.outcome = outcome
        self.remote_traceback = ""

    @property
    def error_type(self) -> str:
        """"ValueError" of "ValueError: no such customer"; empty when the message does not begin so."""
        name, colon, _ = self.outcome.error_message.partition(": ")
        return name if name.isidentifier() and (colon or name == self.outcome.error_message) else ""

    @property
    def error_text(self) -> str:
        """The rest of the message; all of it when there is no type."""
        return self.outcome.error_message[len(self.error_type):].removeprefix(": ")


class TaskCancelled(TaskFailed):
    """A task that was waited for was cancelled."""

    default_code = ErrorCode.CANCELLED


class SubmitManyError(ZschedError):
    """Some tasks of a batch were not accepted; the others are.

    `handles` has one entry a task in the order of the batch, None where it was not accepted; `rejected` has the index and
    the exception of each of those, by rising index. The code is that of the first.
    """

    def __init__(self, handles: Sequence[Any], rejected: Sequence[tuple[int, ZschedError]]) -> None:
        index, first = rejected[0]
        super().__init__(f"{len(rejected)} of {len(handles)} tasks were not accepted; number {index}: {first}", first.code)
        self.handles = handles
        self.rejected = rejected


_CLASSES: dict[ErrorCode, type[ZschedError]] = {
    **{cls.default_code: cls for cls in (InvalidArgument, TooLarge, NotFound, Conflict, PermissionDenied, Unavailable,
                                         ResourceExhausted, TimedOut, MalformedFrame)},
    **{code: Unavailable for code in (ErrorCode.NO_SESSION, ErrorCode.NOT_ACTIVE)},
    **{code: MalformedFrame for code in (ErrorCode.BAD_MAGIC, ErrorCode.UNSUPPORTED_VERSION, ErrorCode.TRUNCATED,
                                         ErrorCode.BAD_CHECKSUM, ErrorCode.UNKNOWN_MESSAGE)},
    ErrorCode.STALE: Conflict,
}


def code_of(number: int) -> ErrorCode:
    """The code with a number; one of a newer broker that is not known here reads as INTERNAL."""
    try:
        return ErrorCode(number)
    except ValueError:
        return ErrorCode.INTERNAL


def error_of(number: int, message: str, retry_after_ms: int = 0) -> ZschedError:
    """The exception for a code as it stands on the wire."""
    code = code_of(number)
    return _CLASSES.get(code, InternalError)(message, code, retry_after_ms / 1000 if retry_after_ms else None)
