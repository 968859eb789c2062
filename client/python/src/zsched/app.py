"""Functions as tasks: App collects them, submits calls of them, and is what a worker serves.

Example (shop.py):
    app = zsched.App(brokers="127.0.0.1:5570")

    @app.task(queue="mail", max_attempts=5, timeout=30)
    def send_mail(to: str, subject: str) -> int:
        ...

    send_mail("a@example.org", "hi")                       # the plain function
    handle = send_mail.submit("a@example.org", subject="hi")
    print(handle.result(timeout=60))

    $ python -m zsched worker shop:app                     # runs them

Calls as payloads: positional arguments alone are an array, keywords alone an object, no arguments nothing; so a task can be
submitted from anywhere (`zsched-ctl submit --type send_mail --payload '{"to":"a@example.org","subject":"hi"}'`). Of a call with
both, the content type has "; call=mixed", and the payload is {"args": […], "kwargs": {…}}.

Threads: any. One App has one Client in a process, made when it is first needed, and one AsyncClient for each event loop.
"""
from __future__ import annotations

import asyncio
import inspect
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from zsched import serialization
from zsched._call import CallReader, dump_call
from zsched.aio import AsyncClient
from zsched.client import Client
from zsched.context import TaskContext, current_task, detached
from zsched.errors import Conflict, InvalidArgument
from zsched.options import TaskOptions
from zsched.results import AsyncCallHandle, CallHandle
from zsched.serialization import JsonSerializer, Serializer
from zsched.types import Duration, TaskSpec

if TYPE_CHECKING:
    from zsched.testing import Eager

P = ParamSpec("P")
R = TypeVar("R")
BYTES_TYPE = "application/octet-stream"


