"""A worker in this process, against a real broker: every feature, in each pool."""
import time

import pytest
import worker_app
from cluster import Cluster, await_
from worker_app import app

import zsched
from zsched._wire.constants import CRASH_LIMIT
from zsched.types import OutputStream

PATIENCE = 60
# Timed-out attempts count as lost ones: so many end the task, whatever its max_attempts.
QUICKLY = {"retry_base": 0.01, "retry_cap": 0.01}


@pytest.fixture(scope="module")
def cluster(programs):
    with Cluster(programs) as cluster:
        cluster.start_broker()
        app.brokers = cluster.brokers
        yield cluster
        app.close()
        app.brokers = None


@pytest.fixture(scope="module", params=["thread", "asyncio", "process"])
def worker(cluster, request):
    with zsched.Worker(app, concurrency=4, pool=request.param, labels={"pool": request.param},
                       queues=["default", "other"]) as worker:
        worker.wait_connected(PATIENCE)
        yield worker


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """Lines that calls leave; children see the variable when it is set before they start, so these tests have their own."""
    path = tmp_path / "trace"
    path.touch()
    monkeypatch.setenv("WORKER_APP_TRACE", str(path))
    return lambda: [line.split() for line in path.read_text().splitlines()]


def result(task, *args, **kwargs):
    return task.submit(*args, **kwargs).result(PATIENCE)


def test_calls_come_back_with_their_values(worker):
    assert result(worker_app.noop) is None
    assert result(worker_app.add, 1, 2) == 3
    assert result(worker_app.add, "a", b="b") == "ab"
    assert result(worker_app.add, a=[1], b=[2]) == [1, 2]
    assert result(worker_app.add_async, 1.5, b=2) == 3.5
    assert result(worker_app.size_of, b"\0\1\2") == 3
    assert result(worker_app.reverse, "abc") == b"cba"


def test_the_names_that_users_of_celery_know(worker):
    assert worker_app.add.delay(1, 2).result(PATIENCE) == 3
    started = time.monotonic()
    assert worker_app.add.apply_async((1,), {"b": 2}, countdown=0.3, priority=9).result(PATIENCE) == 3
    assert time.monotonic() - started >= 0.3


def test_options_of_one_call(worker):
    handle = worker_app.describe.using(queue="other", labels={"a": "b"}, max_attempts=3, correlation_id="c-1").submit()
    said = handle.result(PATIENCE)
    assert (said["queue"], said["labels"], said["max_attempts"], said["correlation_id"]) == ("other", {"a": "b"}, 3, "c-1")
    again = worker_app.add.using(key=f"only-once-{worker.pool}")
    first, second = again.submit(1, 1), again.submit(1, 1)
    assert first.id == second.id and second.repeated


def test_many_at_once(worker):
    handles = worker_app.add.map(range(500))
    assert app.client.gather(handles, timeout=PATIENCE) == list(range(500))
    assert app.client.gather(worker_app.add.starmap((n, n) for n in range(50)), timeout=PATIENCE) == [2 * n for n in range(50)]


def test_payloads_of_others(worker):
    client = app.client
    assert client.submit("reverse", "text").result(PATIENCE) == b"txet"
    assert client.submit("add", json={"a": 2, "b": 3}).result(PATIENCE) == 5
    assert client.submit("add", json=[2, 3]).result(PATIENCE) == 5
    assert client.submit("add", b"[2, 3]").result(PATIENCE) == 5
    assert client.submit("add", json=7).result(PATIENCE) == 7


@pytest.mark.parametrize("payload, content_type, text", [
    (b"{", "application/json", "not application/json"), (b"x", "application/x-python-pickle", "reads application/json"),
    (b"[1,2,3]", "application/json", "add() takes"), (b'{"c":1}', "application/json", "unexpected keyword"),
    (b'{"args":1}', "application/json; call=mixed", "no call"), (b"[" * 100_000, "application/json", "")])
