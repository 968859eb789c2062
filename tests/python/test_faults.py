"""Brokers that die, restart, change places or lie, under a client that goes on."""
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import zmq
from cluster import Cluster, Ports, await_

import zsched
from zsched import ErrorCode, EventPosition, TaskSpec, TaskState
from zsched._frame import open_frame, seal
from zsched._wire import schema as wire
from zsched._wire.constants import MessageType, Role
from zsched._wire.reader import read
from zsched._wire.writer import write
from zsched.events import FOLLOW_EVENTS_SECONDS

TIMEOUT = 90
THREADS = 8


@pytest.fixture
def cluster(programs):
    with Cluster(programs) as cluster:
        yield cluster


class Producers:
    """Threads that submit numbered tasks one after the other until they are told to stop."""

    def __init__(self, client, queue):
        self._client, self._queue = client, queue
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS)
        self.handles = {}
        self._futures = [self._pool.submit(self._produce, thread) for thread in range(THREADS)]

    def _produce(self, thread):
        number = 0
        while not self._stop.is_set():
            name = f"{thread}-{number}"
            self.handles[name] = self._client.submit("echo", name, queue=self._queue)
            number += 1

    def go_on(self, count):
        """Waits until so many more were acknowledged."""
        before = len(self.handles)
        await_(lambda: len(self.handles) >= before + count, f"{count} more tasks")

    def stop(self):
        self._stop.set()
        for future in self._futures:
            future.result(TIMEOUT)
        self._pool.shutdown()
        return self.handles


def check_each_once(client, queue, handles):
    """Every task that was acknowledged is there, ended with its own result, and there is no other."""
    names = list(handles)
    assert client.gather([handles[name] for name in names], TIMEOUT) == names
    infos = list(client.list(queue=queue))
    assert sorted(info.payload.decode() for info in infos) == sorted(names)
    assert {info.id for info in infos} == {handle.id for handle in handles.values()}


@pytest.mark.parametrize("arbiter", ["none", "witness"])
def test_a_pair_whose_active_is_killed_loses_nothing(cluster, arbiter):
    cluster.start_pair(*(cluster.start_witness() if arbiter == "witness" else ()))
    cluster.start_worker()
    with zsched.Client(cluster.brokers) as client:
        client.wait_for_broker(TIMEOUT)
        producers = Producers(client, "q")
        producers.go_on(300)
        cluster.await_sync()
        cluster.kill(cluster.active())
        producers.go_on(300)
        check_each_once(client, "q", producers.stop())
        assert client.stats["connects"] >= 2


def test_an_active_that_stands_still_is_left_and_comes_back_to_nothing(cluster):
    """Its connections live, but it is silent. When it goes on it has been replaced: nothing that it says counts."""
    cluster.start_pair(*cluster.start_witness())
    cluster.start_worker()
    with zsched.Client(cluster.brokers) as client:
        client.wait_for_broker(TIMEOUT)
        producers = Producers(client, "q")
        producers.go_on(100)
        frozen = cluster.active()
        cluster.processes[frozen].send_signal(signal.SIGSTOP)
        producers.go_on(100)
        cluster.processes[frozen].send_signal(signal.SIGCONT)
        await_(lambda: cluster.role(frozen) == "kStandby", "its return as a standby")
        producers.go_on(100)
        check_each_once(client, "q", producers.stop())


def test_a_switchover_is_no_more_than_latency(cluster):
    cluster.start_pair()
    cluster.start_worker()
    with zsched.Client(cluster.brokers) as client:
        client.wait_for_broker(TIMEOUT)
        producers = Producers(client, "q")
        waiting = client.submit("echo", "x", queue="late", delay=1)
        producers.go_on(100)
        before = client.status()

        def changed():
            """Refused while the standby is behind, which a moment of waiting is enough for."""
            try:
                client.switchover()
            except zsched.Conflict:
                pass
            return client.status().node != before.node
        await_(changed, "the change")
        producers.go_on(100)
        assert waiting.result(TIMEOUT) == "x"
        check_each_once(client, "q", producers.stop())


def test_an_observer_reads_from_the_standby_and_promotes(cluster):
    cluster.start_pair()
    active = cluster.active()
    standby = "backup" if active == "primary" else "primary"
    with zsched.Client(cluster.brokers) as client, zsched.Client(cluster.address(standby), observe=True) as observer:
        handle = client.submit("noop")
        await_(lambda: observer.get([handle]), "the task at the standby")
        assert observer.status().role is Role.STANDBY
        with pytest.raises(zsched.Conflict):
            observer.promote()
        cluster.kill(active)
        # Refused with Conflict for as long as the standby believes that the other one is there.
        def promoted():
            try:
                observer.promote()
                return True
            except (zsched.Conflict, zsched.Unavailable):
                return observer.status().role is not Role.STANDBY
        await_(promoted, "the promotion")
        assert client.task(handle).id == handle.id


