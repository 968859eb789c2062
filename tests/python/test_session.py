"""The session FSM, driven by hand: no sockets, no clocks. The cases are those of tests/unit/session_test.cc."""
import pytest

from zsched._address import HostPort, parse_address, parse_brokers
from zsched._frame import HEADER_BYTES, Frame, open_frame, seal
from zsched._session import (NEVER, Connect, Deliver, Disconnect, Down, Kind, Retry, Send, Session, SessionOptions, State, Up)
from zsched._wire import schema as wire
from zsched._wire.constants import HELLO_TIMEOUT_MS, RECONNECT_MAX_MS, RECONNECT_MIN_MS, ErrorCode, MessageType, Role
from zsched._wire.writer import write
from zsched.errors import InvalidArgument

EPOCH, SESSION, HEARTBEAT = 8, 77, 1000
SOLO, SYNC, STANDBY = Role.ACTIVE_SOLO, Role.ACTIVE_SYNC, Role.STANDBY


def broker(role, address=":5570", worker_address=":5571", self=False):
    return wire.BrokerInfo(node="node", role=role, address=address, worker_address=worker_address, self=self)


class Driver:
    """A session with a driver that records what the last event made it do."""

    def __init__(self, kind=Kind.CLIENT, brokers=(HostPort("one", 5570), HostPort("two", 5570)), jitter=lambda most: most,
                 observe=False):
        self.kind, self.now = kind, 0
        self.number, self.hellos, self.socket_full = 0, 0, False
        self.heartbeat_body = b""
        self.session = Session(SessionOptions(brokers=brokers, kind=kind, jitter=jitter, observe=observe), self._hello,
                               lambda: self.heartbeat_body)

    def _hello(self):
        self.hellos += 1
        return b"hello"

    def tick(self, at):
        self.now = at
        return self._read(self.session.on_tick(at))

    def tick_when_due(self):
        return self.tick(max(self.session.next_deadline_ms(), self.now))

    def data(self, data):
        return self._read(self.session.on_frame(data, self.now))

    def numbered(self, number, type_, message=None, epoch=EPOCH, session=SESSION):
        self.number = number or self.number
        body = write(message) if message is not None else b""
        return self.data(seal(type_, body, number=number, epoch=epoch, session=session))

    def frame(self, type_, message=None, epoch=EPOCH, session=0):
        return self.numbered(self.number + 1 if session else 0, type_, message, epoch, session)

    def view(self, *brokers, epoch=EPOCH):
        return self.frame(MessageType.VIEW, wire.View(epoch=epoch, brokers=list(brokers)), epoch)

    def error(self, code, session=0):
        return self.frame(MessageType.ERROR, wire.Error(code=code, message="because"), session=session)

    def welcome(self, epoch=EPOCH, heartbeat=HEARTBEAT, session=SESSION, number=1):
        client = self.kind is Kind.CLIENT
        message = wire.Welcome if client else wire.WorkerWelcome
        return self.numbered(number, self.kind.value[1], message(session=session, epoch=epoch, heartbeat_ms=heartbeat), epoch,
                             session)

    def open(self):
        self.tick(0)
        self.view(broker(SOLO, self=True))
        self.welcome()
        assert self.session.ready
        return self

    def _read(self, actions):
        self.connects = [action.endpoint for action in actions if isinstance(action, Connect)]
        self.disconnected = any(isinstance(action, Disconnect) for action in actions)
        self.up = any(isinstance(action, Up) for action in actions)
        self.down = next((action.reason for action in actions if isinstance(action, Down)), None)
        self.retry = next((action.reason for action in actions if isinstance(action, Retry)), None)
        self.delivered = [action.frame.type for action in actions if isinstance(action, Deliver)]
        self.sent: list[Frame] = []
        for action in actions:
            if isinstance(action, Send) and not self.socket_full:
                self.sent.append(open_frame(self.session.seal(action.type, action.body)))
                self.session.on_sent()
        return self


def test_the_first_tick_connects_and_asks_for_the_view():
    d = Driver()
    assert d.session.next_deadline_ms() == 0
    d.tick(0)
    assert d.connects == ["tcp://one:5570"]
    assert [(f.type, f.number, f.epoch, f.session) for f in d.sent] == [(MessageType.DISCOVER, 0, 0, 0)]
    assert d.session.next_deadline_ms() == HELLO_TIMEOUT_MS