class App:
    """A set of task functions, and what they have in common.

    `brokers`: as of Client; a worker's own `brokers` go before it. `queue`: of functions that name none. `serializer`: of
    arguments and results, JSON unless given; its content type is then also read by this process's clients. `client_options`:
    further arguments of Client.
    """

    def __init__(self, brokers: str | Sequence[str] | None = None, *, queue: str | None = None,
                 serializer: Serializer | None = None, client_options: Mapping[str, Any] | None = None) -> None:
        self.brokers = brokers
        self.queue = queue
        self.serializer: Serializer = serializer or JsonSerializer()
        serialization.register(self.serializer)
        self.tasks: dict[str, TaskFunction[..., Any]] = {}
        # Where it was made: child processes find it again there.
        self.module: str = sys._getframe(1).f_globals.get("__name__", "")
        self._client_options = dict(client_options or {})
        self._eager: Eager | None = None
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._client_pid = 0
        self._async_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncClient] = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<App of {self.module}: {', '.join(sorted(self.tasks)) or 'no tasks'}>"

    @overload
    def task(self, function: Callable[Concatenate[TaskContext, P], R], /) -> TaskFunction[P, R]: ...

    @overload
    def task(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...

    @overload
    def task(self, function: None = None, /, *, name: str | None = None, serializer: Serializer | None = None,
             raw: bool = False, queue: str | None = None, priority: int | None = None, max_attempts: int | None = None,
             timeout: Duration | None = None, retry_base: Duration | None = None, retry_cap: Duration | None = None,
             labels: Mapping[str, str] | None = None, **options: Any) -> TaskDecorator: ...

    def task(self, function: Any = None, /, *, name: str | None = None, serializer: Serializer | None = None,
             raw: bool = False, **options: Any) -> Any:
        """Makes a function, sync or async, a task. Conflict when there is one of that name.

        `name`: the task's type; the function's name unless given. `serializer`: instead of the app's. `raw`: the function takes
        the payload as bytes, and nothing else. All others are options of its submits, as TaskSpec explains them: `queue`,
        `priority`, `max_attempts`, `timeout`, `retry_base`, `retry_cap`, `labels`, `concurrency_key`, `delivery`…

        A parameter that is named `ctx`, or annotated as TaskContext, is given the attempt's context; it is the first one, or it
        is passed by its name. Callers leave it out.
        """
        def decorate(function: Callable[..., Any]) -> TaskFunction[..., Any]:
            if self.queue is not None and "queue" not in options:
                options["queue"] = self.queue
            task = TaskFunction(self, function, name or function.__name__, serializer or self.serializer, raw,
                                {key: value for key, value in options.items() if value is not None})
            if task.name in self.tasks:
                raise Conflict(f"there is a task '{task.name}' already; give one of them another name=")
            self.tasks[task.name] = task
            return task
        return decorate if function is None else decorate(function)

    # --- Clients ---

    @property
    def client(self) -> Client:
        """The client that submits; made at the first use, and anew in a forked child."""
        with self._lock:
            if self._client is None or self._client_pid != os.getpid():
                self._client = Client(self.brokers, **self._client_options)
                self._client_pid = os.getpid()
            return self._client

    @property
    def async_client(self) -> AsyncClient:
        """The one of the running event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            client = self._async_clients.get(loop)
            if client is None:
                client = self._async_clients[loop] = AsyncClient(self.brokers, **self._client_options)
            return client

    def close(self, timeout: float = 10.0) -> None:
        """Closes the client, if there is one; the next use makes another. TimedOut when something was not acknowledged."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close(timeout)

    async def aclose(self, timeout: float = 10.0) -> None:
        """The same for the client of the running event loop."""
        with self._lock:
            client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close(timeout)

    # --- Users' own tests ---

    @property
    def eager(self) -> bool:
        """True: a submit runs the task in place, at once, and no broker is asked. For tests: testing() sets it for a while."""
        return self._eager is not None

    @eager.setter
    def eager(self, value: bool) -> None:
        from zsched.testing import Eager

        if value and self._eager is None:
            self._eager = Eager(self)
        elif not value:
            self._eager = None

    @contextmanager
    def testing(self) -> Iterator[Eager]:
        """Within it tasks run in place (zsched.testing)."""
        before = self._eager
        from zsched.testing import Eager

        self._eager = Eager(self)
        try:
            yield self._eager
        finally:
            self._eager = before


class TaskFunction(Generic[P, R]):
    """A function that can be submitted. Called, it is the plain function. `name` is the type of its tasks, `options` is what
    TaskSpec is given with each."""

    def __init__(self, app: App, function: Callable[P, R], name: str, serializer: Serializer, raw: bool,
                 options: dict[str, Any]) -> None:
        update_wrapper(self, function)
        self.app = app
        self.function = function
        self.name = name
        self.serializer = serializer
        self.options = options
        self.is_async = inspect.iscoroutinefunction(function)
        signature = inspect.signature(function)
        self.context_parameter, self._context_first = _context_parameter(signature, name)
        self.signature = signature.replace(parameters=[
            parameter for parameter in signature.parameters.values() if parameter.name != self.context_parameter])
        self._read = CallReader(name, serializer, raw)
        self._raw = raw
        TaskSpec(name, b"", **options)  # a wrong option is an error here, not at the first submit

    def __repr__(self) -> str:
        return f"<TaskFunction {self.name}{self.signature}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.context_parameter is not None and self.context_parameter not in kwargs:
            context = current_task() or detached(self.name)
            arguments, keywords = self._with_context(context, args, kwargs)
            return self.function(*arguments, **keywords)
        return self.function(*args, **kwargs)

    # --- Submitting ---

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> CallHandle:
        """Submits a call, and returns once it is durable. Errors as of Client.submit; TypeError for arguments that the function
        does not take, InvalidArgument for what the serializer does not."""
        return self._submit(args, kwargs, {})

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> CallHandle:
        """The same as submit."""
        return self._submit(args, kwargs, {})

    def apply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *,
                    countdown: Duration | None = None, eta: datetime | None = None, expires: Duration | None = None,
                    **options: Unpack[TaskOptions]) -> CallHandle:
        """Submits a call with options of its own: `countdown` and `eta` are `delay` and `run_at`, `expires` is `start_within`
        of TaskSpec, which explains the others."""
        return self._submit(args, kwargs or {}, _celery(options, countdown, eta, expires))

    def map(self, values: Iterable[Any]) -> list[CallHandle]:
        """Submits a call with each value as the one argument: the fastest way to submit many. SubmitManyError."""
        return self.starmap((value,) for value in values)

    def starmap(self, calls: Iterable[Sequence[Any]]) -> list[CallHandle]:
        """Submits a call with each of the sequences as its positional arguments. SubmitManyError."""
        if self.app._eager is not None:
            return [self._submit(args, {}, {}) for args in calls]
        spec = self.spec_of_call((), {}, {})
        if self._raw:
            payloads = (self._dump(args, {})[0] for args in calls)
        else:
            spec.content_type = self.serializer.content_type
            dumps, bind = self.serializer.dumps, self.signature.bind
            payloads = (dumps(list(args)) if bind(*args) and args else b"" for args in calls)
        client = self.app.client
        return [CallHandle(client, handle.id, handle.repeated) for handle in client.submit_each(spec, payloads)]

    async def asubmit(self, *args: P.args, **kwargs: P.kwargs) -> AsyncCallHandle:
        """As submit, for coroutines."""
        return await self._asubmit(args, kwargs, {})

    async def aapply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *,
                           countdown: Duration | None = None, eta: datetime | None = None,
                           expires: Duration | None = None, **options: Unpack[TaskOptions]) -> AsyncCallHandle:
        """As apply_async, for coroutines."""
        return await self._asubmit(args, kwargs or {}, _celery(options, countdown, eta, expires))

    def using(self, **options: Unpack[TaskOptions]) -> TaskFunction[P, R]:
        """The same function, whose submits have these options too: `add.using(queue="slow", delay=5).submit(1, 2)`."""
        twin: TaskFunction[P, R] = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.options = {**self.options, **options}
        return twin

    def spec(self, *args: P.args, **kwargs: P.kwargs) -> TaskSpec:
        """A call as a TaskSpec, for chains and for Client.submit_many: `resize.using(on_success=[notify.spec("done")])`."""
        return self.spec_of_call(args, kwargs, {})

    def spec_of_call(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: TaskOptions | dict[str, Any]) -> TaskSpec:
        """The same with options of its own. A task that is submitted by another one has its correlation and trace."""
        merged = {**self.options, **options}
        context = current_task()
        if context is not None:
            for name in ("correlation_id", "traceparent"):
                if name not in merged and getattr(context, name):
                    merged[name] = getattr(context, name)
        if not args and not kwargs and not self._raw:
            return TaskSpec(self.name, b"", **merged)
        payload, content_type = self._dump(args, kwargs)
        return TaskSpec(self.name, payload, content_type=content_type, **merged)

    def _dump(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[bytes, str | None]:
        self.signature.bind(*args, **kwargs)
        if not self._raw:
            return dump_call(self.serializer, args, kwargs)
        if len(args) != 1 or not isinstance(args[0], (bytes, bytearray, memoryview)):
            raise InvalidArgument(f"{self.name} takes its payload raw: submit it with one argument, of bytes")
        return bytes(args[0]), BYTES_TYPE

    def _submit(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: TaskOptions | dict[str, Any]) -> CallHandle:
        if not args and not kwargs:
            self.signature.bind()
        spec = self.spec_of_call(args, kwargs, options)
        if self.app._eager is not None:
            return self.app._eager.submit(spec)
        client = self.app.client
        handle = client.submit(spec)
        return CallHandle(client, handle.id, handle.repeated)

    async def _asubmit(self, args: Sequence[Any], kwargs: Mapping[str, Any],
                       options: TaskOptions | dict[str, Any]) -> AsyncCallHandle:
        if not args and not kwargs:
            self.signature.bind()
        spec = self.spec_of_call(args, kwargs, options)
        if self.app._eager is not None:
            return await self.app._eager.asubmit(spec)
        client = self.app.async_client
        handle = await client.submit(spec)
        return AsyncCallHandle(client, handle.id, handle.repeated)

    # --- Running; for workers ---

    def load_call(self, context: TaskContext) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments of an attempt. InvalidArgument for a payload that is no call."""
        work = context._work
        args, kwargs = self._read(work.payload, work.content_type)
        return self._with_context(context, args, kwargs) if self.context_parameter is not None else (args, kwargs)

    def dump_result(self, value: Any) -> tuple[bytes, str]:
        """(bytes, content type) of what the function returned; bytes stay as they are."""
        if isinstance(value, (bytes, bytearray)):
            return bytes(value), BYTES_TYPE
        return self.serializer.dumps(value), self.serializer.content_type

    def _with_context(self, context: TaskContext, args: Sequence[Any],
                      kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        if self._context_first:
            return (context, *args), kwargs
        return args, {**kwargs, self.context_parameter or "ctx": context}


class TaskDecorator(Protocol):
    """What task() with options returns, for type checkers: a first parameter for the context is none of the callers'
    arguments."""

    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R], /) -> TaskFunction[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...


def _context_parameter(signature: inspect.Signature, name: str) -> tuple[str | None, bool]:
    """(the parameter that takes the context, whether it is passed as the first argument)."""
    for index, parameter in enumerate(signature.parameters.values()):
        annotation = parameter.annotation
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        if parameter.name != "ctx" and text.rpartition(".")[2] != TaskContext.__name__:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InvalidArgument(f"task {name}: {parameter} cannot take the context")
        if parameter.kind is parameter.POSITIONAL_ONLY and index:
            raise InvalidArgument(f"task {name}: the context must be the first parameter, or one that has a name")
        return parameter.name, index == 0 and parameter.kind is not parameter.KEYWORD_ONLY
    return None, False


def _celery(options: TaskOptions, countdown: Duration | None, eta: datetime | None,
            expires: Duration | None) -> dict[str, Any]:
    found: dict[str, Any] = dict(options)
    for name, value in (("delay", countdown), ("run_at", eta), ("start_within", expires)):
        if value is not None:
            found[name] = value
    return found
