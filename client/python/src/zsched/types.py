"""What goes in and comes out of a client, as plain values: tasks, outcomes, views of the broker.

Durations are seconds (int, float or timedelta), times are aware datetimes (what comes out is UTC). Limits of every field:
docs/protocol.md; the broker checks them and names the field.

Threads: values.
"""
from __future__ import annotations

import json as json_module
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from zsched._wire.constants import (DEFAULT_CATCH_UP_MS, DEFAULT_PRIORITY, DEFAULT_QUEUE, AttemptEnd, Delivery, Durability,
                                    ErrorCode, EventKind, OutputStream, Overlap, QueueGate, Role, TaskState, WaitReason)
from zsched.errors import InvalidArgument, NotFound, TaskCancelled, TaskFailed
from zsched.serialization import JSON_TYPE, TEXT_TYPE, decode

__all__ = ["Attempt", "AttemptEnd", "BrokerSummary", "DeadGroup", "DeadProgress", "Delivery", "Durability", "EVENTS_FROM_NOW",
           "EVENTS_FROM_START", "Event", "EventKind", "EventPage", "EventPosition", "Explanation", "HasId", "Histogram",
           "History", "ItemResult", "Output", "OutputPiece", "OutputStream", "Outcome", "Overlap", "Progress", "QueueGate",
           "QueueInfo", "QueueSettings", "QueueSummary", "Role", "ScheduleInfo", "Status", "TaskId", "TaskInfo", "TaskRef",
           "TaskSpec", "TaskState", "TypeInfo", "WaitCause", "WaitReason", "WorkerSummary"]

Duration = int | float | timedelta

_COUNTER_BITS = 40
_COUNTER_MASK = (1 << _COUNTER_BITS) - 1
_MAX_EPOCH = (1 << 24) - 1
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1
_NO_JSON: Any = object()  # None is a value of JSON


class TaskId(int):
    """The id of a task: a number that reads as people and JSON see it.

    >>> TaskId.parse("4-17")
    TaskId('4-17')
    >>> f"{TaskId.parse('4-17')}"
    '4-17'
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> TaskId:
        """"EPOCH-COUNTER". InvalidArgument for anything that str() of an id does not give."""
        epoch, dash, counter = text.partition("-")
        if dash and epoch.isascii() and counter.isascii() and epoch.isdigit() and counter.isdigit() and len(text) <= 24:
            number = cls(int(epoch) << _COUNTER_BITS | int(counter))
            if int(epoch) <= _MAX_EPOCH and int(counter) <= _COUNTER_MASK and str(number) == text:
                return number
        raise InvalidArgument(f"'{text}' is not the id of a task; it looks like 4-17")

    def __str__(self) -> str:
        return f"{int(self) >> _COUNTER_BITS}-{int(self) & _COUNTER_MASK}"

    def __repr__(self) -> str:
        return f"TaskId('{self}')"


class HasId(Protocol):
    """Whatever names a task by its `id`: a handle, a TaskInfo, an Outcome, an ItemResult."""

    @property
    def id(self) -> TaskId:
        """The id of the task."""


# How a call may be told which task is meant.
TaskRef = int | str | HasId


@dataclass(slots=True)
class TaskSpec:
    """A task to be submitted. Only `type` is required; what is None is the queue's or the broker's default.

    The payload is bytes as they are, a str (its content type is then text/plain) or, with `json=`, any value that JSON has.

    >>> TaskSpec("mail", json={"to": "a@example.org"}, queue="outbox", delay=5).content_type
    'application/json'
    """

    type: str
    payload: bytes | str = b""
    json: InitVar[Any] = _NO_JSON
    queue: str = field(default=DEFAULT_QUEUE, kw_only=True)
    content_type: str | None = field(default=None, kw_only=True)
    # 0..9, 9 first.
    priority: int = field(default=DEFAULT_PRIORITY, kw_only=True)
    # One of the two: from the broker's receipt, or a time.
    delay: Duration | None = field(default=None, kw_only=True)
    run_at: datetime | None = field(default=None, kw_only=True)
    max_attempts: int | None = field(default=None, kw_only=True)
    # Of one attempt.
    timeout: Duration | None = field(default=None, kw_only=True)
    retry_base: Duration | None = field(default=None, kw_only=True)
    retry_cap: Duration | None = field(default=None, kw_only=True)
    # Idempotency key: while a task with it is known, another submit with the same body is answered with that task, one that
    # differs is refused with Conflict.
    key: str | None = field(default=None, kw_only=True)
    labels: Mapping[str, str] | None = field(default=None, kw_only=True)
    # Tasks of the queue with the same key share its key_max_running and key_rate.
    concurrency_key: str | None = field(default=None, kw_only=True)
    # A queue's tasks take turns between these.
    fairness_key: str | None = field(default=None, kw_only=True)
    # Both go with the task to its worker and into queries.
    correlation_id: str | None = field(default=None, kw_only=True)
    traceparent: str | None = field(default=None, kw_only=True)
    # AT_MOST_ONCE: no attempt begins when an earlier one has, or may have.
    delivery: Delivery = field(default=Delivery.AT_LEAST_ONCE, kw_only=True)
    durability: Durability = field(default=Durability.REPLICATED, kw_only=True)
    # One of the two: its first attempt begins so long after the broker's receipt, or by then, or the task is dead.
    start_within: Duration | None = field(default=None, kw_only=True)
    start_by: datetime | None = field(default=None, kw_only=True)
    # Templates of the tasks that follow when this one has succeeded, is dead, is over at all.
    on_success: Sequence[TaskSpec] = field(default=(), kw_only=True)
    on_failure: Sequence[TaskSpec] = field(default=(), kw_only=True)
    on_complete: Sequence[TaskSpec] = field(default=(), kw_only=True)
    # Of a template only: its task is given what the one before left.
    pass_result: bool = field(default=False, kw_only=True)

    def __post_init__(self, json: Any) -> None:
        if json is not _NO_JSON:
            if self.payload:
                raise InvalidArgument("payload, json: give one of the two")
            self.payload = dump_json(json)
            self.content_type = self.content_type or JSON_TYPE
        elif isinstance(self.payload, str):
            self.payload = self.payload.encode("utf-8", "surrogatepass")
            self.content_type = self.content_type or TEXT_TYPE


def dump_json(value: object) -> bytes:
    """JSON as bytes. InvalidArgument for what JSON has not."""
    try:
        return json_module.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"json: {error}") from error


@dataclass(slots=True)
class Outcome:
    """How a task ended. `error` is OK for a success, NOT_FOUND when there is no such task (`state` then means nothing)."""

    id: TaskId
    state: TaskState = TaskState.SUCCEEDED
    attempt: int = 0  # 0 when the broker did not say
    result: bytes = b""
    content_type: str | None = None
    error: ErrorCode = ErrorCode.OK
    error_message: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the task did what it was to do."""
        return self.error is ErrorCode.OK and self.state is TaskState.SUCCEEDED

    def value(self) -> Any:
        """The result by its content type: JSON as a value, text as str, anything else as bytes (None for nothing).
        InvalidArgument when it is not what its type says; TaskFailed and the like when there is none."""
        self.check()
        return decode(self.content_type, self.result)

    def check(self) -> None:
        """Raises TaskFailed, TaskCancelled or NotFound unless the task succeeded."""
        if self.succeeded:
            return
        if self.error is ErrorCode.NOT_FOUND and self.state is not TaskState.DEAD:
            raise NotFound(f"task {self.id} does not exist")
        raise TaskCancelled(self) if self.state is TaskState.CANCELLED else TaskFailed(self)


