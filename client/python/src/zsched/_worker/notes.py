"""What attempts say and write, until the session's thread takes it. Of what an attempt says the latest counts, of what it writes
the last pages.

Threads: report and write from any, the rest from the session's. Attempts that say nothing take no lock.
"""
from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from zsched._worker.ledger import Lease
from zsched._worker.reports import Page, Pages, Report

_NOTHING = Report()


class Note(NamedTuple):
    """What one attempt has said and written since the last look."""

    lease: Lease
    report: Report
    pages: list[Page]


class _Box:
    __slots__ = ("lease", "report", "written")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.report = _NOTHING
        self.written = Pages()


class NoteBoard:
    """See above. `wake` is called when there is something after there was nothing."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        # Of all attempts that have said anything: where their output goes on has to be known.
        self._boxes: dict[int, _Box] = {}
        self._fresh: dict[int, _Box] = {}

    def __bool__(self) -> bool:
        """Whether there is something to take."""
        return bool(self._fresh)

    def report(self, lease: Lease, report: Report) -> None:
        """Progress or a checkpoint."""
        with self._lock:
            first = not self._fresh
            box = self._box(lease)
            box.report = box.report.updated(report)
        if first:
            self._wake()

    def write(self, lease: Lease, stream: int, data: bytes) -> None:
        """Output."""
        with self._lock:
            first = not self._fresh
            self._box(lease).written.append(stream, data)
        if first:
            self._wake()

    def take(self) -> list[Note]:
        """What there is. What attempts said that have ended by now is among it."""
        with self._lock:
            fresh, self._fresh = self._fresh, {}
            notes = [Note(box.lease, box.report, box.written.take()) for box in fresh.values()]
            for box in fresh.values():
                box.report = _NOTHING
        return notes

    def forget(self, is_held: Callable[[int], bool]) -> None:
        """Forgets leases that are not held any more."""
        if self._boxes:
            with self._lock:
                for id in [id for id in self._boxes if not is_held(id)]:
                    del self._boxes[id]
                    self._fresh.pop(id, None)

    def _box(self, lease: Lease) -> _Box:
        box = self._boxes.get(lease.id)
        if box is None:
            box = self._boxes[lease.id] = _Box(lease)
        self._fresh[lease.id] = box
        return box
