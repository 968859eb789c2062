"""The messages of schemas/wire.fbs as plain tuples. None is an absent field.

Written by client/python/tools/generate.py; a test compares.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

class Assignment(NamedTuple):
    task_id: int = 0
    lease_id: int = 0
    attempt: int = 0
    max_attempts: int = 0
    timeout_ms: int = 0
    priority: int = 0
    type: str | None = None
    queue: str | None = None
    payload: bytes | None = None
    content_type: str | None = None
    submitted_at_ms: int = 0
    labels: Sequence[Label] = ()
    correlation_id: str | None = None
    traceparent: str | None = None
    checkpoint: bytes | None = None
    parent: Parent | None = None
    start_within_ms: int = 0

class AttemptInfo(NamedTuple):
    attempt: int = 0
    lease: int = 0
    worker: str | None = None
    leased_at_ms: int = 0
    ended_at_ms: int = 0
    run_us: int = 0
    end: int = 0
    error_code: int = 0
    error_message: str | None = None

class AttemptReport(NamedTuple):
    task_id: int = 0
    lease_id: int = 0
    percent: int | None = None
    message: str | None = None
    checkpoint: bytes | None = None

class BrokerInfo(NamedTuple):
    node: str | None = None
    role: int = 0
    address: str | None = None
    worker_address: str | None = None
    self: bool = False

class Cancel(NamedTuple):
    leases: Sequence[int] = ()
    code: int = 0

class CancelTasks(NamedTuple):
    request: int = 0
    ids: Sequence[int] = ()

class Chain(NamedTuple):
    on_success: Sequence[TaskSpec] = ()
    on_failure: Sequence[TaskSpec] = ()
    on_complete: Sequence[TaskSpec] = ()

class ClusterCommand(NamedTuple):
    request: int = 0
    action: int = 0
    force: bool = False
    epoch: int = 0

class Counter(NamedTuple):
    name: str | None = None
    value: int = 0

class Credit(NamedTuple):
    tasks: int = 0
    bytes: int = 0

class DeadDelete(NamedTuple):
    request: int = 0
    ids: Sequence[int] = ()
    letters: Sequence[int] = ()

class DeadGroup(NamedTuple):
    fingerprint: int = 0
    type: str | None = None
    error_code: int = 0
    error_message: str | None = None
    letters: int = 0
    first_died_ms: int = 0
    last_died_ms: int = 0
    last_task: int = 0

class DeadLetter(NamedTuple):
    letter: int = 0
    task: int = 0

class DeadLetters(NamedTuple):
    request: int = 0
    tasks: Sequence[TaskInfo] = ()
    letters: Sequence[DeadLetter] = ()
    groups: Sequence[DeadGroup] = ()
    next_cursor: int = 0
    next_letter: int = 0

class DeadList(NamedTuple):
    request: int = 0
    view: int = 0
    queue: str | None = None
    type: str | None = None
    error: str | None = None
    fingerprint: int = 0
    older_than_ms: int = 0
    before: int = 0
    limit: int = 0
    cursor: int = 0
    omit_bodies: bool = False

class Discover(NamedTuple):
    pass

class Done(NamedTuple):
    task_id: int = 0
    lease_id: int = 0
    run_us: int = 0

class Drain(NamedTuple):
    pass

class Error(NamedTuple):
    code: int = 0
    message: str | None = None
    retry_after_ms: int = 0
    request: int = 0

class Event(NamedTuple):
    lsn: int = 0
    index_: int = 0
    at_ms: int = 0
    kind: int = 0
    task: int = 0
    queue: str | None = None
    type: str | None = None
    state: int = 0
    attempt: int = 0
    worker: str | None = None
    name: str | None = None
    error_code: int = 0
    error_message: str | None = None
    percent: int = 0
    message: str | None = None
    count_: int = 0
    parent: int = 0

class EventPage(NamedTuple):
    request: int = 0
    events: Sequence[Event] = ()
    next: int = 0
    next_skip: int = 0
    last: int = 0
    trimmed: bool = False

class Events(NamedTuple):
    request: int = 0
    after: int = 0
    skip: int = 0
    limit: int = 0
    kinds: int = 0
    queue: str | None = None
    type: str | None = None
    task: int = 0

class Explain(NamedTuple):
    request: int = 0
    id: int = 0

class Explanation(NamedTuple):
    request: int = 0
    id: int = 0
    found: bool = False
    state: int = 0
    causes: Sequence[WaitCause] = ()
    ahead: int = 0
    ahead_exact: bool = False
    ready: int = 0

class Get(NamedTuple):
    request: int = 0
    ids: Sequence[int] = ()

class Heartbeat(NamedTuple):
    started: Sequence[LeaseRef] = ()
    running: int = 0
    queued: int = 0

class HeartbeatAck(NamedTuple):
    resync: bool = False

class Hello(NamedTuple):
    id: Uuid | None = None
    name: str | None = None
    version: str | None = None
    observe: bool = False

class Histogram(NamedTuple):
    name: str | None = None
    bounds_us: Sequence[int] = ()
    counts: Sequence[int] = ()
    sum_us: int = 0

class History(NamedTuple):
    request: int = 0
    id: int = 0

class HistoryInfo(NamedTuple):
    request: int = 0
    id: int = 0
    found: bool = False
    attempts: Sequence[AttemptInfo] = ()
    missing: int = 0

class ItemReply(NamedTuple):
    request: int = 0
    items: Sequence[ItemResult] = ()

class ItemResult(NamedTuple):
    id: int = 0
    code: int = 0
    message: str | None = None

class Label(NamedTuple):
    key: str = ""
    value: str = ""

class LeaseRef(NamedTuple):
    task_id: int = 0
    lease_id: int = 0
    attempt: int = 0

class List(NamedTuple):
    request: int = 0
    queue: str | None = None
    type: str | None = None
    states: int = 0
    label: Label | None = None
    limit: int = 0
    cursor: int = 0
    brief: bool = False
    descending: bool = False
    omit_bodies: bool = False

class LogPage(NamedTuple):
    offset: int = 0
    runs: Sequence[OutputRun] = ()
    bytes: bytes | None = None

class LogPages(NamedTuple):
    request: int = 0
    id: int = 0
    found: bool = False
    attempt: int = 0
    running: bool = False
    last_attempt: int = 0
    finished: bool = False
    pages: Sequence[LogPage] = ()

class Logs(NamedTuple):
    request: int = 0
    id: int = 0
    attempt: int = 0
    from_: int = 0

class MergeReport(NamedTuple):
    epoch: int = 0
    begun_ms: int = 0
    decided_ms: int = 0
    done: bool = False
    taken: int = 0
    finished: int = 0
    ended: int = 0
    resent: int = 0
    voided: int = 0
    schedules: int = 0

class Outcome(NamedTuple):
    id: int = 0
    state: int = 0
    attempt: int = 0
    result: bytes | None = None
    content_type: str | None = None
    error_code: int = 0
    error_message: str | None = None

class Outcomes(NamedTuple):
    request: int = 0
    succeeded: Sequence[int] = ()
    outcomes: Sequence[Outcome] = ()

class Output(NamedTuple):
    pages: Sequence[OutputPage] = ()

class OutputPage(NamedTuple):
    task_id: int = 0
    lease_id: int = 0
    offset: int = 0
    runs: Sequence[OutputRun] = ()
    bytes: bytes | None = None

class OutputRun(NamedTuple):
    bytes: int = 0
    stream: int = 0
    reserved: int = 0

class Parent(NamedTuple):
    id: int = 0
    state: int = 0
    passed: bool = False
    result: bytes | None = None
    content_type: str | None = None
    error_code: int = 0
    error_message: str | None = None

class Progress(NamedTuple):
    reports: Sequence[AttemptReport] = ()

class ProgressInfo(NamedTuple):
    percent: int = 0
    message: str | None = None
    attempt: int = 0
    at_ms: int = 0

class QueueInfo(NamedTuple):
    name: str | None = None
    counts: Sequence[int] = ()
    bytes: int = 0
    gate: int = 0
    paused: bool = False
    max_tasks: int = 0
    max_bytes: int = 0
    max_running: int = 0
    rate_micro: int = 0
    burst: int = 0
    weight: int = 0
    max_attempts: int = 0
    timeout_ms: int = 0
    retry_base_ms: int = 0
    retry_cap_ms: int = 0
    key_max_running: int = 0
    key_rate_micro: int = 0
    key_burst: int = 0
    ageing_ms: int = 0
    draining: bool = False
    oldest_ready_ms: int = 0

class QueueInfos(NamedTuple):
    request: int = 0
    queues: Sequence[QueueInfo] = ()
    complete: bool = False

class QueueList(NamedTuple):
    request: int = 0
    queue: str | None = None
    cursor: str | None = None
    limit: int = 0

class QueueSet(NamedTuple):
    request: int = 0
    queue: str = ""
    paused: bool | None = None
    max_tasks: int | None = None
    max_bytes: int | None = None
    max_running: int | None = None
    rate_micro: int | None = None
    burst: int | None = None
    weight: int | None = None
    max_attempts: int | None = None
    timeout_ms: int | None = None
    retry_base_ms: int | None = None
    retry_cap_ms: int | None = None
    key_max_running: int | None = None
    key_rate_micro: int | None = None
    key_burst: int | None = None
    ageing_ms: int | None = None
    draining: bool | None = None

class QueueStatus(NamedTuple):
    name: str | None = None
    counts: Sequence[int] = ()
    bytes: int = 0
    oldest_ready_ms: int = 0

class Recall(NamedTuple):
    leases: Sequence[int] = ()

class Rejected(NamedTuple):
    index_: int = 0
    code: int = 0
    message: str | None = None
    retry_after_ms: int = 0
    existing: int = 0

class Release(NamedTuple):
    leases: Sequence[LeaseRef] = ()

class Result(NamedTuple):
    task_id: int = 0
    lease_id: int = 0
    run_us: int = 0
    succeeded: bool = False
    result: bytes | None = None
    content_type: str | None = None
    error_code: int = 0
    error_message: str | None = None
    advice: int = 0
    retry_after_ms: int = 0

class ResultAck(NamedTuple):
    seq: int = 0
    stale: Sequence[int] = ()

class Results(NamedTuple):
    seq: int = 0
    done: Sequence[Done] = ()
    results: Sequence[Result] = ()

class Retry(NamedTuple):
    request: int = 0
    ids: Sequence[int] = ()
    letters: Sequence[int] = ()

class ScheduleInfo(NamedTuple):
    name: str | None = None
    expression: str | None = None
    zone: str | None = None
    task: TaskSpec | None = None
    overlap: int = 0
    catch_up_ms: int = 0
    jitter_ms: int = 0
    paused: bool = False
    created_ms: int = 0
    cursor_ms: int = 0
    next_ms: int = 0
    last_task: int = 0
    running: bool = False
    held: int = 0
    fired: int = 0
    skipped: int = 0
    missed: int = 0
    error: str | None = None

class ScheduleInfos(NamedTuple):
    request: int = 0
    schedules: Sequence[ScheduleInfo] = ()
    complete: bool = False

class ScheduleList(NamedTuple):
    request: int = 0
    name: str | None = None
    cursor: str | None = None
    limit: int = 0

class SchedulePause(NamedTuple):
    request: int = 0
    name: str = ""
    paused: bool = False

class ScheduleRemove(NamedTuple):
    request: int = 0
    name: str = ""

class ScheduleRun(NamedTuple):
    request: int = 0
    name: str = ""
    from_ms: int = 0
    to_ms: int = 0

class ScheduleSet(NamedTuple):
    request: int = 0
    name: str = ""
    expression: str = ""
    zone: str | None = None
    task: TaskSpec | None = None
    overlap: int = 0
    catch_up_ms: int | None = None
    jitter_ms: int = 0
    paused: bool | None = None
    replace: bool = False

class Status(NamedTuple):
    request: int = 0

class StatusReply(NamedTuple):
    request: int = 0
    node: str | None = None
    role: int = 0
    epoch: int = 0
    lsn: int = 0
    durable_lsn: int = 0
    uptime_ms: int = 0
    version: str | None = None
    cluster: Uuid | None = None
    brokers: Sequence[BrokerInfo] = ()
    queues: Sequence[QueueStatus] = ()
    workers: int = 0
    clients: int = 0
    counters: Sequence[Counter] = ()
    merges: Sequence[MergeReport] = ()
    gauges: Sequence[Counter] = ()
    histograms: Sequence[Histogram] = ()

class Submit(NamedTuple):
    seq: int = 0
    acked_below: int = 0
    notify: bool = False
    tasks: Sequence[TaskSpec] = ()

class SubmitAck(NamedTuple):
    seq: int = 0
    first_id: int = 0
    accepted: int = 0
    durability: int = 0
    duplicate: bool = False
    rejected: Sequence[Rejected] = ()
    window_tasks: int = 0
    window_bytes: int = 0

class TaskInfo(NamedTuple):
    id: int = 0
    queue: str | None = None
    type: str | None = None
    state: int = 0
    priority: int = 0
    attempt: int = 0
    max_attempts: int = 0
    timeout_ms: int = 0
    submitted_at_ms: int = 0
    run_at_ms: int = 0
    started_at_ms: int = 0
    finished_at_ms: int = 0
    worker: str | None = None
    payload: bytes | None = None
    content_type: str | None = None
    result: bytes | None = None
    result_content_type: str | None = None
    error_code: int = 0
    error_message: str | None = None
    labels: Sequence[Label] = ()
    durability: int = 0
    cancelling: bool = False
    key: str | None = None
    concurrency_key: str | None = None
    fairness_key: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    delivery: int = 0
    fingerprint: int = 0
    progress: ProgressInfo | None = None
    parent: int = 0
    start_by_ms: int = 0

class TaskInfos(NamedTuple):
    request: int = 0
    tasks: Sequence[TaskInfo] = ()
    missing: Sequence[int] = ()
    answered: int = 0
    next_cursor: int = 0

class TaskSpec(NamedTuple):
    type: str = ""
    queue: str | None = None
    payload: bytes | None = None
    content_type: str | None = None
    priority: int = 5
    durability: int = 2
    max_attempts: int = 0
    timeout_ms: int = 0
    delay_ms: int = 0
    run_at_ms: int = 0
    retry_base_ms: int = 0
    retry_cap_ms: int = 0
    labels: Sequence[Label] = ()
    key: str | None = None
    concurrency_key: str | None = None
    fairness_key: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    delivery: int = 0
    on_success: Sequence[TaskSpec] = ()
    on_failure: Sequence[TaskSpec] = ()
    on_complete: Sequence[TaskSpec] = ()
    pass_result: bool = False
    start_within_ms: int = 0
    start_by_ms: int = 0

class Tasks(NamedTuple):
    tasks: Sequence[Assignment] = ()

class TypeInfo(NamedTuple):
    name: str | None = None
    running: int = 0
    gate: int = 0
    paused: bool = False
    max_running: int = 0
    rate_micro: int = 0
    burst: int = 0
    no_retry: int = 0

class TypeInfos(NamedTuple):
    request: int = 0
    types: Sequence[TypeInfo] = ()
    complete: bool = False

class TypeList(NamedTuple):
    request: int = 0
    type: str | None = None
    cursor: str | None = None
    limit: int = 0

class TypeSet(NamedTuple):
    request: int = 0
    type: str = ""
    paused: bool | None = None
    max_running: int | None = None
    rate_micro: int | None = None
    burst: int | None = None
    no_retry: int | None = None

class Uuid(NamedTuple):
    hi: int = 0
    lo: int = 0

class View(NamedTuple):
    cluster: Uuid | None = None
    epoch: int = 0
    brokers: Sequence[BrokerInfo] = ()

class Wait(NamedTuple):
    request: int = 0
    ids: Sequence[int] = ()

class WaitCause(NamedTuple):
    reason: int = 0
    name: str | None = None
    since_ms: int = 0
    until_ms: int = 0
    count_: int = 0
    limit: int = 0

class Welcome(NamedTuple):
    session: int = 0
    epoch: int = 0
    heartbeat_ms: int = 0
    timeout_ms: int = 0
    window_tasks: int = 0
    window_bytes: int = 0
    max_payload_bytes: int = 0
    brokers: Sequence[BrokerInfo] = ()

class WorkerDrain(NamedTuple):
    request: int = 0
    worker: str = ""

class WorkerHello(NamedTuple):
    id: Uuid | None = None
    name: str | None = None
    host: str | None = None
    version: str | None = None
    pid: int = 0
    queues: Sequence[str] = ()
    types: Sequence[str] = ()
    labels: Sequence[Label] = ()
    concurrency: int = 0
    draining: bool = False
    held: Sequence[LeaseRef] = ()
    number: int = 0

class WorkerInfo(NamedTuple):
    id: Uuid | None = None
    name: str | None = None
    host: str | None = None
    version: str | None = None
    pid: int = 0
    queues: Sequence[str] = ()
    types: Sequence[str] = ()
    labels: Sequence[Label] = ()
    concurrency: int = 0
    credit_tasks: int = 0
    outstanding: int = 0
    running: int = 0
    draining: bool = False
    silent_ms: int = 0
    finished: int = 0

class WorkerInfos(NamedTuple):
    request: int = 0
    workers: Sequence[WorkerInfo] = ()

class WorkerList(NamedTuple):
    request: int = 0

class WorkerWelcome(NamedTuple):
    session: int = 0
    epoch: int = 0
    heartbeat_ms: int = 0
    visibility_timeout_ms: int = 0
    stale: Sequence[int] = ()
    brokers: Sequence[BrokerInfo] = ()