@dataclass(slots=True, frozen=True)
class Progress:
    """How far an attempt said it was."""

    percent: int
    message: str
    attempt: int
    at: datetime | None


@dataclass(slots=True, frozen=True)
class TaskInfo:
    """A task as the broker has it."""

    id: TaskId
    queue: str
    type: str
    state: TaskState
    priority: int
    attempt: int
    max_attempts: int
    timeout: float
    submitted_at: datetime | None
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str
    payload: bytes
    content_type: str | None
    result: bytes
    result_content_type: str | None
    error: ErrorCode
    error_message: str
    labels: dict[str, str]
    key: str | None
    concurrency_key: str | None
    fairness_key: str | None
    correlation_id: str | None
    traceparent: str | None
    delivery: Delivery
    durability: Durability
    # Leased, and cancelled: it ends as cancelled with its attempt.
    cancelling: bool
    # Dead: the same for errors that differ in their details only. Otherwise 0.
    fingerprint: int
    progress: Progress | None
    # The task that it follows.
    parent: TaskId | None
    # While it holds.
    start_by: datetime | None


@dataclass(slots=True, frozen=True)
class WaitCause:
    """One thing that keeps a task from running, or that it runs."""

    reason: WaitReason
    name: str
    since: datetime | None
    until: datetime | None
    count: int
    limit: int


@dataclass(slots=True, frozen=True)
class Explanation:
    """Why a task is not running now. `causes` are all that hold; a ready task without any comes in its turn, behind `ahead`
    others of its queue and fairness key (more, unless `ahead_exact`)."""

    state: TaskState
    causes: tuple[WaitCause, ...] = ()
    ahead: int = 0
    ahead_exact: bool = True
    ready: int = 0


@dataclass(slots=True, frozen=True)
class Attempt:
    """One attempt at a task. `run_seconds` is what its worker reported, 0 when it did not."""

    attempt: int
    lease: int
    worker: str
    leased_at: datetime | None
    ended_at: datetime | None
    run_seconds: float
    end: AttemptEnd
    error: ErrorCode
    error_message: str


