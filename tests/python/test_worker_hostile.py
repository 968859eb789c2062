"""A broker that lies: whatever it sends, the worker goes on, or begins a new session, and still runs tasks afterwards. And the
dialogue of a worker with a broker that behaves, frame by frame."""
import random
import threading

import pytest
import zmq
from cluster import await_
from conftest import ROOT
from vectors import load
from worker_app import app

import zsched
from zsched._frame import open_frame, seal
from zsched._wire import schema as wire
from zsched._wire.constants import ErrorCode, MessageType, Role
from zsched._wire.reader import read_optional
from zsched._wire.writer import write

PATIENCE_MS = 30_000
# The broker answers only while a test waits for something: three of these are longer than any test looks away, for a worker
# that takes it for lost would come with a new session where a test wants something else.
HEARTBEAT_MS = 1000
READS = {MessageType.WORKER_HELLO: wire.WorkerHello, MessageType.CREDIT: wire.Credit, MessageType.RESULTS: wire.Results,
         MessageType.RELEASE: wire.Release, MessageType.HEARTBEAT: wire.Heartbeat, MessageType.PROGRESS: wire.Progress,
         MessageType.OUTPUT: wire.Output}


class FakeBroker:
    """Both endpoints, driven by the test. Answers DISCOVER and heartbeats by itself."""

    def __init__(self):
        self._context = zmq.Context()
        self.clients, self.workers = (self._context.socket(zmq.ROUTER) for _ in range(2))
        self.ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in (self.clients, self.workers)]
        self.session, self.peer, self.number = 100, b"", 0

    @property
    def address(self):
        return f"127.0.0.1:{self.ports[0]}"

    def close(self):
        self._context.destroy(linger=0)

    def receive(self, *wanted, patience_ms=PATIENCE_MS):
        """The next frame of the wanted types: (type, message)."""
        poller = zmq.Poller()
        poller.register(self.clients, zmq.POLLIN)
        poller.register(self.workers, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(patience_ms))
            assert ready, f"none of {wanted} came"
            if self.clients in ready:
                peer, _ = self.clients.recv_multipart()
                view = wire.View(brokers=[wire.BrokerInfo("fake", Role.ACTIVE_SOLO, f":{self.ports[0]}", f":{self.ports[1]}", True)],
                                 epoch=4)
                self.clients.send_multipart([peer, seal(MessageType.VIEW, write(view), epoch=4)])
                continue
            peer, data = self.workers.recv_multipart()
            frame = open_frame(data)
            if frame.type == MessageType.WORKER_HELLO:
                self.peer = peer
            elif peer != self.peer:
                continue
            type_ = MessageType(frame.type)
            if type_ is MessageType.HEARTBEAT:
                self.send(MessageType.HEARTBEAT_ACK, write(wire.HeartbeatAck()))
            elif type_ is MessageType.GOODBYE:
                self.send(MessageType.GOODBYE)
            if type_ in wanted:
                return type_, read_optional(READS[type_], frame.body) if type_ in READS else None

    def welcome(self, stale=()):
        """Takes a hello, which is returned."""
        _, hello = self.receive(MessageType.WORKER_HELLO)
        self.session += 1
        self.number = 0
        self.send(MessageType.WORKER_WELCOME, write(wire.WorkerWelcome(
            session=self.session, epoch=4, heartbeat_ms=HEARTBEAT_MS, visibility_timeout_ms=6000, stale=list(stale))))
        return hello

    def send(self, type_, body=b""):
        self.number += 1
        self.workers.send_multipart([self.peer, seal(type_, body, number=self.number, epoch=4, session=self.session)])

    def tasks(self, *tasks):
        self.send(MessageType.TASKS, write(wire.Tasks(tasks)))

    def results(self):
        """The next RESULTS, acknowledged: {lease: error code}."""
        _, results = self.receive(MessageType.RESULTS)
        self.send(MessageType.RESULT_ACK, write(wire.ResultAck(seq=results.seq)))
        return {**{done.lease_id: 0 for done in results.done}, **{one.lease_id: one.error_code for one in results.results}}


