"""The submitter, frame by frame: no sockets, and a clock that is a number."""
import pytest

from zsched._session import NEVER
from zsched._submitter import EAGER_FRAMES, MAX_FRAME_ERRORS, MIN_RETRY_MS, Batch, Submitter
from zsched._wire import schema as wire
from zsched._wire.constants import MAX_OUTSTANDING_SUBMITS, MAX_SUBMIT_BYTES, MAX_SUBMIT_TASKS, ErrorCode
from zsched._wire.reader import read
from zsched._tasks import body_bytes, encode_task
from zsched.errors import Conflict, InvalidArgument, ResourceExhausted, Unavailable
from zsched.types import TaskSpec

WINDOW_TASKS, WINDOW_BYTES, RESEND_MS = 65_536, 16 << 20, 10_000


class Line:
    """A submitter and a broker that takes what it is sent."""

    def __init__(self, retry_exhausted=True):
        self.room_tasks = self.room_bytes = 0
        self.submitter = Submitter(self._room, RESEND_MS, retry_exhausted)
        self.now, self.full = 0, False
        self.sent, self.done = [], []
        self.next_id = 1

    def _room(self, tasks, bytes_):
        self.room_tasks += tasks
        self.room_bytes += bytes_

    def up(self, tasks=WINDOW_TASKS, bytes_=WINDOW_BYTES):
        self.submitter.on_up(tasks, bytes_)
        return self

    def add(self, count=1, size=8):
        batch = Batch([encode_task(TaskSpec("noop", bytes(size)))] * count, self.done.append)
        self.submitter.add(batch)
        return batch

    def pump(self, at=None):
        """What is sent now: the messages."""
        self.now = self.now if at is None else at
        before = len(self.sent)
        self.submitter.pump(self.now, self._send)
        return [read(wire.Submit, body) for body in self.sent[before:]]

    def _send(self, body):
        if self.full:
            return False
        self.sent.append(body)
        return True

    def ack(self, submit, rejected=(), window=(WINDOW_TASKS, WINDOW_BYTES), duplicate=False):
        accepted = len(submit.tasks) - len(rejected)
        answer = wire.SubmitAck(seq=submit.seq, first_id=self.next_id if accepted else 0, accepted=accepted,
                                rejected=list(rejected), duplicate=duplicate, window_tasks=window[0], window_bytes=window[1])
        self.next_id += accepted
        return self.submitter.on_ack(answer, self.now)


def test_a_single_task_on_an_idle_line_leaves_at_once():
    line = Line().up()
    batch = line.add()
    [submit] = line.pump()
    assert (submit.seq, submit.acked_below, submit.notify, len(submit.tasks)) == (1, 1, False, 1)
    assert line.ack(submit) and batch.ids == [1] and line.done == [batch] and line.submitter.idle


def test_what_comes_while_frames_are_under_way_fills_the_next():
    line = Line().up()
    for _ in range(EAGER_FRAMES):
        line.add()
        assert len(line.pump()) == 1
    for _ in range(10):
        line.add()
        assert line.pump() == []
    assert line.ack(read(wire.Submit, line.sent[0]))
    [third] = line.pump()
    assert len(third.tasks) == 10 and third.acked_below == 2


def test_a_full_frame_does_not_wait():
    line = Line().up()
    line.add(10 * MAX_SUBMIT_TASKS)
    sent = line.pump()
    assert len(sent) >= 10 and all(len(submit.tasks) <= MAX_SUBMIT_TASKS for submit in sent)
    assert sum(len(submit.tasks) for submit in sent) == 10 * MAX_SUBMIT_TASKS
    assert [submit.seq for submit in sent] == list(range(1, len(sent) + 1))


def test_bodies_stay_under_their_limit_and_large_tasks_go_alone():
    line = Line().up()
    line.add(100, size=10_000)
    large = line.add(1, size=MAX_SUBMIT_BYTES + 1)
    line.add(3)
    while sent := line.pump():
        for submit in sent:
            line.ack(submit)
    sizes = [(len(body), len(read(wire.Submit, body).tasks)) for body in line.sent]
    assert all(size <= MAX_SUBMIT_BYTES or tasks == 1 for size, tasks in sizes)
    assert sum(size > MAX_SUBMIT_BYTES for size, _ in sizes) == 1 and large.ids[0]
    assert line.submitter.idle and len(line.done) == 3


