"""Tasks as bytes that are ready for a SUBMIT, and the frame's body made of many of them.

A task is written when it is submitted, as a block that is a multiple of 8 long and refers to nothing outside of itself:

    0        4                                                          end
    | unused | table | vtable | strings, labels, templates | payload | 0…|

The table stands at 4, the payload is the last part. So a body is a head, the offsets of the tables, and the blocks one after
the other; and tasks that differ in their payload only share all that comes before it, which is kept for the next.

Example:
    blocks = [encode_task(spec) for spec in specs]
    body = submit_body(blocks, seq=1, acked_below=1)

Threads: any.
"""
from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from operator import attrgetter

from zsched._convert import task_to_wire
from zsched._wire import schema as wire
from zsched._wire.constants import MAX_FRAME_BYTES
from zsched._wire.layouts import TABLES_OF
from zsched._wire.writer import append_reference, pad8, plan_of
from zsched.errors import InvalidArgument, TooLarge, ZschedError
from zsched.types import TaskSpec

# A task's largest size. With it a frame of one stays under MAX_FRAME_BYTES; the broker's own limits are lower.
MAX_TASK_BYTES = MAX_FRAME_BYTES // 4 * 3
# What a frame adds to its blocks, and a block to its frame.
FRAME_OVERHEAD = 64
BLOCK_OVERHEAD = 4

# root, vtable of Submit (seq, acked_below, no notify, tasks), 4 unused, the table, the size of the vector of tasks.
_HEAD = struct.Struct("<I6H4xiQQII")
_TABLE_AT, _VTABLE_AT, _TASKS_OFFSET = 20, 4, 4
_HEAD_FIXED = (_TABLE_AT, 12, 24, 4, 12, 0, 20, _TABLE_AT - _VTABLE_AT)
_BLOCK_TABLE_AT = 4
_PAYLOAD_FIELD = wire.TaskSpec._fields.index("payload")
_PADDING = tuple(b"\0" * (-size % 8) for size in range(8))
_pack_u32 = struct.Struct("<I").pack

# The parts before the payload, by all that a task has but its payload. Emptied when it is full: tasks of one kind come
# one after the other.
_MAX_PREFIXES = 1024
_prefixes: dict[tuple[object, ...], bytes] = {}
_options = attrgetter("type", "queue", "content_type", "priority", "delay", "run_at", "max_attempts", "timeout", "retry_base",
                      "retry_cap", "key", "labels", "concurrency_key", "fairness_key", "correlation_id", "traceparent",
                      "delivery", "durability", "start_within", "start_by", "on_success", "on_failure", "on_complete",
                      "pass_result")


def encode_task(spec: TaskSpec) -> bytes:
    """The block of a task. InvalidArgument, TooLarge for what the wire cannot carry; the rest is the broker's to judge."""
    payload = spec.payload
    if type(payload) is not bytes:
        payload = _payload_bytes(payload)
    size = len(payload)
    if size > MAX_TASK_BYTES:
        raise TooLarge(f"a payload of {size} bytes is over the {MAX_TASK_BYTES} that a frame can carry; "
                       "pass a reference to the data")
    if not size:
        return _prefix(spec, False)
    options = _options(spec)
    try:
        prefix = _prefixes.get(options)
    except TypeError:  # labels or templates, which have no hash
        prefix = _prefix(spec, True)
    else:
        if prefix is None:
            prefix = _prefix(spec, True)
            if len(_prefixes) >= _MAX_PREFIXES:
                _prefixes.clear()
            _prefixes[options] = prefix
    return b"".join((prefix, _pack_u32(size), payload, _PADDING[(len(prefix) + 4 + size) & 7]))


def encode_each(spec: TaskSpec, payloads: Iterable[bytes | str]) -> Iterator[bytes]:
    """The blocks of tasks that are `spec` with one of the payloads each."""
    for payload in payloads:
        spec.payload = payload
        yield encode_task(spec)


def _payload_bytes(payload: object) -> bytes:
    if isinstance(payload, str):
        return payload.encode("utf-8", "surrogatepass")
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    raise InvalidArgument(f"payload: must be bytes or str, not {type(payload).__name__}; json= takes other values")


def _prefix(spec: TaskSpec, payload: bool) -> bytes:
    """A block up to its payload; a whole one when there is none."""
    try:
        return _write_block(task_to_wire(spec)._replace(payload=b"\0" if payload else None), payload)
    except ZschedError:
        raise
    except (struct.error, AttributeError, TypeError, ValueError) as error:
        raise InvalidArgument(f"a field of the task does not fit the wire: {error}") from error


def _write_block(message: wire.TaskSpec, payload: bool) -> bytes:
    plan = plan_of(TABLES_OF[wire.TaskSpec], message)
    values = list(message)
    for index, *_ in plan.references:
        values[index] = 0
    out = bytearray(_BLOCK_TABLE_AT)
    out += plan.pack(0, *[values[index] for index in plan.scalars])
    if len(out) & 1:
        out += b"\0"
    struct.pack_into("<i", out, _BLOCK_TABLE_AT, _BLOCK_TABLE_AT - len(out))
    out += plan.vtable
    payload_at = 0
    for index, offset, kind, item in plan.references:
        here = _BLOCK_TABLE_AT + offset
        if index == _PAYLOAD_FIELD:
            payload_at = here
        else:
            struct.pack_into("<I", out, here, append_reference(out, kind, item, message[index]) - here)
    if not payload:
        pad8(out)
        return bytes(out)
    out += b"\0" * (-len(out) % 4)
    struct.pack_into("<I", out, payload_at, len(out) - payload_at)
    return bytes(out)


def submit_body(blocks: Sequence[bytes], seq: int, acked_below: int) -> bytes:
    """The body of SUBMIT with these tasks."""
    count = len(blocks)
    vector_end = _HEAD.size + 4 * count
    first = vector_end + (-vector_end % 8) + _BLOCK_TABLE_AT - _HEAD.size
    starts = accumulate(map(len, blocks), initial=first)
    offsets = [start - 4 * index for index, start in zip(range(count), starts)]
    return b"".join((_HEAD.pack(*_HEAD_FIXED, seq, acked_below, _TASKS_OFFSET, count), struct.pack(f"<{count}I", *offsets),
                     b"\0" * (-vector_end % 8), *blocks))


def body_bytes(blocks: int, bytes_: int) -> int:
    """At least what a body of so many blocks with so many bytes together will have."""
    return FRAME_OVERHEAD + BLOCK_OVERHEAD * blocks + bytes_
