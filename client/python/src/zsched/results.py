"""Handles of submitted calls: those of the client, which also bring the traceback of a failure home.

Threads: any.
"""
from __future__ import annotations

from typing import Any

from zsched.errors import TaskCancelled, TaskFailed, ZschedError
from zsched.handle import AsyncTaskHandle, TaskHandle
from zsched.types import Output, OutputStream


class CallHandle(TaskHandle):
    """A call that was accepted."""

    __slots__ = ()

    def result(self, timeout: float | None = None) -> Any:
        """What the function returned. TaskFailed has its exception's type, text and traceback; TaskCancelled, TimedOut."""
        try:
            return super().result(timeout)
        except TaskCancelled:
            raise
        except TaskFailed as error:
            try:
                _attach(error, self._client.output(self.id))
            except ZschedError:
                pass  # the failure counts, its traceback is a help
            raise


class AsyncCallHandle(AsyncTaskHandle):
    """The same for coroutines."""

    __slots__ = ()

    async def result(self, timeout: float | None = None) -> Any:
        """As CallHandle.result."""
        try:
            return await super().result(timeout)
        except TaskCancelled:
            raise
        except TaskFailed as error:
            try:
                _attach(error, await self._client.output(self.id))
            except ZschedError:
                pass
            raise


def _attach(error: TaskFailed, output: Output) -> None:
    """The traceback is the last that the attempt wrote to stderr."""
    trace = bytearray()
    for piece in output.pieces:
        if piece.stream is OutputStream.STDERR:
            trace += piece.data
        elif trace:
            trace.clear()
    attach_traceback(error, trace.decode("utf-8", "replace"))


def attach_traceback(error: TaskFailed, trace: str) -> None:
    """Gives an exception the traceback of the function."""
    if trace:
        error.remote_traceback = trace
        error.add_note("in the worker:\n" + trace.rstrip())