def test_payloads_that_are_no_call_end_the_task_at_once(worker, payload, content_type, text):
    with pytest.raises(zsched.TaskFailed) as failed:
        app.client.submit("add", payload, content_type=content_type).result(PATIENCE)
    assert failed.value.code is zsched.ErrorCode.INVALID_ARGUMENT and text in failed.value.outcome.error_message
    assert failed.value.outcome.attempt == 1


def test_a_type_that_nobody_has(worker):
    handle = app.client.submit("nobody-has-it", max_attempts=1)
    assert handle.status() is zsched.TaskState.READY, "a broker gives a worker only the types that it named"
    assert handle.cancel()


def test_failures_come_home_with_type_text_and_traceback(worker):
    with pytest.raises(zsched.TaskFailed) as failed:
        result(worker_app.fail, "no such customer")
    error = failed.value
    assert error.code is zsched.ErrorCode.HANDLER_FAILED
    assert (error.error_type, error.error_text) == ("ValueError", "no such customer")
    assert error.remote_traceback.startswith("Traceback") and "in inner" in error.remote_traceback
    assert "attempt.py" not in error.remote_traceback, "the worker's own frames are nobody's business"


def test_retries(worker):
    assert result(worker_app.fail_until, 3) == 3
    assert result(worker_app.retry_soon, 3) == 3
    with pytest.raises(zsched.TaskFailed) as failed:
        result(worker_app.give_up, "wrong address")
    assert failed.value.code is zsched.ErrorCode.INVALID_ARGUMENT and failed.value.outcome.attempt == 1
    assert failed.value.outcome.error_message == "wrong address"


def test_results_that_cannot_be_written_or_are_too_large(worker):
    with pytest.raises(zsched.TaskFailed) as failed:
        result(worker_app.much, 1 << 20)
    assert failed.value.code is zsched.ErrorCode.TOO_LARGE and failed.value.outcome.attempt == 1
    assert len(result(worker_app.much, (1 << 20) - 2)) == (1 << 20) - 2
    with pytest.raises(zsched.TaskFailed, match="an? object, cannot be written") as failed:
        result(worker_app.no_json)
    assert failed.value.code is zsched.ErrorCode.INVALID_ARGUMENT and failed.value.outcome.attempt == 1