def test_a_client_greets_an_active_contact_on_the_same_connection():
    d = Driver().tick(0).view(broker(SYNC, self=True))
    assert d.session.state is State.GREETING and d.connects == [] and d.hellos == 1
    assert [(f.type, f.epoch, f.body) for f in d.sent] == [(MessageType.HELLO, EPOCH, b"hello")]


def test_a_client_follows_the_view_to_the_active_broker():
    d = Driver().tick(0).view(broker(STANDBY, self=True), broker(SYNC, "other:6000"))
    assert d.connects == ["tcp://other:6000"] and d.sent[0].type == MessageType.HELLO


def test_a_worker_connects_to_the_worker_address_on_the_host_that_it_reached():
    d = Driver(Kind.WORKER).tick(0).view(broker(SOLO, self=True))
    assert d.connects == ["tcp://one:5571"] and d.sent[0].type == MessageType.WORKER_HELLO
    assert d.welcome().up


def test_a_worker_follows_the_view_of_a_standby():
    d = Driver(Kind.WORKER).tick(0).view(broker(SYNC, "b:5570", "b:9000"), broker(STANDBY, self=True))
    assert d.connects == ["tcp://b:9000"]


def test_a_worker_needs_a_worker_address():
    d = Driver(Kind.WORKER).tick(0).view(broker(SOLO, worker_address="", self=True))
    assert d.session.state is State.BACKOFF and d.retry.code is ErrorCode.MALFORMED


def test_of_two_active_brokers_the_one_that_answers_is_taken():
    d = Driver().tick(0).view(broker(SOLO, "other:1"), broker(SOLO, self=True))
    assert d.connects == [] and d.sent[0].type == MessageType.HELLO


def test_an_observer_stays_with_who_answers():
    d = Driver(observe=True).tick(0).view(broker(SYNC, "other:1"), broker(STANDBY, self=True))
    assert d.connects == [] and d.sent[0].type == MessageType.HELLO


def test_a_view_without_an_active_broker_is_asked_all_the_same():
    d = Driver().tick(0).view(broker(STANDBY, self=True))
    assert d.session.state is State.GREETING
    d.error(ErrorCode.NOT_ACTIVE)
    assert d.session.state is State.BACKOFF
    assert d.tick_when_due().connects == ["tcp://two:5570"]


def test_a_view_that_does_not_name_its_sender_means_the_next():
    d = Driver().tick(0).view(broker(STANDBY))
    assert d.session.state is State.BACKOFF and d.retry.code is ErrorCode.UNAVAILABLE


def test_the_welcome_opens_the_session():
    d = Driver().open()
    assert d.up and d.session.id == SESSION and d.session.epoch == EPOCH
    assert d.session.next_deadline_ms() == HEARTBEAT


@pytest.mark.parametrize("change", [{"session": 0}, {"number": 2}])
def test_a_welcome_that_opens_nothing_is_refused(change):
    d = Driver().tick(0).view(broker(SOLO, self=True)).welcome(**change)
    assert not d.up and d.retry.code is ErrorCode.MALFORMED


def test_absurd_heartbeat_intervals_are_bounded():
    d = Driver().tick(0).view(broker(SOLO, self=True)).welcome(heartbeat=0)
    assert d.session.heartbeat_ms >= 10


def test_silent_brokers_are_left_for_the_next_of_the_list_and_around():
    d = Driver()
    d.tick(0)
    d.tick(HELLO_TIMEOUT_MS - 1)
    assert d.session.state is State.DISCOVERING
    d.tick(HELLO_TIMEOUT_MS)
    assert d.session.state is State.BACKOFF and d.disconnected and d.retry.code is ErrorCode.UNAVAILABLE
    assert d.tick_when_due().connects == ["tcp://two:5570"]
    d.tick_when_due()
    assert d.tick_when_due().connects == ["tcp://one:5570"]


def test_a_lost_connection_is_a_lost_session():
    d = Driver().open()
    d._read(d.session.on_disconnected(d.now))
    assert d.down.code is ErrorCode.UNAVAILABLE and d.session.state is State.BACKOFF


