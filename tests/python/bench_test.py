#!/usr/bin/python3
"""That bench/python runs and that scripts can rely on its output; never how fast anything is.

    tests/python/bench_test.py BIN
"""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FIGURES = {"encode", "submit_body", "read_tasks", "submit_each", "submit_many", "submit_threads", "submit_coroutines",
           "submit_latency_ms", "echo_latency_ms", "round_trip"}


def main():
    bench = [sys.executable, ROOT / "bench/python/bench_client.py", "--bin", sys.argv[1], "--tasks", "2000"]
    figures = json.loads(subprocess.run([*bench, "-o", "json"], check=True, capture_output=True, text=True).stdout)
    assert set(figures) == FIGURES, figures
    for name, value in figures.items():
        assert (value["p50"] <= value["p99"] and value["p50"] > 0) if name.endswith("_ms") else value > 0, (name, value)


if __name__ == "__main__":
    main()