@dataclass(slots=True, frozen=True)
class History:
    """The attempts at a task in the order in which they began; of many, `missing` are not kept."""

    attempts: tuple[Attempt, ...]
    missing: int


@dataclass(slots=True, frozen=True)
class OutputPiece:
    """Bytes that an attempt wrote to one stream; `offset` is the first one's in all that it wrote."""

    stream: OutputStream
    offset: int
    data: bytes


@dataclass(slots=True, frozen=True)
class Output:
    """What one attempt wrote, from some offset on. To follow it ask again from `end_offset` for as long as `running`."""

    attempt: int
    last_attempt: int
    running: bool
    finished: bool
    end_offset: int
    pieces: tuple[OutputPiece, ...]


@dataclass(slots=True, frozen=True)
class ItemResult:
    """What became of one task of a retry, cancel or delete: `code` is OK, CONFLICT or NOT_FOUND."""

    id: TaskId
    code: ErrorCode
    message: str

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return self.code is ErrorCode.OK


@dataclass(slots=True, frozen=True)
class DeadGroup:
    """Dead tasks whose errors differ in their details only."""

    fingerprint: int
    type: str
    error: ErrorCode
    error_message: str  # of the last one, cut
    tasks: int
    first_died_at: datetime | None
    last_died_at: datetime | None
    last_task: TaskId


@dataclass(slots=True, frozen=True)
class DeadProgress:
    """Of a retry or purge of dead letters: done, and passed because somebody else was faster."""

    done: int
    passed: int


@dataclass(slots=True, frozen=True)
class QueueSettings:
    """What an operator set for a queue; 0 is no such rule. docs/scheduling.md explains each."""

    paused: bool = False
    max_tasks: int = 0
    max_bytes: int = 0
    max_running: int = 0
    rate: float = 0.0  # attempts a second
    burst: int = 0
    weight: int = 0
    max_attempts: int = 0  # this and the next three: for tasks that do not say
    timeout: float = 0.0
    retry_base: float = 0.0
    retry_cap: float = 0.0
    key_max_running: int = 0  # these three: for each concurrency key
    key_rate: float = 0.0
    key_burst: int = 0
    ageing: float = 0.0  # waiting so long is worth a step of priority
    draining: bool = False


@dataclass(slots=True, frozen=True)
class QueueInfo:
    """A queue: how many tasks it has in each state, the bytes of the unfinished ones, and why it gives nothing out."""

    name: str
    counts: dict[TaskState, int]
    bytes: int
    gate: QueueGate
    settings: QueueSettings
    oldest_ready: float  # as in QueueSummary


@dataclass(slots=True, frozen=True)
class QueueSummary:
    """A queue in a Status: how many tasks it has in each state, and the bytes of the unfinished ones."""

    counts: dict[TaskState, int]
    bytes: int
    # Seconds that the first of its ready tasks has been ready, to one; 0: none is, or since less.
    oldest_ready: float


@dataclass(slots=True, frozen=True)
class TypeInfo:
    """A type of tasks and its rules over all queues; `no_retry` are the errors that end a task at once."""

    name: str
    running: int
    gate: QueueGate
    paused: bool
    max_running: int
    rate: float
    burst: int
    no_retry: frozenset[ErrorCode]


@dataclass(slots=True, frozen=True)
class ScheduleInfo:
    """A time schedule as the broker has it. `next_at` is its next tick without jitter, `error` why it cannot fire."""

    name: str
    expression: str
    zone: str
    task: TaskSpec
    overlap: Overlap = Overlap.SKIP
    catch_up: float = DEFAULT_CATCH_UP_MS / 1000
    jitter: float = 0.0
    paused: bool = False
    created_at: datetime | None = None
    decided_until: datetime | None = None
    next_at: datetime | None = None
    last_task: TaskId | None = None
    running: bool = False
    held: int = 0
    fired: int = 0
    skipped: int = 0
    missed: int = 0
    error: str = ""


@dataclass(slots=True, frozen=True)
class BrokerSummary:
    """A broker of the cluster as another one knows it; its host may be empty: that of the one that answered."""

    node: str
    role: Role
    address: str
    worker_address: str
    self: bool


@dataclass(slots=True, frozen=True)
class Merge:
    """What became of what one broker of a pair without an arbiter did alone (docs/ha.md). Counts of tasks, but schedules."""

    epoch: int
    begun_at: datetime | None
    decided_at: datetime | None
    done: bool
    taken: int
    finished: int
    ended: int
    resent: int
    voided: int
    schedules: int