def task(lease, type="add", payload=b"[1,2]", **fields):
    return wire.Assignment(task_id=lease + 1000, lease_id=lease, attempt=1, max_attempts=5, type=type, payload=payload, **fields)


@pytest.fixture
def broker():
    broker = FakeBroker()
    yield broker
    broker.close()


@pytest.fixture
def worker(broker):
    worker = zsched.Worker(app, broker.address, concurrency=2)
    app.brokers = None
    worker.start()
    yield worker
    worker.stop()
    leaving = threading.Thread(target=leave, args=(worker,))
    leaving.start()
    while leaving.is_alive():
        try:
            type_, message = broker.receive(MessageType.WORKER_HELLO, MessageType.RESULTS, patience_ms=50)
            if type_ is MessageType.RESULTS:
                broker.send(MessageType.RESULT_ACK, write(wire.ResultAck(seq=message.seq)))
            elif type_ is MessageType.WORKER_HELLO:
                broker.send(MessageType.ERROR, write(wire.Error(code=ErrorCode.NO_SESSION)))
        except AssertionError:
            leaving.join(0.01)
    assert worker._thread is not None and not worker._thread.is_alive(), "a worker that was told to stop stops"


def leave(worker):
    """Results that a liar never acknowledged are left; that is said, and all right here."""
    try:
        worker.wait(PATIENCE_MS / 1000)
    except zsched.Unavailable:
        pass


def test_the_dialogue_of_a_worker(broker, worker):
    hello = broker.welcome()
    assert (hello.number, hello.concurrency, list(hello.held)) == (1, 2, []) and "add" in hello.types
    assert broker.receive(MessageType.CREDIT)[1].tasks == 2
    broker.tasks(task(1), task(2, "noop", None))
    done = {}
    while len(done) < 2:
        done.update(broker.results())
    assert done == {1: 0, 2: 0}
    # The session ends; what runs is named in the next hello, and its result follows there.
    broker.tasks(task(3, "nap", b"[3]"))
    assert [ref.lease_id for ref in broker.receive(MessageType.HEARTBEAT)[1].started] in ([], [3])
    broker.send(MessageType.ERROR, write(wire.Error(code=ErrorCode.NO_SESSION)))
    hello = broker.welcome()
    assert hello.number == 2 and [ref.lease_id for ref in hello.held] == [3]
    assert broker.results() == {3: 0}
    # A cancel and a recall; a drain ends it.
    broker.tasks(task(4, "until_cancelled", b"[]"), task(5, "until_cancelled", b"[]"), task(6))
    broker.send(MessageType.RECALL, write(wire.Recall([6, 77])))
    assert [ref.lease_id for ref in broker.receive(MessageType.RELEASE)[1].leases] == [6]
    broker.send(MessageType.CANCEL, write(wire.Cancel([4, 5, 88], ErrorCode.CANCELLED)))
    done = {}
    while len(done) < 2:
        done.update(broker.results())
    assert done == {4: ErrorCode.CANCELLED, 5: ErrorCode.CANCELLED}
    broker.send(MessageType.DRAIN)
    while broker.receive(MessageType.CREDIT)[1].tasks:
        pass
    broker.receive(MessageType.GOODBYE)
    worker.wait(PATIENCE_MS / 1000)


def test_stale_results_are_dropped_and_others_sent_again(broker, worker):
    broker.welcome()
    broker.tasks(task(1), task(2))
    named = 0
    while named < 2:
        named += len(broker.receive(MessageType.RESULTS)[1].results)
    broker.send(MessageType.ERROR, write(wire.Error(code=ErrorCode.NO_SESSION)))
    assert [ref.lease_id for ref in broker.welcome(stale=[1]).held] == [1, 2]
    assert broker.results() == {2: 0}
    await_(lambda: worker.stats["refused"] == 1 and not worker.stats["unacknowledged"], "an end")