def test_the_estimate_of_a_body_is_never_too_small():
    for count in (1, 2, 7, 100):
        block = encode_task(TaskSpec("noop", b"x" * count))
        line = Line().up()
        line.submitter.add(Batch([block] * count, line.done.append))
        line.pump()
        assert len(line.sent[0]) <= body_bytes(count, count * len(block))


def test_the_window_is_kept():
    line = Line().up(tasks=10)
    line.add(25)
    [first] = line.pump()
    assert len(first.tasks) == 10 and line.pump() == []
    line.ack(first, window=(10, WINDOW_BYTES))
    assert [len(submit.tasks) for submit in line.pump()] == [10]


def test_with_a_window_of_nothing_one_task_still_asks():
    line = Line().up(tasks=0, bytes_=0)
    line.add(5)
    assert [len(submit.tasks) for submit in line.pump()] == [1]
    assert line.pump() == []


def test_no_more_frames_than_the_broker_remembers():
    line = Line().up(tasks=10**9, bytes_=10**12)
    line.add(MAX_SUBMIT_TASKS * 3 * MAX_OUTSTANDING_SUBMITS)
    sent = line.pump()
    assert len(sent) == MAX_OUTSTANDING_SUBMITS
    # The second is acknowledged, the first is not: the window of seqs has not moved.
    line.ack(sent[1], window=(10**9, 10**12))
    assert line.pump() == []
    line.ack(sent[0], window=(10**9, 10**12))
    assert [submit.acked_below for submit in line.pump()] == [3, 3]


def test_after_a_reconnect_the_same_bytes_go_under_the_same_seq_and_in_order():
    line = Line().up()
    line.add(2 * MAX_SUBMIT_TASKS + 7)
    first = line.pump()
    before = list(line.sent)
    line.submitter.on_down()
    line.add()
    assert line.pump() == []
    line.up()
    again = line.pump()
    assert line.sent[len(before):len(before) + len(first)] == before
    assert [s.seq for s in again[:len(first)]] == [s.seq for s in first]
    assert line.ack(again[0], duplicate=True)


def test_what_goes_again_after_a_reconnect_counts_against_the_window_again():
    line = Line().up(tasks=10)
    line.add(10)
    assert len(line.pump()) == 1
    line.submitter.on_down()
    line.up(tasks=10)
    [again] = line.pump()
    line.add(5)
    assert line.pump() == []
    assert line.ack(again)
    assert [len(submit.tasks) for submit in line.pump()] == [5]


def test_a_second_ack_of_a_frame_behind_one_without_changes_nothing():
    line = Line().up()
    first, second = line.add(), None
    [one] = line.pump()
    second = line.add()
    [two] = line.pump()
    assert line.ack(two) and line.ack(two) and line.done == [second]
    assert line.ack(one) and line.done == [second, first] and line.submitter.idle
    line.add()
    assert len(line.pump()) == 1


def test_a_frame_without_an_ack_goes_again_after_a_while():
    line = Line().up()
    batch = line.add()
    line.pump(0)
    assert line.submitter.next_deadline_ms() == RESEND_MS
    assert line.pump(RESEND_MS - 1) == []
    [again] = line.pump(RESEND_MS)
    assert line.sent[0] == line.sent[1]
    assert line.ack(again) and batch.ids == [1]
    # The ack of the first transmission comes after all, and changes nothing.
    line.next_id = 1
    assert line.ack(again) and batch.ids == [1] and line.done == [batch]


def test_what_has_no_room_is_submitted_again_after_the_time_named():
    line = Line().up()
    batch = line.add(4)
    [submit] = line.pump(0)
    refused = [wire.Rejected(index_=i, code=ErrorCode.RESOURCE_EXHAUSTED, retry_after_ms=500) for i in (1, 3)]
    line.ack(submit, refused)
    assert line.done == [] and batch.left == 2
    assert line.submitter.next_deadline_ms() == 500
    assert line.pump(499) == []
    [again] = line.pump(500)
    assert again.seq == 2 and len(again.tasks) == 2
    line.ack(again)
    assert batch.ids == [1, 3, 2, 4] and line.done == [batch]
    # What came back to the queue left it again.
    assert (line.room_tasks, line.room_bytes) == (4, batch.bytes)


def test_a_deadline_of_a_refused_task_is_seen_beside_frames_under_way():
    line = Line().up()
    line.add(1)
    [submit] = line.pump(0)
    line.ack(submit, [wire.Rejected(index_=0, code=ErrorCode.RESOURCE_EXHAUSTED, retry_after_ms=100)])
    line.add(1)
    line.pump(0)
    assert line.submitter.next_deadline_ms() == 100


