"""Events: what is told of tasks, from any place on, through brokers that die; and answers that no broker should give."""
import asyncio
import random
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
import vectors
from cluster import Cluster, await_
from conftest import ROOT
from test_wire import mutate

import zsched
from zsched import EVENTS_FROM_NOW, EVENTS_FROM_START, EventKind, EventPage, EventPosition, TaskSpec, TaskState
from zsched import _operations as operations
from zsched._wire import schema as wire
from zsched._wire.constants import MAX_EVENT_LIMIT, ErrorCode
from zsched._wire.layout import MalformedBody
from zsched._wire.reader import read
from zsched.events import FOLLOW_EVENTS_SECONDS, EventWalk

TIMEOUT = 60
MUTATIONS = 5000


@pytest.fixture(scope="module")
def cluster(programs):
    with Cluster(programs) as cluster:
        cluster.start_broker()
        cluster.start_worker()
        yield cluster


@pytest.fixture
def client(cluster):
    with zsched.Client(cluster.brokers) as client:
        client.wait_for_broker(TIMEOUT)
        yield client


@pytest.fixture
def queue(request):
    """A queue that no other test uses."""
    return request.node.name[:100]


def all_events(client, after=EVENTS_FROM_START, **filters):
    """Page by page, up to now."""
    found = []
    while True:
        page = client.events(after, **filters)
        found += page.events
        after = page.next
        if page.complete:
            return found


def take(follower, until):
    """What a follower tells, the event that `until` is true of included."""
    found = []
    for event in follower:
        found.append(event)
        if until(event):
            return found
    raise AssertionError(f"the follower ended after {found}")


# --- Places ---

@pytest.mark.parametrize("text, position", [
    ("0", EVENTS_FROM_START), ("812", EventPosition(812)), ("812.3", EventPosition(811, 4)), ("1.0", EventPosition(0, 1)),
    (f"{(1 << 64) - 2}", EventPosition((1 << 64) - 2)), (f"1.{(1 << 32) - 2}", EventPosition(0, (1 << 32) - 1))])
def test_a_place_has_a_text(text, position):
    assert EventPosition.parse(text) == position and str(position) == text


@pytest.mark.parametrize("text", ["", "x", "1.", ".1", "0.1", "-1", "+1", "01", "1.01", " 1", "1 ", "1.2.3", "٤", "1e3", "1_0",
                                  f"{(1 << 64) - 1}", f"1.{(1 << 32) - 1}", "9" * 40])
def test_what_is_no_place_is_refused(text):
    with pytest.raises(zsched.InvalidArgument, match="looks like 812"):
        EventPosition.parse(text)


def test_places_are_in_the_order_of_the_log():
    places = [EventPosition.parse(text) for text in ("0", "1.0", "1.7", "1", "2.0", "9", "10.3")]
    assert sorted(reversed(places)) == places and len(set(places)) == len(places)
    for bad in ((-1, 0), (1 << 64, 0), (0, 1 << 32), (1.0, 0), (True, 0)):
        with pytest.raises(zsched.InvalidArgument):
            EventPosition(*bad)


# --- What a broker says ---

def answer(reply, after=EVENTS_FROM_START, filter_=operations.EventFilter()):
    """The page that a client makes of it."""
    operation = operations.events(filter_.to_wire(), after, 10)
    operation.send(None)
    try:
        operation.send(reply)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it asks again")


def page_of(*places, next_, **fields):
    after = EventPosition.parse(next_)
    events = [wire.Event(lsn=lsn, index_=index) for lsn, index in places]
    return wire.EventPage(events=events, next=after.after, next_skip=after.skip, last=1000, **fields)


