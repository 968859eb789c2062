#!/usr/bin/python3
"""What the Python client costs, with a broker and a worker of its own on the normal disk.

    bench/python/bench_client.py [--bin DIR] [--data-root DIR] [--tasks N] [--payload-bytes N] [-o table|json]

    encode, submit_body      tasks a second made ready, and put into frames, alone
    read_tasks               assignments a second that a worker could read
    submit_latency_ms        of one task after the other: p50, p99
    echo_latency_ms          submit until its result, with zsched-worker: p50, p99
    round_trip               tasks a second from the first submit to the last outcome, with zsched-worker
    submit_each, submit_many submits a second until all are acknowledged, durable
    submit_threads           one task a call, 64 threads
    submit_coroutines        one task a call, 1,000 coroutines

Every figure is of tasks that the broker has on disk: that of --data-root, which by default is that of the programs (/tmp is
often in memory). Run it on a machine that does nothing else.
"""
import argparse
import asyncio
import json
import pathlib
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "client/python/src"), str(ROOT / "tests/python")]

from cluster import Cluster  # noqa: E402

import zsched  # noqa: E402
from zsched import TaskSpec  # noqa: E402
from zsched._wire import schema as wire  # noqa: E402
from zsched._wire.reader import read  # noqa: E402
from zsched._tasks import encode_task, submit_body  # noqa: E402
from zsched._wire.writer import write  # noqa: E402

THREADS, COROUTINES, FRAME = 64, 1000, 2000
TIMEOUT = 600
SUBMITTED = "abcd"  # queues


def rate(count, work):
    """`count` a second of what `work` takes for it."""
    begun = time.perf_counter()
    work()
    return round(count / (time.perf_counter() - begun))


def quantiles(seconds):
    """p50 and p99 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": round(cuts[49] * 1000, 2), "p99": round(cuts[98] * 1000, 2)}


def codec(count, payload):
    """What needs no broker."""
    specs = [TaskSpec("noop", payload, queue="bench") for _ in range(count)]
    blocks = []
    figures = {"encode": rate(count, lambda: blocks.extend(map(encode_task, specs)))}
    figures["submit_body"] = rate(count, lambda: [submit_body(blocks[start:start + FRAME], 1, 1)
                                                  for start in range(0, count, FRAME)])
    one = wire.Assignment(task_id=1, lease_id=2, attempt=1, type="noop", queue="bench", payload=payload, submitted_at_ms=3)
    body = write(wire.Tasks([one] * FRAME))
    figures["read_tasks"] = rate(count, lambda: [read(wire.Tasks, body) for _ in range(count // FRAME)])
    return figures


def timed(calls, call):
    """How long each of so many calls took."""
    seconds = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return seconds


def with_broker(cluster, count, payload):
    """What the client does."""
    figures = {}
    single = max(1000, count // 20)
    with zsched.Client(cluster.brokers) as client:
        client.wait_for_broker(60)
        # The worker is there for the others, and takes nothing of these.
        for queue in SUBMITTED:
            client.pause(queue)
        client.submit_each("noop", [payload] * 1000)
        # One at a time first: later the broker has more to do than these.
        figures["submit_latency_ms"] = quantiles(timed(1000, lambda: client.submit("noop", payload, queue="d")))
        figures["echo_latency_ms"] = quantiles(timed(1000, lambda: client.submit("echo", payload).result(TIMEOUT)))
        figures["round_trip"] = rate(count, lambda: client.gather(client.submit_each("noop", [payload] * count), TIMEOUT))
        figures["submit_each"] = rate(count, lambda: client.submit_each("noop", (payload for _ in range(count)), queue="a"))
        figures["submit_many"] = rate(count, lambda: client.submit_many(
            TaskSpec("noop", payload, queue="b") for _ in range(count)))
        with ThreadPoolExecutor(THREADS) as pool:
            figures["submit_threads"] = rate(single, lambda: list(pool.map(
                lambda _: client.submit("noop", payload, queue="c"), range(single))))
        figures["submit_coroutines"] = rate(single * 4, lambda: asyncio.run(coroutines(cluster, single * 4, payload)))
    return figures


async def coroutines(cluster, count, payload):
    """So many submits, COROUTINES of them at a time."""
    async with zsched.AsyncClient(cluster.brokers) as client:
        left = iter(range(count))

        async def submit():
            for _ in left:
                await client.submit("noop", payload, queue="d")
        await asyncio.gather(*[submit() for _ in range(COROUTINES)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin")
    parser.add_argument("--data-root", type=pathlib.Path)
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--payload-bytes", type=int, default=100)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    payload = b"x" * arguments.payload_bytes
    figures = codec(max(arguments.tasks, FRAME), payload)
    with Cluster(arguments.bin, arguments.data_root or arguments.bin.parent) as cluster:
        cluster.quiet = True
        cluster.start_broker()
        cluster.start_worker()
        figures.update(with_broker(cluster, arguments.tasks, payload))
    if arguments.output == "json":
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:20}", f"p50 {value['p50']} ms, p99 {value['p99']} ms" if isinstance(value, dict) else f"{value:,} /s")


if __name__ == "__main__":
    main()
