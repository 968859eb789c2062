"""Public values to messages and back; the only module that knows both sides.

Threads: any.
"""
from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from zsched._wire import schema as wire
from zsched._wire.constants import (DEFAULT_QUEUE, MAX_CHAIN_DEPTH, MAX_LABELS, MAX_MAX_ATTEMPTS, MAX_TEMPLATES, PRIORITIES,
                                    ErrorCode)
from zsched._wire.layout import MalformedBody
from zsched.errors import InvalidArgument, MalformedFrame, code_of
from zsched.types import (Attempt, AttemptEnd, BrokerSummary, DeadGroup, Delivery, Durability, Duration, Event, EventKind,
                          EventPosition, Explanation, Histogram, History, ItemResult, Merge, Outcome, Output, OutputPiece,
                          OutputStream, Overlap, Progress, QueueGate, QueueInfo, QueueSettings, QueueSummary, Role,
                          ScheduleInfo, Status, TaskId, TaskInfo, TaskRef, TaskSpec, TaskState, TypeInfo, WaitCause,
                          WaitReason, WorkerSummary)

_MICRO = 1_000_000
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1
_Member = TypeVar("_Member", bound=enum.IntEnum)
_FINAL = (TaskState.SUCCEEDED, TaskState.DEAD, TaskState.CANCELLED)


# --- Values of callers to numbers of the wire. Each names the field in what it raises. ---

def milliseconds(value: Duration | None, name: str, most: int = _U32) -> int:
    """A duration in seconds as milliseconds, rounded up: what is not nothing does not become nothing."""
    if value is None:
        return 0
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not math.isfinite(seconds) or seconds < 0:
        raise InvalidArgument(f"{name}: {value!r} is no duration; give seconds, or a timedelta, not below 0")
    # A thousandth less than the next is that one: 0.1 is no more than 100 ms.
    number = math.ceil(seconds * 1000 - 1e-6)
    if number > most:
        raise InvalidArgument(f"{name}: {value!r} is too long")
    return number


def unix_ms(value: datetime | None, name: str) -> int:
    """A time as Unix milliseconds, at least 1."""
    if value is None:
        return 0
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidArgument(f"{name}: {value!r} has no time zone; write datetime(…, tzinfo=timezone.utc)")
    return max(1, math.floor(value.timestamp() * 1000))


def integer(value: int | None, name: str, most: int = _U32) -> int:
    """A number that the wire can carry."""
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise InvalidArgument(f"{name}: {value!r} is not a number from 0 to {most}")
    return value


def micro_rate(value: float | None, name: str) -> int:
    """A rate a second as one in a million seconds."""
    if value is None:
        return 0
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise InvalidArgument(f"{name}: {value!r} is no rate; give how many a second, not below 0")
    number = round(value * _MICRO)
    if value and not number or number > _U64:
        raise InvalidArgument(f"{name}: {value!r} is too slow, or too fast")
    return number