def test_a_question_has_all_that_was_asked():
    filter_ = operations.EventFilter([EventKind.DEAD, EventKind.MERGED], "q", "t", "4-17")
    [ask] = [operations.events(filter_.to_wire(), EventPosition(7, 3), 10).send(None)]
    assert ask.message == wire.Events(after=7, skip=3, limit=10, kinds=1 << 5 | 1 << 22, queue="q", type="t", task=4 << 40 | 17)
    assert [operations.event_limit(limit) for limit in (None, 1, 10**6)] == [100, 1, MAX_EVENT_LIMIT]
    for wrong in (0, -1, "5"):
        with pytest.raises(zsched.InvalidArgument, match="limit"):
            operations.event_limit(wrong)


def test_all_of_an_event_is_read():
    full = wire.Event(lsn=8, index_=3, at_ms=1000, kind=EventKind.DEAD, task=9, queue="q", type="t", state=TaskState.DEAD,
                      attempt=2, worker="w", name="n", error_code=ErrorCode.HANDLER_FAILED, error_message="no", percent=4,
                      message="m", count_=5, parent=6)
    page = answer(wire.EventPage(events=[full, wire.Event(lsn=8, index_=4, kind=200)], next=8, last=12))
    assert len(page.events) == 1, "kinds of newer brokers are left out"
    [event] = page.events
    assert (event.lsn, event.index, event.kind, event.task, event.state) == (8, 3, EventKind.DEAD, 9, TaskState.DEAD)
    assert event.at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)
    assert (event.queue, event.type, event.worker, event.name, event.message) == ("q", "t", "w", "n", "m")
    assert (event.attempt, event.error, event.error_message, event.percent) == (2, ErrorCode.HANDLER_FAILED, "no", 4)
    assert (event.count, event.parent, event.position) == (5, 6, EventPosition(7, 4))
    assert page.next == EventPosition(8) and not page.complete
    [about_none] = answer(wire.EventPage(events=[wire.Event(lsn=1, kind=EventKind.EPOCH)], next=1)).events
    assert about_none.task is None and about_none.state is None and about_none.parent is None


@pytest.mark.parametrize("after, reply, right", [
    ("7.2", page_of((7, 3), (8, 0), (9, 5), next_="9.5"), True),
    ("7.2", page_of(next_="7.2"), True),
    ("7.2", page_of((7, 3), next_="9"), True),
    ("7.2", page_of(next_="6.9"), False),
    ("7.2", page_of(next_="7.1"), False),
    ("7.2", page_of((7, 2), next_="8"), False),
    ("7", page_of((7, 5), next_="8"), False),
    ("7.2", page_of((8, 0), (8, 0), next_="8"), False),
    ("7.2", page_of((9, 0), (8, 0), next_="9"), False),
    ("7.2", page_of((8, 1), next_="8.0"), False),
    ("0", page_of((0, 0), next_="5"), False),
    ("0", page_of((1, (1 << 32) - 1), next_="5"), False),
    ("0", wire.EventPage(next=(1 << 64) - 1), False),
    ("7.2", page_of(next_="2", trimmed=True), True)])
def test_a_page_is_in_order_and_goes_on_from_its_question(after, reply, right):
    if right:
        assert answer(reply, EventPosition.parse(after)).next >= EventPosition(reply.next, reply.next_skip)
    else:
        with pytest.raises(zsched.MalformedFrame):
            answer(reply, EventPosition.parse(after))
    assert answer(page_of(next_="2"), EVENTS_FROM_NOW).next == EventPosition(2)


def test_mutated_pages_keep_what_a_follower_relies_on_or_are_refused():
    chance = random.Random(20261123)
    bodies = [bytes.fromhex(vector["hex"])[40:] for vector in vectors.good(ROOT) if vector["table"] == "EventPage"]
    assert len(bodies) >= 3
    read_, refused = 0, 0
    for _ in range(MUTATIONS):
        after = EventPosition(chance.choice((0, 7, 811, 812, 816)), chance.choice((0, 1, 4, 1000)))
        try:
            page = answer(read(wire.EventPage, mutate(chance.choice(bodies), chance)), after)
        except (MalformedBody, zsched.MalformedFrame):
            refused += 1
            continue
        read_ += 1
        places = [event.position for event in page.events]
        assert places == sorted(set(places)) and all(place <= page.next for place in places)
        assert page.trimmed or page.next >= after and all(place > after for place in places)
    # Both happen often, so neither the mutations nor the reader are blind.
    assert read_ > MUTATIONS // 20 and refused > MUTATIONS // 20