def test_the_caller_is_told_when_it_wants_to():
    line = Line(retry_exhausted=False).up()
    batch = line.add()
    [submit] = line.pump()
    line.ack(submit, [wire.Rejected(index_=0, code=ErrorCode.RESOURCE_EXHAUSTED, message="full", retry_after_ms=1500)])
    [(index, error)] = batch.rejected
    assert index == 0 and isinstance(error, ResourceExhausted) and error.retry_after == 1.5 and str(error) == "full"


def test_refusals_are_told_and_keys_that_repeat_are_successes():
    line = Line().up()
    batch = line.add(4)
    [submit] = line.pump()
    line.ack(submit, [wire.Rejected(index_=0, code=ErrorCode.INVALID_ARGUMENT, message="priority"),
                      wire.Rejected(index_=1, code=ErrorCode.OK, existing=99),
                      wire.Rejected(index_=2, code=ErrorCode.CONFLICT, existing=98)])
    assert batch.ids == [0, 99, 0, 1] and batch.repeated == [1]
    assert [(index, type(error)) for index, error in batch.rejected] == [(0, InvalidArgument), (2, Conflict)]


@pytest.mark.parametrize("ack", [
    {"accepted": 3, "first_id": 1}, {"accepted": 2, "first_id": 0}, {"accepted": 2, "first_id": (1 << 64) - 1},
    {"accepted": 1, "first_id": 1, "rejected": [wire.Rejected(index_=2)]},
    {"accepted": 0, "rejected": [wire.Rejected(index_=1), wire.Rejected(index_=0)]},
    {"accepted": 0, "rejected": [wire.Rejected(index_=1), wire.Rejected(index_=1)]},
])
def test_an_ack_that_contradicts_its_frame_changes_nothing(ack):
    line = Line().up()
    batch = line.add(2)
    [submit] = line.pump()
    assert not line.submitter.on_ack(wire.SubmitAck(seq=1, **ack), 0)
    assert batch.left == 2 and line.ack(submit) and batch.ids == [1, 2]


def test_an_ack_for_what_was_never_sent_is_refused():
    line = Line().up()
    assert not line.submitter.on_ack(wire.SubmitAck(seq=0), 0)
    assert not line.submitter.on_ack(wire.SubmitAck(seq=1), 0)


def test_a_full_socket_is_tried_again():
    line = Line().up()
    line.add()
    line.full = True
    assert line.pump(0) == [] and line.submitter.next_deadline_ms() == MIN_RETRY_MS
    line.full = False
    assert len(line.pump(MIN_RETRY_MS)) == 1


def test_errors_that_may_pass_are_tried_a_few_times():
    line = Line().up()
    batch = line.add()
    for attempt in range(MAX_FRAME_ERRORS):
        assert len(line.pump()) == 1
        assert line.submitter.on_error(1, ErrorCode.UNAVAILABLE, "starting", 250, line.now)
        line.now += 250
    assert [type(error) for _, error in batch.rejected] == [Unavailable] and line.submitter.idle


def test_errors_that_stay_fail_the_frame_at_once():
    line = Line().up()
    batch = line.add(2)
    line.pump()
    assert line.submitter.on_error(1, ErrorCode.INVALID_ARGUMENT, "no", 0, 0)
    assert len(batch.rejected) == 2 and line.submitter.idle
    assert not line.submitter.on_error(1, ErrorCode.INVALID_ARGUMENT, "no", 0, 0)


def test_a_threshold_tells_when_it_is_worth_waking_up():
    line = Line()
    assert line.submitter.wake_threshold() == (NEVER, NEVER)
    line.up()
    assert line.submitter.wake_threshold() == (1, 1)
    for _ in range(EAGER_FRAMES):
        line.add()
        line.pump()
    assert line.submitter.wake_threshold() == (MAX_SUBMIT_TASKS, MAX_SUBMIT_BYTES)


def test_at_the_end_everything_fails_once():
    line = Line().up()
    under_way = line.add()
    line.pump()
    waiting = line.add(MAX_SUBMIT_TASKS + 5)
    [retried] = [line.add()]
    line.submitter.fail_all(Unavailable("closed"))
    assert sorted(map(id, line.done)) == sorted(map(id, (under_way, waiting, retried)))
    assert len(waiting.rejected) == MAX_SUBMIT_TASKS + 5 and line.submitter.idle