def test_a_broker_that_is_killed_and_comes_back_loses_nothing(cluster):
    cluster.start_broker()
    cluster.start_worker()
    with zsched.Client(cluster.brokers) as client:
        client.wait_for_broker(TIMEOUT)
        late = client.submit("echo", "late", queue="late", delay=2)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(late.result, TIMEOUT)
            producers = Producers(client, "q")
            for _ in range(2):
                producers.go_on(200)
                cluster.kill("broker")
                cluster.start_broker()
            producers.go_on(200)
            check_each_once(client, "q", producers.stop())
            assert waiting.result(TIMEOUT) == "late"
        assert client.stats["connects"] >= 3


def test_bulk_submits_go_through_a_restart_in_order(cluster):
    cluster.start_broker()
    count = 50_000
    with zsched.Client(cluster.brokers) as client, ThreadPoolExecutor(1) as pool:
        client.wait_for_broker(TIMEOUT)
        submitting = pool.submit(client.submit_each, "noop", [str(index) for index in range(count)], queue="q")
        await_(lambda: client.stats["acknowledged"] > 1000, "some to be acknowledged")
        cluster.kill("broker")
        cluster.start_broker()
        handles = submitting.result(TIMEOUT)
        assert [info.id for info in client.list(queue="q", limit=1000)] == [handle.id for handle in handles[:1000]]
        assert sum(client.queue("q").counts.values()) == count == len({handle.id for handle in handles})
        assert client.queue("q").counts[TaskState.READY] == count


class LyingBroker:
    """A broker that greets as it should, and answers everything else with what `lie` makes of it. In a thread of its own."""

    SESSION, EPOCH = 99, 4
    # Most lies leave heartbeats without an answer. Three of these are longer than any test: silence is not what they are about,
    # and a call that ends while its client looks for another broker ends as UNAVAILABLE and not as TIMED_OUT.
    HEARTBEAT_MS = 60_000

    def __init__(self, lie):
        self._ports, self._lie = Ports(), lie
        self.lies = 0
        self.parts = 1  # of the lies
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._ports.release()

    @property
    def address(self):
        return self._ports.address

    def _run(self):
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
            router.setsockopt(zmq.LINGER, 0)
            router.bind(f"tcp://{self.address}")
            numbers = {}
            while not self._stop.is_set():
                if router.poll(20):
                    peer, data = router.recv_multipart()
                    for answer in self._answers(open_frame(data), numbers, peer):
                        greeting = open_frame(answer).type in (MessageType.VIEW, MessageType.WELCOME)
                        router.send_multipart([peer] + [answer] * (1 if greeting else self.parts))

    def _answers(self, frame, numbers, peer):
        def number():
            numbers[peer] = numbers.get(peer, 0) + 1
            return numbers[peer]
        if frame.type == MessageType.DISCOVER:
            itself = wire.BrokerInfo(role=Role.ACTIVE_SOLO, address=f":{self._ports.first}", self=True)
            yield seal(MessageType.VIEW, write(wire.View(epoch=self.EPOCH, brokers=[itself])), epoch=self.EPOCH)
        elif frame.type == MessageType.HELLO:
            welcome = wire.Welcome(session=self.SESSION, epoch=self.EPOCH, heartbeat_ms=self.HEARTBEAT_MS,
                                   window_tasks=100, window_bytes=1 << 20)
            numbers[peer] = 0
            yield seal(MessageType.WELCOME, write(welcome), number=number(), epoch=self.EPOCH, session=self.SESSION)
        else:
            for type_, body in self._lie(frame):
                self.lies += 1
                yield seal(type_, body, number=number(), epoch=self.EPOCH, session=self.SESSION)


