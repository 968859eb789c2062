"""What attempts say while they run, on its way to the broker: progress and checkpoints, and what they write. The twin of
worker/core/reports.h and outputs.h; pure.

Of each attempt only the latest report counts, so a handler that says much costs no more than one that speaks five times a
second. What it writes is one sequence of bytes, cut into pages at multiples of OUTPUT_PAGE_BYTES, of which the last
OUTPUT_PAGES are kept: what is written faster than it leaves shows as a gap, and never as more memory. A page that has grown is
sent again from its start, so that the broker has nothing to remember.

    on_note, on_written --> waits --every REPORT_EVERY_MS--> sent --more, a new session--> waits
                              +-- on_ended --> due at once      +-- forget: its lease is not held any more --> gone

What ended attempts said leaves at once, before their results, because the next attempt gets the last checkpoint.

Threads: each object one at a time.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from zsched._wire import schema as wire
from zsched._wire.constants import (BATCH_TARGET_BYTES, MAX_OUTPUT_FRAME_PAGES, MAX_PROGRESS_REPORTS, OUTPUT_PAGE_BYTES,
                                    OUTPUT_PAGES)
from zsched._worker.ledger import NEVER

# A person who looks does not need it more often.
REPORT_EVERY_MS = 200
# What leaves at a time, of attempts that go on: a worker with many large checkpoints takes turns.
MAX_REPORT_BYTES = 1 << 20
# Output of all attempts, beside the last page of each. Ended ones are held until the broker has their results.
MAX_HELD_OUTPUT_BYTES = 64 << 20
_RUN_BYTES = 4


class Report(NamedTuple):
    """What an attempt says; None is nothing new."""

    percent: int | None = None
    message: str | None = None
    checkpoint: bytes | None = None

    def updated(self, later: Report) -> Report:
        """With what `later` says something about replaced."""
        return Report(self.percent if later.percent is None else later.percent,
                      self.message if later.message is None else later.message,
                      self.checkpoint if later.checkpoint is None else later.checkpoint)


class Page:
    """A page, or the part of one that was written since the last look."""

    __slots__ = ("offset", "data", "runs")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.data = bytearray()
        self.runs: list[tuple[int, int]] = []  # (bytes, stream), one after the other

    @property
    def end(self) -> int:
        """The offset behind its last byte."""
        return self.offset + len(self.data)

    @property
    def cost(self) -> int:
        """Bytes that it takes in a frame, roughly."""
        return len(self.data) + _RUN_BYTES * len(self.runs)

    def append(self, stream: int, more: bytes) -> None:
        """Adds bytes that have room in it."""
        if self.runs and self.runs[-1][1] == stream:
            self.runs[-1] = (self.runs[-1][0] + len(more), stream)
        else:
            self.runs.append((len(more), stream))
        self.data += more


class Pages:
    """The last pages of what one attempt wrote; `end` is the offset of what comes next."""

    __slots__ = ("pages", "end")

    def __init__(self) -> None:
        self.pages: deque[Page] = deque()
        self.end = 0

    def append(self, stream: int, data: bytes) -> None:
        """Adds bytes to the end."""
        most = OUTPUT_PAGES * OUTPUT_PAGE_BYTES
        if len(data) > most + OUTPUT_PAGE_BYTES:  # of a flood only the end is copied
            start = (self.end + len(data) - most) // OUTPUT_PAGE_BYTES * OUTPUT_PAGE_BYTES
            data = data[start - self.end:]
            self.end = start
        at = 0
        while at < len(data):
            room = OUTPUT_PAGE_BYTES - self.end % OUTPUT_PAGE_BYTES
            if not self.pages or self.pages[-1].end != self.end or room == OUTPUT_PAGE_BYTES:
                self.pages.append(Page(self.end))
            part = data[at:at + room]
            self.pages[-1].append(stream, part)
            self.end += len(part)
            at += len(part)
        self._drop_old()

    def take(self) -> list[Page]:
        """What was appended since the last take; goes on at the same offset."""
        taken = list(self.pages)
        self.pages.clear()
        return taken

    def add(self, page: Page) -> None:
        """A further part of the same bytes, which another Pages gave."""
        self.end = page.end
        if page.offset % OUTPUT_PAGE_BYTES == 0:
            self.pages.append(page)
            self._drop_old()
            return
        # The rest of a page whose start was taken before; without the start it is no page.
        if not self.pages or self.pages[-1].end != page.offset:
            return
        at = 0
        for size, stream in page.runs:
            self.pages[-1].append(stream, bytes(page.data[at:at + size]))
            at += size

    def drop_first(self) -> bool:
        """False: it is the last one too, which may go on."""
        if len(self.pages) < 2:
            return False
        self.pages.popleft()
        return True

    def _drop_old(self) -> None:
        while len(self.pages) > 1 and (self.pages[-1].offset - self.pages[0].offset) // OUTPUT_PAGE_BYTES >= OUTPUT_PAGES:
            self.pages.popleft()


Entry = TypeVar("Entry", bound="_Entry")


class _Entry(ABC):
    """What is kept of one attempt."""

    __slots__ = ("task", "ended")

    def __init__(self, task: int) -> None:
        self.task = task
        self.ended = False

    @abstractmethod
    def due(self) -> bool:
        """Whether there is something to say that was not said in this session."""

    @abstractmethod
    def make_due(self) -> None:
        """All that is kept is to be said again."""


class _Turns(Generic[Entry]):
    """Who may speak when: ended attempts at once, the others in turns and five times a second."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._next_ms = 0

    def __bool__(self) -> bool:
        return bool(self._entries)

    def on_ended(self, lease: int) -> None:
        """Its attempt is over: what it said is due at once."""
        entry = self._entries.get(lease)
        if entry is not None:
            entry.ended = True

    def on_session_up(self) -> None:
        """Everything is due again."""
        for entry in self._entries.values():
            entry.make_due()
        self._next_ms = 0

    def forget(self, is_held: Callable[[int], bool]) -> None:
        """Forgets leases that are not held any more."""
        for lease in [lease for lease in self._entries if not is_held(lease)]:
            self._erase(lease)

    def next_deadline_ms(self) -> int:
        """When take has something."""
        due = [entry for entry in self._entries.values() if entry.due()]
        if not due:
            return NEVER
        return 0 if any(entry.ended for entry in due) else self._next_ms

    def _erase(self, lease: int) -> None:
        del self._entries[lease]

    def _turns(self, now_ms: int, take: Callable[[int, Entry], int]) -> None:
        """Calls `take`, which says how many bytes it took, for all whose turn it is."""
        for lease, entry in self._entries.items():
            if entry.ended and entry.due():
                take(lease, entry)
        if now_ms < self._next_ms:
            return
        size = 0
        for lease, entry in list(self._entries.items()):
            if size >= MAX_REPORT_BYTES:
                break
            if entry.due():
                size += take(lease, entry)
                self._next_ms = now_ms + REPORT_EVERY_MS
                # To the end of the line.
                self._entries[lease] = self._entries.pop(lease)


