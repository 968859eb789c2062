"""Calls of functions as payloads, and back: the rule is in app.py.

Threads: any.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zsched.errors import InvalidArgument
from zsched.serialization import Serializer

# What a content type has behind it when its payload is {"args": […], "kwargs": {…}}.
MIXED = "; call=mixed"
_NOTHING: tuple[Sequence[Any], Mapping[str, Any]] = ((), {})


def dump_call(serializer: Serializer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[bytes, str | None]:
    """(payload, content type). InvalidArgument for what the serializer does not take."""
    try:
        if not kwargs:
            return (serializer.dumps(list(args)), serializer.content_type) if args else (b"", None)
        if not args:
            return serializer.dumps(dict(kwargs)), serializer.content_type
        return serializer.dumps({"args": list(args), "kwargs": dict(kwargs)}), serializer.content_type + MIXED
    except Exception as error:
        raise InvalidArgument(f"the arguments cannot be written as {serializer.content_type}: "
                              f"{type(error).__name__}: {error}") from error


class CallReader:
    """Reads the payloads of one function's tasks. Besides its serializer's content type it takes text, as the one argument, and
    none, as if it were the serializer's. No other: what may be unpickled is not for the one who submits to say."""

    __slots__ = ("_name", "_loads", "_type", "_raw")

    def __init__(self, name: str, serializer: Serializer, raw: bool) -> None:
        self._name, self._loads, self._type, self._raw = name, serializer.loads, serializer.content_type, raw

    def __call__(self, payload: bytes | None, content_type: str | None) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """(positional arguments, keywords). InvalidArgument for what is no call."""
        if self._raw:
            return (payload or b"",), {}
        if not payload:
            return _NOTHING
        bare, parameter = content_type or self._type, ""
        if bare != self._type:
            bare, _, parameter = bare.partition(";")
            bare = bare.strip().lower()
        if bare == "text/plain" != self._type:
            return (payload.decode("utf-8", "replace"),), {}
        if bare != self._type:
            raise InvalidArgument(f"the payload is {content_type}; task {self._name} reads {self._type}")
        try:
            value = self._loads(payload)
        except (ValueError, RecursionError) as error:
            raise InvalidArgument(f"the payload is not {self._type}: {error}") from error
        if "call=mixed" in parameter:
            return self._mixed(value)
        if isinstance(value, list):
            return value, {}
        if isinstance(value, dict):
            return (), self._keywords(value)
        return (value,), {}

    def _mixed(self, value: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
        if isinstance(value, dict) and isinstance(value.get("args"), list) and isinstance(value.get("kwargs"), dict):
            return value["args"], self._keywords(value["kwargs"])
        raise InvalidArgument('the payload is no call: it must have "args", an array, and "kwargs", an object')

    def _keywords(self, value: dict[Any, Any]) -> Mapping[str, Any]:
        if all(type(key) is str for key in value):
            return value
        raise InvalidArgument(f"the payload is no call of {self._name}: its keywords must be text")
