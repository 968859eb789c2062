"""One attempt: payload to arguments, the handler's end to an outcome. Used by all pools.

Nothing that a payload holds or a handler raises leaves these functions, but what ends a thread on purpose (SystemExit of a
handler is a failed attempt too).

Threads: that of the attempt.
"""
from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

from zsched._wire.constants import ErrorCode, OutputStream, RetryAdvice
from zsched._worker.ledger import Lease, Outcome
from zsched.context import AttemptCancelled, Discard, Retry, TaskContext
from zsched.errors import InvalidArgument

if TYPE_CHECKING:
    from zsched.app import TaskFunction

# Of a traceback its end is kept: there the error is.
MAX_TRACEBACK_BYTES = 16 << 10


def unknown_type(name: str) -> Outcome:
    """There is no function for this task here."""
    return Outcome(code=ErrorCode.UNKNOWN_TYPE, message=f"this worker has no task function for the type '{name}'")


def refused(error: InvalidArgument) -> Outcome:
    """The payload is nothing that the function can be called with; the next attempt would find the same."""
    return Outcome(code=error.code, message=str(error), advice=RetryAdvice.NEVER)


def success(task: TaskFunction[..., Any], value: Any) -> Outcome | None:
    """What the function returned."""
    if value is None:
        return None
    try:
        data, content_type = task.dump_result(value)
    except Exception as error:
        return Outcome(code=ErrorCode.INVALID_ARGUMENT, advice=RetryAdvice.NEVER, message=(
            f"the result, a {type(value).__name__}, cannot be written: {type(error).__name__}: {error}"))
    return Outcome(True, data, content_type)


def failure(error: BaseException, context: TaskContext, own_frames: int) -> Outcome:
    """What the function raised. Its traceback, without the first `own_frames`, goes to the output."""
    if isinstance(error, Discard):
        return Outcome(code=error.code, message=str(error), advice=RetryAdvice.NEVER)
    if isinstance(error, AttemptCancelled):
        return Outcome(code=error.code, message=str(error))
    if isinstance(error, Retry) and error.after_ms is not None:
        return Outcome(message=str(error), advice=RetryAdvice.AFTER, retry_after_ms=error.after_ms)
    if isinstance(error, Retry):
        return Outcome(message=str(error))
    trace = error.__traceback__
    for _ in range(own_frames):
        trace = trace.tb_next if trace is not None else None
    message = describe(error)
    if trace is None and isinstance(error, TypeError):  # the call itself failed
        return Outcome(code=ErrorCode.INVALID_ARGUMENT, message=message, advice=RetryAdvice.NEVER)
    context.write(_traceback_text(error.with_traceback(trace)), OutputStream.STDERR)
    return Outcome(message=message)


def describe(error: BaseException) -> str:
    """"Type: text"."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be made)"
    return f"{name}: {text}" if text else name


def _traceback_text(error: BaseException) -> bytes:
    try:
        text = "".join(traceback.format_exception(error)).encode("utf-8", "replace")
    except Exception:
        return b"(the traceback cannot be written)\n"
    if len(text) <= MAX_TRACEBACK_BYTES:
        return text
    return b"... (cut)\n" + text[-MAX_TRACEBACK_BYTES:]


def run(task: TaskFunction[..., Any], context: TaskContext) -> Outcome | None:
    """Runs a function that is not async. None: succeeded with an empty result."""
    try:
        args, kwargs = task.load_call(context)
    except InvalidArgument as error:
        return refused(error)
    try:
        value = task.function(*args, **kwargs)
    except BaseException as error:
        return failure(error, context, 1)
    return success(task, value)


async def run_async(task: TaskFunction[..., Any], context: TaskContext) -> Outcome | None:
    """The same of an async one. A cancellation that came from the worker is a failed attempt like any other: what it counts as
    is the ledger's to say."""
    try:
        args, kwargs = task.load_call(context)
    except InvalidArgument as error:
        return refused(error)
    try:
        value = await task.function(*args, **kwargs)
    except BaseException as error:
        return failure(error, context, 1)
    return success(task, value)


def run_in_loop(loop: asyncio.AbstractEventLoop, task: TaskFunction[..., Any], context: TaskContext) -> Outcome | None:
    """Runs an async function to its end in a loop that does nothing else; a cancellation reaches it as CancelledError."""
    running = loop.create_task(run_async(task, context))
    cancel_by_hook(context._lease, loop, running)
    try:
        return loop.run_until_complete(running)
    except asyncio.CancelledError:
        return Outcome(code=ErrorCode.CANCELLED, message="the attempt was ended before it began")


def cancel_by_hook(lease: Lease, loop: asyncio.AbstractEventLoop, running: asyncio.Task[Any]) -> None:
    """From now on, telling the attempt to end cancels `running`."""
    def end() -> None:
        loop.call_soon_threadsafe(running.cancel)
    lease.hook = end
    if lease.why is not None:
        end()