# --- A follower's place ---

def walk(after="0", on_trimmed=None):
    return EventWalk(operations.EventFilter(), EventPosition.parse(after), on_trimmed)


def test_a_followers_place_is_behind_what_came_out():
    follower = walk("5")
    assert follower.take() is None and follower.position == EventPosition(5) and not follower.idle
    follower.add(answer(page_of((7, 0), (7, 4), next_="20"), EventPosition(5)))
    assert follower.position == EventPosition(5) and not follower.idle
    assert follower.take().index == 0 and str(follower.position) == "7.0"
    # Behind the last there is only what the filter left out.
    assert follower.take().index == 4 and str(follower.position) == "20"
    assert follower.take() is None and follower.ask().send(None).message.after == 20


def test_a_follower_waits_when_nothing_is_new_and_when_a_broker_does_not_get_on():
    follower = walk("5")
    follower.add(EventPage((), EventPosition(9), 9, False))
    assert follower.idle
    follower.add(EventPage((), EventPosition(12), 90, False))
    assert not follower.idle
    follower.add(EventPage((), EventPosition(12), 90, False))
    assert follower.idle


def test_lost_events_are_told():
    lost = []
    follower = walk("5", lambda *places: lost.append(places))
    follower.add(EventPage((), EventPosition(400), 900, True))
    assert lost == [(EventPosition(5), EventPosition(400))] and follower.position == EventPosition(400)
    strict = walk("5")
    with pytest.raises(zsched.NotFound, match="not kept from 5 on.*behind 400"):
        strict.add(EventPage((), EventPosition(400), 900, True))
    assert strict.position == EventPosition(400)
    # Who asks from the start asks for what is kept.
    walk("0").add(EventPage((), EventPosition(400), 900, True))


def test_a_follower_asks_again_only_when_that_may_help():
    follower, serves = walk("5"), SimpleNamespace(closed=False, failed=False)
    assert not follower.unanswered(zsched.Unavailable("nobody"), serves) and follower.idle
    with pytest.raises(zsched.PermissionDenied):
        follower.unanswered(zsched.PermissionDenied("no"), serves)
    with pytest.raises(zsched.Unavailable):
        follower.unanswered(zsched.Unavailable("nobody"), SimpleNamespace(closed=False, failed=True))
    assert follower.unanswered(zsched.Unavailable("closed"), SimpleNamespace(closed=True, failed=False))


# --- One broker ---

def test_the_lives_of_tasks_are_told_in_order(client, queue):
    start = client.events(EVENTS_FROM_NOW)
    assert not start.events and start.complete
    good = client.submit("echo", "x", queue=queue)
    bad = client.submit("fail", json={"times": 100, "message": "boom"}, queue=queue, max_attempts=2, retry_base=0.001)
    client.wait([good, bad], TIMEOUT)
    never = client.submit("noop", queue=queue, delay=3600)
    never.cancel()
    events = all_events(client, start.next, queue=queue)
    assert [event.position for event in events] == sorted({event.position for event in events})
    assert [event.kind for event in events if event.task == good.id] == [
        EventKind.SUBMITTED, EventKind.STARTED, EventKind.SUCCEEDED]
    assert [event.kind for event in events if event.task == bad.id] == [
        EventKind.SUBMITTED, EventKind.STARTED, EventKind.FAILED, EventKind.READY, EventKind.STARTED, EventKind.DEAD]
    assert [event.kind for event in events if event.task == never.id] == [EventKind.SUBMITTED, EventKind.CANCELLED]
    dead = events[[event.kind for event in events].index(EventKind.DEAD)]
    assert (dead.queue, dead.type, dead.state, dead.attempt, dead.error) == (
        queue, "fail", TaskState.DEAD, 2, ErrorCode.HANDLER_FAILED)
    assert "boom" in dead.error_message and abs(dead.at - datetime.now(timezone.utc)) < timedelta(minutes=5)
    assert all_events(client, start.next, task=good) == [event for event in events if event.task == good.id]
    assert [event.task for event in all_events(client, start.next, queue=queue, kinds=[EventKind.DEAD])] == [bad.id]
    assert {event.type for event in all_events(client, start.next, type="fail")} == {"fail"}


