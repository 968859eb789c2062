#!/usr/bin/python3
"""No-op tasks of Python from submit to result, with zsched and, where they are installed, with Celery and RQ.

    bench/python/bench_worker.py [--bin DIR] [--data-root DIR] [--tasks N] [--others-tasks N] [-o table|json] [--only NAME]

One process submits as fast as the system's own way for many tasks allows, workers are programs of their own, one a core where a
worker is one process. Everything is made anew on free ports, in a directory of --data-root, which by default is that of the
programs (/tmp is often in memory).

    submits_per_second       until all are taken: acknowledged, or the library's call has returned
    tasks_per_second         from the first submit until all results are stored, durable as far as the system is
    latency_ms               one task after the other, submit until its result is here: p50, p99 (RQ has no way to wait: its
                             result is looked for every 10 ms)

    zsched-thread, -asyncio  every task is on disk when it is acknowledged, and again its end
    celery-always, rq-always Redis with appendonly yes and appendfsync always: the same promise
    celery-everysec, …       appendfsync everysec, the usual setting: what the last second did is lost in a power cut

Celery: prefork, a process a core, results in Redis, one producer for all submits. RQ: enqueue_many in blocks of 500, two workers
that do not fork for each job (rq.SimpleWorker), which is its fastest way. Debian: python3-celery, python3-rq, redis-server.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "client/python/src"), str(ROOT / "tests/python"), str(HERE)]

from cluster import Cluster, Ports, await_  # noqa: E402

PATIENCE = 600
CORES = os.cpu_count() or 1
RQ_BLOCK = 500
SINGLE = 100


def quantiles(seconds):
    """p50 and p99 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": round(cuts[49] * 1000, 2), "p99": round(cuts[98] * 1000, 2)}


def figures_of(count, submit_all, all_done, one):
    """Runs the workload: `submit_all(count)`, `all_done(count)` blocks until so many results are there, `one()` is one task."""
    for _ in range(5):
        one()
    singles = []
    for _ in range(SINGLE):
        begun = time.perf_counter()
        one()
        singles.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    submit_all(count)
    submitted = time.perf_counter()
    all_done(count)
    ended = time.perf_counter()
    return {"tasks": count, "submits_per_second": round(count / (submitted - begun)),
            "tasks_per_second": round(count / (ended - begun)), "latency_ms": quantiles(singles)}


class Programs:
    """Programs that end with the block."""

    def __init__(self, directory):
        self.directory = directory
        self._processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, *arguments, **environment):
        with open(self.directory / f"{len(self._processes)}.log", "wb") as log:
            self._processes.append(subprocess.Popen(
                list(map(str, arguments)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT / "client/python/src")]), **environment}))


def zsched(arguments, pool):
    """zsched with `python -m zsched worker`."""
    os.environ.pop("ZSCHED_BROKERS", None)
    import bench_tasks

    with Cluster(arguments.bin, arguments.data_root) as cluster, Programs(cluster.path) as programs:
        cluster.quiet = True
        cluster.start_broker()
        app, task = bench_tasks.zsched_app, bench_tasks.noop if pool == "thread" else bench_tasks.noop_async
        app.brokers = cluster.brokers
        programs.start(sys.executable, "-m", "zsched", "worker", "bench_tasks:zsched_app", "--pool", pool, "--brokers",
                       cluster.brokers)
        handles = []

        def submit_all(count):
            handles.extend(task.starmap(() for _ in range(count)))
        try:
            return figures_of(arguments.tasks, submit_all, lambda _: app.client.wait(handles, PATIENCE),
                              lambda: task.submit().result(PATIENCE))
        finally:
            app.close()


class Redis(Programs):
    """A server of its own; `url` has no number of a database."""

    def __init__(self, arguments, sync):
        self._temporary = tempfile.TemporaryDirectory(prefix="zsched-bench-", dir=arguments.data_root)
        super().__init__(pathlib.Path(self._temporary.name))
        self._ports = Ports()
        port = self._ports.first
        self.url = f"redis://127.0.0.1:{port}/"
        self.start("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", self.directory, "--save", "", "--appendonly",
                   "yes", "--appendfsync", sync)
        import redis

        def answers():
            try:
                return self.database(0).ping()
            except redis.ConnectionError:
                return False
        await_(answers, "the start of redis-server")

    def database(self, number):
        import redis

        return redis.Redis.from_url(self.url + str(number))

    def __exit__(self, *_):
        super().__exit__()
        self._ports.release()
        self._temporary.cleanup()


