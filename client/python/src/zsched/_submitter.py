"""Turns waiting tasks into SUBMIT frames, keeps the frames until they are acknowledged, and answers the callers. No sockets
and no clocks: the owner gives it the time and a way to send, so tests drive it frame by frame.

When a frame is made: at once while fewer than EAGER_FRAMES are under way (an idle line adds no latency), otherwise when it
is full; what comes meanwhile fills it. Never beyond the broker's window, nor beyond MAX_OUTSTANDING_SUBMITS.

A frame's life:  made --sent--> under way --SUBMIT_ACK--> judged (tasks refused for lack of room go back to wait)
                   ^                |
                   +--- connection lost, no ack for resend_ms: the same bytes go again under the same seq

Threads: the engine's.
"""
from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence

from zsched._session import NEVER
from zsched._wire import schema as wire
from zsched._wire.constants import (MAX_OUTSTANDING_SUBMITS, MAX_SUBMIT_BYTES, MAX_SUBMIT_TASKS, RETRYABLE, ErrorCode)
from zsched._tasks import BLOCK_OVERHEAD, FRAME_OVERHEAD, submit_body
from zsched.errors import ZschedError, error_of

# Frames under way below which one that is not full is sent at once. One would leave the broker idle from its ack to the
# next frame's arrival.
EAGER_FRAMES = 2
# ERROR answers to one frame that may be tried again, until its tasks fail.
MAX_FRAME_ERRORS = 5
# The least wait before tasks or a frame go again, whatever the broker says.
MIN_RETRY_MS = 20
_LAST_ID = (1 << 64) - 1


class Batch:
    """Tasks of one call, until all are judged: then `on_done` is called with it, on the engine's thread."""

    __slots__ = ("blocks", "ids", "rejected", "repeated", "left", "bytes", "on_done")

    def __init__(self, blocks: Sequence[bytes], on_done: Callable[[Batch], None]) -> None:
        self.blocks = blocks
        self.ids: list[int] = [0] * len(blocks)  # 0 where a task was not accepted
        self.rejected: list[tuple[int, ZschedError]] = []
        self.repeated: list[int] = []  # those that were there already, under the same key
        self.left = len(blocks)
        self.bytes = sum(map(len, blocks))
        self.on_done = on_done


# Tasks of a batch that follow one another: (batch, first, how many).
Segment = tuple[Batch, int, int]


class _Frame:
    __slots__ = ("seq", "body", "segments", "tasks", "sent", "judged", "transmissions", "errors", "due_ms")

    def __init__(self, seq: int, body: bytes, segments: list[Segment], tasks: int) -> None:
        self.seq, self.body, self.segments, self.tasks = seq, body, segments, tasks
        self.sent = False  # on this session
        self.judged = False  # acknowledged, waiting for older ones to leave the window of seqs
        self.transmissions = self.errors = 0
        self.due_ms = 0  # unsent: not before; sent: when to send again