def test_a_reader_goes_on_from_any_place(client, queue):
    handles = client.submit_each("echo", [b"x"] * 50, queue=queue)
    client.wait(handles, TIMEOUT)
    # Of the kinds that are there once for each: a worker that is slow gives back what waits, and gets it again.
    wanted = {"queue": queue, "kinds": [EventKind.SUBMITTED, EventKind.SUCCEEDED]}
    events = all_events(client, **wanted)
    assert len(events) == 100
    for event, following in zip(events[::10], events[1::10]):
        # By the value, and by its text.
        for after in (event.position, str(event.position)):
            assert client.events(after, limit=1, **wanted).events == (following,)
    paged, after = [], EVENTS_FROM_START
    while not paged or not page.complete:
        page = client.events(after, limit=7, **wanted)
        assert len(page.events) <= 7
        paged, after = paged + [*page.events], page.next
    assert paged == events
    for wrong in ("x", 5, None):
        with pytest.raises(zsched.InvalidArgument, match="position"):
            client.events(wrong)
    with pytest.raises(zsched.InvalidArgument, match="kinds"):
        client.events(kinds=[99])
    with pytest.raises(zsched.InvalidArgument):
        client.events(queue="q" * 1000)


def test_places_are_those_of_the_command_line(client, cluster, programs, queue):
    client.wait(client.submit_each("echo", [b"x"] * 3, queue=queue), TIMEOUT)
    events = all_events(client, queue=queue)
    out = subprocess.run([programs / "zsched-ctl", "--brokers", cluster.brokers, "events", "--after", str(events[3].position),
                          "--queue", queue, "-o", "jsonl"], check=True, capture_output=True, text=True, timeout=TIMEOUT).stdout
    assert [line.split('"')[3] for line in out.splitlines()] == [str(event.position) for event in events[4:]]


def test_what_happens_is_followed(client, queue):
    follower = client.follow_events(client.events(EVENTS_FROM_NOW).next, queue=queue)
    with ThreadPoolExecutor(1) as pool:
        def until(count):
            return pool.submit(take, follower, lambda event: event.kind is EventKind.SUCCEEDED and event.task == count)
        seen = []
        for _ in range(3):
            handle = client.submit("echo", "x", queue=queue)
            seen += until(handle.id).result(TIMEOUT)
    assert seen == all_events(client, queue=queue) and len(seen) == 9
    assert follower.position >= seen[-1].position
    again = client.follow_events(seen[4].position, queue=queue)
    assert [next(again) for _ in range(4)] == seen[5:]


def test_the_place_gets_on_past_what_the_filter_leaves_out(client, queue):
    follower = client.follow_events(EVENTS_FROM_START, queue=queue)
    client.submit("echo", "x", queue=queue).result(TIMEOUT)
    take(follower, lambda event: event.kind is EventKind.SUCCEEDED)
    client.submit_each("noop", [b""] * 10, queue="others")
    end = client.events(EVENTS_FROM_NOW).next
    client.submit("noop", queue=queue)
    assert next(follower).position > end and follower.position > end


