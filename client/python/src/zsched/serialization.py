"""Values to payloads and back. A serializer is one object with a content type; results are read by theirs.

Example:
    class Pickled:
        content_type = "application/x-pickle"
        def dumps(self, value): return pickle.dumps(value)
        def loads(self, data): return pickle.loads(data)

    register(Pickled())                     # from now on results of that type are read by it

Threads: any.
"""
from __future__ import annotations

import json
from typing import Any, Protocol

from zsched.errors import InvalidArgument

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"


class Serializer(Protocol):
    """Turns values into bytes of one content type, and back."""

    content_type: str

    def dumps(self, value: Any) -> bytes:
        """The bytes of a value; raises what it likes for one that it cannot take."""

    def loads(self, data: bytes) -> Any:
        """The value of bytes; ValueError for what is none."""


class JsonSerializer:
    """JSON, the default."""

    content_type = JSON_TYPE

    def dumps(self, value: Any) -> bytes:
        """UTF-8, without spaces; ValueError or TypeError for what JSON has not."""
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()

    def loads(self, data: bytes) -> Any:
        """ValueError for what is no JSON."""
        return json.loads(data)


class _TextSerializer:
    content_type = "text/plain"

    def dumps(self, value: Any) -> bytes:
        return str(value).encode()

    def loads(self, data: bytes) -> str:
        return data.decode()


_known: dict[str, Serializer] = {}


def register(serializer: Serializer) -> None:
    """Results of its content type are read by it from now on, in this process. Only register one that may read what any worker
    of the cluster may send."""
    _known[_bare(serializer.content_type)] = serializer


def decode(content_type: str | None, data: bytes) -> Any:
    """The value of a result: by the serializer of its content type, or the bytes themselves; None for nothing at all.
    InvalidArgument when they are not what their type says."""
    if not content_type:
        return data or None
    serializer = _known.get(_bare(content_type))
    if serializer is None:
        return data
    try:
        return serializer.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the result is not {content_type}: {error}") from error


def _bare(content_type: str) -> str:
    """Without its parameters."""
    return content_type.partition(";")[0].strip().lower()


register(JsonSerializer())
register(_TextSerializer())
