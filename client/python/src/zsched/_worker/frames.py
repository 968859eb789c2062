"""Bodies of the worker's frames from the ledger's values, and TASKS to leases. Pure.

TASKS and RESULTS are the hot path: the generic reader and writer take several times as long for them as a no-op takes.

Threads: any.
"""
from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from zsched._version import VERSION
from zsched._wire import schema as wire
from zsched._wire.reader import read
from zsched._wire.writer import write
from zsched._worker.ledger import Lease, ResultsFrame


class Identity(NamedTuple):
    """Who a worker is, for as long as its process lives. Without queues it serves all."""

    id: wire.Uuid
    name: str
    host: str
    pid: int
    queues: Sequence[str]
    types: Sequence[str]
    labels: Sequence[tuple[str, str]]
    concurrency: int


def hello(identity: Identity, draining: bool, held: Sequence[wire.LeaseRef], number: int) -> bytes:
    """The body of WORKER_HELLO."""
    return write(wire.WorkerHello(
        id=identity.id, name=identity.name, host=identity.host, version=VERSION, pid=identity.pid,
        queues=list(identity.queues), types=list(identity.types),
        labels=[wire.Label(key, value) for key, value in identity.labels], concurrency=identity.concurrency,
        draining=draining, held=list(held), number=number))


def leases_of(body: bytes, now_ms: int) -> list[Lease]:
    """The assignments of a TASKS frame that was read at `now_ms`, mono; each lease has its Assignment as `work`.
    MalformedBody."""
    make = Lease
    return [make(task.task_id, task.lease_id, task.attempt, task.timeout_ms,
                 now_ms + task.start_within_ms if task.start_within_ms else 0, task)
            for task in read(wire.Tasks, body).tasks]


def results(frame: ResultsFrame) -> bytes:
    """The body of RESULTS."""
    if not frame.results:
        return done_body(frame.seq, frame.done)
    if not frame.done and all([_is_plain(result) for result in frame.results]):
        return plain_body(frame.seq, frame.results)
    return write(wire.Results(frame.seq, [wire.Done(*done) for done in frame.done], frame.results))


# root, vtable of Results (seq, done), 4 unused, the table: its vtable, the vector of Done, seq, 4 unused; the vector's size.
_DONE_HEAD = struct.Struct("<I4H4xiIQ4xI")
_DONE_TABLE_AT, _DONE_VTABLE_AT = 16, 4
_DONE = struct.Struct("<QQIxxxx")


def done_body(seq: int, done: Sequence[tuple[int, int, int]]) -> bytes:
    """The body of a RESULTS frame in which all succeeded without a result:

        0     4         12      16           20     24    32    36      40
        | root | vtable | unused | to vtable  | done | seq | -   | size  | entries
    """
    pack = _DONE.pack
    head = _DONE_HEAD.pack(_DONE_TABLE_AT, 8, 16, 8, 4, _DONE_TABLE_AT - _DONE_VTABLE_AT, 16, seq, len(done))
    return head + b"".join([pack(*entry) for entry in done])


# root, vtable of Results (seq, no done, results), vtable of Result, 2 unused, the table of Results: its vtable, the vector of
# tables, seq; 4 unused, the vector's size.
_PLAIN_HEAD = struct.Struct("<I5H8H2xiIQ4xI")
_RESULTS_VTABLE_AT, _RESULT_VTABLE_AT, _RESULTS_TABLE_AT = 4, 14, 32
_RESULTS_VTABLE = (10, 16, 8, 0, 4)
# Of a Result: its vtable, result, content_type, run_us, task_id, lease_id, succeeded.
_RESULT = struct.Struct("<iIIIQQB7x")
_RESULT_VTABLE = (16, 33, 16, 24, 12, 32, 4, 8)
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_pack_u32 = struct.Struct("<I").pack


def _is_plain(result: wire.Result) -> bool:
    """A success whose result has bytes and a content type."""
    return result.succeeded and result.result is not None and result.content_type is not None


def plain_body(seq: int, entries: Sequence[wire.Result]) -> bytes:
    """The body of a RESULTS frame in which all are plain. Tables have one vtable and one length, and what they refer to
    stands behind them all, each content type once:

        0      4        14       30       32                   48  52     56        (multiple of 8)
        | root | vtables         | unused | table of Results   | - | size | offsets | tables | content types | results
    """
    count = len(entries)
    tables_at = _PLAIN_HEAD.size + 4 * count
    padding = -tables_at % 8
    tables_at += padding
    at = tables_at + _RESULT.size * count
    types: dict[str, int] = {}
    tail: list[bytes] = []
    for entry in entries:
        name = entry.content_type or ""
        if name not in types:
            types[name] = at
            text = name.encode("utf-8", "replace")
            block = _pack_u32(len(text)) + text + b"\0"
            tail.append(block + _PADDING[len(block) & 3])
            at += len(tail[-1])
    parts: list[bytes] = []
    table_at, pack = tables_at, _RESULT.pack
    for task, lease, run_us, _, result, content_type, *_ in entries:
        data = result or b""
        parts.append(pack(table_at - _RESULT_VTABLE_AT, at - table_at - 4, types[content_type or ""] - table_at - 8, run_us, task,
                          lease, 1))
        table_at += _RESULT.size
        block = _pack_u32(len(data)) + data
        block += _PADDING[len(block) & 3]
        tail.append(block)
        at += len(block)
    first, step = tables_at - _PLAIN_HEAD.size, _RESULT.size - 4
    offsets = struct.pack(f"<{count}I", *range(first, first + step * count, step))
    head = _PLAIN_HEAD.pack(_RESULTS_TABLE_AT, *_RESULTS_VTABLE, *_RESULT_VTABLE, _RESULTS_TABLE_AT - _RESULTS_VTABLE_AT,
                            _PLAIN_HEAD.size - 4 - _RESULTS_TABLE_AT - 4, seq, count)
    return b"".join((head, offsets, b"\0" * padding, *parts, *tail))