def text(value: str | None, name: str) -> str | None:
    """A string that can be written, or None."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidArgument(f"{name}: must be a str, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{name}: {error}") from error
    return value


def required_text(value: str, name: str) -> str:
    """A string that must not be empty."""
    if not text(value, name):
        raise InvalidArgument(f"{name}: must not be empty")
    return value


def task_id(value: TaskRef) -> int:
    """The number of a task."""
    if isinstance(value, str):
        return TaskId.parse(value)
    number = getattr(value, "id", value)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _U64:
        raise InvalidArgument(f"{value!r} is not the id of a task; it looks like 4-17")
    return number


def task_ids(values: Iterable[TaskRef] | TaskRef) -> list[int]:
    """The same of many, or of a single one (a text is one id, not many letters)."""
    if isinstance(values, Iterable) and not isinstance(values, str):
        return [task_id(value) for value in values]
    return [task_id(values)]


def event_position(value: EventPosition | str) -> EventPosition:
    """A place in the log, or its text."""
    if isinstance(value, EventPosition):
        return value
    if not isinstance(value, str):
        raise InvalidArgument(f"after: {value!r} is no position of an event; give an EventPosition, or its text")
    return EventPosition.parse(value)


def choice(cls: type[_Member], value: int, name: str) -> _Member:
    """An enumerator."""
    try:
        return cls(value)
    except ValueError as error:
        raise InvalidArgument(f"{name}: {value!r} is none of {', '.join(member.name for member in cls)}") from error


def labels_to_wire(labels: Mapping[str, str] | None) -> tuple[wire.Label, ...]:
    """Labels as the wire has them."""
    if not labels:
        return ()
    if len(labels) > MAX_LABELS:
        raise InvalidArgument(f"labels: {len(labels)} are over {MAX_LABELS}")
    return tuple([wire.Label(text(key, "labels") or "", text(value, f"labels: {key}") or "")
                  for key, value in labels.items()])


def task_to_wire(spec: TaskSpec) -> wire.TaskSpec:
    """A task with its templates. InvalidArgument for what the wire cannot carry."""
    message = _task_to_wire(spec, 0)
    count = _templates(message)
    if count > MAX_TEMPLATES:
        raise InvalidArgument(f"{count} templates are over {MAX_TEMPLATES}")
    return message


def _task_to_wire(spec: TaskSpec, depth: int) -> wire.TaskSpec:
    # The verifier of the broker would refuse the frame, and all others in it.
    if depth > MAX_CHAIN_DEPTH:
        raise InvalidArgument(f"a chain is at most {MAX_CHAIN_DEPTH} deep")
    if not isinstance(spec, TaskSpec):
        raise InvalidArgument(f"a task must be a TaskSpec, not {type(spec).__name__}")

    def follow(templates: Sequence[TaskSpec]) -> tuple[wire.TaskSpec, ...]:
        return tuple([_task_to_wire(template, depth + 1) for template in templates]) if templates else ()

    payload = spec.payload
    return wire.TaskSpec(
        type=required_text(spec.type, "type"),
        queue=None if spec.queue == DEFAULT_QUEUE else text(spec.queue, "queue"),
        payload=(payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else bytes(payload)) or None,
        content_type=text(spec.content_type, "content_type"),
        priority=integer(spec.priority, "priority", PRIORITIES - 1),
        durability=choice(Durability, spec.durability, "durability"),
        max_attempts=integer(spec.max_attempts, "max_attempts", MAX_MAX_ATTEMPTS),
        timeout_ms=milliseconds(spec.timeout, "timeout"),
        delay_ms=milliseconds(spec.delay, "delay", _U64),
        run_at_ms=unix_ms(spec.run_at, "run_at"),
        retry_base_ms=milliseconds(spec.retry_base, "retry_base"),
        retry_cap_ms=milliseconds(spec.retry_cap, "retry_cap"),
        labels=labels_to_wire(spec.labels),
        key=text(spec.key, "key"),
        concurrency_key=text(spec.concurrency_key, "concurrency_key"),
        fairness_key=text(spec.fairness_key, "fairness_key"),
        correlation_id=text(spec.correlation_id, "correlation_id"),
        traceparent=text(spec.traceparent, "traceparent"),
        delivery=choice(Delivery, spec.delivery, "delivery"),
        on_success=follow(spec.on_success),
        on_failure=follow(spec.on_failure),
        on_complete=follow(spec.on_complete),
        pass_result=bool(spec.pass_result),
        start_within_ms=milliseconds(spec.start_within, "start_within", _U64),
        start_by_ms=unix_ms(spec.start_by, "start_by"))


def _templates(message: wire.TaskSpec) -> int:
    return sum(1 + _templates(template) for branch in (message.on_success, message.on_failure, message.on_complete)
               for template in branch)


# --- Numbers of the wire to values. Nothing that a broker says raises anything but MalformedFrame. ---

def time_of(unix: int) -> datetime | None:
    """None for 0; a time that no calendar has is the last one there is."""
    if not unix:
        return None
    try:
        return datetime.fromtimestamp(unix / 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=timezone.utc)


def member(cls: type[_Member], number: int, otherwise: _Member) -> _Member:
    """An enumerator; one of a newer broker reads as `otherwise`."""
    try:
        return cls(number)
    except ValueError:
        return otherwise


def uuid_text(uuid: wire.Uuid | None) -> str:
    """32 hex digits, "" for none."""
    return f"{uuid.hi:016x}{uuid.lo:016x}" if uuid is not None else ""


def labels_of(labels: Sequence[wire.Label]) -> dict[str, str]:
    """As a dict."""
    return {label.key: label.value for label in labels}


def task_of(spec: wire.TaskSpec) -> TaskSpec:
    """A task as a schedule has it."""
    def seconds(ms: int) -> float | None:
        return ms / 1000 if ms else None

    return TaskSpec(
        spec.type, spec.payload or b"", queue=spec.queue or DEFAULT_QUEUE, content_type=spec.content_type,
        priority=spec.priority, delay=seconds(spec.delay_ms), run_at=time_of(spec.run_at_ms),
        max_attempts=spec.max_attempts or None, timeout=seconds(spec.timeout_ms), retry_base=seconds(spec.retry_base_ms),
        retry_cap=seconds(spec.retry_cap_ms), key=spec.key, labels=labels_of(spec.labels) or None,
        concurrency_key=spec.concurrency_key, fairness_key=spec.fairness_key, correlation_id=spec.correlation_id,
        traceparent=spec.traceparent, delivery=member(Delivery, spec.delivery, Delivery.AT_LEAST_ONCE),
        durability=member(Durability, spec.durability, Durability.REPLICATED), start_within=seconds(spec.start_within_ms),
        start_by=time_of(spec.start_by_ms), on_success=tuple(map(task_of, spec.on_success)),
        on_failure=tuple(map(task_of, spec.on_failure)), on_complete=tuple(map(task_of, spec.on_complete)),
        pass_result=spec.pass_result)


def outcome_of(outcome: wire.Outcome) -> Outcome | None:
    """None for one that is no end of a task: to be ignored."""
    error = code_of(outcome.error_code)
    state = member(TaskState, outcome.state, TaskState.READY)
    if error is not ErrorCode.NOT_FOUND and state not in _FINAL:
        return None
    if error is ErrorCode.OK and state is not TaskState.SUCCEEDED:
        error = ErrorCode.INTERNAL
    return Outcome(TaskId(outcome.id), state, outcome.attempt, outcome.result or b"", outcome.content_type, error,
                   outcome.error_message or "")


def info_of(info: wire.TaskInfo) -> TaskInfo:
    """A task as the broker has it."""
    progress = info.progress
    return TaskInfo(
        id=TaskId(info.id), queue=info.queue or "", type=info.type or "",
        state=member(TaskState, info.state, TaskState.READY), priority=info.priority, attempt=info.attempt,
        max_attempts=info.max_attempts, timeout=info.timeout_ms / 1000, submitted_at=time_of(info.submitted_at_ms),
        run_at=time_of(info.run_at_ms), started_at=time_of(info.started_at_ms), finished_at=time_of(info.finished_at_ms),
        worker=info.worker or "", payload=info.payload or b"", content_type=info.content_type, result=info.result or b"",
        result_content_type=info.result_content_type, error=code_of(info.error_code), error_message=info.error_message or "",
        labels=labels_of(info.labels), key=info.key, concurrency_key=info.concurrency_key, fairness_key=info.fairness_key,
        correlation_id=info.correlation_id, traceparent=info.traceparent,
        delivery=member(Delivery, info.delivery, Delivery.AT_LEAST_ONCE),
        durability=member(Durability, info.durability, Durability.REPLICATED), cancelling=info.cancelling,
        fingerprint=info.fingerprint,
        progress=Progress(progress.percent, progress.message or "", progress.attempt, time_of(progress.at_ms))
        if progress is not None else None,
        parent=TaskId(info.parent) if info.parent else None, start_by=time_of(info.start_by_ms))


def explanation_of(reply: wire.Explanation) -> Explanation:
    """Why a task waits."""
    causes = tuple(WaitCause(member(WaitReason, cause.reason, WaitReason.UNKNOWN), cause.name or "", time_of(cause.since_ms),
                             time_of(cause.until_ms), cause.count_, cause.limit) for cause in reply.causes)
    return Explanation(member(TaskState, reply.state, TaskState.READY), causes, reply.ahead, reply.ahead_exact, reply.ready)


def history_of(reply: wire.HistoryInfo) -> History:
    """The attempts at a task."""
    return History(tuple(Attempt(attempt.attempt, attempt.lease, attempt.worker or "", time_of(attempt.leased_at_ms),
                                 time_of(attempt.ended_at_ms), attempt.run_us / _MICRO,
                                 member(AttemptEnd, attempt.end, AttemptEnd.RETRIED), code_of(attempt.error_code),
                                 attempt.error_message or "") for attempt in reply.attempts), reply.missing)


def output_of(reply: wire.LogPages, start: int) -> Output:
    """What an attempt wrote from `start` on: pages that follow one another joined."""
    pieces: list[OutputPiece] = []
    end = start
    for page in reply.pages:
        at, rest = page.offset, page.bytes or b""
        for run in page.runs:
            data, rest = rest[:run.bytes], rest[run.bytes:]
            if at + len(data) > end:
                begin = max(at, end)
                stream = member(OutputStream, run.stream, OutputStream.STDERR)
                if pieces and pieces[-1].stream is stream and begin == end:
                    pieces[-1] = OutputPiece(stream, pieces[-1].offset, pieces[-1].data + data[begin - at:])
                else:
                    pieces.append(OutputPiece(stream, begin, data[begin - at:]))
                end = at + len(data)
            at += len(data)
    return Output(reply.attempt, reply.last_attempt, reply.running, reply.finished, end, tuple(pieces))


def item_of(item: wire.ItemResult) -> ItemResult:
    """What became of one task."""
    return ItemResult(TaskId(item.id), code_of(item.code), item.message or "")


def group_of(group: wire.DeadGroup) -> DeadGroup:
    """A group of dead letters, of one answer."""
    return DeadGroup(group.fingerprint, group.type or "", code_of(group.error_code), group.error_message or "", group.letters,
                     time_of(group.first_died_ms), time_of(group.last_died_ms), TaskId(group.last_task))


def counts_of(counts: Sequence[int]) -> dict[TaskState, int]:
    """By state; all of them are there."""
    return {state: counts[state] if state < len(counts) else 0 for state in TaskState}


def queue_of(info: wire.QueueInfo) -> QueueInfo:
    """A queue and its settings."""
    settings = QueueSettings(
        paused=info.paused, max_tasks=info.max_tasks, max_bytes=info.max_bytes, max_running=info.max_running,
        rate=info.rate_micro / _MICRO, burst=info.burst, weight=info.weight, max_attempts=info.max_attempts,
        timeout=info.timeout_ms / 1000, retry_base=info.retry_base_ms / 1000, retry_cap=info.retry_cap_ms / 1000,
        key_max_running=info.key_max_running, key_rate=info.key_rate_micro / _MICRO, key_burst=info.key_burst,
        ageing=info.ageing_ms / 1000, draining=info.draining)
    return QueueInfo(info.name or "", counts_of(info.counts), info.bytes, member(QueueGate, info.gate, QueueGate.OPEN),
                     settings, info.oldest_ready_ms / 1000)


def type_of(info: wire.TypeInfo) -> TypeInfo:
    """A type and its rules."""
    no_retry = frozenset(code for code in ErrorCode if info.no_retry >> code & 1)
    return TypeInfo(info.name or "", info.running, member(QueueGate, info.gate, QueueGate.OPEN), info.paused, info.max_running,
                    info.rate_micro / _MICRO, info.burst, no_retry)


def schedule_of(info: wire.ScheduleInfo) -> ScheduleInfo:
    """A time schedule."""
    if info.task is None:
        raise MalformedFrame(f"the broker's schedule '{info.name}' has no task")
    return ScheduleInfo(
        name=info.name or "", expression=info.expression or "", zone=info.zone or "UTC", task=task_of(info.task),
        overlap=member(Overlap, info.overlap, Overlap.SKIP), catch_up=info.catch_up_ms / 1000, jitter=info.jitter_ms / 1000,
        paused=info.paused, created_at=time_of(info.created_ms), decided_until=time_of(info.cursor_ms),
        next_at=time_of(info.next_ms), last_task=TaskId(info.last_task) if info.last_task else None, running=info.running,
        held=info.held, fired=info.fired, skipped=info.skipped, missed=info.missed, error=info.error or "")


def status_of(reply: wire.StatusReply) -> Status:
    """The broker that answered."""
    return Status(
        node=reply.node or "", role=member(Role, reply.role, Role.RECOVERING), epoch=reply.epoch, lsn=reply.lsn,
        durable_lsn=reply.durable_lsn, uptime=reply.uptime_ms / 1000, version=reply.version or "",
        cluster=uuid_text(reply.cluster),
        brokers=tuple(BrokerSummary(broker.node or "", member(Role, broker.role, Role.RECOVERING), broker.address or "",
                                    broker.worker_address or "", broker.self) for broker in reply.brokers),
        queues={queue.name or "": QueueSummary(counts_of(queue.counts), queue.bytes, queue.oldest_ready_ms / 1000)
                for queue in reply.queues},
        workers=reply.workers, clients=reply.clients,
        counters={counter.name or "": counter.value for counter in reply.counters},
        merges=tuple(Merge(merge.epoch, time_of(merge.begun_ms), time_of(merge.decided_ms), merge.done, merge.taken,
                           merge.finished, merge.ended, merge.resent, merge.voided, merge.schedules)
                     for merge in reply.merges),
        gauges={gauge.name or "": gauge.value for gauge in reply.gauges},
        histograms=histograms_of(reply.histograms))


def histograms_of(histograms: Sequence[wire.Histogram]) -> dict[str, Histogram]:
    """By name. One whose numbers do not fit together is left out."""
    return {item.name or "": Histogram(tuple(bound / _MICRO for bound in item.bounds_us), tuple(item.counts),
                                       item.sum_us / _MICRO)
            for item in histograms if len(item.counts) == len(item.bounds_us) + 1}


def event_of(event: wire.Event) -> Event | None:
    """None for one of a kind that a newer broker knows."""
    try:
        kind = EventKind(event.kind)
    except ValueError:
        return None
    return Event(
        lsn=event.lsn, index=event.index_, at=time_of(event.at_ms), kind=kind, task=TaskId(event.task) if event.task else None,
        queue=event.queue or "", type=event.type or "",
        state=member(TaskState, event.state, TaskState.READY) if event.task else None, attempt=event.attempt,
        worker=event.worker or "", name=event.name or "", error=code_of(event.error_code),
        error_message=event.error_message or "", percent=event.percent, message=event.message or "", count=event.count_,
        parent=TaskId(event.parent) if event.parent else None)


def worker_of(info: wire.WorkerInfo) -> WorkerSummary:
    """A worker."""
    return WorkerSummary(
        id=uuid_text(info.id), name=info.name or "", host=info.host or "", version=info.version or "", pid=info.pid,
        queues=tuple(info.queues), types=tuple(info.types), labels=labels_of(info.labels), concurrency=info.concurrency,
        credit_tasks=info.credit_tasks, outstanding=info.outstanding, running=info.running, draining=info.draining,
        silent=info.silent_ms / 1000, finished=info.finished)


def malformed(error: MalformedBody, what: str) -> MalformedFrame:
    """For an answer that cannot be read."""
    return MalformedFrame(f"the broker's {what} cannot be read: {error}")
