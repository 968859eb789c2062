"""Workers as programs of their own, when things go wrong: killed, told to end, cut off from their broker, blocked by what they
run."""
import json
import os
import signal
import subprocess
import sys

import pytest
import worker_app
from cluster import Cluster, await_
from conftest import ROOT
from worker_app import app

from zsched import ErrorCode
from zsched._wire.constants import VISIBILITY_TIMEOUT_MS

PATIENCE = 60
VISIBILITY_SECONDS = VISIBILITY_TIMEOUT_MS / 1000


class Programs(Cluster):
    """A cluster with `python -m zsched worker`."""

    def __init__(self, programs):
        super().__init__(programs)
        self._trace = self.path / "trace"
        self._trace.touch()

    def start_python(self, name, *flags, ready="connected to the active broker", **environment):
        """Returns when the broker has it."""
        paths = [ROOT / "client/python/src", ROOT / "tests/python"]
        log = open(self.path / f"{name}.log", "ab")
        with log:
            process = self.processes[name] = subprocess.Popen(
                [sys.executable, "-B", "-m", "zsched", "worker", "worker_app:app", "--name", name, *flags], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, env={
                    **os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "WORKER_APP_TRACE": str(self._trace),
                    "ZSCHED_BROKERS": self.brokers, **environment})
        await_(lambda: ready in self.log(name) or process.poll() is not None, f"the start of {name}")
        assert process.poll() is None, self.log(name)
        return process

    def trace(self, what=None):
        """Lines that calls left, as words; those that begin with `what`."""
        lines = [line.split() for line in self._trace.read_text().splitlines()]
        return [line[1:] for line in lines if line[0] == what] if what else lines


@pytest.fixture
def cluster(programs):
    with Programs(programs) as cluster:
        yield cluster
        try:
            app.close(5)
        finally:
            app.brokers = None


@pytest.fixture
def single(cluster):
    cluster.start_broker()
    app.brokers = cluster.brokers
    return cluster


@pytest.fixture
def pair(cluster):
    cluster.start_pair()
    app.brokers = cluster.brokers
    return cluster


@pytest.mark.parametrize("pool", ["thread", "process", "asyncio"])
def test_tasks_of_a_killed_worker_run_elsewhere(single, pool):
    single.start_python("first", "--pool", pool, "--concurrency", "2")
    handles = [worker_app.until_cancelled.submit(str(number)) for number in range(2)]
    await_(lambda: len(single.trace("begin")) == 2, "two attempts")
    children = {int(pid) for _, pid in single.trace("begin")}
    single.start_python("second", "--pool", pool, "--concurrency", "2")
    single.kill("first")
    await_(lambda: not any(map(alive, children)), "the end of its children")
    await_(lambda: len(single.trace("begin")) >= 4, "two attempts elsewhere")
    assert all(handle.history().attempts[0].error is ErrorCode.WORKER_LOST for handle in handles)
    for handle in handles:
        handle.cancel()
    assert len(app.client.wait(handles, PATIENCE)) == 2


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("pool", ["thread", "process", "asyncio"])
def test_what_runs_goes_on_through_a_failover_and_every_result_comes_once(pair, pool):
    pair.start_python("w", "--pool", pool, "--concurrency", "4")
    running = [worker_app.nap.submit(4, f"long{number}") for number in range(3)]
    await_(lambda: len(pair.trace("begin")) == 3, "three attempts")
    many = worker_app.add.map(range(2000))
    pair.await_sync()
    pair.kill(pair.active())
    more = worker_app.add.map(range(2000, 2500))
    app.client.gather(running, timeout=PATIENCE)
    assert app.client.gather(many + more, timeout=PATIENCE) == list(range(2500))
    assert sorted(name for name, _ in pair.trace("begin")) == ["long0", "long1", "long2"], "none of them began twice"
    assert all(handle.info().attempt == 1 for handle in running)


@pytest.mark.parametrize("pool", ["thread", "process", "asyncio"])
def test_a_drain_by_sigterm_loses_and_repeats_nothing(single, pool):
    first = single.start_python("first", "--pool", pool, "--concurrency", "2")
    handles = [worker_app.nap.submit(0.1, str(number)) for number in range(150)]
    await_(lambda: len(single.trace("end")) >= 4, "the first few")
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE) == 0
    assert "draining" in single.log("first") and "worker drained" in single.log("first")
    assert len(single.trace("begin")) == len(single.trace("end")) < 150
    single.start_python("second", "--pool", pool, "--concurrency", "8")
    app.client.gather(handles, timeout=PATIENCE)
    assert sorted(int(name) for name, _ in single.trace("begin")) == list(range(150))


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_a_second_signal_ends_it_at_once(single, pool):
    process = single.start_python("w", "--pool", pool)
    handle = worker_app.deaf.submit("d")
    pids = await_(lambda: [int(pid) for _, pid in single.trace("begin")], "its start")
    process.send_signal(signal.SIGINT)
    await_(lambda: "draining" in single.log("w"), "the drain")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    await_(lambda: not alive(pids[0]), "the end of what it ran")
    handle.cancel()