@pytest.mark.parametrize("vector", load(ROOT, "malformed"), ids=lambda vector: vector["name"])
def test_malformed_frames(broker, worker, vector):
    broker.welcome()
    broker.receive(MessageType.CREDIT)
    broker.workers.send_multipart([broker.peer, bytes.fromhex(vector["hex"])])
    still_works(broker)


@pytest.mark.parametrize("type_", [MessageType.TASKS, MessageType.RESULT_ACK, MessageType.CANCEL, MessageType.RECALL,
                                   MessageType.ERROR, MessageType.DRAIN, MessageType.HEARTBEAT_ACK, MessageType.VIEW])
def test_bodies_that_are_none(broker, worker, type_):
    broker.welcome()
    broker.receive(MessageType.CREDIT)
    broker.send(type_, b"\xff" * 64)
    still_works(broker)


def test_damaged_tasks(broker, worker):
    """A body of TASKS with random bytes changed: read or refused, nothing else."""
    broker.welcome()
    dice = random.Random(7)
    body = write(wire.Tasks([task(50 + n, labels=[wire.Label("a", "b")]) for n in range(5)]))
    for _ in range(100):
        damaged = bytearray(body)
        for _ in range(dice.randint(1, 8)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        broker.send(MessageType.TASKS, bytes(damaged))
    still_works(broker)


@pytest.mark.parametrize("tasks", [
    [task(1, type=None)], [task(1, payload=b"\xff\xfe")], [task(1), task(1), task(1)], [task(0)],
    [task(1, timeout_ms=1, type="nap", payload=b"[0.2]")], [task(1, start_within_ms=2 ** 64 - 1)],
    [task(1, submitted_at_ms=2 ** 62, parent=wire.Parent(state=99, error_code=9999), type="describe", payload=None)],
    [task(n) for n in range(1, 20_000)]], ids=range(8))
def test_tasks_that_make_no_sense(broker, worker, tasks):
    broker.welcome()
    for start in range(0, len(tasks), 4096):
        broker.tasks(*tasks[start:start + 4096])
    still_works(broker)


def test_answers_to_nothing(broker, worker):
    broker.welcome()
    broker.send(MessageType.RESULT_ACK, write(wire.ResultAck(seq=2 ** 64 - 1, stale=[1, 2, 3])))
    broker.send(MessageType.CANCEL, write(wire.Cancel([1, 2, 3], 60_000)))
    broker.send(MessageType.RECALL, write(wire.Recall([1, 2, 3])))
    for _ in range(10):
        broker.send(MessageType.HEARTBEAT_ACK)
    still_works(broker)


def still_works(broker):
    """A task that comes now, in this session or the next, is run."""
    lease = 90_000
    broker.tasks(task(lease))
    for _ in range(100_000):
        type_, message = broker.receive(MessageType.RESULTS, MessageType.WORKER_HELLO, MessageType.RELEASE)
        if type_ is MessageType.WORKER_HELLO:
            broker.session += 1
            broker.number = 0
            broker.send(MessageType.WORKER_WELCOME, write(wire.WorkerWelcome(
                session=broker.session, epoch=4, heartbeat_ms=HEARTBEAT_MS, visibility_timeout_ms=6000)))
            lease += 1
            broker.tasks(task(lease))
        elif type_ is MessageType.RELEASE and lease in [ref.lease_id for ref in message.leases]:
            lease += 1
            broker.tasks(task(lease))
        elif type_ is MessageType.RESULTS:
            broker.send(MessageType.RESULT_ACK, write(wire.ResultAck(seq=message.seq)))
            if any(result.lease_id == lease and result.succeeded for result in message.results):
                return
    raise AssertionError("the worker runs nothing any more")