def test_following_from_now_begins_with_the_first_question(client, queue):
    client.submit("echo", "before", queue=queue).result(TIMEOUT)
    follower = client.follow_events(queue=queue)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, follower)
        await_(lambda: follower.position != EVENTS_FROM_NOW, "the first answer")
        handle = client.submit("noop", queue=queue)
        assert first.result(TIMEOUT).task == handle.id


def test_closing_ends_a_follower_that_waits(cluster, queue):
    other = zsched.Client(cluster.brokers)
    follower = other.follow_events(queue=queue)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(list, follower)
        await_(lambda: follower.position != EVENTS_FROM_NOW, "the first answer")
        other.close(TIMEOUT)
        assert following.result(TIMEOUT) == []
    with pytest.raises(StopIteration):
        next(follower)
    with pytest.raises(zsched.Unavailable, match="closed"):
        other.events()


def test_a_follower_ends_while_the_close_still_waits_for_acknowledgements():
    client = zsched.Client("127.0.0.1:1", request_timeout=0.05)
    client._engine._closing.set()  # as close does, before it waits
    assert list(client.follow_events()) == []
    client.close()


def test_closing_wakes_who_waits_for_more(cluster):
    other = zsched.Client(cluster.brokers)
    woken = threading.Event()

    def wait():
        other._engine.pause(TIMEOUT)
        woken.set()
    thread = threading.Thread(target=wait)
    thread.start()
    before = time.monotonic()
    other.close()
    thread.join()
    assert woken.is_set() and time.monotonic() - before < TIMEOUT


def test_a_follower_of_an_engine_that_failed_does_not_go_on_for_ever(cluster):
    other = zsched.Client(cluster.brokers)
    follower = other.follow_events(EVENTS_FROM_START)
    assert next(follower)
    other._engine.post(lambda: 1 / 0)
    with pytest.raises(zsched.Unavailable):
        for _ in follower:
            pass


def test_followers_outlive_their_broker(programs, queue):
    """Longer than a question waits, and with a log that begins where it ended."""
    with Cluster(programs) as cluster:
        cluster.start_broker()
        with zsched.Client(cluster.brokers, request_timeout=FOLLOW_EVENTS_SECONDS) as client:
            client.wait_for_broker(TIMEOUT)
            follower = client.follow_events(EVENTS_FROM_START, kinds=[EventKind.SUBMITTED])
            first = client.submit("noop", queue=queue)
            assert next(follower).task == first.id
            cluster.kill("broker")
            with ThreadPoolExecutor(1) as pool:
                following = pool.submit(next, follower)
                with pytest.raises((zsched.Unavailable, zsched.TimedOut)):
                    client.events()
                cluster.start_broker()
                second = client.submit("noop", queue=queue)
                assert following.result(TIMEOUT).task == second.id


# --- asyncio ---

def run(cluster, test):
    async def main():
        async with zsched.AsyncClient(cluster.brokers) as client:
            await client.wait_for_broker(TIMEOUT)
            await asyncio.wait_for(test(client), TIMEOUT)
    asyncio.run(main())


def test_events_are_awaited(cluster, queue):
    async def test(client):
        start = (await client.events(EVENTS_FROM_NOW)).next
        handles = await client.submit_each("echo", [b"x"] * 20, queue=queue)
        await client.gather(handles, TIMEOUT)
        seen = []
        wanted = {"queue": queue, "kinds": [EventKind.SUBMITTED, EventKind.SUCCEEDED]}
        follower = client.follow_events(start, **wanted)
        async for event in follower:
            seen.append(event)
            if len(seen) == 40:
                break
        assert tuple(seen) == (await client.events(start, **wanted)).events
        # A wait that is given up loses nothing.
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(follower), FOLLOW_EVENTS_SECONDS / 3)
        handle = await client.submit("noop", queue=queue)
        assert (await anext(follower)).task == handle.id
        with pytest.raises(zsched.InvalidArgument):
            client.follow_events(kinds=[99])
    run(cluster, test)