@pytest.mark.parametrize("task", [worker_app.burn, worker_app.nap])
def test_a_function_that_blocks_for_longer_than_the_visibility_timeout_keeps_its_lease(single, task):
    single.start_python("w", "--concurrency", "2")
    single.start_python("other", "--concurrency", "2")
    handle = task.submit(VISIBILITY_SECONDS + 1.5, "b")
    handle.result(PATIENCE)
    assert handle.info().attempt == 1 and len(single.trace("begin")) == 1


def test_a_worker_whose_broker_restarts_hands_over_what_it_did_meanwhile(single):
    single.start_python("w", "--concurrency", "2")
    handle = worker_app.nap.submit(1.0, "n")
    await_(lambda: single.trace("begin"), "its start")
    single.kill("broker")
    await_(lambda: single.trace("end"), "its end")
    single.start_broker()
    handle.result(PATIENCE)
    assert len(single.trace("begin")) == 1


def test_the_worker_begins_anew_after_so_many_tasks(single):
    process = single.start_python("w", "--recycle-after-tasks", "5", "--concurrency", "1")
    app.client.gather(worker_app.add.map(range(40)), timeout=PATIENCE)
    await_(lambda: single.log("w").count("beginning anew in the same process") >= 2, "new beginnings")
    assert app.client.gather(worker_app.pid.starmap([()] * 3), timeout=PATIENCE) == [process.pid] * 3, "the same process"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


def test_the_worker_begins_anew_when_it_holds_much_memory(single):
    process = single.start_python("w", "--recycle-after-memory", "200MiB", "--concurrency", "1")
    handles = [worker_app.grows.submit(150) for _ in range(4)]
    assert app.client.gather([worker_app.add.submit(1)], timeout=PATIENCE) == [1]
    assert app.client.gather(handles, timeout=PATIENCE) == [process.pid] * 4, "the same process"
    assert all(handle.info().attempt == 1 for handle in handles), "none was lost on the way"
    await_(lambda: "MiB in memory" in single.log("w") and "beginning anew" in single.log("w"), "a new beginning")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


def test_the_log_as_json_has_the_ids_of_task_and_session(single):
    single.start_python("w", "--log-format", "json")
    handle = worker_app.says.using(correlation_id="c-9").submit("hello")
    handle.result(PATIENCE)
    lines = await_(lambda: [line for line in map(json.loads, single.log("w").splitlines()) if line["message"] == "log hello"],
                   "the line")
    assert (lines[0]["task"], lines[0]["attempt"], lines[0]["correlation_id"]) == (str(handle.id), 1, "c-9")
    assert lines[0]["session"] and lines[0]["level"] == "info" and lines[0]["program"] == "zsched-py"


def test_settings_may_come_from_the_environment(single):
    single.start_python("w", ready="pool=asyncio", ZSCHED_POOL="asyncio", ZSCHED_CONCURRENCY="3", ZSCHED_LABEL="a=b,c=d",
                        ZSCHED_QUEUES="one,two")
    shown = await_(lambda: app.client.workers(), "the worker")[0]
    assert (shown.name, shown.concurrency, shown.labels, shown.queues) == ("w", 3, {"a": "b", "c": "d"}, ("one", "two"))


@pytest.mark.parametrize("arguments, text", [
    (["nowhere_at_all:app"], "no module 'nowhere_at_all'"), (["worker_app:nothing"], "no zsched.App"), ([], "MODULE:APP"),
    (["worker_app:app", "--pool", "fork"], "invalid choice"), (["worker_app:app", "--concurrency", "0"], "not a number from 1"),
    (["worker_app:app", "--label", "x"], "KEY=VALUE"), (["worker_app:app", "--brokers", "a:b:c"], "a:b:c"),
    (["worker_app:app", "--recycle-after-memory", "much"], "no size")])
def test_start_up_errors_say_what_is_wrong(arguments, text):
    paths = [str(ROOT / "client/python/src"), str(ROOT / "tests/python")]
    done = subprocess.run([sys.executable, "-B", "-m", "zsched", "worker", *arguments], capture_output=True, text=True, check=False,
                          timeout=PATIENCE, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    assert done.returncode == 2 and text in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_help_has_examples():
    done = subprocess.run([sys.executable, "-B", "-m", "zsched", "--help"], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "client/python/src")})
    assert "python -m zsched worker shop:app" in done.stdout


def test_the_worker_needs_no_broker_to_drain(cluster):
    cluster.address("broker")
    process = cluster.start_python("w", ready="no broker takes this worker")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
