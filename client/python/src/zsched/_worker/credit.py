"""How much work a worker asks for: absolute grants that it sizes from measured run times. The twin of
worker/core/credit.h; pure.

Enough tasks to keep every slot busy for TARGET_US at the measured run time, and at least one a slot;
exactly one a slot for tasks that run longer than that, so that no task waits behind a long one while
another worker is free. A grant at most doubles, and only after as many attempts ended as it allowed.
When nothing starts or ends for TARGET_US although tasks wait (a stall), run times are what the stall says.

Example:
    sizer = CreditSizer(8192)
    sizer.on_run(120)
    tasks = sizer.next(slots=4, ceiling=16384, waiting=0, now_ms=now)   # None: the last grant will do

Threads: one at a time.
"""
from __future__ import annotations

import math

# Work in hand, so that no slot waits for the broker: covers a round trip with a durable commit many
# times over, and is little to give back.
TARGET_US = 50_000
TARGET_MS = TARGET_US // 1000
# Weight of one attempt in the average: about the last 16 count.
RUN_TIME_WEIGHT = 1 / 16


class CreditSizer:
    """See above. `granted`: the last grant of this session; `average_run_us`: 0 before the first run."""

    __slots__ = ("max_tasks", "granted", "average_run_us", "_ended_since_change", "_progress_ms")

    def __init__(self, max_tasks: int) -> None:
        self.max_tasks = max_tasks
        self.granted = 0
        self.average_run_us = 0.0
        self._ended_since_change = 0
        self._progress_ms = 0

    def on_run(self, run_us: int) -> None:
        """An attempt ended after `run_us`."""
        run = run_us or 1
        average = self.average_run_us
        self.average_run_us = average + (run - average) * RUN_TIME_WEIGHT if average else run
        self._ended_since_change += 1

    def on_runs(self, count: int, mean_us: float) -> None:
        """`count` attempts ended after `mean_us` on average: one step for all of them, as a worker in Python
        has better things to do than one for each."""
        run = mean_us or 1.0
        average = self.average_run_us
        weight = 1 - (1 - RUN_TIME_WEIGHT) ** count
        self.average_run_us = average + (run - average) * weight if average else run
        self._ended_since_change += count

    def on_progress(self, now_ms: int) -> None:
        """An attempt started or ended, or the first work arrived."""
        self._progress_ms = now_ms

    def reset(self) -> None:
        """A new session begins with a grant of 0."""
        self.granted = 0
        self._ended_since_change = 0

    def next(self, slots: int, ceiling: int, waiting: int, now_ms: int) -> int | None:
        """The grant to send, which then counts as sent; None while the last one will do. `slots`: attempts
        that can run at once now; `ceiling`: the most that may be granted, for other reasons."""
        granted = self.granted
        wanted = min(self._wanted(slots, waiting, now_ms), ceiling)
        change = abs(wanted - granted)
        must = granted > ceiling or (wanted == 0) != (granted == 0) or wanted == slots < granted
        if change == 0 or (not must and change * 4 <= granted):
            return None
        self.granted = wanted
        self._ended_since_change = 0
        return wanted

    def stalled(self, waiting: int, now_ms: int) -> bool:
        """`waiting` tasks, and yet nothing started or ended for TARGET_US."""
        return waiting > 0 and now_ms - self._progress_ms >= TARGET_MS

    def stall_ms(self) -> int:
        """When waiting tasks become a stall."""
        return self._progress_ms + TARGET_MS

    def _wanted(self, slots: int, waiting: int, now_ms: int) -> int:
        run_us = self.average_run_us
        if self.stalled(waiting, now_ms):
            run_us = max(run_us, (now_ms - self._progress_ms) * 1000)
        if slots == 0 or run_us == 0 or run_us >= TARGET_US:
            return slots
        wanted = min(math.ceil(TARGET_US * slots / run_us), self.max_tasks)
        granted = self.granted
        if wanted > granted:
            wanted = min(wanted, 2 * granted) if self._ended_since_change >= granted else granted
        return max(wanted, slots)
