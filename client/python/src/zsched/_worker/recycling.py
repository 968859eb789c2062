"""When a process has done its share and another should take over: after so many attempts, or once it holds too much memory. The
twin of worker/core/recycling.h; pure but for resident_bytes.

Functions and the libraries behind them leak, and memory that is in pieces is not given back; a process that ends before that
matters is the cure that always works.

Threads: any.
"""
from __future__ import annotations

import os
import random
from collections.abc import Callable

# Each adds up to this share to its bound on attempts, so that processes that were started at once and share the load evenly do
# not leave at once.
JITTER_PERCENT = 10


class Recycling:
    """`after_tasks` attempts, `after_memory` resident bytes; 0: no such bound."""

    def __init__(self, after_tasks: int = 0, after_memory: int = 0, draw: Callable[[int], int] = random.randrange) -> None:
        self.after_tasks = after_tasks + (draw(after_tasks * JITTER_PERCENT // 100 + 1) if after_tasks else 0)
        self.after_memory = after_memory

    def due(self, ended: int, resident: int) -> str | None:
        """Why it is time; None: it is not. Memory counts only after some attempt: a bound below what the program needs idle must
        not have it start over and over."""
        if self.after_tasks and ended >= self.after_tasks:
            return f"after {ended} attempts"
        if self.after_memory and ended and resident > self.after_memory:
            return f"that has {resident >> 20} MiB in memory"
        return None


def resident_bytes() -> int:
    """What this process has in memory; 0 when the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