@dataclass(slots=True, frozen=True)
class Histogram:
    """Times that were taken since the broker started: how many were up to each bound and above the one before. In seconds.

    >>> Histogram(bounds=(0.001, 0.01), counts=(4, 0, 1), sum=0.25).mean
    0.05
    """

    bounds: tuple[float, ...]  # inclusive upper bounds, rising
    counts: tuple[int, ...]    # one more than bounds: the last is of those above all
    sum: float

    @property
    def count(self) -> int:
        """Of all observations."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """0 when there are none."""
        return self.sum / self.count if self.count else 0.0


@dataclass(slots=True, frozen=True)
class Status:
    """The broker that answered, and what it counts. docs/protocol.md (STATUS) explains every gauge and histogram."""

    node: str
    role: Role
    epoch: int
    lsn: int
    durable_lsn: int
    uptime: float
    version: str
    cluster: str
    brokers: tuple[BrokerSummary, ...]
    queues: dict[str, QueueSummary]
    workers: int
    clients: int
    # They only rise, from the broker's start on.
    counters: dict[str, int]
    merges: tuple[Merge, ...]
    # As they are now; what the broker does not know is not among them.
    gauges: dict[str, int]
    histograms: dict[str, Histogram]


@dataclass(slots=True, frozen=True)
class WorkerSummary:
    """A worker as its broker knows it; without queues or types it serves all."""

    id: str
    name: str
    host: str
    version: str
    pid: int
    queues: tuple[str, ...]
    types: tuple[str, ...]
    labels: dict[str, str]
    concurrency: int
    credit_tasks: int
    outstanding: int
    running: int
    draining: bool
    silent: float  # seconds since its last frame
    finished: int


@dataclass(slots=True, frozen=True, order=True)
class EventPosition:
    """A place between two events of the log: behind all of record `after`, and behind `skip` of the next record. It stays good
    for as long as the log is kept, also at another broker of the pair. Its text is that of `zsched-ctl events` and of the REST
    API: "LSN" behind a whole record, "LSN.INDEX" behind one event.

    >>> str(EventPosition.parse("812.3")), EventPosition.parse("812.3")
    ('812.3', EventPosition(after=811, skip=4))
    """

    after: int = 0
    skip: int = 0

    def __post_init__(self) -> None:
        for value, most in ((self.after, _U64), (self.skip, _U32)):
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
                raise InvalidArgument(f"position: {value!r} is not a number from 0 to {most}")

    @classmethod
    def parse(cls, text: str) -> EventPosition:
        """A position from its text. InvalidArgument for anything that str() of a position does not give."""
        record, dot, index = text.partition(".")
        # No number is longer; and what str() gives is all there is: no sign, no blank, no zero in front.
        if len(text) <= 31 and record.isascii() and record.isdigit() and (not dot or index.isascii() and index.isdigit()):
            lsn, skip = int(record), int(index) + 1 if dot else 0
            if (1 if dot else 0) <= lsn < _U64 and skip <= _U32:
                position = cls(lsn - 1, skip) if dot else cls(lsn)
                if str(position) == text:
                    return position
        raise InvalidArgument(f"'{text}' is no position of an event; it looks like 812 or 812.3")

    def __str__(self) -> str:
        return f"{self.after + 1}.{self.skip - 1}" if self.skip else str(self.after)


# Where the kept log begins.
EVENTS_FROM_START = EventPosition()
# Where it ends at the moment of asking. It has no text: what the answer names is the place.
EVENTS_FROM_NOW = EventPosition(_U64)


@dataclass(slots=True, frozen=True)
class Event:
    """Something that happened to a task, a queue, a schedule, a worker or a broker, as the log tells it. What is not of its kind,
    or not known any more, is empty, 0 or None."""

    lsn: int
    index: int  # in the record
    at: datetime | None  # by the clock of the broker that decided it
    kind: EventKind
    task: TaskId | None
    queue: str
    type: str
    state: TaskState | None  # of the task, after it
    attempt: int
    worker: str
    name: str  # of the queue, type, schedule or worker that it is about
    error: ErrorCode
    error_message: str  # cut
    percent: int
    message: str  # of a progress report; what became of a tick
    # PRUNED, MERGED: tasks · OUTPUT: bytes so far · TICKED: ticks · EPOCH: the epoch.
    count: int
    parent: TaskId | None  # SUBMITTED: the task that it follows

    @property
    def position(self) -> EventPosition:
        """The place behind it: what comes after it is told from there."""
        return EventPosition(self.lsn - 1, self.index + 1)


@dataclass(slots=True, frozen=True)
class EventPage:
    """One answer. It may have few events, or none, before the end: ask again from `next` until it is `complete`."""

    events: tuple[Event, ...]
    next: EventPosition
    last: int  # the last LSN that the broker knows to be committed
    # The log does not reach from where it was asked for: it was trimmed, or is another one. `next` is where it begins, or ends.
    trimmed: bool

    @property
    def complete(self) -> bool:
        """Nothing more has happened yet."""
        return self.next.after >= self.last
