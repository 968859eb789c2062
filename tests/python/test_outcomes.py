"""What waits for outcomes and for answers, message by message."""
from itertools import count

from zsched._outcomes import MAX_WAITS_IN_FLIGHT, MIN_ASK_AGAIN_MS, OutcomeTracker, WaitGroup
from zsched._requests import SEND_AGAIN_MS, Request, RequestTable
from zsched._session import NEVER
from zsched._wire import schema as wire
from zsched._wire.constants import MAX_QUERY_IDS, ErrorCode, MessageType
from zsched.errors import InvalidArgument, NotFound, TimedOut, Unavailable
from zsched.types import TaskState

RESEND_MS = 10_000


class Waiting:
    """A tracker, and what it told."""

    def __init__(self):
        self.numbers = count(1)
        self.tracker = OutcomeTracker(lambda: next(self.numbers), RESEND_MS)
        self.sent, self.outcomes, self.ends = [], [], []
        self.full = False

    def add(self, ids, deadline=NEVER, enough=None):
        group = WaitGroup(ids, deadline, self.outcomes.append, self.ends.append, enough)
        self.tracker.add(group)
        return group

    def pump(self, now=0):
        before = len(self.sent)
        self.tracker.pump(now, self._send)
        return self.sent[before:]

    def _send(self, wait):
        if self.full:
            return False
        self.sent.append(wait)
        return True


def test_ids_are_asked_for_once_a_thousand_in_one_frame():
    w = Waiting()
    w.add(range(1, 3000))
    assert [len(wait.ids) for wait in w.pump()] == [MAX_QUERY_IDS, MAX_QUERY_IDS, 2999 - 2 * MAX_QUERY_IDS]
    assert w.pump() == []
    w.tracker.on_outcomes(wire.Outcomes(request=1, succeeded=range(1, 3000)))
    assert len(w.outcomes) == 2999 and w.ends == [None]


def test_only_a_few_waits_are_under_way():
    w = Waiting()
    w.add(range(1, 10 * MAX_QUERY_IDS))
    assert len(w.pump()) == MAX_WAITS_IN_FLIGHT
    w.tracker.on_outcomes(wire.Outcomes(request=1))
    assert len(w.pump()) == 1


def test_each_end_has_its_outcome():
    w = Waiting()
    w.add([1, 2, 3, 4])
    w.pump()
    w.tracker.on_outcomes(wire.Outcomes(outcomes=[
        wire.Outcome(id=1, state=TaskState.SUCCEEDED, attempt=2, result=b"ok", content_type="text/plain"),
        wire.Outcome(id=2, state=TaskState.DEAD, error_code=ErrorCode.HANDLER_FAILED, error_message="boom"),
        wire.Outcome(id=3, state=TaskState.LEASED),
        wire.Outcome(id=4, error_code=ErrorCode.NOT_FOUND)]))
    assert [(o.id, o.succeeded, o.error) for o in w.outcomes] == [
        (1, True, ErrorCode.OK), (2, False, ErrorCode.HANDLER_FAILED), (4, False, ErrorCode.NOT_FOUND)]
    assert w.outcomes[0].value() == "ok" and w.ends == []
    try:
        w.outcomes[2].value()
    except NotFound:
        pass
    else:
        raise AssertionError("a task that does not exist has no value")


def test_an_outcome_that_is_told_twice_is_delivered_once():
    w = Waiting()
    w.add([1, 2])
    for _ in range(2):
        w.tracker.on_outcomes(wire.Outcomes(succeeded=[1]))
    assert len(w.outcomes) == 1 and w.ends == []


def test_two_waits_for_one_task_both_hear():
    w = Waiting()
    w.add([1])
    w.add([1, 2])
    w.tracker.on_outcomes(wire.Outcomes(succeeded=[1]))
    assert len(w.outcomes) == 2 and w.ends == [None]


def test_enough_ends_a_wait_and_the_rest_is_not_asked_for():
    w = Waiting()
    w.add([1, 2, 3], enough=1)
    w.tracker.on_outcomes(wire.Outcomes(succeeded=[2]))
    assert w.ends == [None] and w.pump() == []
    w.tracker.on_outcomes(wire.Outcomes(succeeded=[1, 3]))
    assert len(w.outcomes) == 1


