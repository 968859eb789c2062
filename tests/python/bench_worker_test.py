#!/usr/bin/python3
"""That bench/python/bench_worker.py runs and that scripts can rely on its output; never how fast anything is.

    tests/python/bench_worker_test.py BIN
"""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FIGURES = {"tasks", "submits_per_second", "tasks_per_second", "latency_ms"}


def main():
    bench = [sys.executable, ROOT / "bench/python/bench_worker.py", "--bin", sys.argv[1], "--tasks", "500", "--others-tasks", "50"]
    found = json.loads(subprocess.run([*bench, "-o", "json"], check=True, capture_output=True, text=True).stdout)
    assert {"zsched-thread", "zsched-asyncio"} <= set(found), found
    for name, figures in found.items():
        if isinstance(figures, str):
            assert not name.startswith("zsched") and "is not installed" in figures, (name, figures)
            continue
        assert set(figures) == FIGURES and figures["submits_per_second"] >= figures["tasks_per_second"] > 0, (name, figures)
        assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"], (name, figures)


if __name__ == "__main__":
    main()