class _Said(_Entry):
    __slots__ = ("report", "waits")

    def __init__(self, task: int) -> None:
        super().__init__(task)
        self.report = Report()
        self.waits = True

    def due(self) -> bool:
        return self.waits

    def make_due(self) -> None:
        self.waits = True


class Reports(_Turns[_Said]):
    """Progress and checkpoints of all attempts."""

    def on_note(self, task: int, lease: int, report: Report) -> None:
        """An attempt said something."""
        entry = self._entries.get(lease)
        if entry is None:
            entry = self._entries[lease] = _Said(task)
        entry.report = entry.report.updated(report)
        entry.waits = True

    def take(self, now_ms: int) -> list[wire.Progress]:
        """What has to be sent now, before any results; counts as sent."""
        taken: list[wire.AttemptReport] = []

        def take(lease: int, entry: _Said) -> int:
            entry.waits = False
            taken.append(wire.AttemptReport(entry.task, lease, *entry.report))
            return len(entry.report.checkpoint or b"")
        self._turns(now_ms, take)
        return [wire.Progress(part) for part in frames(taken, lambda report: len(report.checkpoint or b""),
                                                       MAX_PROGRESS_REPORTS)]


class _Wrote(_Entry):
    __slots__ = ("written", "due_from", "size")

    def __init__(self, task: int) -> None:
        super().__init__(task)
        self.written = Pages()
        self.due_from = 0  # pages that end after it are due
        self.size = 0

    def due(self) -> bool:
        return self.written.end > self.due_from

    def make_due(self) -> None:
        self.due_from = 0


class Outputs(_Turns[_Wrote]):
    """What all attempts wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.held_bytes = 0

    def on_written(self, task: int, lease: int, pages: Iterable[Page]) -> None:
        """An attempt has written."""
        entry = self._entries.get(lease)
        if entry is None:
            entry = self._entries[lease] = _Wrote(task)
        for page in pages:
            entry.written.add(page)
        self._count(entry)
        # The oldest attempts lose their first pages, which most often were sent long ago.
        for old in self._entries.values():
            while self.held_bytes > MAX_HELD_OUTPUT_BYTES and old.written.drop_first():
                self._count(old)

    def take(self, now_ms: int) -> list[wire.Output]:
        """What has to be sent now, before any results; counts as sent."""
        taken: list[tuple[int, wire.OutputPage]] = []

        def take(lease: int, entry: _Wrote) -> int:
            size = 0
            for page in entry.written.pages:
                if page.end > entry.due_from:
                    runs = [wire.OutputRun(length, stream) for length, stream in page.runs]
                    taken.append((page.cost, wire.OutputPage(entry.task, lease, page.offset, runs, bytes(page.data))))
                    size += page.cost
            entry.due_from = entry.written.end
            return size
        self._turns(now_ms, take)
        return [wire.Output([page for _, page in part])
                for part in frames(taken, lambda item: item[0], MAX_OUTPUT_FRAME_PAGES)]

    def _count(self, entry: _Wrote) -> None:
        size = sum(page.cost for page in entry.written.pages)
        self.held_bytes += size - entry.size
        entry.size = size

    def _erase(self, lease: int) -> None:
        self.held_bytes -= self._entries[lease].size
        super()._erase(lease)


Item = TypeVar("Item", bound=Any)


def frames(items: list[Item], size_of: Callable[[Item], int], most: int) -> list[list[Item]]:
    """The items cut into what one frame takes: at most `most`, and of about BATCH_TARGET_BYTES."""
    parts: list[list[Item]] = []
    room = 0
    for item in items:
        size = size_of(item)
        if not parts or len(parts[-1]) >= most or size > room:
            parts.append([])
            room = BATCH_TARGET_BYTES
        parts[-1].append(item)
        room -= size
    return parts