def test_closing_ends_an_awaited_follower(cluster, queue):
    async def main():
        client = zsched.AsyncClient(cluster.brokers)
        follower = client.follow_events(queue=queue)

        async def follow():
            return [event async for event in follower]
        following = asyncio.create_task(follow())
        while follower.position == EVENTS_FROM_NOW:
            await asyncio.sleep(0)
        await client.close(TIMEOUT)
        assert await asyncio.wait_for(following, TIMEOUT) == []
    asyncio.run(main())


# --- A pair ---

class Following:
    """Threads that follow from the start, one blocking and one awaited, until every task of `count` has succeeded."""

    def __init__(self, brokers, count):
        self._brokers, self._count = brokers, count
        self._pool = ThreadPoolExecutor(2)
        self.seen = ([], [])
        self._ended = [self._pool.submit(self._follow), self._pool.submit(asyncio.run, self._follow_awaited())]

    def _note(self, seen, event):
        seen.append(event)
        return sum(event.kind is EventKind.SUCCEEDED for event in seen) == self._count

    def _follow(self):
        with zsched.Client(self._brokers) as client:
            for event in client.follow_events(EVENTS_FROM_START):
                if self._note(self.seen[0], event):
                    return

    async def _follow_awaited(self):
        async with zsched.AsyncClient(self._brokers) as client:
            async for event in client.follow_events(EVENTS_FROM_START):
                if self._note(self.seen[1], event):
                    return

    def results(self):
        for ended in self._ended:
            ended.result(TIMEOUT)
        self._pool.shutdown()
        return self.seen


def test_followers_miss_nothing_and_see_nothing_twice_when_the_active_is_killed(programs):
    count = 150
    with Cluster(programs) as cluster:
        cluster.start_pair()
        cluster.start_worker()
        with zsched.Client(cluster.brokers) as client:
            client.wait_for_broker(TIMEOUT)
            following = Following(cluster.brokers, 2 * count)
            handles = [client.submit("echo", "x") for _ in range(count)]
            await_(lambda: all(following.seen), "the first events")
            cluster.await_sync()
            cluster.kill(cluster.active())
            # The first of these waits until the other one serves.
            handles += [client.submit("echo", "x") for _ in range(count)]
            client.wait(handles, TIMEOUT)
            for seen in following.results():
                places = [event.position for event in seen]
                assert places == sorted(set(places))
                for handle in handles:
                    life = [event.kind for event in seen if event.task == handle.id]
                    assert life[0] is EventKind.SUBMITTED and life[-1] is EventKind.SUCCEEDED
                    assert life.count(EventKind.SUBMITTED) == life.count(EventKind.SUCCEEDED) == 1
                assert [event.count for event in seen if event.kind is EventKind.EPOCH] == sorted(
                    {event.count for event in seen if event.kind is EventKind.EPOCH})
                assert sum(event.kind is EventKind.EPOCH for event in seen) >= 2
            # It is the log's own order, for all of them.
            told = all_events(client)
            assert all(told[:len(seen)] == seen for seen in following.seen)


def test_a_log_that_is_not_kept_is_told(programs, queue):
    """The smallest log, and more tasks than it holds."""
    with Cluster(programs) as cluster:
        cluster.start_broker("--keep-log", "1MiB")
        with zsched.Client(cluster.brokers) as client:
            follower = client.follow_events(EVENTS_FROM_START)
            first = next(follower)

            def trimmed():
                client.submit_many([TaskSpec("noop", bytes(2000), queue=queue)] * 500)
                return client.events(first.position, limit=1).trimmed
            await_(trimmed, "the loss of the log's beginning")
            strict = client.follow_events(first.position)
            with pytest.raises(zsched.NotFound, match="not kept"):
                next(strict)
            assert next(strict).position > first.position
            lost = []
            told = client.follow_events(first.position, on_trimmed=lambda *places: lost.append(places))
            event = next(told)
            assert len(lost) == 1 and lost[0][0] == first.position and event.position > lost[0][1]