def test_a_refused_connection_means_the_next_if_there_is_one():
    d = Driver().tick(0)
    d._read(d.session.on_refused(0))
    assert d.tick_when_due().connects == ["tcp://two:5570"]
    alone = Driver(brokers=(HostPort("one", 5570),)).tick(0)
    alone._read(alone.session.on_refused(0))
    assert alone.session.state is State.DISCOVERING


def test_the_back_off_doubles_to_its_cap():
    d = Driver(brokers=(HostPort("one", 5570),))
    pauses = []
    for _ in range(10):
        d.tick_when_due()
        d.tick_when_due()
        pauses.append(d.session.next_deadline_ms() - d.now)
    assert pauses == [min(RECONNECT_MIN_MS << n, RECONNECT_MAX_MS) for n in range(10)]


def test_only_a_round_of_all_brokers_lengthens_the_back_off():
    d = Driver()
    pauses = []
    for _ in range(8):
        d.tick_when_due()
        d.tick_when_due()
        pauses.append(d.session.next_deadline_ms() - d.now)
    # To the second of a pair soon; after both the longer, the more often, of two brokers every second time.
    assert pauses == [50, 50, 50, 50, 50, 100, 50, 100]


def test_jitter_is_full():
    asked = []
    d = Driver(brokers=(HostPort("one", 5570),), jitter=lambda most: asked.append(most) or 0)
    d.tick(0)
    d.tick(HELLO_TIMEOUT_MS)
    assert asked == [RECONNECT_MIN_MS] and d.session.next_deadline_ms() == HELLO_TIMEOUT_MS


def test_heartbeats_carry_the_owners_body():
    d = Driver().open()
    d.heartbeat_body = b"beat"
    d.tick(HEARTBEAT)
    assert [(f.type, f.body, f.number) for f in d.sent] == [(MessageType.HEARTBEAT, b"beat", 1)]


def test_three_silent_intervals_end_the_session():
    d = Driver().open()
    for beat in (1, 2):
        assert d.tick(beat * HEARTBEAT).down is None
    assert d.tick(3 * HEARTBEAT).down.code is ErrorCode.UNAVAILABLE


def test_any_frame_breaks_the_silence():
    d = Driver().open()
    for beat in range(1, 10):
        d.tick(beat * HEARTBEAT)
        d.frame(MessageType.HEARTBEAT_ACK, wire.HeartbeatAck(), session=SESSION)
        assert d.delivered == [MessageType.HEARTBEAT_ACK]
    assert d.session.ready


def test_a_pause_of_this_process_is_not_the_brokers_silence():
    d = Driver().open()
    assert d.tick(60 * HEARTBEAT).down is None


@pytest.mark.parametrize("code", [ErrorCode.NO_SESSION, ErrorCode.NOT_ACTIVE])
def test_no_session_and_not_active_end_the_session_at_once(code):
    d = Driver().open().error(code)
    assert d.down.code is code
    assert d.tick_when_due().connects == ["tcp://one:5570"]


def test_other_errors_are_the_owners():
    assert Driver().open().error(ErrorCode.INVALID_ARGUMENT, session=SESSION).delivered == [MessageType.ERROR]


def test_a_lower_epoch_is_refused_for_life():
    d = Driver().open()
    d.frame(MessageType.HEARTBEAT_ACK, wire.HeartbeatAck(), epoch=EPOCH - 1, session=SESSION)
    assert d.down.code is ErrorCode.STALE
    d.tick_when_due()
    d.view(broker(SOLO, self=True), epoch=EPOCH - 1)
    assert d.retry.code is ErrorCode.STALE


def test_a_higher_epoch_is_taken_over_into_every_header():
    d = Driver().open()
    d.frame(MessageType.HEARTBEAT_ACK, wire.HeartbeatAck(), epoch=EPOCH + 4, session=SESSION)
    assert d.session.epoch == EPOCH + 4 and open_frame(d.session.seal(MessageType.SUBMIT)).epoch == EPOCH + 4


def test_frames_of_another_session_and_unreadable_ones_are_dropped():
    d = Driver().open()
    d.numbered(2, MessageType.HEARTBEAT_ACK, wire.HeartbeatAck(), session=SESSION + 1)
    good = seal(MessageType.HEARTBEAT_ACK, write(wire.HeartbeatAck()), number=2, epoch=EPOCH, session=SESSION)
    for at in (0, 4, 6, 8, 33, HEADER_BYTES):
        d.data(good[:at] + bytes([good[at] ^ 2]) + good[at + 1:])
        assert d.delivered == [] and d.session.ready
    d.data(b"")
    assert d.session.dropped_frames == 8
    assert d.data(good).delivered == [MessageType.HEARTBEAT_ACK]