def test_the_context(worker):
    handle = worker_app.describe.using(traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01", timeout=100).submit()
    said = handle.result(PATIENCE)
    assert said["id"] == str(handle.id) and said["type"] == "describe" and said["queue"] == "default"
    assert said["attempt"] == 1 and said["lease"] > 0 and said["same"] and not said["cancelled"]
    assert 50 < said["remaining"] <= 100 and said["traceparent"].startswith("00-aaa")
    assert result(worker_app.describe_async) == {"attempt": 1, "same": True}


def test_progress_and_checkpoints_pass_from_attempt_to_attempt(worker):
    handle = worker_app.count_on.submit(3)
    assert handle.result(PATIENCE) == 3
    progress = handle.info().progress
    assert (progress.percent, progress.message) == (100, "3 of 3")


def test_what_an_attempt_logs_and_writes_is_its_output(worker):
    handle = worker_app.says.submit("hello")
    assert handle.result(PATIENCE) == "hello"
    pieces = list(app.client.logs(handle.id))
    said = {stream: b"".join(piece.data for piece in pieces if piece.stream is stream) for stream in OutputStream}
    assert said[OutputStream.LOG].endswith(b"INFO log hello\n") and said[OutputStream.STDOUT] == b"out hello\n"


def test_a_child_of_a_chain_sees_its_parent(worker):
    child = worker_app.parent_of.using(pass_result=True, labels={"chain": worker.pool}).spec()
    first = worker_app.add.using(on_success=[child]).submit(20, 22)
    assert first.result(PATIENCE) == 42
    found = await_(lambda: [task for task in app.client.list(type="parent_of", label=("chain", worker.pool))], "the child")
    assert app.client.wait_for(found[0].id, PATIENCE).value() == {"id": str(first.id), "state": "SUCCEEDED", "result": 42}


def test_tasks_submit_tasks_and_hand_their_correlation_on(worker):
    second = worker_app.submits.using(correlation_id="order-7").submit().result(PATIENCE)
    assert app.client.wait_for(second, PATIENCE).value() == 3
    assert app.client.task(second).correlation_id == "order-7"


def test_the_broker_shows_the_worker(worker):
    shown = next(one for one in app.client.workers() if one.id == worker.id)
    assert shown.name == worker.name and shown.concurrency == 4 and shown.labels == {"pool": worker.pool}
    assert set(shown.types) == set(app.tasks)


# --- What needs a worker of its own ---

@pytest.fixture(params=["thread", "asyncio", "process"])
def own(cluster, request, trace, monkeypatch):
    # A child that is slow to hear is not one that does not listen.
    monkeypatch.setattr("zsched._worker.processes.KILL_GRACE_MS", 60_000)
    worker = zsched.Worker(app, concurrency=2, pool=request.param, queues=["own"])
    worker.start()
    worker.wait_connected(PATIENCE)
    worker.trace = trace
    yield worker
    worker.stop()
    worker.wait(PATIENCE)


def begun(worker, name):
    return await_(lambda: [line for line in worker.trace() if line[:2] == ["begin", name]], f"the start of {name}")


@pytest.mark.parametrize("task", ["until_cancelled", "until_cancelled_async"])
def test_a_cancelled_task_ends_its_attempt(own, task):
    handle = app.tasks[task].using(queue="own").submit("a")
    begun(own, "a")
    assert handle.cancel()
    with pytest.raises(zsched.TaskCancelled):
        handle.result(PATIENCE)
    await_(lambda: ["cancelled", "a", "CANCELLED"] in own.trace(), "the attempt's notice")
    await_(lambda: own.stats["running"] == 0 and own.stats["stuck"] == 0, "the end of the attempt")


@pytest.mark.parametrize("task", ["until_cancelled", "until_cancelled_async"])
def test_an_attempt_that_takes_too_long_is_ended(own, task):
    with pytest.raises(zsched.TaskFailed) as failed:
        app.tasks[task].using(queue="own", timeout=0.3, **QUICKLY).submit("t").result(PATIENCE)
    assert failed.value.code is zsched.ErrorCode.ATTEMPT_TIMED_OUT
    # A coroutine that had no time to begin is not told.
    assert 1 <= own.trace().count(["cancelled", "t", "ATTEMPT_TIMED_OUT"]) <= failed.value.outcome.attempt == CRASH_LIMIT


def test_more_than_fits_runs_one_after_the_other(own):
    handles = [worker_app.nap.using(queue="own").submit(0.2, str(number)) for number in range(10)]
    app.client.gather(handles, timeout=PATIENCE)
    running = most = 0
    for what, *_ in own.trace():
        running += 1 if what == "begin" else -1
        most = max(most, running)
    assert 1 <= most <= 2, "one when the other child begins late"


def test_tasks_that_wait_are_taken_back_when_their_task_is_cancelled(own):
    blockers = [worker_app.until_cancelled.using(queue="own").submit(f"b{number}") for number in range(2)]
    begun(own, "b0"), begun(own, "b1")
    waits = worker_app.nap.using(queue="own").submit(0, "never")
    assert waits.cancel()
    with pytest.raises(zsched.TaskCancelled):
        waits.result(PATIENCE)
    for blocker in blockers:
        blocker.cancel()
    app.client.wait(blockers, PATIENCE)
    assert not [line for line in own.trace() if line[1] == "never"]


def test_a_drain_finishes_what_runs_and_gives_back_the_rest(cluster, trace):
    first = zsched.Worker(app, concurrency=1, queues=["drained"])
    first.start()
    first.wait_connected(PATIENCE)
    handles = [worker_app.nap.using(queue="drained").submit(0.2, str(number)) for number in range(25)]
    await_(trace, "the first start")
    first.drain()
    first.wait(PATIENCE)
    ended = len([line for line in trace() if line[0] == "end"])
    assert 1 <= ended < 25
    with zsched.Worker(app, concurrency=8, queues=["drained"]):
        app.client.gather(handles, timeout=PATIENCE)
    assert sorted(line[1] for line in trace() if line[0] == "begin") == sorted(map(str, range(25))), "each once"
    assert all(app.client.task(handle).attempt == 1 for handle in handles)


def test_the_broker_can_drain_a_worker(cluster):
    worker = zsched.Worker(app, queues=["away"])
    worker.start()
    worker.wait_connected(PATIENCE)
    await_(lambda: any(one.id == worker.id for one in app.client.workers()), "the worker at the broker")
    app.client.drain_worker(worker.id)
    worker.wait(PATIENCE)
    assert not worker.recycled


def test_coroutines_run_beside_each_other(cluster):
    with zsched.Worker(app, concurrency=50, pool="asyncio", queues=["meet"]):
        handles = worker_app.meet.using(queue="meet").map([50] * 50)
        assert app.client.gather(handles, timeout=PATIENCE) == [50] * 50


# --- Processes ---

@pytest.fixture
def processes(cluster, trace):
    with zsched.Worker(app, concurrency=1, pool="process", queues=["own"]) as worker:
        worker.wait_connected(PATIENCE)
        worker.trace = trace
        yield worker


def test_a_child_that_dies_fails_its_attempt_and_is_replaced(processes):
    with pytest.raises(zsched.TaskFailed) as failed:
        worker_app.die.using(queue="own").submit().result(PATIENCE)
    assert failed.value.code is zsched.ErrorCode.PROCESS_FAILED and "SIGKILL" in failed.value.outcome.error_message
    assert worker_app.add.using(queue="own").submit(1, 1).result(PATIENCE) == 2


def test_a_child_that_does_not_listen_is_killed(processes):
    handle = worker_app.deaf.using(queue="own").submit("d")
    begun(processes, "d")
    handle.cancel()
    with pytest.raises(zsched.TaskCancelled):
        handle.result(PATIENCE)
    with pytest.raises(zsched.TaskFailed) as failed:
        worker_app.deaf.using(queue="own", timeout=0.2, **QUICKLY).submit("e").result(PATIENCE)
    assert failed.value.code is zsched.ErrorCode.ATTEMPT_TIMED_OUT
    assert worker_app.add.using(queue="own").submit(1, 1).result(PATIENCE) == 2
    assert processes.stats["stuck"] == 0


def test_children_are_recycled(cluster):
    with zsched.Worker(app, concurrency=1, pool="process", queues=["own"], recycle_after_tasks=2):
        pids = [worker_app.pid.using(queue="own").submit().result(PATIENCE) for _ in range(6)]
    assert [pids[0], pids[2], pids[4]] == [pids[1], pids[3], pids[5]] and len(set(pids)) == 3


def test_children_that_hold_much_memory_are_recycled(cluster):
    with zsched.Worker(app, concurrency=1, pool="process", queues=["own"], recycle_after_memory=200 << 20):
        grows = worker_app.grows.using(queue="own")
        first, second, third = [grows.submit(150).result(PATIENCE) for _ in range(3)]
    # One of 150 MiB and an interpreter stay below 200 MiB, two of them do not.
    assert first == second != third


def test_an_app_that_children_cannot_find():
    hidden = zsched.App()
    hidden.task(name="nothing")(lambda: None)
    with pytest.raises(zsched.InvalidArgument, match="variable of its module"):
        zsched.Worker(hidden, pool="process")