def celery(arguments, sync):
    """Celery with Redis as broker and for results."""
    with Redis(arguments, sync) as redis:
        os.environ["BENCH_REDIS"] = redis.url
        sys.modules.pop("bench_celery", None)
        import bench_celery

        redis.start(sys.executable, "-m", "celery", "-A", "bench_celery", "worker", "-c", CORES, "--loglevel", "warning",
                    "--without-gossip", "--without-mingle", BENCH_REDIS=redis.url)
        results = redis.database(1)

        def submit_all(count):
            results.flushdb()
            with bench_celery.app.producer_pool.acquire(block=True) as producer:
                for _ in range(count):
                    bench_celery.noop.apply_async(producer=producer)
        return figures_of(arguments.others_tasks, submit_all,
                          lambda count: await_(lambda: results.dbsize() >= count, "all results", PATIENCE),
                          lambda: bench_celery.noop.delay().get(PATIENCE))


def rq(arguments, sync):
    """RQ."""
    with Redis(arguments, sync) as redis:
        from bench_rq import noop
        from rq import Queue
        from rq.registry import FinishedJobRegistry

        for number in range(CORES):
            redis.start(sys.executable, "-m", "rq.cli", "worker", "-u", redis.url + "0", "-w", "rq.SimpleWorker", "-n",
                        f"w{number}", "--quiet", "-P", HERE)
        queue = Queue(connection=redis.database(0))
        finished = FinishedJobRegistry(queue=queue)
        before = 0

        def submit_all(count):
            nonlocal before
            before = finished.count
            for start in range(0, count, RQ_BLOCK):
                queue.enqueue_many([Queue.prepare_data(noop, result_ttl=PATIENCE)
                                    for _ in range(min(RQ_BLOCK, count - start))])

        def one():
            job = queue.enqueue(noop, result_ttl=PATIENCE)
            await_(lambda: job.get_status() == "finished", "a result", PATIENCE)
        return figures_of(arguments.others_tasks, submit_all,
                          lambda count: await_(lambda: finished.count >= before + count, "all results", PATIENCE), one)


def missing(*modules):
    """Why a system cannot be measured here; None: it can."""
    gone = [name for name in modules if name not in sys.modules and importlib.util.find_spec(name) is None]
    if shutil.which("redis-server") is None:
        gone.append("redis-server")
    return f"skipped: {', '.join(gone)} is not installed" if gone else None


SYSTEMS = {
    "zsched-thread": (lambda arguments: zsched(arguments, "thread"), lambda: None),
    "zsched-asyncio": (lambda arguments: zsched(arguments, "asyncio"), lambda: None),
    "celery-always": (lambda arguments: celery(arguments, "always"), lambda: missing("celery", "redis")),
    "celery-everysec": (lambda arguments: celery(arguments, "everysec"), lambda: missing("celery", "redis")),
    "rq-always": (lambda arguments: rq(arguments, "always"), lambda: missing("rq", "redis")),
    "rq-everysec": (lambda arguments: rq(arguments, "everysec"), lambda: missing("rq", "redis")),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin")
    parser.add_argument("--data-root", type=pathlib.Path)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--others-tasks", type=int, default=5_000)
    parser.add_argument("--only", action="append", choices=SYSTEMS)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    arguments.data_root = arguments.data_root or arguments.bin.resolve()
    found = {}
    for name in arguments.only or SYSTEMS:
        measure, why_not = SYSTEMS[name]
        found[name] = why_not() or measure(arguments)
    if arguments.output == "json":
        print(json.dumps(found))
        return
    print(f"{'':16} {'submits/s':>10} {'tasks/s':>10} {'p50 ms':>8} {'p99 ms':>8}")
    for name, row in found.items():
        if isinstance(row, str):
            print(f"{name:16} {row}")
        else:
            print(f"{name:16} {row['submits_per_second']:>10,} {row['tasks_per_second']:>10,} "
                  f"{row['latency_ms']['p50']:>8} {row['latency_ms']['p99']:>8}")


if __name__ == "__main__":
    main()