def test_a_frame_that_the_socket_did_not_take_uses_no_number():
    d = Driver().open()
    d.socket_full = True
    d.tick(HEARTBEAT)
    d.socket_full = False
    d.frame(MessageType.HEARTBEAT_ACK, wire.HeartbeatAck(), session=SESSION)
    d.tick(2 * HEARTBEAT)
    assert [f.number for f in d.sent] == [1]


def test_a_repeat_is_dropped_and_is_no_sign_of_life():
    d = Driver().open()
    for beat in (1, 2, 3):
        d.tick(beat * HEARTBEAT)
        d.numbered(1, MessageType.HEARTBEAT_ACK, wire.HeartbeatAck())
        assert d.delivered == []
    assert d.session.repeated_frames == 2 and not d.session.ready


def test_a_gap_ends_the_session_and_the_same_broker_is_asked_again():
    d = Driver().open()
    d.numbered(3, MessageType.HEARTBEAT_ACK, wire.HeartbeatAck())
    assert d.down is not None and d.session.gaps == 1 and d.delivered == []
    assert d.tick_when_due().connects == ["tcp://one:5570"]


def test_numbers_wrap_around_zero():
    d = Driver().open()
    d.session._received = 0xFFFFFFFF
    assert d.numbered(1, MessageType.HEARTBEAT_ACK, wire.HeartbeatAck()).delivered
    d.numbered(0xFFFFFFFF, MessageType.HEARTBEAT_ACK, wire.HeartbeatAck())
    assert d.session.repeated_frames == 1 and d.session.ready


def test_a_frame_of_the_session_without_a_number_is_dropped():
    d = Driver().open()
    d.numbered(0, MessageType.HEARTBEAT_ACK, wire.HeartbeatAck())
    assert d.delivered == [] and d.session.dropped_frames == 1 and d.session.ready


def test_close_says_goodbye_and_waits_for_its_echo():
    d = Driver().open()
    d._read(d.session.close(0))
    assert [f.type for f in d.sent] == [MessageType.GOODBYE] and d.session.state is State.CLOSING
    d.frame(MessageType.GOODBYE, session=SESSION)
    assert d.session.state is State.CLOSED and d.session.goodbye_echoed and d.disconnected
    assert d.session.next_deadline_ms() == NEVER


def test_close_does_not_wait_for_ever():
    d = Driver().open()
    d._read(d.session.close(0))
    d.tick(HELLO_TIMEOUT_MS)
    assert d.session.state is State.CLOSED and not d.session.goodbye_echoed


def test_close_without_a_session_is_immediate():
    d = Driver().tick(0)
    d._read(d.session.close(0))
    assert d.session.state is State.CLOSED and d.disconnected


def test_a_goodbye_that_was_not_asked_for_ends_the_session():
    assert Driver().open().frame(MessageType.GOODBYE, session=SESSION).down.code is ErrorCode.UNAVAILABLE


def test_after_a_loss_the_numbers_begin_again():
    d = Driver().open()
    d.tick(HEARTBEAT)
    d.error(ErrorCode.NO_SESSION)
    d.tick_when_due()
    d.view(broker(SOLO, self=True))
    d.welcome(session=SESSION + 1)
    assert open_frame(d.session.seal(MessageType.STATUS)).number == 1


@pytest.mark.parametrize("text", ["", "x", "h:", ":1", "h:-1", "h:65536", "::1:5", "h:1a", "h:٣"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidArgument, match="not an address"):
        parse_address(text)


def test_addresses_are_read_as_people_write_them():
    assert parse_address("[::1]:5570") == HostPort("::1", 5570)
    assert parse_address("[::1]:5570").endpoint == "tcp://[::1]:5570"
    assert parse_brokers("a:1, b:2") == [HostPort("a", 1), HostPort("b", 2)]
    with pytest.raises(InvalidArgument, match="twice"):
        parse_brokers("a:1,a:1")
    with pytest.raises(InvalidArgument, match="more than"):
        parse_brokers(",".join(f"h:{port}" for port in range(1, 10)))
