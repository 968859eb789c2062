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


# root, vtable of Results (seq, done), 2 unused, the table: its vtable, the vector of Done, seq; the vector's size.
_DONE_HEAD = struct.Struct("<I4H4xiI Q4xI".replace(" ", ""))
_DONE_TABLE_AT, _DONE_VTABLE_AT = 16, 4
_DONE = struct.Struct("<QQIxxxx")


def results(frame: ResultsFrame) -> bytes:
    """The body of RESULTS."""
    if frame.results:
        return write(wire.Results(frame.seq, [wire.Done(*done) for done in frame.done], frame.results))
    return done_body(frame.seq, frame.done)


def done_body(seq: int, done: Sequence[tuple[int, int, int]]) -> bytes:
    """The body of a RESULTS frame in which all succeeded without a result:

        0     4         12      16           20     24    32    36      40
        | root | vtable | unused | to vtable  | done | seq | - | size  | entries
    """
    pack = _DONE.pack
    head = _DONE_HEAD.pack(_DONE_TABLE_AT, 8, 16, 8, 4, _DONE_TABLE_AT - _DONE_VTABLE_AT, 16, seq, len(done))
    return head + b"".join([pack(*entry) for entry in done])