def test_hostile_answers_are_counted_and_end_nothing():
    """Whatever comes: the client's thread lives, calls end in their time, and it still closes."""
    chance = random.Random(5)
    bodies = [write(wire.SubmitAck(seq=1, first_id=1, accepted=5)), write(wire.Outcomes(succeeded=[1, 2])),
              write(wire.StatusReply(request=1 << 62, counters=[wire.Counter("x", 1)])), write(wire.Error(code=3, message="x")),
              write(wire.TaskInfos(request=1 << 62, tasks=[wire.TaskInfo(id=1, labels=[wire.Label("a", "b")])])),
              write(wire.EventPage(request=1 << 62, events=[wire.Event(lsn=1, queue="q")], next=1, last=9)), b"", bytes(64)]
    types = [type_ for type_ in MessageType if type_ not in (MessageType.GOODBYE, MessageType.ERROR)]

    def lie(frame):
        for _ in range(20):
            body = bytearray(chance.choice(bodies))
            for _ in range(chance.randrange(4)):
                if body:
                    body[chance.randrange(len(body))] = chance.randrange(256)
            yield chance.choice(types), bytes(body)

    with LyingBroker(lie) as broker, zsched.Client(broker.address, request_timeout=0.05, submit_timeout=0.05) as client:
        client.wait_for_broker(TIMEOUT)
        for _ in range(20):
            for call in (client.status, lambda: client.task(5), client.events, lambda: client.submit("noop")):
                try:
                    call()
                except zsched.ZschedError:
                    pass
        await_(lambda: broker.lies > 500 and client.stats["malformed"] > 100, "the lies")
        assert client._engine._thread.is_alive()
        client._engine.abandon()


class LyingLog:
    """Answers EVENTS with what `page` makes of each question."""

    def __init__(self, page):
        self._page = page
        self.asked = []

    def __call__(self, frame):
        if frame.type == MessageType.EVENTS:
            question = read(wire.Events, frame.body)
            self.asked.append(EventPosition(question.after, question.skip))
            yield MessageType.EVENT_PAGE, write(self._page(question)._replace(request=question.request))


def test_a_log_that_goes_backwards_ends_a_follower_that_does_not_believe_it():
    def page(question):
        lsn = 5 if question.after < 5 else 4
        return wire.EventPage(events=[wire.Event(lsn=lsn)], next=lsn, last=9)
    with LyingBroker(LyingLog(page)) as broker, zsched.Client(broker.address) as client:
        follower = client.follow_events("0")
        assert next(follower).lsn == 5
        with pytest.raises(zsched.MalformedFrame, match="not in order"):
            next(follower)
        assert follower.position == EventPosition(5)
        client._engine.abandon()


def test_a_follower_does_not_press_a_broker_that_has_no_room_or_does_not_get_on():
    log = LyingLog(lambda question: wire.EventPage(next=question.after, next_skip=question.skip, last=9))

    def lie(frame):
        if frame.type == MessageType.EVENTS and len(log.asked) % 2:
            question = read(wire.Events, frame.body)
            log.asked.append(EventPosition(question.after, question.skip))
            yield MessageType.ERROR, write(wire.Error(code=ErrorCode.RESOURCE_EXHAUSTED, request=question.request,
                                                      message="later", retry_after_ms=(1 << 32) - 1))
        else:
            yield from log(frame)
    with LyingBroker(lie) as broker, zsched.Client(broker.address) as client, ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        following = pool.submit(list, client.follow_events("3.1"))
        await_(lambda: len(log.asked) >= 6, "more questions")
        assert len(log.asked) <= (time.monotonic() - begun) / FOLLOW_EVENTS_SECONDS + 1
        assert set(log.asked) == {EventPosition.parse("3.1")}
        client.close()
        assert following.result(TIMEOUT) == []


def test_frames_of_several_parts_are_dropped_whole():
    with LyingBroker(lambda frame: [(MessageType.STATUS_REPLY, write(wire.StatusReply(request=1 << 62)))]) as broker:
        broker.parts = 3
        with zsched.Client(broker.address, request_timeout=0.2) as client:
            client.wait_for_broker(TIMEOUT)
            with pytest.raises(zsched.TimedOut):
                client.status()
            await_(lambda: client._engine._dealer.dropped_multipart > 0, "the frames")
            client._engine.abandon()


def test_an_ack_that_accepts_what_was_not_sent_changes_nothing():
    def lie(frame):
        if frame.type == MessageType.SUBMIT:
            submit = read(wire.Submit, frame.body)
            yield MessageType.SUBMIT_ACK, write(wire.SubmitAck(seq=submit.seq, first_id=7, accepted=10**6, window_tasks=10))
            yield MessageType.SUBMIT_ACK, write(wire.SubmitAck(seq=submit.seq, first_id=7, accepted=len(submit.tasks),
                                                               window_tasks=100, window_bytes=1 << 20))
    with LyingBroker(lie) as broker, zsched.Client(broker.address) as client:
        assert client.submit_many([TaskSpec("noop")] * 3)[2].id == 9
        assert client.stats["malformed"] == 1
        client._engine.abandon()