def test_a_new_session_is_asked_for_all_that_is_missing():
    w = Waiting()
    w.add([1, 2, 3])
    w.pump()
    w.tracker.on_outcomes(wire.Outcomes(succeeded=[2]))
    w.tracker.on_down()
    w.tracker.ask_for_all()
    assert [list(wait.ids) for wait in w.pump()] == [[1, 3]]


def test_without_an_answer_it_is_asked_again():
    w = Waiting()
    w.add([1])
    w.pump(0)
    assert w.tracker.next_deadline_ms() == RESEND_MS
    assert [list(wait.ids) for wait in w.pump(RESEND_MS)] == [[1]]


def test_a_refused_wait_is_asked_again_later():
    w = Waiting()
    w.add([1])
    w.pump(0)
    assert w.tracker.on_error(1, 0, 300) and not w.tracker.on_error(1, 0, 300)
    assert w.pump(299) == [] and w.tracker.next_deadline_ms() == 300
    assert len(w.pump(300)) == 1


def test_a_full_socket_is_tried_again():
    w = Waiting()
    w.full = True
    w.add([1])
    assert w.pump(0) == [] and w.tracker.next_deadline_ms() == MIN_ASK_AGAIN_MS
    w.full = False
    assert len(w.pump(MIN_ASK_AGAIN_MS)) == 1


def test_a_wait_ends_at_its_deadline():
    w = Waiting()
    w.add([1, 2], deadline=50)
    w.tracker.on_outcomes(wire.Outcomes(succeeded=[1]))
    w.tracker.expire(49)
    assert w.ends == [] and w.tracker.next_deadline_ms() == 50
    w.tracker.expire(50)
    assert [type(end) for end in w.ends] == [TimedOut] and "1 of 2" in str(w.ends[0])
    assert w.pump(50) == [] and w.tracker.next_deadline_ms() == NEVER


def test_a_wait_for_nothing_is_over():
    w = Waiting()
    w.add([])
    assert w.ends == [None]


def test_who_gives_up_hears_nothing():
    w = Waiting()
    group = w.add([1])
    w.tracker.drop(group)
    w.tracker.on_outcomes(wire.Outcomes(succeeded=[1]))
    assert w.outcomes == [] and w.ends == [] and w.pump() == []


def test_at_the_end_all_waits_fail_once():
    w = Waiting()
    w.add([1, 2])
    w.add([2])
    w.tracker.fail_all(Unavailable("closed"))
    assert [type(end) for end in w.ends] == [Unavailable] * 2


class Asking:
    """A table of requests, and what it told."""

    def __init__(self):
        self.table, self.answers, self.sent, self.full = RequestTable(), [], [], False

    def add(self, number, deadline=1000):
        self.table.add(Request(MessageType.STATUS, number, b"", wire.StatusReply, deadline,
                               lambda message, error: self.answers.append(message or error)))

    def pump(self, now=0):
        before = len(self.sent)
        self.table.pump(now, lambda type_, body: not self.full and (self.sent.append(type_) or True))
        return len(self.sent) - before


def test_a_request_is_sent_once_a_session_and_answered_once():
    a = Asking()
    a.add(7)
    assert (a.pump(), a.pump()) == (1, 0)
    a.table.on_down()
    assert a.pump() == 1
    assert a.table.on_reply(wire.StatusReply(request=7, node="n")) and not a.table.on_reply(wire.StatusReply(request=7))
    assert [answer.node for answer in a.answers] == ["n"]


def test_an_answer_of_another_kind_is_none():
    a = Asking()
    a.add(7)
    assert not a.table.on_reply(wire.WorkerInfos(request=7)) and a.answers == []
    assert a.table.on_error(7, InvalidArgument("no")) and isinstance(a.answers[0], InvalidArgument)


def test_a_request_that_was_never_sent_finds_no_broker():
    a = Asking()
    a.add(1)
    a.full = True
    a.pump(0)
    assert a.table.next_deadline_ms() == SEND_AGAIN_MS
    a.table.expire(1000, "no answer")
    assert isinstance(a.answers[0], Unavailable) and "no answer" in str(a.answers[0])
    a.full = False
    a.add(2)
    a.pump(0)
    a.table.expire(1000, "")
    assert isinstance(a.answers[1], TimedOut)