class Submitter:
    """See above. `on_room(tasks, bytes)` hears what left the queue (below 0: what came back to it)."""

    def __init__(self, on_room: Callable[[int, int], None], resend_ms: int, retry_exhausted: bool = True) -> None:
        self._on_room = on_room
        self._resend_ms, self._retry_exhausted = resend_ms, retry_exhausted
        self._up = False
        self._window_tasks = self._window_bytes = 0
        self._waiting: deque[Segment] = deque()
        self._tasks = self._bytes = 0  # that wait
        self._retries: list[tuple[int, Segment]] = []  # (due, refused for lack of room)
        self._frames: deque[_Frame] = deque()
        self._first_seq = 1  # of _frames, and also acked_below
        self._under_way_frames = self._under_way_tasks = self._under_way_bytes = self._unsent = 0
        self._send_again_ms = 0  # the socket was full; 0: it was not
        self.acknowledged = self.rejected = self.retried = self.frames = self.resent_frames = 0

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not (self._frames or self._waiting or self._retries)

    def add(self, batch: Batch) -> None:
        """Tasks to be submitted."""
        self._waiting.append((batch, 0, len(batch.blocks)))
        self._tasks += len(batch.blocks)
        self._bytes += batch.bytes

    # --- Sending ---

    def on_up(self, window_tasks: int, window_bytes: int) -> None:
        """A session is open: frames under way before are to be sent again."""
        self._up = True
        self._window_tasks, self._window_bytes = window_tasks, window_bytes

    def on_down(self) -> None:
        """It is gone."""
        self._up = False
        self._send_again_ms = 0
        self._under_way_frames = self._under_way_tasks = self._under_way_bytes = self._unsent = 0
        for frame in self._frames:
            if not frame.judged:
                frame.sent = False
                frame.due_ms = 0
                self._unsent += 1

    def pump(self, now_ms: int, send: Callable[[bytes], bool]) -> None:
        """Sends what may be sent, in seq order. `send` returns False when the socket is full."""
        self._send_again_ms = 0
        self._return_retries(now_ms)
        if not self._up or not self._send_frames(now_ms, send):
            return
        while not self._unsent and len(self._frames) < MAX_OUTSTANDING_SUBMITS and self._frame_is_due():
            self._make_frame()
            if not self._send(self._frames[-1], now_ms, send):
                break

    def _return_retries(self, now_ms: int) -> None:
        if not self._retries or min(due for due, _ in self._retries) > now_ms:
            return
        for due, segment in self._retries:
            if due <= now_ms:
                self._waiting.appendleft(segment)
                self._tasks += 1
                self._bytes += len(segment[0].blocks[segment[1]])
        self._retries = [item for item in self._retries if item[0] > now_ms]

    def _send_frames(self, now_ms: int, send: Callable[[bytes], bool]) -> bool:
        """Frames that exist and have to go (again). False: the socket is full."""
        for frame in self._frames:
            if frame.judged or frame.due_ms > now_ms:
                continue
            # In seq order, and so the window's room goes to the oldest.
            if not frame.sent and self._under_way_frames and not self._fits(frame.tasks, len(frame.body)):
                return True
            if not self._send(frame, now_ms, send):
                return False
        return True

    def _send(self, frame: _Frame, now_ms: int, send: Callable[[bytes], bool]) -> bool:
        if not send(frame.body):
            self._send_again_ms = now_ms + MIN_RETRY_MS
            return False
        if frame.transmissions:
            self.resent_frames += 1
        frame.transmissions += 1
        frame.due_ms = now_ms + self._resend_ms
        if not frame.sent:
            frame.sent = True
            self._unsent -= 1
            self._under_way_frames += 1
            self._under_way_tasks += frame.tasks
            self._under_way_bytes += len(frame.body)
        return True

    def _fits(self, tasks: int, bytes_: int) -> bool:
        return (self._under_way_tasks + tasks <= self._window_tasks
                and self._under_way_bytes + bytes_ <= self._window_bytes)

    def _frame_is_due(self) -> bool:
        if not self._tasks:
            return False
        # With nothing under way no ack would ever open the window: then one task goes whatever it says.
        if not self._under_way_frames:
            return True
        batch, first, _ = self._waiting[0]
        if not self._fits(1, FRAME_OVERHEAD + BLOCK_OVERHEAD + len(batch.blocks[first])):
            return False
        if self._under_way_frames < EAGER_FRAMES:
            return True
        return (min(self._tasks, self._window_tasks - self._under_way_tasks) >= MAX_SUBMIT_TASKS
                or min(self._bytes, self._window_bytes - self._under_way_bytes) >= MAX_SUBMIT_BYTES)

    def _make_frame(self) -> None:
        blocks: list[bytes] = []
        segments: list[Segment] = []
        most_tasks = min(MAX_SUBMIT_TASKS, self._window_tasks - self._under_way_tasks)
        most_bytes = min(MAX_SUBMIT_BYTES, self._window_bytes - self._under_way_bytes) - FRAME_OVERHEAD
        bytes_ = 0
        while self._waiting:
            batch, first, count = self._waiting.popleft()
            taken = 0
            for block in batch.blocks[first:first + min(count, MAX_SUBMIT_TASKS)]:
                size = len(block) + BLOCK_OVERHEAD
                # The first goes in any case: it fits the window, or nothing is under way.
                if blocks and (bytes_ + size > most_bytes or len(blocks) >= most_tasks):
                    break
                blocks.append(block)
                bytes_ += size
                taken += 1
            if taken:
                segments.append((batch, first, taken))
            if taken < count:
                self._waiting.appendleft((batch, first + taken, count - taken))
                break
        size = bytes_ - BLOCK_OVERHEAD * len(blocks)
        self._tasks -= len(blocks)
        self._bytes -= size
        seq = self._first_seq + len(self._frames)
        self._frames.append(_Frame(seq, submit_body(blocks, seq, self._first_seq), segments, len(blocks)))
        self._unsent += 1
        self.frames += 1
        self._on_room(len(blocks), size)

    # --- Answers ---

    def _under_way(self, seq: int) -> _Frame | None:
        index = seq - self._first_seq
        if not 0 <= index < len(self._frames) or self._frames[index].judged:
            return None
        return self._frames[index]

    def on_ack(self, ack: wire.SubmitAck, now_ms: int) -> bool:
        """SUBMIT_ACK: tells the callers whose tasks are all judged. False: it contradicts its frame, and changed nothing. One
        for a frame already judged is ignored."""
        frame = self._under_way(ack.seq)
        if frame is None:
            return 0 < ack.seq < self._first_seq + len(self._frames)
        if not _is_sound(ack, frame.tasks):
            return False
        self._window_tasks, self._window_bytes = ack.window_tasks, ack.window_bytes
        done: list[Batch] = []
        if ack.rejected:
            self._judge_each(frame, ack, now_ms, done)
        else:
            self._accept_all(frame, ack.first_id, done)
        self._close(frame)
        _tell(done)
        return True

    def _accept_all(self, frame: _Frame, first_id: int, done: list[Batch]) -> None:
        for batch, first, count in frame.segments:
            batch.ids[first:first + count] = range(first_id, first_id + count)
            first_id += count
            self._count_judged(batch, count, done)

    def _judge_each(self, frame: _Frame, ack: wire.SubmitAck, now_ms: int, done: list[Batch]) -> None:
        refusals = {refusal.index_: refusal for refusal in ack.rejected}
        again: list[Segment] = []
        wait_ms = MIN_RETRY_MS
        index, next_id = 0, ack.first_id
        for batch, first, count in frame.segments:
            judged = count
            for place in range(first, first + count):
                refusal = refusals.get(index)
                index += 1
                if refusal is None:
                    batch.ids[place] = next_id
                    next_id += 1
                elif refusal.code == ErrorCode.OK and refusal.existing:
                    batch.ids[place] = refusal.existing
                    batch.repeated.append(place)
                elif refusal.code == ErrorCode.RESOURCE_EXHAUSTED and self._retry_exhausted:
                    again.append((batch, place, 1))
                    wait_ms = max(wait_ms, refusal.retry_after_ms)
                    judged -= 1
                else:
                    batch.rejected.append((place, error_of(refusal.code, refusal.message or "", refusal.retry_after_ms)))
                    self.rejected += 1
            self._count_judged(batch, judged, done)
        if again:
            self.retried += len(again)
            self._on_room(-len(again), -sum(len(batch.blocks[place]) for batch, place, _ in again))
            # Backwards: they are put in front one by one.
            self._retries += [(now_ms + wait_ms, segment) for segment in reversed(again)]

    def on_error(self, seq: int, code: int, message: str, retry_after_ms: int, now_ms: int) -> bool:
        """ERROR whose request is `seq`. False when no frame under way has that seq."""
        frame = self._under_way(seq)
        if frame is None:
            return False
        full = code == ErrorCode.RESOURCE_EXHAUSTED and self._retry_exhausted
        frame.errors += 1
        if full or (code in RETRYABLE and frame.errors < MAX_FRAME_ERRORS):
            self._leave_way(frame)
            frame.due_ms = now_ms + max(retry_after_ms, MIN_RETRY_MS)
            return True
        done: list[Batch] = []
        for segment in frame.segments:
            self._fail(segment, error_of(code, message, retry_after_ms), done)
        self._close(frame)
        _tell(done)
        return True

    def _leave_way(self, frame: _Frame) -> None:
        """A frame that was sent does not count as under way any more."""
        if frame.sent:
            frame.sent = False
            self._unsent += 1
            self._under_way_frames -= 1
            self._under_way_tasks -= frame.tasks
            self._under_way_bytes -= len(frame.body)

    def _close(self, frame: _Frame) -> None:
        self._leave_way(frame)
        self._unsent -= 1
        frame.judged = True
        frame.body, frame.segments = b"", []
        while self._frames and self._frames[0].judged:
            self._frames.popleft()
            self._first_seq += 1

    def _fail(self, segment: Segment, error: ZschedError, done: list[Batch]) -> None:
        batch, first, count = segment
        error = copy.copy(error)  # who is told raises it, and many may at the same time
        batch.rejected += [(place, error) for place in range(first, first + count)]
        self.rejected += count
        self._count_judged(batch, count, done)

    def _count_judged(self, batch: Batch, count: int, done: list[Batch]) -> None:
        self.acknowledged += count
        batch.left -= count
        if count and not batch.left:
            done.append(batch)

    # --- Waiting and ending ---

    def next_deadline_ms(self) -> int:
        """When pump has to be called next without any event."""
        deadline = min((due for due, _ in self._retries), default=NEVER)
        if not self._up:
            return deadline
        if self._send_again_ms:
            return min(deadline, self._send_again_ms)
        return min((frame.due_ms for frame in self._frames if not frame.judged and frame.due_ms and frame.due_ms < deadline),
                   default=deadline)

    def wake_threshold(self) -> tuple[int, int]:
        """How many tasks, or bytes of them, have to come before it is worth calling pump again."""
        asleep = (NEVER, NEVER)
        if not self._up or self._unsent or len(self._frames) >= MAX_OUTSTANDING_SUBMITS:
            return asleep
        if self._under_way_frames < EAGER_FRAMES and not self._tasks:
            return 1, 1
        # What waits already could not go: only an ack changes that, unless a frame becomes full.
        if (self._tasks >= MAX_SUBMIT_TASKS or self._bytes >= MAX_SUBMIT_BYTES
                or self._under_way_tasks >= self._window_tasks or self._under_way_bytes >= self._window_bytes):
            return asleep
        return MAX_SUBMIT_TASKS - self._tasks, MAX_SUBMIT_BYTES - self._bytes

    def fail_all(self, error: ZschedError) -> None:
        """Everything not acknowledged fails; nothing is left."""
        self._up = False
        done: list[Batch] = []
        segments = [segment for frame in self._frames for segment in frame.segments]
        segments += [*self._waiting, *(segment for _, segment in self._retries)]
        self._first_seq += len(self._frames)
        self._frames.clear()
        self._waiting.clear()
        self._retries.clear()
        self._tasks = self._bytes = 0
        self._under_way_frames = self._under_way_tasks = self._under_way_bytes = self._unsent = 0
        for segment in segments:
            self._fail(segment, error, done)
        _tell(done)


def _tell(done: list[Batch]) -> None:
    for batch in done:
        batch.rejected.sort(key=lambda item: item[0])
        batch.on_done(batch)


def _is_sound(ack: wire.SubmitAck, tasks: int) -> bool:
    """Whether an ack is one of a frame of so many tasks."""
    last = -1
    for refusal in ack.rejected:
        if not last < refusal.index_ < tasks:
            return False
        last = refusal.index_
    return ack.accepted + len(ack.rejected) == tasks and (not ack.accepted or 0 < ack.first_id <= _LAST_ID - ack.accepted)
