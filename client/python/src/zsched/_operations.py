"""Each call of a client once: a generator that yields what to ask, is sent the answer, and returns the result. Client runs
them blocking, AsyncClient awaits; neither knows more of a call than its name.

Example:
    def run(operation):                     # what Client does, but for errors
        answer = None
        while True:
            try:
                effect = operation.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = perform(effect)        # an Ask: its reply · a Pause: None

Threads: a generator belongs to its caller.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeVar

from zsched import _convert as convert
from zsched._wire import schema as wire
from zsched._wire.constants import (DEFAULT_CATCH_UP_MS, DEFAULT_EVENT_LIMIT, DEFAULT_LIST_LIMIT, MAX_CATCH_UP_MS,
                                    MAX_EVENT_LIMIT, MAX_LIST_LIMIT, MAX_QUERY_IDS, ClusterAction, DeadView, ErrorCode,
                                    MessageType)
from zsched.errors import InvalidArgument, MalformedFrame, NotFound, error_of
from zsched.types import (EVENTS_FROM_NOW, DeadGroup, DeadProgress, Duration, EventKind, EventPage,
                          EventPosition, Explanation, History, ItemResult, Output, Overlap, QueueInfo, ScheduleInfo, Status,
                          TaskId, TaskInfo, TaskRef, TaskSpec, TaskState, TypeInfo, WorkerSummary)

_U16, _U32, _U64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1
# A batch of a dead-letter job is what its rate allows in this time.
_BEAT_SECONDS = 0.1


class Ask(NamedTuple):
    """Send `message` (its request number is filled in) and wait for a `reply`."""

    type: MessageType
    message: Any
    reply: Any  # its class


class Pause(NamedTuple):
    """Wait so many seconds."""

    seconds: float


Result = TypeVar("Result")
Operation = Generator[Ask | Pause, Any, Result]


# --- Tasks ---

def get(ids: Iterable[TaskRef] | TaskRef) -> Operation[dict[TaskId, TaskInfo]]:
    """Those of the tasks that exist."""
    left = convert.task_ids(ids)
    found: dict[TaskId, TaskInfo] = {}
    while left:
        part = left[:MAX_QUERY_IDS]
        infos: wire.TaskInfos = yield Ask(MessageType.GET, wire.Get(ids=part), wire.TaskInfos)
        if not 0 < infos.answered <= len(part):
            raise MalformedFrame("the broker's answer to GET covers no id that was asked")
        found.update((TaskId(info.id), convert.info_of(info)) for info in infos.tasks)
        left = left[infos.answered:]
    return found


def get_one(id_: TaskRef) -> Operation[TaskInfo]:
    """NotFound when it does not exist."""
    number = TaskId(convert.task_id(id_))
    found = yield from get([number])
    if number not in found:
        raise NotFound(f"task {number} does not exist")
    return found[number]


class ListQuery(NamedTuple):
    """Which tasks; what is None matches everything."""

    queue: str | None = None
    type: str | None = None
    states: Sequence[TaskState] = ()
    label: tuple[str, str] | None = None
    brief: bool = False
    newest_first: bool = False
    omit_bodies: bool = False

    def to_wire(self, limit: int, cursor: int) -> wire.List:
        """One page of it."""
        label = convert.labels_to_wire(dict([self.label]))[0] if self.label is not None else None
        states = sum(1 << convert.choice(TaskState, state, "states") for state in set(self.states))
        return wire.List(queue=convert.text(self.queue, "queue"), type=convert.text(self.type, "type"), states=states,
                         label=label, limit=limit, cursor=cursor, brief=self.brief, descending=bool(self.newest_first),
                         omit_bodies=bool(self.omit_bodies))


def list_page(query: ListQuery, limit: int | None, cursor: int) -> Operation[tuple[list[TaskInfo], int]]:
    """One page of a list, and where the next begins; 0: it is complete."""
    count = min(DEFAULT_LIST_LIMIT if limit is None else convert.integer(limit, "limit", _U64), MAX_LIST_LIMIT)
    infos: wire.TaskInfos = yield Ask(MessageType.LIST, query.to_wire(count, cursor), wire.TaskInfos)
    stands = cursor and infos.next_cursor >= cursor if query.newest_first else infos.next_cursor <= cursor
    if infos.next_cursor and stands:
        raise MalformedFrame("the broker's answer to LIST does not get on")
    return [convert.info_of(info) for info in infos.tasks], infos.next_cursor


def for_each(type_: MessageType, make: Callable[..., Any], ids: Iterable[TaskRef] | TaskRef) -> Operation[list[ItemResult]]:
    """Has something done to each of the tasks, in as many requests as it takes."""
    numbers = convert.task_ids(ids)
    results: list[ItemResult] = []
    for start in range(0, len(numbers), MAX_QUERY_IDS):
        reply = yield Ask(type_, make(ids=numbers[start:start + MAX_QUERY_IDS]), wire.ItemReply)
        results += map(convert.item_of, reply.items)
    return results


def explain(id_: TaskRef) -> Operation[Explanation]:
    """The broker explains what is not over; of the rest there is a row."""
    number = convert.task_id(id_)
    reply: wire.Explanation = yield Ask(MessageType.EXPLAIN, wire.Explain(id=number), wire.Explanation)
    if reply.found:
        return convert.explanation_of(reply)
    info = yield from get_one(number)
    return Explanation(info.state)


def history(id_: TaskRef) -> Operation[History]:
    """Every attempt at a task."""
    number = convert.task_id(id_)
    reply: wire.HistoryInfo = yield Ask(MessageType.HISTORY, wire.History(id=number), wire.HistoryInfo)
    if not reply.found:
        raise NotFound(f"task {TaskId(number)} does not exist")
    return convert.history_of(reply)


def output(id_: TaskRef, attempt: int, start: int) -> Operation[Output]:
    """What one attempt wrote."""
    number = convert.task_id(id_)
    message = wire.Logs(id=number, attempt=convert.integer(attempt, "attempt", _U16), from_=convert.integer(start, "start", _U64))
    reply: wire.LogPages = yield Ask(MessageType.LOGS, message, wire.LogPages)
    if not reply.found:
        raise NotFound(f"task {TaskId(number)} does not exist")
    return convert.output_of(reply, start)


# --- Events ---

class EventFilter(NamedTuple):
    """Which events; what is empty matches everything."""

    kinds: Sequence[EventKind] = ()
    queue: str | None = None
    type: str | None = None
    task: TaskRef | None = None

    def to_wire(self) -> wire.Events:
        """Without a place, and how many."""
        kinds = sum(1 << convert.choice(EventKind, kind, "kinds") for kind in set(self.kinds))
        return wire.Events(kinds=kinds, queue=convert.text(self.queue, "queue"), type=convert.text(self.type, "type"),
                           task=convert.task_id(self.task) if self.task is not None else 0)


def event_limit(limit: int | None) -> int:
    """How many events one answer is asked for."""
    number = DEFAULT_EVENT_LIMIT if limit is None else convert.integer(limit, "limit", _U64)
    if not number:
        raise InvalidArgument("limit: must be over 0")
    return min(number, MAX_EVENT_LIMIT)


def events(question: wire.Events, after: EventPosition, limit: int) -> Operation[EventPage]:
    """One answer from `after` on. What it says is in order: who follows is told nothing twice, and gets on."""
    message = question._replace(after=after.after, skip=after.skip, limit=limit)
    reply: wire.EventPage = yield Ask(MessageType.EVENTS, message, wire.EventPage)
    following = EventPosition(reply.next, reply.next_skip)
    at = (0, 0) if reply.trimmed or after == EVENTS_FROM_NOW else (after.after, after.skip)
    for event in reply.events:
        # Before the event, and behind it. There is no record 0.
        if event.index_ == _U32 or (event.lsn - 1, event.index_) < at:
            raise MalformedFrame("the broker's events are not in order")
        at = (event.lsn - 1, event.index_ + 1)
    if (reply.next, reply.next_skip) < at or reply.next == EVENTS_FROM_NOW.after:
        raise MalformedFrame("the broker's answer to EVENTS goes backwards, or nowhere")
    found = map(convert.event_of, reply.events)
    return EventPage(tuple(event for event in found if event is not None), following, reply.last, reply.trimmed)


# --- Dead letters ---

class DeadFilter(NamedTuple):
    """Which dead tasks; what is None matches everything."""

    queue: str | None = None
    type: str | None = None
    error: str | None = None  # somewhere in "CODE: message"
    fingerprint: int = 0
    older_than: Duration | None = None

    def to_wire(self, view: DeadView, limit: int, omit_bodies: bool = False) -> wire.DeadList:
        """A walk over them, from its start."""
        return wire.DeadList(view=view, queue=convert.text(self.queue, "queue"), type=convert.text(self.type, "type"),
                             error=convert.text(self.error, "error"),
                             fingerprint=convert.integer(self.fingerprint, "fingerprint", _U64),
                             older_than_ms=convert.milliseconds(self.older_than, "older_than", _U64), limit=limit,
                             omit_bodies=bool(omit_bodies))


def dead_next(walk: wire.DeadList) -> Operation[tuple[wire.DeadLetters, wire.DeadList | None]]:
    """The next answer of a walk, and how it goes on. It sees the letters that were there when it began."""
    answer: wire.DeadLetters = yield Ask(MessageType.DEAD_LIST, walk, wire.DeadLetters)
    if not answer.next_cursor:
        return answer, None
    if answer.next_cursor <= walk.cursor:
        raise MalformedFrame("the broker's answer to DEAD_LIST goes backwards")
    return answer, walk._replace(cursor=answer.next_cursor, before=walk.before or answer.next_letter)


def dead_page(walk: wire.DeadList) -> Operation[tuple[list[TaskInfo], wire.DeadList | None]]:
    """A page of dead tasks, the oldest death first."""
    answer, following = yield from dead_next(walk)
    return [convert.info_of(info) for info in answer.tasks], following


def dead_groups(filter_: DeadFilter) -> Operation[list[DeadGroup]]:
    """By fingerprint, the largest first."""
    groups: dict[int, DeadGroup] = {}
    walk: wire.DeadList | None = filter_.to_wire(DeadView.GROUPS, 0)
    while walk is not None:
        answer, walk = yield from dead_next(walk)
        for part in map(convert.group_of, answer.groups):
            before = groups.get(part.fingerprint)
            # Later parts are of later letters.
            groups[part.fingerprint] = part if before is None else DeadGroup(
                part.fingerprint, part.type, part.error, part.error_message, before.tasks + part.tasks, before.first_died_at,
                part.last_died_at, part.last_task)
    return sorted(groups.values(), key=lambda group: -group.tasks)


def dead_job(filter_: DeadFilter, purge: bool, dry_run: bool, rate: float | None,
             progress: Callable[[DeadProgress], object] | None) -> Operation[DeadProgress]:
    """Retries or deletes all that match and were dead when it began, each of these deaths once, whatever fails: each request
    names the letter."""
    if rate is not None and not rate > 0:
        raise InvalidArgument("rate: must be over 0, in tasks a second")
    size = MAX_QUERY_IDS if rate is None else max(1, min(MAX_QUERY_IDS, round(rate * _BEAT_SECONDS)))
    begun, sent, done, passed = time.monotonic(), 0, 0, 0
    walk: wire.DeadList | None = filter_.to_wire(DeadView.LETTERS, MAX_QUERY_IDS)
    while walk is not None:
        answer, walk = yield from dead_next(walk)
        for start in range(0, len(answer.letters), size):
            part = answer.letters[start:start + size]
            if dry_run:
                done += len(part)
                continue
            if rate is not None and (wait := begun + sent / rate - time.monotonic()) > 0:
                yield Pause(wait)
            sent += len(part)
            result = yield from _dead_batch(part, purge)
            done, passed = done + result.done, passed + result.passed
            if progress is not None and progress(DeadProgress(done, passed)) is False:
                return DeadProgress(done, passed)
    return DeadProgress(done, passed)


def _dead_batch(part: Sequence[wire.DeadLetter], purge: bool) -> Operation[DeadProgress]:
    ids, letters = [letter.task for letter in part], [letter.letter for letter in part]
    ask = (Ask(MessageType.DEAD_DELETE, wire.DeadDelete(ids=ids, letters=letters), wire.ItemReply) if purge
           else Ask(MessageType.RETRY, wire.Retry(ids=ids, letters=letters), wire.ItemReply))
    reply: wire.ItemReply = yield ask
    done = 0
    for item in reply.items:
        if item.code not in (ErrorCode.OK, ErrorCode.CONFLICT, ErrorCode.NOT_FOUND):
            raise error_of(item.code, item.message or "")
        done += item.code == ErrorCode.OK
    return DeadProgress(done, len(reply.items) - done)


# --- Queues and types ---

def queues() -> Operation[list[QueueInfo]]:
    """All by name."""
    def page(cursor: str | None) -> Operation[tuple[list[QueueInfo], bool]]:
        reply: wire.QueueInfos = yield Ask(MessageType.QUEUE_LIST, wire.QueueList(cursor=cursor), wire.QueueInfos)
        return [convert.queue_of(one) for one in reply.queues], reply.complete

    return (yield from _all_by_name(page))


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Thing = TypeVar("_Thing", bound=_Named)


def _all_by_name(page: Callable[[str | None], Operation[tuple[list[_Thing], bool]]]) -> Operation[list[_Thing]]:
    """All pages of a list, each from behind the last name of the one before; MalformedFrame when it would never end."""
    found: list[_Thing] = []
    while True:
        before = found[-1].name if found else ""
        things, complete = yield from page(before or None)
        found += things
        if complete:
            return found
        if not found or found[-1].name.encode() <= before.encode():
            raise MalformedFrame("the broker's list does not go on")


def queue(name: str) -> Operation[QueueInfo]:
    """NotFound when there is none."""
    message = wire.QueueList(queue=convert.required_text(name, "queue"))
    reply: wire.QueueInfos = yield Ask(MessageType.QUEUE_LIST, message, wire.QueueInfos)
    if not reply.queues:
        raise NotFound(f"queue '{name}' does not exist")
    return convert.queue_of(reply.queues[0])


# Setting: (field of QueueSet, how it becomes a number).
_SETTINGS: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "paused": ("paused", lambda value, name: bool(value)),
    "max_tasks": ("max_tasks", lambda value, name: convert.integer(value, name, _U64)),
    "max_bytes": ("max_bytes", lambda value, name: convert.integer(value, name, _U64)),
    "max_running": ("max_running", convert.integer),
    "rate": ("rate_micro", convert.micro_rate),
    "burst": ("burst", convert.integer),
    "weight": ("weight", lambda value, name: convert.integer(value, name, 255)),
    "max_attempts": ("max_attempts", lambda value, name: convert.integer(value, name, _U16)),
    "timeout": ("timeout_ms", convert.milliseconds),
    "retry_base": ("retry_base_ms", convert.milliseconds),
    "retry_cap": ("retry_cap_ms", convert.milliseconds),
    "key_max_running": ("key_max_running", convert.integer),
    "key_rate": ("key_rate_micro", convert.micro_rate),
    "key_burst": ("key_burst", convert.integer),
    "ageing": ("ageing_ms", convert.milliseconds),
    "draining": ("draining", lambda value, name: bool(value)),
}


def set_queue(name: str, settings: dict[str, Any]) -> Operation[QueueInfo]:
    """Changes the settings that are given."""
    values = {}
    for setting, value in settings.items():
        if setting not in _SETTINGS:
            raise InvalidArgument(f"{setting}: a queue has no such setting; there are {', '.join(_SETTINGS)}")
        if value is not None:
            field, read = _SETTINGS[setting]
            values[field] = read(value, setting)
    message = wire.QueueSet(queue=convert.required_text(name, "queue"), **values)
    reply: wire.QueueInfos = yield Ask(MessageType.QUEUE_SET, message, wire.QueueInfos)
    if not reply.queues:
        raise MalformedFrame("the broker's answer to QUEUE_SET is empty")
    return convert.queue_of(reply.queues[0])


def purge_queue(name: str, progress: Callable[[int], object] | None) -> Operation[int]:
    """Cancels the tasks that wait, as many as wait when it begins: or a faster producer would keep it going for ever."""
    waiting = (TaskState.SCHEDULED, TaskState.READY, TaskState.RETRY_WAIT)
    info = yield from queue(name)
    most = sum(info.counts[state] for state in waiting)
    query = ListQuery(queue=name, states=waiting, brief=True)
    cancelled, cursor = 0, 0
    while cancelled < most:
        page, cursor = yield from list_page(query, most - cancelled, cursor)
        results = yield from for_each(MessageType.CANCEL_TASKS, wire.CancelTasks, [task.id for task in page])
        cancelled += sum(result.ok for result in results)
        if progress is not None:
            progress(cancelled)
        if not cursor:
            break
    return cancelled


def types() -> Operation[list[TypeInfo]]:
    """All by name."""
    def page(cursor: str | None) -> Operation[tuple[list[TypeInfo], bool]]:
        reply: wire.TypeInfos = yield Ask(MessageType.TYPE_LIST, wire.TypeList(cursor=cursor), wire.TypeInfos)
        return [convert.type_of(one) for one in reply.types], reply.complete

    return (yield from _all_by_name(page))


def task_type(name: str) -> Operation[TypeInfo]:
    """NotFound when there were no tasks of it, nor rules for it."""
    message = wire.TypeList(type=convert.required_text(name, "type"))
    reply: wire.TypeInfos = yield Ask(MessageType.TYPE_LIST, message, wire.TypeInfos)
    if not reply.types:
        raise NotFound(f"type '{name}' does not exist")
    return convert.type_of(reply.types[0])


def set_type(name: str, paused: bool | None, max_running: int | None, rate: float | None, burst: int | None,
             no_retry: Iterable[ErrorCode] | None) -> Operation[TypeInfo]:
    """Changes the rules that are given."""
    message = wire.TypeSet(
        type=convert.required_text(name, "type"), paused=None if paused is None else bool(paused),
        max_running=None if max_running is None else convert.integer(max_running, "max_running"),
        rate_micro=None if rate is None else convert.micro_rate(rate, "rate"),
        burst=None if burst is None else convert.integer(burst, "burst"),
        no_retry=None if no_retry is None else sum(1 << convert.choice(ErrorCode, code, "no_retry") for code in set(no_retry)))
    reply: wire.TypeInfos = yield Ask(MessageType.TYPE_SET, message, wire.TypeInfos)
    if not reply.types:
        raise MalformedFrame("the broker's answer to TYPE_SET is empty")
    return convert.type_of(reply.types[0])


# --- Time schedules ---

def set_schedule(name: str, expression: str, task: TaskSpec, zone: str, overlap: Overlap, catch_up: Duration | None,
                 jitter: Duration | None, paused: bool | None, replace: bool) -> Operation[ScheduleInfo]:
    """Makes or replaces a schedule."""
    message = wire.ScheduleSet(
        name=convert.required_text(name, "name"), expression=convert.required_text(expression, "expression"),
        zone=convert.text(zone, "zone"), task=convert.task_to_wire(task), overlap=convert.choice(Overlap, overlap, "overlap"),
        catch_up_ms=DEFAULT_CATCH_UP_MS if catch_up is None else convert.milliseconds(catch_up, "catch_up", MAX_CATCH_UP_MS),
        jitter_ms=convert.milliseconds(jitter, "jitter"), paused=None if paused is None else bool(paused), replace=bool(replace))
    return (yield from _one_schedule(name, MessageType.SCHEDULE_SET, message))


def _one_schedule(name: str, type_: MessageType, message: Any) -> Operation[ScheduleInfo]:
    reply: wire.ScheduleInfos = yield Ask(type_, message, wire.ScheduleInfos)
    if not reply.schedules:
        raise NotFound(f"there is no schedule '{name}'")
    return convert.schedule_of(reply.schedules[0])


def schedules() -> Operation[list[ScheduleInfo]]:
    """All by name."""
    def page(cursor: str | None) -> Operation[tuple[list[ScheduleInfo], bool]]:
        reply: wire.ScheduleInfos = yield Ask(MessageType.SCHEDULE_LIST, wire.ScheduleList(cursor=cursor), wire.ScheduleInfos)
        return [convert.schedule_of(one) for one in reply.schedules], reply.complete

    return (yield from _all_by_name(page))


def schedule(name: str) -> Operation[ScheduleInfo]:
    """NotFound when there is none."""
    message = wire.ScheduleList(name=convert.required_text(name, "name"))
    return (yield from _one_schedule(name, MessageType.SCHEDULE_LIST, message))


def pause_schedule(name: str, paused: bool) -> Operation[ScheduleInfo]:
    """Ticks of a pause do not fire later."""
    message = wire.SchedulePause(name=convert.required_text(name, "name"), paused=paused)
    return (yield from _one_schedule(name, MessageType.SCHEDULE_PAUSE, message))


def trigger_schedule(name: str) -> Operation[TaskId]:
    """Its task at once."""
    message = wire.ScheduleRun(name=convert.required_text(name, "name"))
    reply: wire.ItemReply = yield Ask(MessageType.SCHEDULE_RUN, message, wire.ItemReply)
    return TaskId(_only_item(reply, "SCHEDULE_RUN").id)


def _only_item(reply: wire.ItemReply, what: str) -> wire.ItemResult:
    if len(reply.items) != 1:
        raise MalformedFrame(f"the broker's answer to {what} has {len(reply.items)} items instead of one")
    if reply.items[0].code != ErrorCode.OK:
        raise error_of(reply.items[0].code, reply.items[0].message or "")
    return reply.items[0]


def backfill_schedule(name: str, start: datetime, end: datetime) -> Operation[list[ItemResult]]:
    """Its task once for each tick from `start` to `end`."""
    from_ms, to_ms = convert.unix_ms(start, "start"), convert.unix_ms(end, "end")
    if to_ms < from_ms or not from_ms:
        raise InvalidArgument("start, end: must be a time that has passed, from its start to its end")
    message = wire.ScheduleRun(name=convert.required_text(name, "name"), from_ms=from_ms, to_ms=to_ms)
    reply: wire.ItemReply = yield Ask(MessageType.SCHEDULE_RUN, message, wire.ItemReply)
    return [convert.item_of(item) for item in reply.items]


def remove_schedule(name: str) -> Operation[None]:
    """Its tasks stay."""
    message = wire.ScheduleRemove(name=convert.required_text(name, "name"))
    reply: wire.ItemReply = yield Ask(MessageType.SCHEDULE_REMOVE, message, wire.ItemReply)
    _only_item(reply, "SCHEDULE_REMOVE")


# --- The cluster ---

def status() -> Operation[Status]:
    """The broker that answers."""
    return convert.status_of((yield Ask(MessageType.STATUS, wire.Status(), wire.StatusReply)))


def workers() -> Operation[list[WorkerSummary]]:
    """Those that have a session."""
    reply: wire.WorkerInfos = yield Ask(MessageType.WORKER_LIST, wire.WorkerList(), wire.WorkerInfos)
    return [convert.worker_of(info) for info in reply.workers]


def drain_worker(worker: str) -> Operation[None]:
    """Asks one to leave."""
    message = wire.WorkerDrain(worker=convert.required_text(worker, "worker"))
    reply: wire.ItemReply = yield Ask(MessageType.WORKER_DRAIN, message, wire.ItemReply)
    _only_item(reply, "WORKER_DRAIN")


def switchover() -> Operation[None]:
    """With the epoch: sent again after a lost answer, it does not change them back."""
    now = yield from status()
    yield from _cluster(wire.ClusterCommand(action=ClusterAction.SWITCHOVER, epoch=now.epoch))


def promote(force: bool) -> Operation[None]:
    """Of the broker that this client observes."""
    yield from _cluster(wire.ClusterCommand(action=ClusterAction.PROMOTE, force=bool(force)))


def _cluster(message: wire.ClusterCommand) -> Operation[None]:
    reply: wire.ItemReply = yield Ask(MessageType.CLUSTER_COMMAND, message, wire.ItemReply)
    _only_item(reply, "CLUSTER_COMMAND")
